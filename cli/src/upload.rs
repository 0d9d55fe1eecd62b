//! `upload FILE`: uploads a video; optionally transcodes it and waits until that is done.

use std::time::Duration;

use anyhow::{Result, bail};
use api::{limits::TITLE_CHARS_MAX, v1};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    args::{UploadArgs, Visibility},
    jobs, multipart, output,
    resume::Memory,
    session::Session,
    tus::{self, SourceFile},
    videos, view, watch,
};

const PROBE_INTERVAL: Duration = Duration::from_millis(200);
/// How long to wait for the probe when neither a transcode nor `--wait` was requested.
const PROBE_PATIENCE: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(120);

/// Runs `upload`.
pub(crate) async fn run(session: &Session<'_>, args: &UploadArgs) -> Result<()> {
    let mut reply =
        if args.form { form(session, args).await? } else { resumable(session, args).await? };
    let Some(video_id) = reply["videoId"].as_str().map(str::to_owned) else {
        bail!("the reply has no video id");
    };
    if !session.json {
        output::line(&format!("video {video_id}"))?;
    }
    // The video has not been probed yet. A transcode needs the result, and `--wait` is documented
    // to wait for it.
    if reply["metadata"].is_null() {
        let patience = if args.transcode || args.wait { None } else { Some(PROBE_PATIENCE) };
        reply["metadata"] = probed(session, &video_id, patience).await?;
    }
    if !session.json {
        print_metadata(&reply)?;
    }
    if args.transcode {
        encode(session, args, &video_id, &mut reply).await?;
    } else if session.json {
        output::json(&reply)?;
    }
    Ok(())
}

/// The form fields that accompany the file.
fn fields(args: &UploadArgs) -> Vec<(&'static str, String)> {
    let name = args.file.file_name().unwrap_or_default().to_string_lossy();
    let title = args.title.clone().unwrap_or_else(|| name.chars().take(TITLE_CHARS_MAX).collect());
    let mut fields = vec![("title", title)];
    fields.extend(args.description.clone().map(|text| ("description", text)));
    fields
        .extend(args.visibility.map(Visibility::text).map(|text| ("visibility", text.to_owned())));
    fields
}

/// Uploads the file by tus, resuming where an earlier attempt ended.
async fn resumable(session: &Session<'_>, args: &UploadArgs) -> Result<Value> {
    let rest = session.rest()?;
    let meta = tus::readable_file(&args.file)?;
    let memory = Memory::new(&session.target.data, &rest.url(""), &args.file, &meta)?;
    let name = args.file.file_name().unwrap_or_default().to_string_lossy();
    let fields = fields(args);
    let mut all_fields: Vec<_> = fields.iter().map(|(key, value)| (*key, value.as_str())).collect();
    all_fields.push(("filename", &name));
    let bar = bar();
    bar.set_length(meta.len());
    bar.enable_steady_tick(TICK);
    let source = SourceFile { path: &args.file, meta: &meta, fields: &all_fields };
    let sent = tus::send(&rest, &memory, &source, &bar).await;
    bar.finish_and_clear();
    Ok(json!({ "videoId": sent?, "message": "the video is stored", "metadata": null }))
}

/// Uploads the file in one request.
async fn form(session: &Session<'_>, args: &UploadArgs) -> Result<Value> {
    let rest = session.rest()?;
    let fields = fields(args);
    let fields: Vec<_> = fields.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let bar = bar();
    let progress = bar.clone();
    let form = multipart::form(&args.file, &fields, move |bytes| {
        progress.inc(bytes);
        if progress.length().is_some_and(|length| progress.position() >= length) {
            progress.set_message("waiting for the probe");
        }
    });
    let form = form.await?;
    // The fields and boundaries add a few hundred bytes, which are invisible on a progress bar.
    bar.set_length(std::fs::metadata(&args.file)?.len());
    bar.enable_steady_tick(TICK);
    let sent = rest.post("/api/videos/upload", &form.content_type, form.length, form.body).await;
    bar.finish_and_clear();
    Ok(sent?.1)
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let template = "{spinner} {bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}";
    let style = ProgressStyle::with_template(template);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Waits until a worker has probed the video; returns its metadata, or null after `patience`.
async fn probed(
    session: &Session<'_>,
    video_id: &str,
    patience: Option<Duration>,
) -> Result<Value> {
    let rest = session.rest()?;
    let begun = Instant::now();
    loop {
        let mut video = rest.get(&format!("/api/videos/{video_id}")).await?;
        match video["state"].as_str() {
            Some("probing" | "uploading") if patience.is_some_and(|p| begun.elapsed() > p) => {
                return Ok(Value::Null);
            }
            Some("probing" | "uploading") => sleep(PROBE_INTERVAL).await,
            Some("failed") => {
                let text = |name: &str| video["error"][name].as_str().unwrap_or_default();
                bail!("{} ({})", output::one_line(text("message")), text("code"))
            }
            _ => return Ok(video["metadata"].take()),
        }
    }
}

fn print_metadata(reply: &Value) -> Result<()> {
    let metadata = &reply["metadata"];
    let (Some(width), Some(height)) = (metadata["width"].as_u64(), metadata["height"].as_u64())
    else {
        return Ok(output::line("no worker has probed the source yet")?);
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
        job = watch::follow(session, &job.job_id, watch::ProgressFormat::Bars).await?;
    }
    if session.json {
        reply["jobId"] = json!(job.job_id);
        reply["job"] = view::job(&job);
        output::json(reply)?;
    } else if job.state() == v1::JobState::Completed {
        videos::links(session, &videos::get(session, video_id).await?)?;
    } else if !args.wait {
        output::line(&format!("show its progress with: streaming-service watch {}", job.job_id))?;
    }
    view::ensure_completed(&job)
}
