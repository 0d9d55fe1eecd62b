//! `captions …`: adds, lists and deletes the text tracks of a video.

use std::{
    io::{self, Read},
    path::Path,
};

use anyhow::{Context, Result, bail};
use api::v1;
use media::captions::CAPTIONS_BYTES_MAX;
use serde_json::json;

use crate::{
    args::{AddCaptionArgs, CaptionsCommand},
    output,
    session::{Session, call, status_error},
    view,
};

/// Runs a `captions` command.
pub(crate) async fn run(session: &Session<'_>, command: CaptionsCommand) -> Result<()> {
    match command {
        CaptionsCommand::Add(args) => add(session, args).await,
        CaptionsCommand::List(args) => list(session, args.video).await,
        CaptionsCommand::Delete { video, caption } => delete(session, video, caption).await,
    }
}

async fn add(session: &Session<'_>, args: AddCaptionArgs) -> Result<()> {
    let request = v1::CreateCaptionRequest {
        content: read(&args.file)?.into(),
        video_id: args.video,
        language: args.language,
        label: args.label.unwrap_or_default(),
        kind: args.kind.text().to_owned(),
        default: args.default,
        format: format(&args.file).to_owned(),
        validate_only: false,
    };
    let reply = session.videos().await?.create_caption(call(request)).await;
    let caption = reply.map_err(status_error)?.into_inner();
    if session.json {
        return Ok(output::json(&view::caption(&caption))?);
    }
    Ok(output::line(&format!("caption {}", caption.caption_id))?)
}

/// The whole file, or standard input for "-".
fn read(path: &Path) -> Result<Vec<u8>> {
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = std::fs::File::open(path);
        Box::new(file.with_context(|| format!("open {}", path.display()))?)
    };
    let mut bytes = Vec::new();
    // One more byte than is allowed shows that the file is too large.
    let read = source.take(CAPTIONS_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("read {}", path.display()))?;
    if bytes.len() > CAPTIONS_BYTES_MAX {
        bail!("{} is larger than {CAPTIONS_BYTES_MAX} bytes", path.display());
    }
    Ok(bytes)
}

/// The format that the file's name states; empty if the server has to detect it.
fn format(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension.unwrap_or_default().to_ascii_lowercase().as_str() {
        "vtt" => "vtt",
        "srt" => "srt",
        _ => "",
    }
}

async fn list(session: &Session<'_>, video_id: String) -> Result<()> {
    let request = call(v1::ListCaptionsRequest { video_id });
    let reply = session.videos().await?.list_captions(request).await;
    let captions = reply.map_err(status_error)?.into_inner().captions;
    if session.json {
        let captions = captions.iter().map(view::caption).collect::<Vec<_>>();
        return Ok(output::json(&json!({ "captions": captions }))?);
    }
    let row = |caption: &v1::Caption| {
        vec![
            caption.caption_id.clone(),
            caption.language.clone(),
            caption.kind.clone(),
            caption.source.clone(),
            if caption.default { "yes" } else { "" }.to_owned(),
            output::one_line(&caption.label),
        ]
    };
    let rows = captions.iter().map(row).collect::<Vec<_>>();
    let titles = ["CAPTION", "LANGUAGE", "KIND", "SOURCE", "DEFAULT", "LABEL"];
    Ok(output::table(&titles, &rows)?)
}

async fn delete(session: &Session<'_>, video_id: String, caption_id: String) -> Result<()> {
    let request = v1::DeleteCaptionRequest { video_id, caption_id: caption_id.clone() };
    let reply = session.videos().await?.delete_caption(call(request)).await;
    reply.map_err(status_error)?;
    if session.json {
        return Ok(output::json(&json!({"captionId": caption_id, "deleted": true}))?);
    }
    Ok(output::line(&format!("deleted {caption_id}"))?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use media::captions::CAPTIONS_BYTES_MAX;

    use super::{format, read};

    #[test]
    fn the_files_name_states_the_format() {
        for (name, expected) in [("a.SRT", "srt"), ("b.de.vtt", "vtt"), ("c.txt", ""), ("-", "")] {
            assert_eq!(format(Path::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn files_that_are_too_large_are_rejected_before_they_are_sent() {
        let path = std::env::temp_dir().join(format!("streaming-captions-{}", std::process::id()));
        std::fs::write(&path, vec![b'x'; CAPTIONS_BYTES_MAX]).unwrap();
        assert_eq!(read(&path).unwrap().len(), CAPTIONS_BYTES_MAX);
        std::fs::write(&path, vec![b'x'; CAPTIONS_BYTES_MAX + 1]).unwrap();
        let error = read(&path).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(error.ends_with("is larger than 2097152 bytes"), "{error}");
    }
}
