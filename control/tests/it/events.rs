//! The stream of a tenant's changes: nothing is lost or repeated, in any order of commits and at any
//! instance where a client continues.

mod beginning;
mod places;

use std::{collections::HashMap, time::Duration};

use api::{
    code::{Code, Problem},
    v1::{self, event::Event, event_service_client::EventServiceClient},
};
use authz::Role;
use control::{
    db::{
        Db, changes,
        completion::{self, JobOutcome},
        jobs,
        lease::{self, Progress},
        tasks,
    },
    domain::Failure,
};
use media::{JobId, VideoId};
use tonic::Streaming;

use crate::{
    clip,
    plane::{Caller, DEADLINE, Plane, Shared},
    postgres::database,
    rows,
};

/// An open stream.
struct Watched(Streaming<v1::Event>);

impl Watched {
    /// Opens a stream that continues after the event `last`.
    async fn after(caller: &Caller, last: &str) -> Self {
        let request = caller.ask(v1::WatchEventsRequest { last_event_id: last.to_owned() });
        let mut client = EventServiceClient::new(caller.channel.clone());
        Self(client.watch_events(request).await.unwrap().into_inner())
    }

    /// Opens a stream of what changes from now on; returns the id with which it begins.
    async fn new(caller: &Caller) -> (Self, String) {
        let mut watched = Self::after(caller, "").await;
        let first = watched.next().await;
        assert_eq!(first.event, None);
        (watched, first.id)
    }

    async fn next(&mut self) -> v1::Event {
        let message = tokio::time::timeout(DEADLINE, self.0.message()).await;
        message.expect("no event arrives").unwrap().expect("the stream has ended")
    }

    /// The events up to the first one for which `last` is true.
    async fn until(&mut self, last: impl Fn(&Event) -> bool) -> Vec<v1::Event> {
        let mut events = Vec::new();
        loop {
            let event = self.next().await;
            let found = event.event.as_ref().is_some_and(&last);
            events.push(event);
            if found {
                return events;
            }
        }
    }

    /// Whether no event arrives for `wait`.
    async fn is_silent(&mut self, wait: Duration) -> bool {
        tokio::time::timeout(wait, self.0.message()).await.is_err()
    }
}

fn number(event: &v1::Event) -> i64 {
    event.id.rsplit_once('-').unwrap().1.parse().unwrap()
}

/// Sets the title of a video; the caller commits.
const RENAME: &str = "UPDATE videos SET title = $2, revision = revision + 1 WHERE id = $1";

async fn rename(db: &Db, video: VideoId, title: &str) {
    db.get().await.unwrap().execute(RENAME, &[&video.uuid(), &title]).await.unwrap();
}

/// Panics if the streams have other events than those of changes that are made now. Twice, because
/// videos come first among the changes of one moment.
async fn assert_empty(db: &Db, video: VideoId, streams: &mut [&mut Watched]) {
    for mark in ["first mark", "second mark"] {
        rename(db, video, mark).await;
        for stream in &mut *streams {
            assert_eq!(title(&stream.next().await), mark);
        }
    }
}

fn title(event: &v1::Event) -> &str {
    match &event.event {
        Some(Event::Video(video)) => &video.title,
        other => panic!("no video but {other:?}"),
    }
}

