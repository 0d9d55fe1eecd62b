//! `console`: a link that signs a browser in to the web console, once.

use anyhow::Result;
use api::v1;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    args::ConsoleArgs,
    failure::Failure,
    output,
    session::{Session, call, status_error},
};

/// A link with a one-time code. The code stands in the fragment, which browsers do not send.
pub(crate) struct Link {
    /// For example "http://127.0.0.1:8080/console/#code=…".
    pub(crate) url: String,
    expires_at: Option<Timestamp>,
}

impl Link {
    /// Creates a code with the rights of the session's token.
    pub(crate) async fn create(session: &Session<'_>) -> Result<Self> {
        let http = session.target.http()?;
        let mut auth = session.auth().await?;
        let reply = auth.create_sign_in_code(call(v1::CreateSignInCodeRequest {})).await;
        let reply = reply.map_err(status_error)?.into_inner();
        let url = format!("{}/console/#code={}", http.url, reply.code);
        Ok(Self { url, expires_at: reply.expires_at.as_ref().and_then(api::wire::time) })
    }

    fn json(&self) -> Value {
        json!({
            "console": self.url,
            "expiresAt": self.expires_at.map(|time| time.to_string()),
        })
    }
}

/// Prints a new link.
pub(crate) async fn run(session: &Session<'_>, args: &ConsoleArgs) -> Result<()> {
    if !args.is_on() {
        let text = "the web console is turned off (STREAMING_CONSOLE)".to_owned();
        return Err(Failure::rejected("not_configured", text).into());
    }
    let link = Link::create(session).await?;
    if session.json {
        output::json(&link.json())?
    } else {
        output::line(&link.url)?
    }
    Ok(())
}
