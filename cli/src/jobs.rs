//! `jobs …` and `transcode`.

use anyhow::Result;
use api::v1;
use serde_json::json;

use crate::{
    args::{JobsCommand, TranscodeArgs},
    output,
    paging::{self, Listed, PageArgs},
    session::{Session, call, status_error},
    videos, view, watch,
};

/// Runs a `jobs` command.
pub(crate) async fn run(session: &Session<'_>, command: JobsCommand) -> Result<()> {
    let job_id = match &command {
        JobsCommand::List { video, page } => {
            let video = video.as_deref().unwrap_or_default();
            return show(session.json, &list(session, video, page).await?);
        }
        JobsCommand::Watch(args) => return watch::run(session, &args.job).await,
        JobsCommand::Get(args) | JobsCommand::Cancel(args) | JobsCommand::Retry(args) => {
            args.job.clone()
        }
    };
    let mut client = session.jobs().await?;
    let reply = match command {
        JobsCommand::Cancel(_) => client.cancel_job(call(v1::CancelJobRequest { job_id })).await,
        JobsCommand::Retry(_) => client.retry_job(call(v1::RetryJobRequest { job_id })).await,
        _ => client.get_job(call(v1::GetJobRequest { job_id })).await,
    };
    let job = reply.map_err(status_error)?.into_inner();
    if session.json { Ok(output::json(&view::job(&job))?) } else { describe(&job) }
}

/// Queues a transcode and, with `--wait`, follows it until it ends.
pub(crate) async fn transcode(session: &Session<'_>, args: &TranscodeArgs) -> Result<()> {
    let request = v1::CreateJobRequest {
        video_id: args.video.clone(),
        profiles: args.profiles.clone(),
        generate_hls: Some(!args.no_hls),
        generate_dash: Some(!args.no_dash),
        generate_thumbnails: Some(args.thumbnails),
        generate_preview: Some(args.preview),
    };
    let job = create(session, request).await?;
    if !session.json {
        announce(&job)?;
    } else if !args.wait {
        return Ok(output::json(&view::job(&job))?);
    }
    if args.wait {
        let job = watch::follow(session, &job.job_id, watch::ProgressFormat::Bars).await?;
        if session.json {
            output::json(&view::job(&job))?;
        } else if job.state() == v1::JobState::Completed {
            videos::links(session, &videos::get(session, &job.video_id).await?)?;
        }
        view::ensure_completed(&job)?;
    }
    Ok(())
}

/// Queues a transcode.
pub(crate) async fn create(
    session: &Session<'_>,
    request: v1::CreateJobRequest,
) -> Result<v1::Job> {
    let reply = session.jobs().await?.create_job(call(request)).await;
    Ok(reply.map_err(status_error)?.into_inner())
}

/// Prints what was queued and which parts were left out.
pub(crate) fn announce(job: &v1::Job) -> Result<()> {
    output::line(&format!("job {}: {}", job.job_id, job.profiles.join(", ")))?;
    for note in &job.notes {
        output::line(&format!("note: {}", output::one_line(note)))?;
    }
    Ok(())
}

async fn list(session: &Session<'_>, video_id: &str, wanted: &PageArgs) -> Result<Listed<v1::Job>> {
    let mut client = session.jobs().await?;
    paging::fetch_pages(wanted, async |page_size, page_token| {
        let video_id = video_id.to_owned();
        let request =
            call(v1::ListJobsRequest { video_id, page_size, page_token, ..Default::default() });
        let page = client.list_jobs(request).await.map_err(status_error)?.into_inner();
        Ok((page.jobs, page.next_page_token))
    })
    .await
}

fn show(json: bool, listed: &Listed<v1::Job>) -> Result<()> {
    if json {
        let jobs = listed.items.iter().map(view::job).collect::<Vec<_>>();
        return Ok(output::json(&json!({"jobs": jobs, "nextPageToken": listed.next()}))?);
    }
    let row = |job: &v1::Job| {
        vec![
            job.job_id.clone(),
            job.video_id.clone(),
            view::state(job),
            format!("{:.0} %", job.progress),
            job.profiles.join(","),
        ]
    };
    let rows = listed.items.iter().map(row).collect::<Vec<_>>();
    output::table(&["JOB", "VIDEO", "STATE", "PROGRESS", "PROFILES"], &rows)?;
    listed.hint();
    Ok(())
}

fn describe(job: &v1::Job) -> Result<()> {
    output::line(&format!("job       {}", job.job_id))?;
    output::line(&format!("video     {}", job.video_id))?;
    output::line(&format!("state     {} ({:.0} %)", view::state(job), job.progress))?;
    output::line(&format!("profiles  {} ({})", job.profiles.join(", "), job.preset))?;
    if let Some(error) = &job.error {
        output::line(&format!("error     {} ({})", output::one_line(&error.message), error.code))?;
    }
    for note in &job.notes {
        output::line(&format!("note      {}", output::one_line(note)))?;
    }
    if job.tasks.is_empty() {
        return Ok(());
    }
    output::line("")?;
    let row = |task: &v1::Task| {
        let error = task.error.as_ref().map(|error| output::one_line(&error.message));
        vec![
            format!("{} {}", task.kind, task.ordinal),
            task.rungs.join(","),
            view::name(task.state().as_str_name(), "TASK_STATE_"),
            format!("{:.0} %", task.progress),
            task.attempt.to_string(),
            output::one_line(&task.worker),
            error.unwrap_or_default(),
        ]
    };
    let rows = job.tasks.iter().map(row).collect::<Vec<_>>();
    let titles = ["TASK", "RUNGS", "STATE", "PROGRESS", "ATTEMPT", "WORKER", "ERROR"];
    Ok(output::table(&titles, &rows)?)
}