#[tokio::test]
async fn a_tenant_sees_its_videos_jobs_and_tasks_change_and_no_other_tenant_does() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Viewer);
    let (mut watched, _) = Watched::new(&caller).await;
    let (mut others, _) = Watched::new(&plane.caller_of(Role::Admin, "theirs")).await;
    let mut worker = plane.worker("one").await;
    let video_id = clip::upload(&plane, &mut worker).await;
    let editor = plane.caller(Role::Editor);
    let create = v1::CreateJobRequest { video_id: video_id.clone(), ..Default::default() };
    let job = editor.jobs().create_job(editor.ask(create)).await.unwrap().into_inner();
    worker.want(4).await;
    for _ in 0..3 {
        let lease = worker.lease().await;
        assert_eq!(worker.commit(clip::work(&lease)).await.refusal, None);
    }
    let ended = |event: &Event| matches!(event, Event::Video(video) if video.state() == v1::VideoState::Ready);
    let mut events = watched.until(ended).await;
    let request = v1::DeleteVideoRequest { video_id: video_id.clone(), revision: None };
    let admin = plane.caller(Role::Admin);
    admin.videos().delete_video(admin.ask(request)).await.unwrap();
    events.extend(watched.until(|event| matches!(event, Event::Deleted(_))).await);
    let numbers: Vec<_> = events.iter().map(number).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    let (mut tasks, mut jobs, mut workers) = (HashMap::new(), Vec::new(), 0);
    for event in events {
        match event.event.unwrap() {
            Event::Video(video) => assert_eq!(video.video_id, video_id),
            Event::Deleted(deleted) => assert_eq!(deleted.video_id, video_id),
            Event::Job(event) => {
                assert_eq!((&event.job_id, event.tasks.len()), (&job.job_id, 0));
                jobs.push((event.state(), event.progress));
            }
            Event::Task(event) => {
                assert_eq!(event.job_id, job.job_id);
                let task = event.task.unwrap();
                assert!(job.tasks.iter().any(|known| known.task_id == task.task_id));
                tasks.entry(task.task_id.clone()).or_insert_with(Vec::new).push(task);
            }
            Event::Worker(worker) => {
                assert_eq!(worker.name, "one");
                workers += 1;
            }
            Event::Reset(_) => panic!("nothing is missing"),
        }
    }
    assert_eq!(jobs.last().unwrap(), &(v1::JobState::Completed, 100.0));
    assert!(jobs.is_sorted_by(|(_, before), (_, after)| before <= after), "{jobs:?}");
    assert!(workers > 0);
    // Each task that was created with the job is sent when it changes, and ends once.
    assert_eq!(tasks.len(), job.tasks.len());
    for states in tasks.values() {
        assert_eq!(states.last().unwrap().state(), v1::TaskState::Done);
        assert_eq!(states.iter().filter(|t| t.state() == v1::TaskState::Done).count(), 1);
    }
    assert!(others.is_silent(Duration::from_millis(600)).await);
    plane.stop().await;
}

/// The transaction that begins first commits last, after others that clients have received.
#[tokio::test]
async fn a_change_that_is_committed_late_is_neither_lost_nor_repeated() {
    let plane = Plane::start().await;
    let db = Db::new(&plane.shared.database, 4).unwrap();
    let (early, late) = (rows::video(&db).await, rows::video(&db).await);
    let caller = plane.caller(Role::Viewer);
    let (mut watched, start) = Watched::new(&caller).await;
    let mut connection = db.get().await.unwrap();
    let open = connection.transaction().await.unwrap();
    open.execute(RENAME, &[&late.uuid(), &"late"]).await.unwrap();
    for n in 0..3 {
        rename(&db, early, &format!("early {n}")).await;
        assert_eq!(title(&watched.next().await), format!("early {n}"));
    }
    // A client is cut off here, and another one has received nothing yet.
    let (_, cut) = Watched::new(&caller).await;
    open.commit().await.unwrap();
    assert_eq!(title(&watched.next().await), "late");
    let mut resumed = Watched::after(&caller, &cut).await;
    let event = resumed.next().await;
    assert_eq!(title(&event), "late");
    let mut whole = Watched::after(&caller, &start).await;
    let states = [whole.next().await, whole.next().await];
    assert_eq!(states.each_ref().map(title), ["early 2", "late"], "only the newest states");
    let mut last = Watched::after(&caller, &event.id).await;
    assert_empty(&db, early, &mut [&mut watched, &mut resumed, &mut whole, &mut last]).await;
    plane.stop().await;
}

