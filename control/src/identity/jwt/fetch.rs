//! Fetches documents that the identity provider publishes: without redirects, within limits of time
//! and size.

use std::{net::IpAddr, time::Duration};

use reqwest::{Client, StatusCode, header, redirect};
use url::{Host, Url};

const CONNECT_MAX: Duration = Duration::from_secs(2);
/// Limit for the whole exchange.
const FETCH_MAX: Duration = Duration::from_secs(5);
const BODY_BYTES_MAX: usize = 256 << 10;

/// Why a document could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The connection failed, or took too long.
    #[error("query the identity provider")]
    Http(#[source] reqwest::Error),
    /// Includes redirects: documents must come from the configured URL.
    #[error("the identity provider responded with status {0}")]
    Status(StatusCode),
    /// The reply exceeds the limit.
    #[error("the document is larger than {BODY_BYTES_MAX} bytes")]
    TooLong,
}

/// Fetches one URL.
pub(super) struct Fetcher {
    url: Url,
    client: Client,
}

impl Fetcher {
    /// Creates the client without connecting.
    ///
    /// # Errors
    /// The URL is not trustworthy, or TLS cannot be set up; the text states the reason.
    pub(super) fn new(url: &str) -> Result<Self, String> {
        let (url, local) = trusted(url)?;
        let mut client = Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_MAX)
            .timeout(FETCH_MAX)
            .pool_max_idle_per_host(0);
        if local {
            client = client.no_proxy();
        }
        let client = client.build().map_err(|error| format!("cannot be fetched: {error}"))?;
        Ok(Self { url, client })
    }

    /// The provider's host, for logs; the URL may contain secrets.
    pub(super) fn host(&self) -> Option<&str> {
        self.url.host_str()
    }

    /// Fetches the document.
    pub(super) async fn get(&self) -> Result<Vec<u8>, FetchError> {
        // The URL may contain secrets, which must not be logged.
        let failed = |error: reqwest::Error| FetchError::Http(error.without_url());
        let request = self.client.get(self.url.clone()).header(header::ACCEPT, "application/json");
        let mut reply = request.send().await.map_err(failed)?;
        if reply.status() != StatusCode::OK {
            return Err(FetchError::Status(reply.status()));
        }
        let mut body = Vec::new();
        while let Some(piece) = reply.chunk().await.map_err(failed)? {
            if body.len() + piece.len() > BODY_BYTES_MAX {
                return Err(FetchError::TooLong);
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

/// Parses a URL whose replies can be trusted, and returns whether it is on this machine. An attacker
/// who can replace the documents in transit controls who is authenticated, so they must come over
/// TLS or from this machine.
///
/// # Errors
/// Why the URL is not trustworthy.
pub(super) fn trusted(url: &str) -> Result<(Url, bool), String> {
    let url = Url::parse(url).map_err(|error| format!("is not a valid URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain a user name or a password".to_owned());
    }
    let local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => return Err("must have a host".to_owned()),
    };
    match (url.scheme(), local) {
        ("https", _) | ("http", true) => Ok((url, local)),
        ("http", false) => Err("must be https, unless the host is this machine".to_owned()),
        _ => Err("must be https".to_owned()),
    }
}
