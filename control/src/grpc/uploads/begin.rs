//! `BeginUpload`: reserves an upload within the tenant's quota.

use api::{
    code::{Code, Problem},
    v1,
};
use authz::Principal;
use media::{UploadId, VideoId};
use uuid::{Builder, Uuid};

use super::{has_source, lease_authorization::grant, open, progress::writer};
use crate::{
    db::{
        CALL_TRIES_MAX, DbError, Transaction, probes,
        uploads::{
            completion,
            sessions::{self, NewUpload, UploadSession},
        },
        videos::{self, NewVideo},
    },
    domain::Owner,
    grpc::{authorize::owner, input, lookup::video},
    state::AppState,
    upload_policy::{UploadPolicy, part_bytes},
};

/// Maximum size of the client's upload metadata.
const METADATA_BYTES_MAX: usize = 32 << 10;
/// Maximum size of a client's own name of an upload.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// Begins an upload for a reserved video or a new one.
pub(super) async fn begin(
    app: &AppState,
    principal: &Principal,
    reserved: Option<VideoId>,
    message: v1::BeginUploadRequest,
) -> Result<UploadSession, Problem> {
    let owner = owner(principal);
    let (video_id, store, new_video) = match reserved {
        Some(id) => {
            let row = open(video(app, &owner.tenant, id).await?)?;
            (id, row.store, None)
        }
        None => {
            let new = new_video(app, &message)?;
            (new.id, new.store.clone(), Some(new))
        }
    };
    let mut new = new_upload(video_id, store, principal, &message)?;
    let repeatable = !message.idempotency_key.is_empty();
    if repeatable {
        new.id = named(principal, &message)?;
    }
    let policy = &app.policy.uploads;
    // A single transaction, so that the quota's lock is held until the new row is visible.
    let begun = app.db.try_transact(CALL_TRIES_MAX, async |tx| {
        if repeatable && let Some(known) = repeated(tx, &new).await? {
            return Ok(known.map(|known| (Some(known), 0)));
        }
        row(tx, policy, &owner, new_video.as_ref(), &new).await
    });
    let (begun, dropped) = begun.await??;
    if dropped > 0 {
        app.bus.chores.notify_one();
    }
    begun.ok_or_else(|| {
        Problem::new(Code::Conflict, "another upload of the video's source is in progress")
    })
}

/// Creates the rows. Returns the upload, unless the video has another one, and the number of
/// rejected sources that are deleted to make room for it.
async fn row(
    tx: &Transaction<'_>,
    policy: &UploadPolicy,
    owner: &Owner,
    new_video: Option<&NewVideo>,
    new: &NewUpload,
) -> Result<Result<(Option<UploadSession>, u64), Problem>, DbError> {
    if new_video.is_none() {
        // The video's row is locked so that its old source is neither probed nor deleted meanwhile.
        if !probes::takes_source(tx, new.video).await? {
            return Ok(Err(has_source()));
        }
        completion::give_up_lapsed(tx, new.video).await?;
    }
    let held = sessions::open(tx, &owner.tenant).await?;
    if let Err(problem) = policy.check_quota(held, new.length.unwrap_or(0)) {
        return Ok(Err(problem));
    }
    if let Some(video) = new_video {
        videos::create(tx, owner, video).await?;
    }
    let begun = sessions::begin(tx, new, policy.timeouts).await?;
    if begun.is_none() && new_video.is_some() {
        return Ok(Err(used("has expired or was aborted")));
    }
    if new.auto_transcode && begun.is_some() {
        videos::request_transcode(tx, new.video).await?;
    }
    let (keep, bytes_max) = policy.rejected_sources();
    let dropped = probes::drop_rejected(tx, keep, bytes_max).await?;
    Ok(Ok((begun, dropped)))
}

/// The id of the upload that a client has named: the same for each call of the subject.
fn named(principal: &Principal, message: &v1::BeginUploadRequest) -> Result<UploadId, Problem> {
    let invalid = |text: String| Problem::field("idempotency_key", text);
    let key = message.idempotency_key.as_str();
    if key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        return Err(invalid(format!("is longer than {IDEMPOTENCY_KEY_BYTES_MAX} bytes")));
    }
    if !message.resumable || !message.video_id.is_empty() || !message.writer.is_empty() {
        let text = "requires a resumable upload of a new video, without a writer";
        return Err(invalid(text.to_owned()));
    }
    let mut name = blake3::Hasher::new_derive_key("streaming-service upload by idempotency key");
    for part in [principal.tenant.as_str(), &principal.subject, key] {
        name.update(&part.len().to_be_bytes()).update(part.as_bytes());
    }
    let mut bytes = [0; 16];
    name.finalize_xof().fill(&mut bytes);
    Ok(UploadId::new(Builder::from_custom_bytes(bytes).into_uuid()))
}

/// The upload that an earlier call with the same name began, if any.
async fn repeated(
    tx: &Transaction<'_>,
    new: &NewUpload,
) -> Result<Option<Result<UploadSession, Problem>>, DbError> {
    // Locks out calls that begin uploads at the same time.
    sessions::open(tx, &new.tenant).await?;
    let known = sessions::get(tx, &new.tenant, new.id).await?;
    let same = |known: UploadSession| {
        if known.length == new.length && known.metadata == new.metadata {
            Ok(known)
        } else {
            Err(used("has another length or other metadata"))
        }
    };
    Ok(known.map(same))
}

fn used(text: &str) -> Problem {
    let text = format!("the upload for which the idempotency key was used {text}");
    Problem::new(Code::Conflict, text)
}

fn new_video(app: &AppState, message: &v1::BeginUploadRequest) -> Result<NewVideo, Problem> {
    let id = VideoId::new(Uuid::now_v7());
    Ok(NewVideo {
        id,
        title: input::title(&message.title)?,
        description: input::description(&message.description)?,
        public: input::visibility(message.visibility)?.unwrap_or(app.policy.public),
        store: app.stores.pick(id).url.clone(),
        // Requested together with the upload.
        auto_transcode: false,
    })
}

fn new_upload(
    video: VideoId,
    store: String,
    principal: &Principal,
    message: &v1::BeginUploadRequest,
) -> Result<NewUpload, Problem> {
    let length = message.length.map(i64::try_from).transpose();
    let length = length.map_err(|_| Problem::field("length", "is too large"))?;
    if message.resumable && length.is_none() {
        return Err(Problem::field("length", "is missing"));
    }
    if message.metadata.len() > METADATA_BYTES_MAX {
        let text = format!("is longer than {METADATA_BYTES_MAX} bytes");
        return Err(Problem::field("metadata", text));
    }
    let part_bytes = part_bytes(message.length.unwrap_or(message.bytes_max));
    let part_bytes =
        i64::try_from(part_bytes).map_err(|_| Problem::field("bytes_max", "is too large"))?;
    let holder = message.writer.as_str();
    Ok(NewUpload {
        id: UploadId::new(Uuid::now_v7()),
        video,
        tenant: principal.tenant.clone(),
        store,
        length,
        resumable: message.resumable,
        part_bytes,
        writer: if holder.is_empty() { None } else { Some(writer(holder)?) },
        grant: grant(principal),
        filename: input::filename(&message.filename),
        metadata: message.metadata.clone(),
        auto_transcode: input::auto_transcode(&message.transcode)?,
    })
}
