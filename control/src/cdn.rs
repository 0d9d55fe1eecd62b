//! The receiver of purges at the CDN: `POST {"tags": ["video-ID", …]}` to the configured URL.

use std::time::Duration;

use media::VideoId;
use reqwest::{Client, Url, header::CONTENT_TYPE, redirect::Policy};
use runtime::Secret;
use thiserror::Error;

/// How long the receiver may take.
const SEND_MAX: Duration = Duration::from_secs(5);
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

    /// Sends one request.
    ///
    /// # Errors
    /// The receiver did not respond in time or responded with another status than success; the text
    /// contains no part of the URL.
    pub async fn send(&self, videos: &[VideoId]) -> Result<(), String> {
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
}
