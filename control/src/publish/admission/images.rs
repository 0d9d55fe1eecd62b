//! Admission of images, clips and text tracks: exactly the files that the plan names. Each is read
//! back from the store and must be complete and of the planned type and size; a text track must be
//! safe to serve.

use std::collections::BTreeMap;

use api::code::Code;
use media::{
    captions::{self, CAPTIONS_BYTES_MAX, Captions},
    jpeg, layout, movie,
    pictures::{ClipPlan, PREVIEW, Picture, PicturePlan, Size},
};
use sha2::{Digest, Sha256};

use super::{
    RecordError, Recorded, conclude,
    offer::{Offer, OfferedImage, Outcome},
    rejected,
    verify::{VerificationError, fetch},
};
use crate::{
    db::{
        DbError, Transaction, WORK_TRIES_MAX, completion,
        images::{self, StoredImage},
        outputs::{self, Subject},
        tasks, videos,
    },
    domain::{Failure, TaskKind},
    plan::Plan,
    state::AppState,
};

/// Maximum size of an image or clip.
const PICTURE_BYTES_MAX: u64 = 64 << 20;

/// The checks that a file must pass.
#[derive(Clone, Copy, Debug)]
enum ImageCheck {
    Jpeg(Size),
    Clip(movie::Wanted),
    /// A text track of a video of this many milliseconds.
    Text(u64),
}

impl ImageCheck {
    const fn extension(self) -> &'static str {
        match self {
            Self::Jpeg(_) => "jpg",
            Self::Clip(_) => "mp4",
            Self::Text(_) => "vtt",
        }
    }

    const fn bytes_max(self) -> u64 {
        match self {
            Self::Jpeg(_) | Self::Clip(_) => PICTURE_BYTES_MAX,
            Self::Text(_) => CAPTIONS_BYTES_MAX as u64,
        }
    }

    fn run(self, bytes: &[u8]) -> Result<(), String> {
        match self {
            Self::Jpeg(size) => jpeg::check(bytes, size).map_err(|error| error.to_string()),
            Self::Clip(wanted) => movie::check(bytes, &wanted).map_err(|error| error.to_string()),
            Self::Text(length) => Captions::parse_canonical(bytes, Some(length))
                .map(drop)
                .map_err(|error| error.to_string()),
        }
    }
}

/// Checks and commits the single offer of an image, preview or text track task.
pub(super) async fn offered(
    app: &AppState,
    subject: &Subject,
    offer: &Offer,
) -> Result<Outcome, DbError> {
    let Some(plan) = &subject.plan else { return Ok(Outcome::Lost) };
    let mut wanted = wanted(plan, subject);
    let mut made = Vec::with_capacity(offer.pictures.len());
    for OfferedImage { name, picture } in &offer.pictures {
        let Some(check) = wanted.remove(name) else {
            return rejected(format!("{name} is not part of this task"));
        };
        match verify(app, subject, offer.lease.token, (name, picture), check).await {
            Ok(()) => made.push(StoredImage {
                name: name.clone(),
                picture: picture.clone(),
                seconds: plan
                    .pictures
                    .as_ref()
                    .and_then(|pictures| pictures.seconds(&plan.grid, name)),
            }),
            Err(VerificationError::Invalid(message)) => return rejected(message),
            Err(VerificationError::StoreUnavailable(message)) => {
                return Ok(Outcome::Undecided(Failure::new(Code::Unavailable.text(), message)));
            }
        }
    }
    if let Some(name) = wanted.keys().next() {
        return rejected(format!("{name} is missing"));
    }
    let recorded =
        app.db.try_transact(WORK_TRIES_MAX, async |tx| record(tx, subject, offer, &made).await);
    conclude(app, subject, offer, recorded.await?).await
}

/// The files that the task must produce, by name.
fn wanted(plan: &Plan, subject: &Subject) -> BTreeMap<String, ImageCheck> {
    match subject.kind {
        TaskKind::Thumbnails => {
            let jpeg = |(name, size)| (name, ImageCheck::Jpeg(size));
            plan.pictures.iter().flat_map(PicturePlan::wanted).map(jpeg).collect()
        }
        TaskKind::Preview => {
            let wanted = |preview: &ClipPlan| movie::Wanted {
                size: preview.size,
                frames: preview.frames,
                seconds: preview.seconds(&plan.grid),
                sound: preview.audio.is_some(),
            };
            let clip = plan.preview.as_ref().map(wanted).map(ImageCheck::Clip);
            clip.map(|clip| (PREVIEW.to_owned(), clip)).into_iter().collect()
        }
        TaskKind::Subtitles => {
            let length = captions::length_of(&plan.grid);
            BTreeMap::from([(captions::file_name(subject.ordinal), ImageCheck::Text(length))])
        }
        TaskKind::Probe
        | TaskKind::Chunk
        | TaskKind::Audio
        | TaskKind::Surround
        | TaskKind::Collect => BTreeMap::new(),
    }
}

async fn verify(
    app: &AppState,
    subject: &Subject,
    token: u64,
    (name, offered): (&str, &Picture),
    check: ImageCheck,
) -> Result<(), VerificationError> {
    let prefix = layout::job_prefix(subject.video, subject.job);
    let digest = hex::encode(offered.sha256);
    if offered.key != layout::picture(&prefix, name, token, &digest, check.extension()) {
        return Err(VerificationError::Invalid(format!(
            "{name}: the key does not belong to this lease"
        )));
    }
    if offered.bytes > check.bytes_max() {
        let text = format!("{name} is larger than {} bytes", check.bytes_max());
        return Err(VerificationError::Invalid(text));
    }
    let permit = app.admission.clone().acquire_owned().await;
    let permit =
        permit.map_err(|_| VerificationError::StoreUnavailable("the server is stopping".into()))?;
    let bytes = fetch(app, subject, name, &offered.key, offered.bytes).await?;
    let sha256 = offered.sha256;
    let checked = tokio::task::spawn_blocking(move || {
        // Held until the work ends, even if the worker's stream has closed.
        let _permit = permit;
        if Sha256::digest(&bytes)[..] != sha256 {
            return Err("the stored bytes differ from the announced digest".to_owned());
        }
        check.run(&bytes)
    });
    match checked.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(message)) => Err(VerificationError::Invalid(format!("{name}: {message}"))),
        Err(_) => Err(VerificationError::Invalid(format!("{name}: verification panicked"))),
    }
}

async fn record(
    tx: &Transaction<'_>,
    subject: &Subject,
    offer: &Offer,
    made: &[StoredImage],
) -> Result<Result<Recorded, RecordError>, DbError> {
    if !videos::touch(tx, subject.video).await? || !outputs::lock_lease(tx, offer.lease).await? {
        return Ok(Err(RecordError::Lost));
    }
    images::insert(tx, subject.job, made, offer.lease.stored_token()).await?;
    completion::finish_task(tx, offer.lease).await?;
    let unblocked = tasks::unblock(tx, subject.job).await?;
    Ok(Ok(Recorded { unblocked, playable_age: None }))
}
