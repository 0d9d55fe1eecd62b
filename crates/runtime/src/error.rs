//! Errors as text for logs.

use std::error::Error;

/// An error and its sources on one line, separated by colons.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}

/// The sources of an error without the error itself; empty if it has none.
pub fn causes(error: &dyn Error) -> String {
    error.source().map(chain).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{causes, chain};

    #[derive(Debug, thiserror::Error)]
    #[error("open store")]
    struct OuterError(#[source] InnerError);

    #[derive(Debug, thiserror::Error)]
    #[error("read folder")]
    struct InnerError(#[source] std::fmt::Error);

    #[test]
    fn sources_follow_the_error_on_one_line() {
        let error = OuterError(InnerError(std::fmt::Error));
        let last = std::fmt::Error.to_string();
        assert_eq!(chain(&error), format!("open store: read folder: {last}"));
        assert_eq!(causes(&error), format!("read folder: {last}"));
        assert_eq!(causes(&std::fmt::Error), "");
    }
}
