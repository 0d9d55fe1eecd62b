//! RPCs that add, list and delete text tracks.

use std::time::Duration;

use api::{
    code::{Code, Problem},
    v1,
};
use media::{
    CaptionId, VideoId,
    captions::{
        CaptionError, CaptionKind, Captions, Described, Format, LABEL_CHARS_MAX, ParseBudget,
        Window, decode, length_of,
    },
    layout,
    pictures::Picture,
};
use runtime::CpuPoolError;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::lookup::video;
use crate::{
    db::{
        CALL_TRIES_MAX,
        captions::{self, Uploaded},
        videos::{self, Video},
    },
    objects,
    publish::{captions::CAPTIONS_PER_VIDEO_MAX, index},
    state::AppState,
};

/// `Retry-After` for a text track that was not parsed in time.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Adds an uploaded text track.
pub(super) async fn create(
    app: &AppState,
    row: Video,
    message: v1::CreateCaptionRequest,
) -> Result<v1::Caption, Problem> {
    if message.validate_only {
        return Ok(v1::Caption::default());
    }
    let about = described(&message)?;
    let text = read(app, message, &row).await?;
    let sha256: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let key = layout::caption(row.id, about.id, &hex::encode(&sha256[..16]));
    let object = Picture { key, bytes: text.len() as u64, sha256 };
    objects::put(&app.stores, &row.store, &object.key, text.into_bytes()).await?;
    let new = Uploaded { about, object };
    if let Err(problem) = record(app, row.id, &new).await {
        remove(app, &row, &new.object.key).await;
        return Err(problem);
    }
    changed(app, &row).await;
    let row = video(app, &row.tenant, row.id).await?;
    let listed = v1::Video::from(row).captions;
    let id = new.about.id.to_string();
    listed.into_iter().find(|c| c.caption_id == id).ok_or_else(|| Problem::not_found("caption"))
}

/// Deletes a text track.
pub(super) async fn delete(app: &AppState, row: &Video, caption: CaptionId) -> Result<(), Problem> {
    let deleted = app.db.try_transact(CALL_TRIES_MAX, async |tx| {
        if !videos::touch(tx, row.id).await? {
            return Ok(Err(Missing));
        }
        let deleted = match captions::delete(tx, row.id, caption).await? {
            Some(key) => Some(Deleted::Upload(key)),
            None => {
                let job = row.served_job;
                let deleted = captions::delete_embedded(tx, row.id, job, caption).await?;
                deleted.then_some(Deleted::Embedded)
            }
        };
        let Some(deleted) = deleted else { return Ok(Err(Missing)) };
        captions::queue_chores(tx, row.id).await?;
        Ok(Ok(deleted))
    });
    let deleted = deleted.await?.map_err(|Missing| Problem::not_found("caption"))?;
    changed(app, row).await;
    if let Deleted::Upload(key) = deleted {
        remove(app, row, &key).await;
    }
    Ok(())
}

/// The video or the text track does not exist.
struct Missing;

/// A deleted text track.
enum Deleted {
    /// An uploaded one. No row names its object any more.
    Upload(String),
    /// An embedded one. The cleanup of its job deletes the object.
    Embedded,
}

/// Validates the request's properties of the track.
fn described(message: &v1::CreateCaptionRequest) -> Result<Described, Problem> {
    let requested = message.language.trim();
    let tag = media::language::tag(requested);
    // Primary subtags have two or three letters; a name such as "english" is invalid.
    let primary = requested.split('-').next().unwrap_or_default().len();
    if !(2..=3).contains(&primary) || tag == "und" && !requested.eq_ignore_ascii_case("und") {
        return Err(Problem::field("language", "must be a BCP 47 tag, for example \"pt-BR\""));
    }
    let label = message.label.trim();
    if label.chars().count() > LABEL_CHARS_MAX {
        let text = format!("is longer than {LABEL_CHARS_MAX} characters");
        return Err(Problem::field("label", text));
    }
    if label.chars().any(char::is_control) {
        return Err(Problem::field("label", "must not contain control characters"));
    }
    let kind = match message.kind.as_str() {
        "" => Some(CaptionKind::default()),
        text => CaptionKind::parse(text),
    };
    let kind =
        kind.ok_or_else(|| Problem::field("kind", "must be \"subtitles\" or \"captions\""))?;
    let label = match (label, kind) {
        ("", CaptionKind::Subtitles) if tag == "und" => "Subtitles".to_owned(),
        ("", CaptionKind::Captions) if tag == "und" => "Captions".to_owned(),
        ("", _) => media::language::name(&tag),
        (label, _) => label.to_owned(),
    };
    let id = CaptionId::new(Uuid::now_v7());
    Ok(Described { id, language: tag, label, kind, default: message.default, forced: false })
}

