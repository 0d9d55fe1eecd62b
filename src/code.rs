//! One closed list of error codes, mapped to gRPC and to HTTP here and nowhere else.
//!
//! A [`Problem`] crosses the wire as a `tonic::Status` whose details hold an `ErrorInfo` (reason = the
//! stable code) and a `BadRequest` (one violation per field); [`Problem::from_status`] reads it back.

use std::{collections::HashMap, fmt, time::Duration};

use tonic::{Code as Grpc, Status};
use tonic_types::{ErrorDetails, StatusExt};

const DOMAIN: &str = "streaming-service";
/// The metadata of an `ErrorInfo` that names a video.
const VIDEO_ID: &str = "video_id";

/// What went wrong, for programs. The text form is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// A field does not hold what it must; `violations` names it.
    InvalidField,
    /// The message or body as a whole cannot be read.
    Malformed,
    /// An id in a path or field is no UUID.
    InvalidId,
    /// No token, or one that does not verify.
    Unauthenticated,
    /// The token is good but does not allow this.
    PermissionDenied,
    /// The identity provider's token is good, but names no role that counts here.
    UnknownRole,
    /// The identity provider's token is good, but names no tenant.
    UnknownTenant,
    /// Unknown, or of another tenant.
    NotFound,
    /// The manifest was switched off for this video.
    ManifestDisabled,
    /// Nothing is playable yet; try again.
    NotReady,
    /// The thing is not in a state that allows this.
    Conflict,
    /// The upload is not a video that we can read safely.
    NotAVideo,
    /// The upload ends before its own header says so.
    TruncatedSource,
    /// Larger than the configured limit.
    TooLarge,
    /// The request's content type is not one that the route takes.
    UnsupportedMediaType,
    /// The route does not take this method.
    MethodNotAllowed,
    /// The range lies outside the resource.
    RangeNotSatisfiable,
    /// A precondition header does not hold.
    PreconditionFailed,
    /// Too many requests; `retry_after` says when.
    RateLimited,
    /// The tenant has as much of it as it may have.
    QuotaExceeded,
    /// Somebody else is at it at this moment; try again.
    Locked,
    /// The bytes are not those of the checksum that came with them.
    ChecksumMismatch,
    /// A lease is held by somebody else by now.
    LeaseLost,
    /// Not offered by this server's configuration: nothing that the server fails at.
    NotConfigured,
    /// A part that we depend on is out of reach.
    Unavailable,
    /// The request took longer than allowed.
    Timeout,
    /// Our fault; the log says more.
    Internal,
}

impl Code {
    /// Every code, for documentation and for reading codes back.
    pub const ALL: [Self; 27] = [
        Self::InvalidField,
        Self::Malformed,
        Self::InvalidId,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::UnknownRole,
        Self::UnknownTenant,
        Self::NotFound,
        Self::ManifestDisabled,
        Self::NotReady,
        Self::Conflict,
        Self::NotAVideo,
        Self::TruncatedSource,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::MethodNotAllowed,
        Self::RangeNotSatisfiable,
        Self::PreconditionFailed,
        Self::RateLimited,
        Self::QuotaExceeded,
        Self::Locked,
        Self::ChecksumMismatch,
        Self::LeaseLost,
        Self::NotConfigured,
        Self::Unavailable,
        Self::Timeout,
        Self::Internal,
    ];

    /// The stable text, its gRPC code and its HTTP status.
    const fn row(self) -> (&'static str, Grpc, u16) {
        match self {
            Self::InvalidField => ("invalid_field", Grpc::InvalidArgument, 422),
            Self::Malformed => ("malformed", Grpc::InvalidArgument, 400),
            Self::InvalidId => ("invalid_id", Grpc::InvalidArgument, 400),
            Self::Unauthenticated => ("unauthenticated", Grpc::Unauthenticated, 401),
            Self::PermissionDenied => ("permission_denied", Grpc::PermissionDenied, 403),
            Self::UnknownRole => ("unknown_role", Grpc::PermissionDenied, 403),
            Self::UnknownTenant => ("unknown_tenant", Grpc::PermissionDenied, 403),
            Self::NotFound => ("not_found", Grpc::NotFound, 404),
            Self::ManifestDisabled => ("manifest_disabled", Grpc::NotFound, 404),
            Self::NotReady => ("not_ready", Grpc::NotFound, 404),
            Self::Conflict => ("conflict", Grpc::FailedPrecondition, 409),
            Self::NotAVideo => ("not_a_video", Grpc::InvalidArgument, 422),
            Self::TruncatedSource => ("truncated_source", Grpc::InvalidArgument, 422),
            Self::TooLarge => ("too_large", Grpc::ResourceExhausted, 413),
            Self::UnsupportedMediaType => ("unsupported_media_type", Grpc::InvalidArgument, 415),
            Self::MethodNotAllowed => ("method_not_allowed", Grpc::Unimplemented, 405),
            Self::RangeNotSatisfiable => ("range_not_satisfiable", Grpc::OutOfRange, 416),
            Self::PreconditionFailed => ("precondition_failed", Grpc::FailedPrecondition, 412),
            Self::RateLimited => ("rate_limited", Grpc::ResourceExhausted, 429),
            Self::QuotaExceeded => ("quota_exceeded", Grpc::ResourceExhausted, 429),
            Self::Locked => ("locked", Grpc::Aborted, 423),
            // The tus protocol's own status.
            Self::ChecksumMismatch => ("checksum_mismatch", Grpc::InvalidArgument, 460),
            Self::LeaseLost => ("lease_lost", Grpc::FailedPrecondition, 409),
            Self::NotConfigured => ("not_configured", Grpc::FailedPrecondition, 409),
            Self::Unavailable => ("unavailable", Grpc::Unavailable, 503),
            Self::Timeout => ("timeout", Grpc::DeadlineExceeded, 504),
            Self::Internal => ("internal", Grpc::Internal, 500),
        }
    }

