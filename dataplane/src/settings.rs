//! The settings that need parsing: they are parsed and checked at the start, and all errors are
//! reported together, each with the name of its variable.

use std::fmt::Display;

use runtime::rate::Rate;
use url::Url;

use crate::{
    config::Config,
    http::{
        client_address::TrustedProxies,
        cors::{Cors, Origins},
    },
    limit::Rates,
    pages::{PageSettings, base::BaseUrl, policy::Policy},
    redis::Redis,
};

/// The parsed settings.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// `STREAMING_RATE_*`
    pub(crate) rates: Rates,
    /// `STREAMING_TRUSTED_PROXIES`
    pub(crate) proxies: TrustedProxies,
    /// `STREAMING_CORS_ORIGINS` and `STREAMING_PLAYBACK_ORIGINS`
    pub(crate) cors: Cors,
    /// `STREAMING_CONSOLE`, `STREAMING_EMBED_ORIGINS`, `STREAMING_PUBLIC_URL` and the origin of
    /// `STREAMING_CDN_BASE_URL`
    pub(crate) pages: PageSettings,
}

/// All errors of the configuration.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct SettingsError(Vec<String>);

impl Settings {
    /// Parses the settings.
    ///
    /// # Errors
    /// A setting is invalid; the error lists all invalid settings.
    pub(crate) fn read(config: &Config) -> Result<Self, SettingsError> {
        let mut problems = Vec::new();
        let mut rate = |name: &str, text: &str, default: &str| {
            // An empty variable counts as unset.
            let text = if text.trim().is_empty() { default } else { text };
            checked(&mut problems, name, Rate::parse(text)).flatten()
        };
        let rates = Rates {
            general: rate("STREAMING_RATE_GENERAL", &config.rate_general, Config::RATE_GENERAL),
            upload: rate("STREAMING_RATE_UPLOAD", &config.rate_upload, Config::RATE_UPLOAD),
            stream: rate("STREAMING_RATE_STREAM", &config.rate_stream, Config::RATE_STREAM),
        };
        let proxies = TrustedProxies::parse(&config.trusted_proxies);
        let proxies = checked(&mut problems, "STREAMING_TRUSTED_PROXIES", proxies);
        let mut origins =
            |name: &str, entries: &[String]| checked(&mut problems, name, Origins::parse(entries));
        let api = origins("STREAMING_CORS_ORIGINS", &config.cors_origins);
        let playback = origins("STREAMING_PLAYBACK_ORIGINS", &config.playback_origins);
        if let Some(base) = config.public_base() {
            checked(&mut problems, "STREAMING_PUBLIC_URL", base_url(base));
        }
        let enabled = checked(&mut problems, "STREAMING_CONSOLE", on_or_off(&config.console));
        let embedding = Origins::parse(&config.embed_origins);
        let embedding = checked(&mut problems, "STREAMING_EMBED_ORIGINS", embedding);
        let cdn = config.cdn_base().and_then(|base| {
            let url = checked(&mut problems, "STREAMING_CDN_BASE_URL", base_url(base))?;
            Some(url.origin().ascii_serialization())
        });
        if let Some(url) = &config.redis_url {
            let usable = Redis::check(url.expose(), config.redis_ca_file.as_deref());
            checked(&mut problems, "STREAMING_REDIS_URL", usable);
        }
        let (Some(proxies), Some(api), Some(playback), Some(enabled), Some(embedding), true) =
            (proxies, api, playback, enabled, embedding, problems.is_empty())
        else {
            return Err(SettingsError(problems));
        };
        let embedding = embedding.into_listed();
        let base = BaseUrl {
            fixed: config.public_base().map(str::to_owned),
            tls: config.listen.tls_cert_file.is_some(),
            proxies: proxies.clone(),
        };
        let pages = PageSettings { enabled, base, policy: Policy { cdn, embedding } };
        Ok(Self { rates, proxies, cors: Cors { api, playback }, pages })
    }
}

fn checked<T, E: Display>(problems: &mut Vec<String>, name: &str, read: Result<T, E>) -> Option<T> {
    match read {
        Ok(value) => Some(value),
        Err(error) => {
            problems.push(format!("{name}: {error}"));
            None
        }
    }
}

/// Parses a switch; an empty variable counts as unset.
fn on_or_off(text: &str) -> Result<bool, &'static str> {
    match text.trim() {
        "on" | "" => Ok(true),
        "off" => Ok(false),
        _ => Err("must be \"on\" or \"off\""),
    }
}

/// Checks that the text is a URL to which paths and tokens can be appended.
fn base_url(text: &str) -> Result<Url, String> {
    let problem = |what: &str| Err(format!("{what}; write for example https://cdn.example.com"));
    let Ok(url) = Url::parse(text) else { return problem("must be a URL") };
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return problem("must be an http or https URL");
    }
    // Manifests are public, and so would a password in them be.
    if !url.username().is_empty() || url.password().is_some() {
        return problem("must not contain credentials");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return problem("must not have a query or a fragment");
    }
    // Manifests contain the text itself, not the parsed URL.
    let plain = |b: u8| b.is_ascii_graphic() && !b"\"'<>\\^`{|}&".contains(&b);
    if text.bytes().all(plain) {
        Ok(url)
    } else {
        problem("must contain only characters that URLs allow")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_are_plain() {
        for good in ["https://cdn.example.com", "http://127.0.0.1:8081", "https://x.example/a/b"] {
            assert!(base_url(good).is_ok(), "{good}");
        }
        for bad in [
            "cdn.example.com",
            "/cdn",
            "ftp://x",
            "https://u:p@x",
            "https://x?y",
            "https://x#y",
            "https://x/a b",
            "https://x/\"",
            "javascript:alert(1)",
            "https://x/ä",
        ] {
            assert!(base_url(bad).is_err(), "{bad}");
        }
    }
}
