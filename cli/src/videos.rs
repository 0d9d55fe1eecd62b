//! `videos …`

use anyhow::Result;
use api::v1;
use media::urls;
use serde_json::json;

use crate::{
    args::VideosCommand,
    output,
    paging::{self, Listed, PageArgs},
    session::{Session, call, status_error},
    view,
};

/// Runs a `videos` command.
pub(crate) async fn run(session: &Session<'_>, command: VideosCommand) -> Result<()> {
    match command {
        VideosCommand::List(wanted) => show(session.json, &list(session, &wanted).await?),
        VideosCommand::Get(args) => {
            let video = get(session, &args.video).await?;
            if session.json {
                return Ok(output::json(&view::video(&video))?);
            }
            describe(session, &video)
        }
        VideosCommand::Probe(args) => {
            let request = call(v1::ReprobeVideoRequest { video_id: args.video });
            let reply = session.videos().await?.reprobe_video(request).await;
            let video = reply.map_err(status_error)?.into_inner();
            if session.json {
                output::json(&view::video(&video))?;
            } else {
                output::line(&format!("probing {}", video.video_id))?;
            }
            Ok(())
        }
        VideosCommand::Delete(args) => {
            let request =
                call(v1::DeleteVideoRequest { video_id: args.video.clone(), revision: None });
            session.videos().await?.delete_video(request).await.map_err(status_error)?;
            if session.json {
                output::json(&json!({"videoId": args.video, "deleted": true}))?;
            } else {
                output::line(&format!("deleted {}", args.video))?;
            }
            Ok(())
        }
    }
}

/// One video.
pub(crate) async fn get(session: &Session<'_>, video_id: &str) -> Result<v1::Video> {
    let request = call(v1::GetVideoRequest { video_id: video_id.to_owned() });
    let reply = session.videos().await?.get_video(request).await;
    Ok(reply.map_err(status_error)?.into_inner())
}

async fn list(session: &Session<'_>, wanted: &PageArgs) -> Result<Listed<v1::Video>> {
    let mut client = session.videos().await?;
    paging::fetch_pages(wanted, async |page_size, page_token| {
        let request = call(v1::ListVideosRequest { page_size, page_token, ..Default::default() });
        let page = client.list_videos(request).await.map_err(status_error)?.into_inner();
        Ok((page.videos, page.next_page_token))
    })
    .await
}

fn show(json: bool, listed: &Listed<v1::Video>) -> Result<()> {
    if json {
        let videos = listed.items.iter().map(view::video).collect::<Vec<_>>();
        return Ok(output::json(&json!({"videos": videos, "nextPageToken": listed.next()}))?);
    }
    let row = |video: &v1::Video| {
        vec![
            video.video_id.clone(),
            view::name(video.state().as_str_name(), "VIDEO_STATE_"),
            view::name(video.visibility().as_str_name(), "VISIBILITY_"),
            video.metadata.as_ref().map(summary).unwrap_or_default(),
            output::one_line(&video.title),
        ]
    };
    let rows = listed.items.iter().map(row).collect::<Vec<_>>();
    output::table(&["VIDEO", "STATE", "VISIBILITY", "SOURCE", "TITLE"], &rows)?;
    listed.hint();
    Ok(())
}

/// Size, frame rate and duration, for example "1280x720 25 fps 0:10".
pub(crate) fn summary(metadata: &v1::VideoMetadata) -> String {
    let fps = (metadata.fps * 100.0).round() / 100.0;
    let time = clock(metadata.duration_seconds);
    format!("{}x{} {fps} fps {time}", metadata.width, metadata.height)
}

/// Seconds as "1:02:03" or "2:03".
pub(crate) fn clock(seconds: f64) -> String {
    // A duration out of range is shown as the nearest possible one.
    let whole = seconds.max(0.0).round() as u64;
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

fn describe(session: &Session<'_>, video: &v1::Video) -> Result<()> {
    let mut lines = vec![
        ("video", video.video_id.clone()),
        ("title", output::one_line(&video.title)),
        ("description", output::one_line(&video.description)),
        ("state", view::name(video.state().as_str_name(), "VIDEO_STATE_")),
        ("visibility", view::name(video.visibility().as_str_name(), "VISIBILITY_")),
    ];
    if let Some(metadata) = &video.metadata {
        lines.push(("source", format!("{} {}", summary(metadata), metadata.codec)));
    }
    if let Some(failure) = &video.failure {
        let text = format!("{} ({})", output::one_line(&failure.message), failure.code);
        lines.push(("error", text));
    }
    lines.push(("job", video.job_id.clone()));
    for (name, value) in lines.into_iter().filter(|(_, value)| !value.is_empty()) {
        output::line(&format!("{name:<12}{value}"))?;
    }
    if video.playable {
        links(session, video)?;
    }
    Ok(())
}

/// Prints the URLs for playback.
pub(crate) fn links(session: &Session<'_>, video: &v1::Video) -> Result<()> {
    let base = session.target.http()?.url;
    output::line(&format!("hls         {base}{}", urls::hls(&video.video_id)))?;
    output::line(&format!("dash        {base}{}", urls::dash(&video.video_id)))?;
    if video.visibility() == v1::Visibility::Private {
        let id = &video.video_id;
        output::line(&format!("private: append ?token=$(streaming-service token playback {id})"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_formatted_as_hours_minutes_and_seconds() {
        assert_eq!(clock(9.6), "0:10");
        assert_eq!(clock(3723.0), "1:02:03");
        assert_eq!(clock(-1.0), "0:00");
    }
}
