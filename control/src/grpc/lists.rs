//! Pages of videos and jobs: reads the filters and the order of a list, which its page tokens are
//! bound to.

use api::{
    code::{Code, Problem},
    v1,
};
use media::VideoId;

use super::{convert, input, lookup};
use crate::{
    db::{
        CALL_TRIES_MAX,
        jobs::{self, Job},
        videos::{self, Filter, Order, Video},
    },
    domain::{JobState, VideoState},
    page::{Cursor, List, PageRequest, TitleCursor},
    state::AppState,
};

/// The order of a list of videos.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    CreatedAt { descending: bool },
    Title { descending: bool },
}

impl Sort {
    fn read(text: &str) -> Result<Self, Problem> {
        match text {
            "" | "-createdAt" => Ok(Self::CreatedAt { descending: true }),
            "createdAt" => Ok(Self::CreatedAt { descending: false }),
            "title" => Ok(Self::Title { descending: false }),
            "-title" => Ok(Self::Title { descending: true }),
            _ => {
                let text = "must be createdAt, -createdAt, title or -title";
                Err(Problem::at(Code::Malformed, "sort", text))
            }
        }
    }
}

/// Reads the states of a filter, each once and in the order of their numbers.
fn states<W: TryFrom<i32>, S: Copy>(
    values: &[i32],
    state: impl Fn(W) -> Option<S>,
) -> Result<Vec<(i32, S)>, Problem> {
    let mut states: Vec<(i32, S)> = Vec::new();
    for value in values {
        let known = W::try_from(*value).ok().and_then(&state);
        let known = known.ok_or_else(|| {
            Problem::at(Code::Malformed, "states", format!("{value} is not the number of a state"))
        })?;
        if !states.iter().any(|(seen, _)| seen == value) {
            states.push((*value, known));
        }
    }
    states.sort_unstable_by_key(|(value, _)| *value);
    Ok(states)
}

fn texts<S>(states: &[(i32, S)]) -> String {
    states.iter().map(|(value, _)| format!("{value},")).collect()
}

const fn video_state(state: v1::VideoState) -> Option<VideoState> {
    match state {
        v1::VideoState::Unspecified => None,
        v1::VideoState::Uploading => Some(VideoState::Uploading),
        v1::VideoState::Probing => Some(VideoState::Probing),
        v1::VideoState::Uploaded => Some(VideoState::Uploaded),
        v1::VideoState::Processing => Some(VideoState::Processing),
        v1::VideoState::Ready => Some(VideoState::Ready),
        v1::VideoState::Failed => Some(VideoState::Failed),
    }
}

const fn job_state(state: v1::JobState) -> Option<JobState> {
    match state {
        v1::JobState::Unspecified => None,
        v1::JobState::Queued => Some(JobState::Queued),
        v1::JobState::Running => Some(JobState::Running),
        v1::JobState::Completed => Some(JobState::Completed),
        v1::JobState::Failed => Some(JobState::Failed),
        v1::JobState::Cancelled => Some(JobState::Cancelled),
    }
}

/// A page of a tenant's videos.
///
/// # Errors
/// A field is invalid, the token belongs to another list, or the database is unavailable.
pub(super) async fn videos(
    app: &AppState,
    tenant: &str,
    message: &v1::ListVideosRequest,
) -> Result<v1::ListVideosResponse, Problem> {
    let size = input::page_size(message.page_size)?;
    let title_part = input::title_part(&message.q)?;
    let states = states(&message.states, video_state)?;
    let sort = Sort::read(&message.sort)?;
    let filter = match (title_part, &states[..], sort) {
        // Tokens of earlier releases stay valid.
        ("", [], Sort::CreatedAt { descending: true }) => String::new(),
        _ => format!("{sort:?} {} {title_part}", texts(&states)),
    };
    let list = List { name: "videos", tenant, filter: &filter };
    let known: Vec<VideoState> = states.iter().map(|(_, state)| *state).collect();
    let wanted = Filter { title_part, states: &known };
    let read = async |order: Order, limit: i64| {
        app.db
            .run(CALL_TRIES_MAX, async |db| videos::list(db, tenant, wanted, &order, limit).await)
            .await
    };
    let (videos, next_page_token) = match sort {
        Sort::CreatedAt { descending } => {
            let page = app.pages.request(list, size, &message.page_token)?;
            let order = Order::Created { descending, after: page.after };
            let rows = read(order, page.limit).await?;
            let last = |video: &Video| Cursor { time: video.created_at, id: video.id.uuid() };
            app.pages.cut(page, rows, last, Into::into)
        }
        Sort::Title { descending } => {
            let page: PageRequest<'_, TitleCursor> =
                app.pages.request(list, size, &message.page_token)?;
            let order = Order::Title { descending, after: page.after.clone() };
            let rows = read(order, page.limit).await?;
            let last = |v: &Video| TitleCursor { title: v.title.clone(), id: v.id.uuid() };
            app.pages.cut(page, rows, last, Into::into)
        }
    };
    Ok(v1::ListVideosResponse { videos, next_page_token })
}

/// A page of a tenant's jobs, newest first, of one video or of all.
///
/// # Errors
/// As for [`videos()`]; [`Code::NotFound`] if the video does not exist or belongs to another
/// tenant.
pub(super) async fn jobs(
    app: &AppState,
    tenant: &str,
    video: Option<VideoId>,
    message: &v1::ListJobsRequest,
) -> Result<v1::ListJobsResponse, Problem> {
    let size = input::page_size(message.page_size)?;
    let states = states(&message.states, job_state)?;
    if let Some(id) = video {
        lookup::video(app, tenant, id).await?;
    }
    // Tokens of earlier releases stay valid without states.
    let filter = match &states[..] {
        [] => message.video_id.clone(),
        states => format!("{} {}", message.video_id, texts(states)),
    };
    let list = List { name: "jobs", tenant, filter: &filter };
    let page = app.pages.request(list, size, &message.page_token)?;
    let PageRequest { after, limit, .. } = page;
    let known: Vec<JobState> = states.iter().map(|(_, state)| *state).collect();
    let wanted = jobs::Filter { video, states: &known };
    let rows = app
        .db
        .run(CALL_TRIES_MAX, async |db| jobs::list(db, tenant, wanted, after, limit).await)
        .await?;
    let position = |job: &Job| Cursor { time: job.created_at, id: job.id.uuid() };
    // A page of long videos has too many tasks for one message; GetJob returns them.
    let convert = |row| convert::job(row, Vec::new());
    let (jobs, next_page_token) = app.pages.cut(page, rows, position, convert);
    Ok(v1::ListJobsResponse { jobs, next_page_token })
}
