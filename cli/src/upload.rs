//! `upload FILE`: sends a film, and when asked encodes it and stays until that is done.

use std::time::Duration;

use anyhow::{Result, bail};
use api::v1::{self, VideoState};
use http::StatusCode;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    args::{UploadArgs, Visibility},
    jobs, multipart, output,
    session::Session,
    videos, view, watch,
};

const PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// Runs `upload`.
pub(crate) async fn run(session: &Session<'_>, args: &UploadArgs) -> Result<()> {
    let (status, mut reply) = send(session, args).await?;
    let Some(video_id) = reply["videoId"].as_str().map(str::to_owned) else {
        bail!("the answer names no video");
    };
    if !session.json {
        output::line(&format!("video {video_id}"))?;
    }
    // No worker has looked at it yet. Encoding needs what it finds, and waiting means waiting.
    if status == StatusCode::ACCEPTED && (args.transcode || args.wait) {
        let video = probed(session, &video_id).await?;
        reply["metadata"] = view::video(&video)["metadata"].take();
    }
    if !session.json {
        tell(&reply)?;
    }
    if args.transcode {
        encode(session, args, &video_id, &mut reply).await?;
    } else if session.json {
        output::json(&reply)?;
    }
    Ok(())
}

async fn send(session: &Session<'_>, args: &UploadArgs) -> Result<(StatusCode, Value)> {
    let rest = session.rest()?;
    let mut fields = Vec::new();
    fields.extend(args.title.as_deref().map(|title| ("title", title)));
    fields.extend(args.description.as_deref().map(|text| ("description", text)));
    fields.extend(args.visibility.map(Visibility::text).map(|text| ("visibility", text)));
    let bar = bar();
    let progress = bar.clone();
    let form = multipart::form(&args.file, &fields, move |bytes| {
        progress.inc(bytes);
        if progress.length().is_some_and(|length| progress.position() >= length) {
            progress.set_message("looking at it");
        }
    });
    let form = form.await?;
    // The fields and boundaries are a few hundred bytes more, which nobody sees on a bar.
    bar.set_length(std::fs::metadata(&args.file)?.len());
    bar.enable_steady_tick(Duration::from_millis(120));
    let sent = rest.post("/api/videos/upload", &form.content_type, form.length, form.body).await;
    bar.finish_and_clear();
    sent
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let template = "{spinner} {bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}";
    let style = ProgressStyle::with_template(template);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Waits until a worker has looked at the film.
async fn probed(session: &Session<'_>, video_id: &str) -> Result<v1::Video> {
    loop {
        let video = videos::get(session, video_id).await?;
        match video.state() {
            VideoState::Probing | VideoState::Uploading => sleep(PROBE_INTERVAL).await,
            VideoState::Failed => {
                let failure = video.failure.unwrap_or_default();
                bail!("{} ({})", output::one_line(&failure.message), failure.code)
            }
            _ => return Ok(video),
        }
    }
}

fn tell(reply: &Value) -> Result<()> {
    let metadata = &reply["metadata"];
    let (Some(width), Some(height)) = (metadata["width"].as_u64(), metadata["height"].as_u64())
    else {
        return Ok(output::line("no worker has looked at it yet")?);
    };
    let length = videos::clock(metadata["duration"].as_f64().unwrap_or_default());
    let codec = output::one_line(metadata["codec"].as_str().unwrap_or_default());
    let fps = (metadata["fps"].as_f64().unwrap_or_default() * 100.0).round() / 100.0;
    Ok(output::line(&format!("source {width}x{height} {fps} fps {length} {codec}"))?)
}

async fn encode(
    session: &Session<'_>,
    args: &UploadArgs,
    video_id: &str,
    reply: &mut Value,
) -> Result<()> {
    let request = v1::CreateJobRequest { video_id: video_id.to_owned(), ..Default::default() };
    let mut job = jobs::create(session, request).await?;
    if !session.json {
        jobs::announce(&job)?;
    }
    if args.wait {
        job = watch::follow(session, &job.job_id, watch::Show::Bars).await?;
    }
    if session.json {
        reply["jobId"] = json!(job.job_id);
        reply["job"] = view::job(&job);
        output::json(reply)?;
    } else if job.state() == v1::JobState::Completed {
        videos::links(session, &videos::get(session, video_id).await?)?;
    } else if !args.wait {
        output::line(&format!("follow it with: streaming-service watch {}", job.job_id))?;
    }
    jobs::verdict(&job)
}
