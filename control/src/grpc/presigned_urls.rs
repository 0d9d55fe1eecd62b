//! Presigned URLs for a worker that holds a lease: one for its source, and one for each output that
//! it may write. The store's credentials never leave the control plane.

use api::{
    code::{Code, Problem},
    v1,
};
use media::{VideoId, layout};
use store::Store;

use super::worker_messages;
use crate::{
    db::{
        CALL_TRIES_MAX,
        lease::{self, LeaseId},
        outputs::{self, Subject},
    },
    state::AppState,
};

/// Maximum number of outputs in one request.
const OUTPUTS_MAX: usize = 64;
const KEY_BYTES_MAX: usize = 1024;
const DIGEST_BYTES: usize = 32;

/// The location of a lease's source, as sent to the worker.
#[derive(Debug, Default)]
pub struct SourceLocation {
    /// In a local store: the file's path.
    pub path: String,
    /// In S3: a presigned URL, valid for [`SourceLocation::seconds`].
    pub url: String,
    /// In S3: the object's key.
    pub key: String,
    /// How long the URL is valid.
    pub seconds: f64,
}

/// Returns the path or presigned URL by which a worker reads the object `key`.
///
/// # Errors
/// The URL cannot be signed at the moment.
pub async fn source(app: &AppState, store: &Store, key: String) -> Result<SourceLocation, Problem> {
    if let Some(root) = &store.root {
        let path = api::path::text(&root.join(key));
        return Ok(SourceLocation { path, ..SourceLocation::default() });
    }
    let lifetime = app.policy.url_lifetime;
    let signed = store.sign_get(&key, lifetime).await.map_err(|error| unsigned(store, &error))?;
    let url = signed.map(|url| url.expose().to_owned()).unwrap_or_default();
    Ok(SourceLocation { path: String::new(), url, key, seconds: lifetime.as_secs_f64() })
}

/// Replies to a worker's request for URLs.
pub async fn reply(app: &AppState, access: v1::Access) -> v1::AccessReply {
    let request = access.request;
    match grant(app, access).await {
        Ok(reply) => v1::AccessReply { request, ..reply },
        Err(problem) => {
            let code = problem.code.text().to_owned();
            let failure = v1::Failure { code, message: problem.message };
            v1::AccessReply { request, refusal: Some(failure), ..v1::AccessReply::default() }
        }
    }
}

async fn grant(app: &AppState, access: v1::Access) -> Result<v1::AccessReply, Problem> {
    let lost = || Problem::new(Code::LeaseLost, "the lease is lost");
    let lease = worker_messages::lease(&access.task_id, access.token).ok_or_else(lost)?;
    if access.outputs.len() > OUTPUTS_MAX {
        return Err(Problem::field("outputs", format!("must have at most {OUTPUTS_MAX} entries")));
    }
    let held = app.db.run(CALL_TRIES_MAX, async |db| {
        if lease::held(db, &[lease]).await?.is_empty() {
            return Ok(None);
        }
        outputs::subject(db, lease.task).await
    });
    let subject = held.await?.ok_or_else(lost)?;
    let store = app.stores.get(&subject.store);
    // Another instance may know the store: the worker repeats the request, and releases the lease
    // if that does not help.
    let store = store.ok_or_else(|| {
        Problem::new(Code::Unavailable, "the store is not configured in this instance")
    })?;
    if store.s3.is_none() {
        return Err(Problem::new(Code::Conflict, "a local store does not support presigned URLs"));
    }
    let lifetime = app.policy.url_lifetime;
    let mut output_urls = Vec::with_capacity(access.outputs.len());
    for place in &access.outputs {
        check(&subject, lease, place)?;
        let signed = store.sign_put(&place.key, &place.sha256, lifetime).await;
        let url = signed.map_err(|error| unsigned(store, &error))?;
        output_urls.push(url.map(|url| url.expose().to_owned()).unwrap_or_default());
    }
    let mut source_url = String::new();
    if !access.source_key.is_empty() {
        readable(subject.video, &access.source_key)?;
        source_url = source(app, store, access.source_key).await?.url;
    }
    let url_seconds = lifetime.as_secs_f64();
    Ok(v1::AccessReply { output_urls, source_url, url_seconds, ..v1::AccessReply::default() })
}

