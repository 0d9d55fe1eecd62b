//! `token …`: uses the server, or works offline with a root key file or the token itself.

use std::{io::Read, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use api::v1;
use authz::{Grant, Restriction};
use jiff::Timestamp;
use media::urls;
use runtime::{Clock, SystemClock};
use serde_json::json;

use crate::{
    args::{MintArgs, NarrowArgs, TokenCommand},
    key_file, output,
    server::Target,
    session::{Session, call, status_error},
};

/// The tenant of callers without another one.
pub(crate) const TENANT: &str = "default";
/// Longer than any token.
const TOKEN_BYTES_MAX: u64 = 64 << 10;

/// Runs a `token` command that uses the server.
pub(crate) async fn run(session: &Session<'_>, command: TokenCommand) -> Result<()> {
    match command {
        TokenCommand::Mint(args) => mint(session, args).await,
        TokenCommand::Revoke { token } => revoke(session, token).await,
        // Runs offline; already handled by the caller.
        TokenCommand::Narrow(args) => narrow(&args, session.target, session.json),
        TokenCommand::Renew { token } => renew(session, token).await,
        TokenCommand::Playback { video, ttl, max_height, address } => {
            let request = v1::MintPlaybackTokenRequest {
                video_id: video,
                ttl_seconds: ttl.map_or(0, |ttl| ttl.as_secs()),
                max_height,
                address: address.map(|address| address.to_string()).unwrap_or_default(),
            };
            playback(session, request).await
        }
    }
}

async fn mint(session: &Session<'_>, args: MintArgs) -> Result<()> {
    let request = v1::MintTokenRequest {
        role: args.role.text().to_owned(),
        subject: args.subject,
        ttl_seconds: args.ttl.as_secs(),
        tenant: args.tenant.unwrap_or_default(),
    };
    let reply = session.auth().await?.mint_token(call(request)).await;
    let reply = reply.map_err(status_error)?.into_inner();
    print(session.json, &reply.token, reply.expires_at.as_ref().and_then(api::wire::time))
}

/// The key file for minting; an empty variable counts as unset.
pub(crate) fn root_key(args: &MintArgs) -> Option<&Path> {
    args.root_key.as_deref().filter(|path| !path.as_os_str().is_empty())
}

/// Mints a token with the root key file, without a running service.
pub(crate) fn mint_offline(args: &MintArgs, json: bool) -> Result<()> {
    let Some(path) = root_key(args) else { bail!("no root key file given") };
    let keys = key_file::load(path)?;
    let tenant = args.tenant.clone().unwrap_or_else(|| TENANT.to_owned());
    let grant = Grant { subject: args.subject.clone(), tenant, role: args.role };
    let life = i64::try_from(args.ttl.as_secs()).context("--ttl is too long")?;
    let end = SystemClock.now_unix().checked_add(life).context("--ttl is too long")?;
    let token = keys.mint(&grant, end).context("mint the token")?;
    print(json, &token, Timestamp::from_second(end).ok())
}

/// Narrows a token offline: only the token itself is needed.
pub(crate) fn narrow(args: &NarrowArgs, target: &Target, json: bool) -> Result<()> {
    let token = match args.from.as_deref() {
        Some("-") => from_stdin()?,
        Some(token) => token.to_owned(),
        None => target.bearer()?,
    };
    let end = |ttl: Duration| {
        let life = i64::try_from(ttl.as_secs()).ok()?;
        SystemClock.now_unix().checked_add(life)
    };
    let expires_at = match args.ttl {
        Some(ttl) => Some(end(ttl).context("--ttl is too long")?),
        None => None,
    };
    let restriction = Restriction {
        expires_at,
        operations: args.operations.clone(),
        video: args.video,
        address: args.address,
    };
    let narrowed = authz::narrow(&token, &restriction).context("narrow the token")?;
    print(json, &narrowed, expires_at.and_then(|end| Timestamp::from_second(end).ok()))
}

async fn revoke(session: &Session<'_>, token: String) -> Result<()> {
    let token = if token == "-" { from_stdin()? } else { token };
    let request = v1::RevokeTokenRequest { token };
    session.auth().await?.revoke_token(call(request)).await.map_err(status_error)?;
    if session.json {
        output::json(&json!({"revoked": true}))?;
    } else {
        output::line("revoked")?;
    }
    Ok(())
}

fn from_stdin() -> Result<String> {
    let mut text = String::new();
    std::io::stdin().take(TOKEN_BYTES_MAX).read_to_string(&mut text).context("read the token")?;
    Ok(text.trim().to_owned())
}

async fn playback(session: &Session<'_>, request: v1::MintPlaybackTokenRequest) -> Result<()> {
    let video = request.video_id.clone();
    let reply = session.auth().await?.mint_playback_token(call(request)).await;
    let reply = reply.map_err(status_error)?.into_inner();
    print_playback(
        session,
        &video,
        &reply.token,
        reply.expires_at.as_ref().and_then(api::wire::time),
    )
}

async fn renew(session: &Session<'_>, token: String) -> Result<()> {
    let token = if token == "-" { from_stdin()? } else { token };
    let request = v1::RenewPlaybackTokenRequest { token };
    let reply = session.auth().await?.renew_playback_token(call(request)).await;
    let reply = reply.map_err(status_error)?.into_inner();
    let expires_at = reply.expires_at.as_ref().and_then(api::wire::time);
    print_playback(session, &reply.video_id, &reply.token, expires_at)
}

/// Prints only the token, or as JSON also the URLs that contain it.
fn print_playback(
    session: &Session<'_>,
    video: &str,
    token: &str,
    expires_at: Option<Timestamp>,
) -> Result<()> {
    if !session.json {
        return Ok(output::line(token)?);
    }
    let http = session.target.http()?;
    let url = |path: String| format!("{}{path}?token={token}", http.url);
    Ok(output::json(&json!({
        "token": token,
        "hls": url(urls::hls(video)),
        "dash": url(urls::dash(video)),
        "expiresAt": expires_at.map(|time| time.to_string()),
    }))?)
}

/// Prints only the token, so that `$(…)` captures nothing else.
fn print(json: bool, token: &str, expires_at: Option<Timestamp>) -> Result<()> {
    if json {
        let expires_at = expires_at.map(|time| time.to_string());
        output::json(&json!({"token": token, "expiresAt": expires_at}))?;
    } else {
        output::line(token)?;
    }
    Ok(())
}
