//! The blocks with which holders narrowed a token: copied from one token to another, so that a token
//! made from a narrowed one is not wider, and read for the earliest expiry that they set.

use biscuit_auth::{
    Biscuit,
    builder::{BlockBuilder, Check, Op, Term},
    error,
};

use crate::{AuthError, mint, token};

/// The Datalog of the appended blocks, oldest first.
///
/// # Errors
/// [`AuthError::Forbidden`] if a block cannot be copied in this form.
pub(crate) fn sources(from: &Biscuit) -> Result<Vec<String>, AuthError> {
    let source = |place| {
        // Blocks are printed without escapes, so a string could become a part of the code.
        let symbols = from.block_symbols(place)?;
        let plain = |text: &String| !text.contains(['"', '\\']) && !text.contains(char::is_control);
        let source = from.print_block_source(place)?;
        Ok::<_, error::Token>(Some(source).filter(|_| symbols.iter().all(plain)))
    };
    (1..from.block_count())
        .map(|place| source(place).unwrap_or(None).ok_or_else(not_copied))
        .collect()
}

/// Appends blocks that [`sources`] returned.
///
/// # Errors
/// [`AuthError::Forbidden`] if a copy reads differently, because it could restrict less;
/// [`AuthError::Limit`] if the token would have too many blocks.
pub(crate) fn append(to: Biscuit, sources: &[String]) -> Result<Biscuit, AuthError> {
    let copy = |to: Biscuit, source: &str| {
        let place = to.block_count();
        let copy = to.append(BlockBuilder::new().code(source)?)?;
        Ok::<_, error::Token>((copy.print_block_source(place)? == source).then_some(copy))
    };
    if to.block_count() + sources.len() > token::BLOCKS_MAX {
        return Err(AuthError::Limit);
    }
    sources
        .iter()
        .try_fold(to, |to, source| copy(to, source).unwrap_or(None).ok_or_else(not_copied))
}

/// The earliest expiry that the appended blocks set in the form in which [`crate::narrow()`] writes
/// it, in Unix seconds.
pub(crate) fn earliest_end(biscuit: &Biscuit) -> Option<i64> {
    let places = 1..biscuit.block_count();
    let sources = places.filter_map(|place| biscuit.print_block_source(place).ok());
    sources.filter_map(|source| source.lines().filter_map(end).min()).min()
}

fn end(line: &str) -> Option<i64> {
    let text = line.strip_suffix(';')?;
    let check = Check::try_from(text).ok()?;
    let mut steps = check.queries.first()?.expressions.first()?.ops.iter();
    let end = steps.find_map(|step| match step {
        Op::Value(Term::Date(end)) => i64::try_from(*end).ok(),
        _ => None,
    })?;
    (mint::check_end(end).to_string() == text).then_some(end)
}

fn not_copied() -> AuthError {
    AuthError::Forbidden("one of its restrictions cannot be copied".to_owned())
}
