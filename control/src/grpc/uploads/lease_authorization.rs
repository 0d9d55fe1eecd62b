//! An upload lease as permission to write: a transfer that began with a valid token can finish
//! after the token has expired, but ends when the token is revoked.

use api::{
    code::{Code, Problem},
    wire,
};
use authz::{AuthError, Origin, Principal};
use media::{UploadId, VideoId};
use tonic::Request;
use uuid::Uuid;

use crate::{
    db::{
        CALL_TRIES_MAX,
        uploads::{
            leases::{self, Granted},
            sessions::Grant,
        },
    },
    grpc::authorize::{self, Rpc},
    state::AppState,
};

/// The upload that a call concerns.
#[derive(Clone, Copy, Debug)]
pub(super) enum UploadRef {
    /// By the upload's id.
    Upload(UploadId),
    /// By the id of its video.
    Video(VideoId),
    /// The id in the call is invalid.
    Unknown,
}

impl UploadRef {
    /// Uses the upload's id if there is one, otherwise the video's.
    pub(super) fn read(upload_id: &str, video_id: &str) -> Self {
        if upload_id.is_empty() {
            wire::id("video_id", video_id).map_or(Self::Unknown, Self::Video)
        } else {
            wire::id("upload_id", upload_id).map_or(Self::Unknown, Self::Upload)
        }
    }
}

/// The properties of the token that are stored with the lease.
pub(super) fn grant(principal: &Principal) -> Grant {
    Grant {
        subject: principal.subject.clone(),
        role: principal.role.text().to_owned(),
        token_ids: principal.revocation_ids.clone(),
    }
}

/// The error when another writer holds the lease.
pub(super) fn lost() -> Problem {
    Problem::new(Code::LeaseLost, "another request holds this upload")
}

/// Authorizes a call that writes under a lease. A data plane that names the lease's writer acts for
/// the caller to whom the lease was granted, as long as that caller's token is not revoked; any
/// other call needs a bearer token that is valid now.
///
/// # Errors
/// The errors of [`AppState::authorize`], and [`Code::LeaseLost`] if the lease was granted to
/// another writer.
pub(super) async fn authorize<T>(
    app: &AppState,
    rpc: Rpc,
    request: &Request<T>,
    writer: &str,
    upload: UploadRef,
) -> Result<Principal, Problem> {
    let video_id = match upload {
        UploadRef::Video(video) => Some(video),
        UploadRef::Upload(_) | UploadRef::Unknown => None,
    };
    let writer = Uuid::try_parse(writer).ok().filter(|_| app.by_plane(request));
    let Some(writer) = writer else { return app.authorize(rpc, request, video_id) };
    let found = app.db.run(CALL_TRIES_MAX, async |db| match upload {
        UploadRef::Upload(upload) => leases::granted(db, upload, writer).await,
        UploadRef::Video(video) => leases::granted_of_video(db, video, writer).await,
        UploadRef::Unknown => Ok(None),
    });
    match found.await?.as_ref().and_then(principal) {
        Some(principal) => {
            let revoked = app.verifier.is_revoked(&principal.revocation_ids);
            // Aborting an upload is harmless.
            if revoked && rpc != Rpc::AbortUpload {
                return Err(authorize::problem(AuthError::Revoked));
            }
            principal.may(rpc.operation()).map_err(authorize::problem)?;
            Ok(principal)
        }
        // The lease was granted by an older release, which stores no token, or has since been
        // granted to another writer.
        None => app.authorize(rpc, request, video_id).map_err(|_| lost()),
    }
}

fn principal(granted: &Granted) -> Option<Principal> {
    let Granted { tenant, grant } = granted;
    Some(Principal {
        subject: grant.subject.clone(),
        tenant: tenant.clone(),
        role: grant.role.parse().ok()?,
        expires_at: i64::MAX,
        narrowed_end: None,
        revocation_ids: grant.token_ids.clone(),
        // Not stored, and only needed where a token is presented.
        origin: Origin::Provider,
    })
}
