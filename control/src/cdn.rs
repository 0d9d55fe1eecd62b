//! Sends purges to the CDN: `POST {"tags": ["video-ID", …]}` to the configured URL, until the
//! receiver accepts it or about a day has passed.
//!
//! Every purge is sent twice: at once, and again when every data plane knows of the change, because
//! in between a CDN may fetch the old state once more.

use std::time::Duration;

use media::VideoId;
use reqwest::{Client, Url, header::CONTENT_TYPE, redirect::Policy};
use runtime::Secret;
use thiserror::Error;

use crate::{
    db::{
        DbError, GenericClient,
        chores::{self, Chore},
    },
    publish::index::IndexProblem,
    state::AppState,
};

/// Maximum tags of one request.
const TAGS_MAX: i64 = 100;
/// How long the receiver may take.
const SEND_MAX: Duration = Duration::from_secs(5);
/// Seconds until the second purge; by then every data plane knows of the change.
const AGAIN_SECONDS: f64 = 5.0;
/// The longest pause between two tries, in seconds.
const PAUSE_SECONDS_MAX: f64 = 300.0;
/// With that pause, about a day.
const TRIES_MAX: i32 = 300;

/// Why the purge URL is invalid.
#[derive(Debug, Error)]
pub enum PurgeUrlError {
    /// The text is invalid; it is not shown.
    #[error("must be an http or https URL, for example https://cdn.example.com/purge")]
    Url,
    /// The machine's certificates cannot be loaded.
    #[error("prepare the client")]
    Client(#[source] reqwest::Error),
}

/// The receiver of purges. Its URL may contain credentials, so it is never shown.
pub struct Purger {
    client: Client,
    url: Url,
}

impl std::fmt::Debug for Purger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Purger").finish_non_exhaustive()
    }
}

impl Purger {
    /// Validates the URL and creates the client.
    ///
    /// # Errors
    /// The text is not an `http` or `https` URL, or the client cannot be created.
    pub fn new(url: &Secret) -> Result<Self, PurgeUrlError> {
        let url = Url::parse(url.expose()).map_err(|_| PurgeUrlError::Url)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(PurgeUrlError::Url);
        }
        // Redirects are not followed, because another server must not receive the credentials.
        let builder = Client::builder().timeout(SEND_MAX).redirect(Policy::none()).no_proxy();
        Ok(Self { client: builder.build().map_err(PurgeUrlError::Client)?, url })
    }

    /// Sends one request; the error text contains no part of the URL.
    async fn send(&self, videos: &[VideoId]) -> Result<(), String> {
        let tags: Vec<String> = videos.iter().map(|video| tag(*video)).collect();
        let body = serde_json::json!({ "tags": tags }).to_string();
        let request = self.client.post(self.url.clone());
        let sent = request.header(CONTENT_TYPE, "application/json").body(body).send().await;
        match sent {
            Ok(reply) if reply.status().is_success() => Ok(()),
            Ok(reply) => Err(format!("the receiver responded with status {}", reply.status())),
            Err(error) if error.is_timeout() => {
                Err("the receiver did not respond in time".to_owned())
            }
            Err(error) => Err(error.without_url().to_string()),
        }
    }
}

/// The tag that the replies of a video carry in `Surrogate-Key`.
fn tag(video: VideoId) -> String {
    format!("video-{video}")
}

/// Queues the purges for a change, in the transaction of the change.
///
/// # Errors
/// The database query failed.
pub async fn queue(tx: &impl GenericClient, video: VideoId) -> Result<(), DbError> {
    chores::create(tx, Chore::Purge(video), 0.0).await?;
    chores::create(tx, Chore::Purge(video), AGAIN_SECONDS).await
}

/// Sends the purges that are due.
///
/// # Errors
/// The database failed. A receiver that fails is not an error.
pub async fn round(app: &AppState) -> Result<(), IndexProblem> {
    let Some(purger) = &app.purger else {
        // No purge URL is configured.
        chores::drop_purges(&*app.db.get().await?).await?;
        return Ok(());
    };
    loop {
        let due = chores::take_purges(&*app.db.get().await?, TAGS_MAX).await?;
        if due.is_empty() {
            return Ok(());
        }
        let mut videos: Vec<VideoId> = due.iter().map(|purge| purge.video).collect();
        videos.sort_unstable();
        videos.dedup();
        let sent = purger.send(&videos).await;
        let db = app.db.get().await?;
        if sent.is_ok() {
            tracing::debug!(tags = videos.len(), "purge sent");
        }
        for purge in due {
            match &sent {
                Ok(()) => chores::done(&*db, purge.id).await?,
                Err(reason) if purge.attempt >= TRIES_MAX => {
                    tracing::error!(video.id = %purge.video, reason, "purge given up");
                    chores::done(&*db, purge.id).await?;
                }
                Err(_) => chores::postpone(&*db, purge.id, pause(purge.attempt)).await?,
            }
        }
        if let Err(reason) = sent {
            tracing::warn!(reason, tags = videos.len(), "failed to send a purge, retrying later");
            return Ok(());
        }
    }
}

/// Seconds until the next try: 1, 2, 4 and so on.
fn pause(attempt: i32) -> f64 {
    2_f64.powi((attempt - 1).clamp(0, 16)).min(PAUSE_SECONDS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_urls_are_accepted_and_errors_do_not_show_them() {
        for good in ["http://127.0.0.1:1/purge", "https://user:secret@cdn.example.com"] {
            let purger = Purger::new(&Secret::new(good)).unwrap();
            assert!(!format!("{purger:?}").contains("example"), "{purger:?}");
        }
        for bad in ["", "cdn.example.com", "ftp://x", "/purge", "http://"] {
            assert!(Purger::new(&Secret::new(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn delays_grow_to_a_bound_and_retries_last_a_day() {
        assert_eq!([1, 2, 3, 9, 10].map(pause), [1.0, 2.0, 4.0, 256.0, PAUSE_SECONDS_MAX]);
        let total: f64 = (1..=TRIES_MAX).map(pause).sum();
        assert!((20.0..=28.0).contains(&(total / 3600.0)), "{total}");
    }
}