/// Parses the uploaded text and writes it in its canonical form.
async fn read(
    app: &AppState,
    message: v1::CreateCaptionRequest,
    row: &Video,
) -> Result<String, Problem> {
    let (content, language) = (message.content, message.language);
    let format = match message.format.as_str() {
        "vtt" => Some(Format::Vtt),
        "srt" => Some(Format::Srt),
        "" => None,
        _ => return Err(Problem::field("format", "must be \"vtt\" or \"srt\"")),
    };
    let grid = row.source.as_ref().and_then(|source| source.grid().ok());
    let window = Window { origin: 0, length: grid.map(|grid| length_of(&grid)) };
    let parsers = &app.text_parsers;
    let written = parsers.run(move |deadline| {
        let is_late = || deadline.is_over();
        let mut budget = ParseBudget::until(&is_late);
        let text = decode(&mut budget, &content, &language)?;
        let format = format.unwrap_or_else(|| Format::guess(&text));
        Captions::read_within(&mut budget, text.as_bytes(), format, window)?.write()
    });
    let written = written.await.map_err(|error| match error {
        CpuPoolError::Busy => {
            try_again("cannot be parsed now, because other text tracks are being parsed")
        }
        CpuPoolError::Panicked => Problem::new(Code::Internal, "the text could not be parsed"),
    })?;
    written.map_err(|error| match error {
        CaptionError::Bytes => Problem::at(Code::TooLarge, "content", error.to_string()),
        CaptionError::Late => {
            try_again(&format!("could not be parsed within {:?}", parsers.work_max()))
        }
        error => Problem::field("content", error.to_string()),
    })
}

/// Even the largest text needs only a fraction of the time limit, so the text is not the cause of
/// the failure.
fn try_again(what: &str) -> Problem {
    let problem = Problem::at(Code::Unavailable, "content", format!("{what}; try again later"));
    Problem { retry_after: Some(RETRY_AFTER), ..problem }
}

async fn record(app: &AppState, video: VideoId, new: &Uploaded) -> Result<(), Problem> {
    let recorded = app.db.try_transact(CALL_TRIES_MAX, async |tx| {
        if !videos::touch(tx, video).await? {
            return Ok(Err(Problem::not_found("video")));
        }
if!captions::insert(tx,
video,
new,
CAPTIONS_PER_VIDEO_MAX).await?{
let text = format!("the video already has {CAPTIONS_PER_VIDEO_MAX} uploaded text tracks, which is the limit");
return Ok(Err(Problem::new(Code::Conflict,
text)));
        }
        captions::queue_chores(tx, video).await?;
        Ok(Ok(()))
    });
    recorded.await?
}

/// Publishes the change and updates the index object before the reply is sent.
async fn changed(app: &AppState, row: &Video) {
    app.video_changed_for(row.id).await;
    index::try_sync_object(&app.db, &app.stores, row.id, &row.store).await;
}

/// Deletes an object that no row names. If that fails, the object is deleted together with the
/// video.
async fn remove(app: &AppState, row: &Video, key: &str) {
    if let Err(error) = objects::delete(&app.stores, &row.store, key).await {
        tracing::warn!(video.id = %row.id, %error, "failed to delete a text track");
    }
}
