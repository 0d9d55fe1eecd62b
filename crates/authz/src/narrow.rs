//! Narrowing: a holder removes rights from a token offline, without a key.

use std::{collections::BTreeSet, net::IpAddr};

use biscuit_auth::{
    BlockBuilder, UnverifiedBiscuit,
    builder::{Term, string},
    macros::check,
};
use media::VideoId;

use crate::{AuthError, mint, role::Operation, token};

/// The restrictions to add to a token. Absent fields add none.
#[derive(Clone, Debug, Default)]
pub struct Restriction {
    /// An earlier expiry time, in Unix seconds.
    pub expires_at: Option<i64>,
    /// The only operations to allow; empty for all.
    pub operations: Vec<Operation>,
    /// The only video that requests may be about.
    pub video: Option<VideoId>,
    /// The only address that requests may come from.
    pub address: Option<IpAddr>,
}

/// Appends a block of checks to a token. Needs no key and cannot add rights.
///
/// # Errors
/// [`AuthError::Limit`] when the token has no room for another block, [`AuthError::Malformed`] when
/// it is not a token or is sealed.
pub fn narrow(text: &str, restriction: &Restriction) -> Result<String, AuthError> {
    let malformed = |_| AuthError::Malformed;
    let token: UnverifiedBiscuit = token::parse(text)?;
    let mut block = BlockBuilder::new();
    if let Some(end) = restriction.expires_at {
        block = block.check(mint::check_end(end)).map_err(malformed)?;
    }
    if !restriction.operations.is_empty() {
        let operations: BTreeSet<Term> =
            restriction.operations.iter().map(|operation| string(operation.text())).collect();
        let operations = Term::Set(operations);
        let check = check!("check if operation($operation), {operations}.contains($operation)");
        block = block.check(check).map_err(malformed)?;
    }
    if let Some(video) = restriction.video {
        let video = video.to_string();
        block = block.check(check!("check if resource({video})")).map_err(malformed)?;
    }
    if let Some(address) = restriction.address {
        block = block.check(mint::check_address(address)).map_err(malformed)?;
    }
    let narrowed = token.append(block).map_err(malformed)?;
    if narrowed.block_count() > token::BLOCKS_MAX {
        return Err(AuthError::Limit);
    }
    narrowed.to_base64().map_err(malformed)
}