/// Checks an output's key. It must be below the job's prefix, and its name must contain the lease's
/// token and the content's digest, so that no object, not even one of the same lease, can be
/// overwritten with other content.
fn check(subject: &Subject, lease: LeaseId, place: &v1::Place) -> Result<(), Problem> {
    let rejected = |text: &str| Err(Problem::field("outputs", text));
    if place.sha256.len() != DIGEST_BYTES {
        return rejected("must have SHA-256 digests");
    }
    let prefix = layout::job_prefix(subject.video, subject.job);
    let Some(rest) = place.key.strip_prefix(&prefix) else {
        return rejected("must have keys below the job's prefix");
    };
    if !plain(&place.key) {
        return rejected("must have keys that are plain paths");
    }
    let name = rest.rsplit('/').next().unwrap_or_default();
    let digest = hex::encode(&place.sha256);
    if !name.starts_with(&format!("{}-{}.", lease.token, &digest[..DIGEST_BYTES])) {
        return rejected("must have names made of the lease's token and the digest");
    }
    Ok(())
}

/// Checks that a source's key is below its own video's prefix.
fn readable(video: VideoId, key: &str) -> Result<(), Problem> {
    if plain(key) && key.starts_with(&layout::video_prefix(video)) {
        return Ok(());
    }
    Err(Problem::field("source_key", "must belong to this lease's video"))
}

/// Whether every part of the key consists of letters, digits and `._-`, with at least one letter or
/// digit.
fn plain(key: &str) -> bool {
    let part = |part: &str| {
        part.bytes().any(|byte| byte.is_ascii_alphanumeric())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    key.len() <= KEY_BYTES_MAX && key.split('/').all(part)
}

fn unsigned(store: &Store, error: &object_store::Error) -> Problem {
    let error = store::explain(error);
    tracing::warn!(store.url = store.url, %error, "failed to sign a URL");
    Problem::new(Code::Unavailable, "cannot obtain store credentials; try again")
}

#[cfg(test)]
mod tests {
    use media::{JobId, TaskId};
    use uuid::Uuid;

    use super::*;
    use crate::domain::TaskKind;

    fn subject() -> Subject {
        Subject {
            kind: TaskKind::Chunk,
            ordinal: 0,
            rungs: Vec::new(),
            job: JobId::new(Uuid::from_u128(2)),
            video: VideoId::new(Uuid::from_u128(1)),
            store: String::new(),
            filename: String::new(),
            plan: None,
            traceparent: None,
        }
    }

    #[test]
    fn output_keys_must_contain_the_leases_token_and_the_digest() {
        let lease = LeaseId { task: TaskId::new(Uuid::from_u128(3)), token: 7 };
        let prefix = layout::job_prefix(subject().video, subject().job);
        let sha256 = vec![0xab; 32];
        let key = layout::chunk(&prefix, "360p", 4, 7, &hex::encode(&sha256));
        let place = |key: &str| v1::Place { key: key.to_owned(), sha256: sha256.clone().into() };
        check(&subject(), lease, &place(&key)).unwrap();
        let half = "ab".repeat(16);
        for bad in [
            key.replace("/7-", "/8-"),
            key.replace("/7-ab", "/7-cd"),
            key.replace(".m4s", ""),
            key.replace("360p", ".."),
            key.replace("360p", ""),
            key.replace("videos", "video"),
            format!("{prefix}../../source/7-{half}.m4s"),
            layout::source(subject().video),
            layout::index(subject().video),
        ] {
            assert!(check(&subject(), lease, &place(&bad)).is_err(), "{bad}");
        }
        let short = v1::Place { key, sha256: vec![0xab; 31].into() };
        assert!(check(&subject(), lease, &short).is_err());
    }

    #[test]
    fn source_keys_must_belong_to_the_leases_video() {
        let video = subject().video;
        readable(video, &layout::source(video)).unwrap();
        let other = layout::source(VideoId::new(Uuid::from_u128(9)));
        let out = format!("{}../{other}", layout::video_prefix(video));
        for bad in [other.as_str(), out.as_str(), "keys/public.json", ""] {
            assert!(readable(video, bad).is_err(), "{bad}");
        }
    }
}
