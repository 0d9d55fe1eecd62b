//! Stores in S3: opened from the usual `AWS_*` variables, with limits on all retries and timeouts.
//!
//! **Invariant:** credentials never leave this process. Workers receive presigned URLs, each for
//! one object, one method and a limited time.

use std::{sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    path::Path,
    prefix::PrefixStore,
};
use url::Url;

use crate::{Store, StoreError};

/// Retries of one request, and their total time. A caller with more time repeats the request.
const RETRIES_MAX: usize = 5;
const RETRY_TIME_MAX: Duration = Duration::from_secs(10);
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);
/// Longest pause while waiting for or reading a response. Sending a whole upload part must fit into
/// it.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long idle connections are kept.
const IDLE_TIME_MAX: Duration = Duration::from_secs(20);
/// Region of stores without regions, such as MinIO.
const REGION: &str = "us-east-1";

/// The settings from `AWS_*` variables; empty variables count as unset.
#[derive(Clone, Debug)]
pub struct Settings {
    builder: AmazonS3Builder,
    /// Location of the stores, without secrets; empty for Amazon S3.
    pub(crate) endpoint: String,
    /// Whether a source of credentials is configured.
    credentials: bool,
    /// Whether only one of key id and secret is set.
    half: bool,
}

impl Settings {
    /// Reads the settings from the process's environment.
    pub fn from_env() -> Self {
        let text = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((key.into_string().ok()?, value.into_string().ok()?))
        };
        Self::from_vars(std::env::vars_os().filter_map(text))
    }

    /// Reads `AWS_*` variables and ignores all others.
    pub fn from_vars(vars: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut builder = AmazonS3Builder::new().with_retry(retries());
        let mut options = ClientOptions::new()
            .with_timeout_disabled()
            .with_connect_timeout(CONNECT_TIME_MAX)
            .with_read_timeout(SILENCE_MAX)
            .with_pool_idle_timeout(IDLE_TIME_MAX);
        let (mut endpoint, mut credentials) = (String::new(), false);
        let (mut id, mut secret) = (false, false);
        for (key, value) in vars {
            if !key.starts_with("AWS_") || value.is_empty() {
                continue;
            }
            let Ok(key) = key.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() else { continue };
            match key {
                AmazonS3ConfigKey::Client(key) => {
                    options = options.with_config(key, value);
                    continue;
                }
                AmazonS3ConfigKey::Endpoint | AmazonS3ConfigKey::S3Endpoint => {
                    let value = value.trim_end_matches('/');
                    endpoint = origin(value);
                    builder = builder.with_config(key, value);
                    continue;
                }
                AmazonS3ConfigKey::AccessKeyId => (id, credentials) = (true, true),
                AmazonS3ConfigKey::SecretAccessKey => (secret, credentials) = (true, true),
                AmazonS3ConfigKey::WebIdentityTokenFile
                | AmazonS3ConfigKey::ContainerCredentialsRelativeUri
                | AmazonS3ConfigKey::ContainerCredentialsFullUri
                | AmazonS3ConfigKey::SkipSignature => credentials = true,
                _ => {}
            }
            builder = builder.with_config(key, value);
        }
        if endpoint.starts_with("http://") {
            options = options.with_allow_http(true);
        }
        let builder = builder.with_client_options(options);
        Self { builder, endpoint, credentials, half: id != secret }
    }

    /// Sets the default region unless a region is configured.
    fn region(&self) -> AmazonS3Builder {
        let builder = self.builder.clone();
        match builder.get_config_value(&AmazonS3ConfigKey::Region) {
            Some(_) => builder,
            None => builder.with_region(REGION),
        }
    }
}

/// Scheme, host and port only: the URL of an endpoint may contain a password.
fn origin(endpoint: &str) -> String {
    let Ok(url) = Url::parse(endpoint) else { return "an endpoint with an invalid URL".to_owned() };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
}

fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: RETRY_PAUSE_MIN,
            max_backoff: RETRY_PAUSE_MAX,
            base: 2.0,
        },
        max_retries: RETRIES_MAX,
        retry_timeout: RETRY_TIME_MAX,
    }
}

/// Opens `s3://bucket` or `s3://bucket/prefix`, without contacting the store.
pub(crate) fn open(entry: &str, url: &Url, settings: &Settings) -> Result<Store, StoreError> {
    let bad = |reason: &str| StoreError::Url { url: entry.to_owned(), reason: reason.to_owned() };
    let bucket = url.host_str().filter(|bucket| !bucket.is_empty());
    let bucket = bucket.ok_or_else(|| bad("it must name a bucket"))?;
    if url.port().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err(StoreError::Url {
            // The entry itself may contain a password.
            url: format!("s3://{bucket}"),
            reason: "it must be only a bucket's name; keys and endpoint come from AWS_*".into(),
        });
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("a bucket must not have a query or fragment"));
    }
    let prefix = url.path().trim_matches('/');
    let prefix = Path::parse(prefix).map_err(|_| bad("its prefix is not a valid path"))?;
    let name = if prefix.as_ref().is_empty() {
        format!("s3://{bucket}")
    } else {
        format!("s3://{bucket}/{prefix}")
    };
    if settings.half || (!settings.credentials && !settings.endpoint.is_empty()) {
        return Err(StoreError::NoCredentials { url: name });
    }
    let s3 = settings.region().with_bucket_name(bucket).build().map_err(|error| {
        StoreError::Settings { url: name.clone(), reason: crate::explain(&error).to_string() }
    })?;
    let objects: Arc<dyn ObjectStore> = if prefix.as_ref().is_empty() {
        Arc::new(s3.clone())
    } else {
        Arc::new(PrefixStore::new(s3.clone(), prefix.clone()))
    };
    Ok(Store {
        url: name,
        objects,
        root: None,
        s3: Some(Arc::new(s3)),
        prefix,
        endpoint: settings.endpoint.clone(),
    })
}