#[tokio::test]
async fn ids_are_valid_for_ten_minutes_and_then_give_one_reset() {
    let plane = Plane::start().await;
    let db = Db::new(&plane.shared.database, 4).unwrap();
    let video = rows::video(&db).await;
    let caller = plane.caller(Role::Viewer);
    let (mut watched, start) = Watched::new(&caller).await;
    rename(&db, video, "one").await;
    let one = watched.next().await;
    let age = async |minutes: f64| {
        let sql =
            "UPDATE changes SET changed_at = changed_at - make_interval(secs => $1::float8 * 60)";
        let mut connection = db.get().await.unwrap();
        connection.execute(sql, &[&minutes]).await.unwrap();
        let tx = changes::lock(&mut connection).await.unwrap();
        changes::prune(&tx).await.unwrap();
        tx.commit().await.unwrap();
    };
    age(9.5).await;
    let mut resumed = Watched::after(&caller, &start).await;
    assert_eq!(title(&resumed.next().await), "one");
    age(0.6).await;
    assert_eq!(rows::number(&db, "SELECT count(*) FROM changes").await, 0);
    let unknown = "00000000-1".to_owned();
    for id in [start, unknown, "nonsense".to_owned()] {
        let mut reset = Watched::after(&caller, &id).await;
        assert_eq!(reset.next().await.event, Some(Event::Reset(v1::ResetEvent {})));
        rename(&db, video, &format!("after {id}")).await;
        assert_eq!(title(&reset.next().await), format!("after {id}"));
    }
    // After this event nothing was deleted, however old it is.
    let mut resumed = Watched::after(&caller, &one.id).await;
    assert_eq!(title(&resumed.next().await), "after nonsense");
    plane.stop().await;
}

