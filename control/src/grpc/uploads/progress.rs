//! `AcquireUpload` and `AdvanceUpload`: who may write an upload, and how far it has progressed.

use api::{
    code::{Code, Problem},
    v1, wire,
};
use authz::Principal;
use media::UploadId;
use uuid::Uuid;

use super::{
    lease_authorization::{grant, lost},
    upload,
};
use crate::{
    cluster::events::Event,
    db::{
        CALL_TRIES_MAX,
        uploads::{
            leases::{self, Acquire},
            sessions::{self, Advance, UploadSession},
        },
    },
    state::AppState,
};

/// The state of SHA-256: eight words, and the bytes that do not fill a block.
const DIGEST_BYTES_MAX: usize = 96;
/// Maximum number of parts in one call; a data plane has at most two in flight.
const PARTS_MAX: usize = 10_000;
/// Maximum length of a store's part name or multipart upload id.
const NAME_BYTES_MAX: usize = 1024;

/// Takes the lease, or returns the current state of the upload.
pub(super) async fn acquire(
    app: &AppState,
    principal: &Principal,
    message: &v1::AcquireUploadRequest,
) -> Result<v1::AcquireUploadResponse, Problem> {
    let id = wire::id("upload_id", &message.upload_id)?;
    let acquire = Acquire {
        writer: writer(&message.writer)?,
        offset: bytes("offset", message.offset)?,
        grant: grant(principal),
    };
    let timeouts = app.policy.uploads.timeouts;
    let acquired = app.db.run(CALL_TRIES_MAX, async |db| {
        leases::acquire(db, &principal.tenant, id, &acquire, timeouts).await
    });
    let acquired = acquired.await?;
    let held = acquired.is_some();
    let row = match acquired {
        Some(row) => row,
        None if message.take_over => settled(app, principal, id).await?,
        None => upload(app, principal, id).await?,
    };
    Ok(v1::AcquireUploadResponse { upload: Some(row.into()), held })
}

/// Claims the lease from its holder and returns the current state of the upload. Its offset is
/// final once the lease is not held.
pub(super) async fn settled(
    app: &AppState,
    principal: &Principal,
    id: UploadId,
) -> Result<UploadSession, Problem> {
    let timeouts = app.policy.uploads.timeouts;
    let claimed = app
        .db
        .run(CALL_TRIES_MAX, async |db| leases::claim(db, &principal.tenant, id, timeouts).await);
    if let Some(writer) = claimed.await? {
        app.bus.publish(Event::Claimed(writer));
    }
    upload(app, principal, id).await
}

/// Advances an upload, or renews its lease.
pub(super) async fn advance(
    app: &AppState,
    principal: &Principal,
    message: v1::AdvanceUploadRequest,
) -> Result<UploadSession, Problem> {
    let id = wire::id("upload_id", &message.upload_id)?;
    let named = message.parts.iter().chain([&message.multipart_id]);
    if message.parts.len() > PARTS_MAX || named.into_iter().any(|n| n.len() > NAME_BYTES_MAX) {
        return Err(Problem::field("parts", "are too many or too long"));
    }
    if message.digest.len() > DIGEST_BYTES_MAX {
        return Err(Problem::field("digest", "is too long"));
    }
    let (from, to) = (bytes("from", message.from)?, bytes("to", message.to)?);
    if to < from {
        return Err(Problem::field("to", "must not be below from"));
    }
    let step = Advance {
        writer: writer(&message.writer)?,
        from,
        to,
        digest: message.digest.to_vec(),
        multipart_id: Some(message.multipart_id).filter(|id| !id.is_empty()),
        parts: message.parts,
        tail: message.tail,
        release: message.release,
    };
    let timeouts = app.policy.uploads.timeouts;
    let moved = app.db.run(CALL_TRIES_MAX, async |db| {
        sessions::advance(db, &principal.tenant, id, &step, timeouts).await
    });
    match moved.await? {
        Some(row) => Ok(row),
        None => {
            upload(app, principal, id).await?;
            Err(lost())
        }
    }
}

/// Parses the writer's id.
pub(super) fn writer(text: &str) -> Result<Uuid, Problem> {
    Uuid::try_parse(text).map_err(|_| Problem::at(Code::InvalidId, "writer", "is not a UUID"))
}

fn bytes(field: &str, value: u64) -> Result<i64, Problem> {
    i64::try_from(value).map_err(|_| Problem::field(field, "is too large"))
}
