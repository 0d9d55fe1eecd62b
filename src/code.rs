//! The closed list of error codes and their mapping to gRPC and to HTTP, which exists only here.
//!
//! A [`Problem`] is sent as a `tonic::Status` whose details contain an `ErrorInfo` (reason = the
//! stable code) and a `BadRequest` (one violation per field); [`Problem::from_status`] reads it
//! back.

use std::{collections::HashMap, fmt, time::Duration};

use tonic::{Code as Grpc, Status};
use tonic_types::{ErrorDetails, StatusExt};

const DOMAIN: &str = "streaming-service";
/// The metadata key of an `ErrorInfo` that contains a video's id.
const VIDEO_ID: &str = "video_id";

/// The kind of error, for programs. The text form is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// A field is invalid; `violations` names it.
    InvalidField,
    /// The message or body as a whole cannot be parsed.
    Malformed,
    /// An id in a path or field is not a UUID.
    InvalidId,
    /// The token is missing or invalid.
    Unauthenticated,
    /// The token is valid but does not allow this.
    PermissionDenied,
    /// The identity provider's token is valid, but contains no known role.
    UnknownRole,
    /// The identity provider's token is valid, but names no tenant.
    UnknownTenant,
    /// The resource is unknown or belongs to another tenant.
    NotFound,
    /// The manifest is disabled for this video.
    ManifestDisabled,
    /// No segment is available yet; retry later.
    NotReady,
    /// The resource is in a state that does not allow this.
    Conflict,
    /// The upload is not a video that can be decoded safely.
    NotAVideo,
    /// The upload is shorter than its own header states.
    TruncatedSource,
    /// The upload was joined from more recordings than are supported.
    TooManyRecordings,
    /// Larger than the configured limit.
    TooLarge,
    /// The route does not accept the request's content type.
    UnsupportedMediaType,
    /// The route does not support this method.
    MethodNotAllowed,
    /// The range is outside the resource.
    RangeNotSatisfiable,
    /// The condition of a precondition header is false.
    PreconditionFailed,
    /// Too many requests; `retry_after` states how long to wait.
    RateLimited,
    /// The tenant has used up its quota.
    QuotaExceeded,
    /// Another client is using the resource; retry later.
    Locked,
    /// The bytes do not match the checksum that was sent with them.
    ChecksumMismatch,
    /// Another process now holds the lease.
    LeaseLost,
    /// The server's configuration does not offer this; not a failure of the server.
    NotConfigured,
    /// A dependency of the server cannot be reached.
    Unavailable,
    /// The request took longer than allowed.
    Timeout,
    /// An error of the server; its log has the details.
    Internal,
}

impl Code {
    /// Every code, for documentation and for parsing.
    pub const ALL: [Self; 28] = [
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
        Self::TooManyRecordings,
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
            Self::TooManyRecordings => ("too_many_recordings", Grpc::InvalidArgument, 422),
            Self::TooLarge => ("too_large", Grpc::ResourceExhausted, 413),
            Self::UnsupportedMediaType => ("unsupported_media_type", Grpc::InvalidArgument, 415),
            Self::MethodNotAllowed => ("method_not_allowed", Grpc::Unimplemented, 405),
            Self::RangeNotSatisfiable => ("range_not_satisfiable", Grpc::OutOfRange, 416),
            Self::PreconditionFailed => ("precondition_failed", Grpc::FailedPrecondition, 412),
            Self::RateLimited => ("rate_limited", Grpc::ResourceExhausted, 429),
            Self::QuotaExceeded => ("quota_exceeded", Grpc::ResourceExhausted, 429),
            Self::Locked => ("locked", Grpc::Aborted, 423),
            // The status that the tus protocol defines.
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

    /// Parses the stable text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.text() == text)
    }
}

/// An invalid field and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// The path of the field, for example `profiles[1]`.
    pub field: String,
    /// The reason, for people.
    pub message: String,
}

/// An error as it is sent over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The kind of error, for programs.
    pub code: Code,
    /// The human-readable message; never contains secrets, paths or SQL.
    pub message: String,
    /// The invalid fields, if the error concerns fields.
    pub violations: Vec<FieldProblem>,
    /// How long to wait before trying again.
    pub retry_after: Option<Duration>,
    /// The id of the video that the rejected request created, if it created one.
    pub video_id: Option<String>,
}

impl Problem {
    /// An error that concerns no field.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            violations: Vec::new(),
            retry_after: None,
            video_id: None,
        }
    }

    /// An error about one field.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::at(Code::InvalidField, field, message)
    }

    /// Like [`Problem::new`], for one field.
    pub fn at(code: Code, field: impl Into<String>, message: impl Into<String>) -> Self {
        let (field, message) = (field.into(), message.into());
        let text = format!("{field}: {message}");
        let violations = vec![FieldProblem { field, message }];
        Self { violations, ..Self::new(code, text) }
    }

    /// The error for an id that is unknown or belongs to another tenant.
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("no such {what}"))
    }

    /// Reads back a status that [`Status::from`] made. For a status of another origin, the gRPC
    /// code is mapped to the nearest code.
    pub fn from_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let code = details
            .error_info()
            .and_then(|info| Code::parse(&info.reason))
            .unwrap_or_else(|| nearest(status.code()));
        let violations = details.bad_request().map_or_else(Vec::new, |bad| {
            let violation = |v: &tonic_types::FieldViolation| FieldProblem {
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

/// The most likely meaning of a status without the details of this service.
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
    fn only_server_failures_have_a_5xx_status() {
        for code in Code::ALL {
            let fails = matches!(code, Code::Unavailable | Code::Timeout | Code::Internal);
            assert_eq!(code.http() >= 500, fails, "{}", code.text());
        }
        let code = Code::NotConfigured;
        let row = (code.text(), code.grpc(), code.http());
        assert_eq!(row, ("not_configured", tonic::Code::FailedPrecondition, 409));
    }
}