    /// The stable text, for example "not_found".
    pub const fn text(self) -> &'static str {
        self.row().0
    }

    /// The gRPC code.
    pub const fn grpc(self) -> Grpc {
        self.row().1
    }

    /// The HTTP status.
    pub const fn http(self) -> u16 {
        self.row().2
    }

    /// Reads the stable text back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.text() == text)
    }
}

/// A field and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field's path, for example "profiles[1]".
    pub field: String,
    /// A sentence for people.
    pub message: String,
}

/// A refusal that crosses the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// For programs.
    pub code: Code,
    /// For people; never holds secrets, paths or SQL.
    pub message: String,
    /// The fields at fault, when the fault is a field's.
    pub violations: Vec<Violation>,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// The video that the refused request has made, where there is one.
    pub video_id: Option<String>,
}

impl Problem {
    /// A refusal without fields.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            violations: Vec::new(),
            retry_after: None,
            video_id: None,
        }
    }

    /// A field's fault.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::at(Code::InvalidField, field, message)
    }

    /// Like [`Problem::new`], naming the field.
    pub fn at(code: Code, field: impl Into<String>, message: impl Into<String>) -> Self {
        let (field, message) = (field.into(), message.into());
        let text = format!("{field}: {message}");
        let violations = vec![Violation { field, message }];
        Self { violations, ..Self::new(code, text) }
    }

    /// The answer for an id that is unknown or of another tenant.
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("no such {what}"))
    }

    /// Reads a status that [`Status::from`] made; one of another origin keeps its gRPC code's nearest.
    pub fn from_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let code = details
            .error_info()
            .and_then(|info| Code::parse(&info.reason))
            .unwrap_or_else(|| nearest(status.code()));
        let violations = details.bad_request().map_or_else(Vec::new, |bad| {
            let violation = |v: &tonic_types::FieldViolation| Violation {
                field: v.field.clone(),
                message: v.description.clone(),
            };
            bad.field_violations.iter().map(violation).collect()
        });
        let retry_after = details.retry_info().and_then(|info| info.retry_delay);
        let video_id = details.error_info().and_then(|info| info.metadata.get(VIDEO_ID).cloned());
        let message = status.message().to_owned();
        Self { code, message, violations, retry_after, video_id }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        let mut details = ErrorDetails::new();
        let metadata = problem.video_id.map(|id| (VIDEO_ID.to_owned(), id));
        details.set_error_info(
            problem.code.text(),
            DOMAIN,
            metadata.into_iter().collect::<HashMap<_, _>>(),
        );
        for violation in problem.violations {
            details.add_bad_request_violation(violation.field, violation.message);
        }
        if problem.retry_after.is_some() {
            details.set_retry_info(problem.retry_after);
        }
        Self::with_error_details(problem.code.grpc(), problem.message, details)
    }
}

/// What a status without our details most likely means.
const fn nearest(code: Grpc) -> Code {
    match code {
        Grpc::InvalidArgument => Code::Malformed,
        Grpc::NotFound => Code::NotFound,
        Grpc::Unauthenticated => Code::Unauthenticated,
        Grpc::PermissionDenied => Code::PermissionDenied,
        Grpc::FailedPrecondition | Grpc::AlreadyExists | Grpc::Aborted => Code::Conflict,
        Grpc::ResourceExhausted => Code::RateLimited,
        Grpc::OutOfRange => Code::RangeNotSatisfiable,
        Grpc::Unimplemented => Code::NotConfigured,
        Grpc::Unavailable | Grpc::Cancelled => Code::Unavailable,
        Grpc::DeadlineExceeded => Code::Timeout,
        _ => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::Code;

    #[test]
    fn only_what_the_server_fails_at_is_a_server_error() {
        for code in Code::ALL {
            let fails = matches!(code, Code::Unavailable | Code::Timeout | Code::Internal);
            assert_eq!(code.http() >= 500, fails, "{}", code.text());
        }
        let code = Code::NotConfigured;
        let row = (code.text(), code.grpc(), code.http());
        assert_eq!(row, ("not_configured", tonic::Code::FailedPrecondition, 409));
    }
}