/// A client is cut off again and again, and continues at the other instance each time, while a job of
/// 60 chunks is encoded.
#[tokio::test]
async fn a_client_that_is_cut_off_sees_every_task_end_once() {
    let shared = Shared::new(database().await);
    let db = Db::new(&shared.database, 4).unwrap();
    let planes = [Plane::of(shared.clone()).await, Plane::of(shared.clone()).await];
    let callers = [planes[0].caller(Role::Viewer), planes[1].caller(Role::Viewer)];
    let video = rows::video(&db).await;
    let job = rows::job(&db, video, 1200).await;
    let (mut watched, mut last) = Watched::new(&callers[0]).await;
    let encode = async {
        loop {
            let claimed = rows::claim(&db, &rows::worker("a"), 3).await;
            let c = db.get().await.unwrap();
            for task in &claimed {
                let progress = Progress { lease: rows::lease(task), fraction: 0.5, speed: 1.0 };
                lease::extend(&*c, rows::worker("a").worker, &[progress], 15.0).await.unwrap();
                assert!(completion::finish_task(&*c, rows::lease(task)).await.unwrap());
            }
            if claimed.is_empty() {
                return;
            }
            drop(c);
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    let total = "SELECT count(*) FROM tasks WHERE kind IN ('chunk', 'audio')";
    let total = rows::number(&db, total).await as usize;
    let follow = async {
        let (mut ended, mut received, mut turns) = (HashMap::<String, u32>::new(), 0_i64, 0);
        while ended.len() < total {
            turns += 1;
            for _ in 0..turns % 7 {
                let event = watched.next().await;
                assert!(number(&event) > received, "{} after {received}", event.id);
                (received, last) = (number(&event), event.id);
                if let Some(Event::Task(task)) = event.event
                    && let Some(task) = task.task
                    && task.state() == v1::TaskState::Done
                {
                    *ended.entry(task.task_id).or_default() += 1;
                }
                if ended.len() == total {
                    break;
                }
            }
            watched = Watched::after(&callers[turns % 2], &last).await;
        }
        ended
    };
    let ((), ended) = tokio::join!(encode, follow);
    assert!(total > 60 && ended.values().all(|count| *count == 1), "{ended:?}");
    // A late client gets the newest state of each.
    let failed = JobOutcome::Failed(Failure::new("x", "y"));
    let c = db.get().await.unwrap();
    completion::end_job(&*c, job, &failed, 0.0).await.unwrap();
    let over =
        |event: &Event| matches!(event, Event::Job(job) if job.state() == v1::JobState::Failed);
    watched.until(over).await;
    let [one, two] = planes;
    one.stop().await;
    two.stop().await;
}

/// 10,000 chunks, and a client that reads nothing while all of them are cancelled.
#[tokio::test]
async fn a_slow_client_gets_the_changes_of_a_long_job_in_pages() {
    let plane = Plane::start().await;
    let db = Db::new(&plane.shared.database, 4).unwrap();
    let video = rows::video(&db).await;
    let caller = plane.caller(Role::Viewer);
    let (mut watched, _) = Watched::new(&caller).await;
    let (mut fast, _) = Watched::new(&caller).await;
    let (job, plan) = (JobId::new(uuid::Uuid::now_v7()), rows::plan_of(200_000));
    let mut connection = db.get().await.unwrap();
    let tx = connection.transaction().await.unwrap();
    jobs::create(&tx, "default", video, job, &plan).await.unwrap();
    tasks::create(&tx, "default", video, job, &plan.tasks()).await.unwrap();
    tx.commit().await.unwrap();
    watched.until(|event| matches!(event, Event::Job(_))).await;
    // Its tasks are part of the job.
    assert_empty(&db, video, &mut [&mut watched]).await;
    let tx = connection.transaction().await.unwrap();
    completion::lock_video(&tx, video).await.unwrap();
    completion::end_job(&tx, job, &JobOutcome::Cancelled, 0.0).await.unwrap();
    tx.commit().await.unwrap();
    let tasks = rows::number(&db, "SELECT count(*) FROM tasks WHERE kind <> 'probe'").await;
    assert!(tasks > 10_000);
    // The slow client reads once the other one has everything.
    for stream in [&mut fast, &mut watched] {
        let mut cancelled = 0;
        while cancelled < tasks {
            if let Some(Event::Task(event)) = stream.next().await.event {
                assert_eq!(event.task.unwrap().state(), v1::TaskState::Cancelled);
                cancelled += 1;
            }
        }
    }
    assert_empty(&db, video, &mut [&mut fast, &mut watched]).await;
    plane.stop().await;
}

#[tokio::test]
async fn a_stream_ends_when_its_token_expires_is_revoked_or_the_instance_stops() {
    let plane = Plane::start().await;
    let end = async |mut watched: Watched| {
        let ended = async {
            loop {
                match watched.0.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("the stream ends without a reason"),
                    Err(status) => return Problem::from_status(&status).code,
                }
            }
        };
        tokio::time::timeout(DEADLINE, ended).await.expect("the stream does not end")
    };
    let brief = plane.shared.brief_token(Role::Viewer, 3);
    let brief = Caller { token: brief, channel: plane.channel.clone() };
    assert_eq!(end(Watched::new(&brief).await.0).await, Code::Unauthenticated);
    // A holder's own restriction counts, too.
    let restriction = authz::Restriction {
        expires_at: Some(runtime::Clock::now_unix(&runtime::SystemClock) + 3),
        ..Default::default()
    };
    let narrowed = authz::narrow(&plane.shared.token(Role::Viewer, "default"), &restriction);
    let narrowed = Caller { token: narrowed.unwrap(), channel: plane.channel.clone() };
    assert_eq!(end(Watched::new(&narrowed).await.0).await, Code::PermissionDenied);
    let revoked = plane.caller(Role::Admin);
    let (watched, _) = Watched::new(&revoked).await;
    let revoke = v1::RevokeTokenRequest { token: revoked.token.clone() };
    revoked.auth().revoke_token(revoked.ask(revoke)).await.unwrap();
    assert_eq!(end(watched).await, Code::Unauthenticated);
    let (watched, _) = Watched::new(&plane.caller(Role::Editor)).await;
    let (ended, ()) = tokio::join!(end(watched), plane.stop());
    assert_eq!(ended, Code::Unavailable);
}

#[tokio::test]
async fn a_worker_that_connects_again_replaces_its_earlier_connection() {
    let plane = Plane::start().await;
    let (mut watched, _) = Watched::new(&plane.caller(Role::Viewer)).await;
    let (mut others, _) = Watched::new(&plane.caller_of(Role::Viewer, "theirs")).await;
    let is = |event: &Event, id: &str, state: v1::WorkerState| match event {
        Event::Worker(worker) => worker.worker_id == id && worker.state() == state,
        _ => false,
    };
    let first = plane.worker("one").await;
    let connected = |event: &Event| matches!(event, Event::Worker(_));
    let events = watched.until(connected).await;
    let Some(Event::Worker(worker)) = events.last().unwrap().event.clone() else { unreachable!() };
    let id = worker.worker_id;
    drop(first);
    watched.until(|event| is(event, &id, v1::WorkerState::Lost)).await;
    let _second = plane.worker("one").await;
    watched.until(|event| is(event, &id, v1::WorkerState::Gone)).await;
    assert!(others.is_silent(Duration::from_millis(700)).await);
    plane.stop().await;
}
