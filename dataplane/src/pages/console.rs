//! The console's page: every screen is the same HTML, whose links are relative, so that it works
//! below any path prefix. It carries how browsers sign in, which control decides.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use api::{
    code::Problem,
    v1::{self, auth_service_client::AuthServiceClient},
};
use http::HeaderMap;
use serde_json::json;
use tokio::sync::Mutex as AsyncMutex;
use url::Url;

use super::html;
use crate::{
    control::Control,
    http::{
        cache::CachePolicy,
        reply::{self, Document, Reply, Text},
    },
    web_files::WebFiles,
};

/// Replaced in the page by its settings.
const CONFIG_MARK: &str = "<!--config-->";
/// How each link of the page to another file begins.
const LINK_MARK: &str = "=\"./";
/// Screens are not deeper.
const DEPTH_MAX: usize = 8;
/// How long the ways of signing in are used before control is called again.
const OPTIONS_AGE_MAX: Duration = Duration::from_secs(60);
/// The same while control cannot be reached.
const FAILED_AGE_MAX: Duration = Duration::from_secs(2);
/// How long a page waits for control.
const OPTIONS_TIME_MAX: Duration = Duration::from_secs(1);

/// The console's page.
pub(super) struct Console {
    /// `None` if it was not built.
    html: Option<String>,
    cdn: Option<String>,
    control: Arc<Control>,
    options: Mutex<Option<(Instant, SignInOptions)>>,
    loading: AsyncMutex<()>,
}

/// How browsers may sign in, other than with a code or a token.
#[derive(Clone, Debug, Default)]
struct SignInOptions {
    /// The issuer and the client id of an OpenID provider.
    oidc: Option<(String, String)>,
    /// The origins that the console contacts to sign in.
    origins: Vec<String>,
}

impl Console {
    /// Reads the page from the built files; media come from the origin `cdn`, if it is set.
    pub(super) fn new(files: &WebFiles, cdn: Option<String>, control: Arc<Control>) -> Self {
        let html = files.get("console/index.html");
        let html = html.map(|page| String::from_utf8_lossy(page).into_owned());
        Self { html, cdn, control, options: Mutex::default(), loading: AsyncMutex::default() }
    }

    /// Replies with the page for a path below `/console/`, and returns the origins that it
    /// contacts to sign in; `None` if it was not built.
    pub(super) async fn reply(
        &self,
        path: &str,
        request: &HeaderMap,
    ) -> Option<Result<(Reply, Vec<String>), Problem>> {
        let html = self.html.as_deref()?;
        let depth = path.matches('/').count();
        if depth > DEPTH_MAX {
            return Some(Err(super::missing()));
        }
        let options = self.options().await;
        let up = if depth == 0 { "./".to_owned() } else { "../".repeat(depth) };
        let oidc =
            options.oidc.map(|(issuer, client)| json!({"issuer": issuer, "clientId": client}));
        let config = json!({
            "version": runtime::program_version(),
            "cdn": self.cdn,
            "oidc": oidc,
        });
        let config = html::json_in_script(&config);
        let config = format!("<script type=\"application/json\" id=\"config\">{config}</script>");
        // The links first: settings are not searched for them.
        let page = html.replace(LINK_MARK, &format!("=\"{up}")).replacen(CONFIG_MARK, &config, 1);
        let text = Arc::new(Text::new(page));
        let cache = CachePolicy::Revalidate.header(false);
        let document = Document { content_type: html::HTML_TYPE, cache, text };
        Some(Ok((reply::document(request, &document), options.origins)))
    }

    /// The current ways of signing in; the last known ones while control cannot be reached.
    async fn options(&self) -> SignInOptions {
        if let Some(fresh) = self.fresh() {
            return fresh;
        }
        // Concurrent requests share one call.
        let _loading = self.loading.lock().await;
        if let Some(fresh) = self.fresh() {
            return fresh;
        }
        let reply = self
            .control
            .query(OPTIONS_TIME_MAX, |channel| {
                let request = self.control.own(v1::GetSignInOptionsRequest {});
                let mut client = AuthServiceClient::new(channel);
                async move { client.get_sign_in_options(request).await }
            })
            .await;
        let mut known = self.options.lock().unwrap_or_else(PoisonError::into_inner);
        let (age, options) = match reply {
            Ok(reply) => (OPTIONS_AGE_MAX, SignInOptions::read(reply)),
            Err(error) => {
                tracing::debug!(%error, "failed to read the ways of signing in");
                (FAILED_AGE_MAX, known.take().map(|(_, options)| options).unwrap_or_default())
            }
        };
        *known = Some((Instant::now() + age, options.clone()));
        options
    }

    fn fresh(&self) -> Option<SignInOptions> {
        let known = self.options.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().filter(|(until, _)| *until > Instant::now()).map(|(_, known)| known.clone())
    }
}

impl SignInOptions {
    fn read(reply: v1::GetSignInOptionsResponse) -> Self {
        let complete = !reply.issuer.is_empty() && !reply.client_id.is_empty();
        let origins = reply.origins.into_iter().filter(|origin| is_origin(origin));
        Self {
            oidc: complete.then_some((reply.issuer, reply.client_id)),
            origins: origins.collect(),
        }
    }
}

/// Whether the text is an origin, which can stand in a header as it is.
fn is_origin(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| url.origin().ascii_serialization() == text)
}

#[cfg(test)]
mod tests {
    use super::is_origin;

    #[test]
    fn only_origins_get_into_the_policy() {
        for good in ["https://id.example", "http://127.0.0.1:5556"] {
            assert!(is_origin(good), "{good}");
        }
        for bad in ["https://id.example/", "https://id.example; script-src *", "*", "", "null"] {
            assert!(!is_origin(bad), "{bad}");
        }
    }
}
