//! The wire contract: generated gRPC code, conversions to domain types, and the closed list of
//! error codes that gRPC and HTTP share.

pub mod cached;
pub mod code;
#[cfg(test)]
mod compatibility;
pub mod limits;
pub mod path;
mod redacted;
pub mod wire;

/// Generated from `proto/streaming/v1`.
#[expect(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::all,
    clippy::too_many_lines,
    reason = "generated; the comments are in the .proto files"
)]
pub mod v1 {
    tonic::include_proto!("streaming.v1");
}

/// All descriptors, with imports and comments, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/streaming_v1.bin"));

/// Descriptors of the messages in an error's details, so that clients without local .proto files
/// can decode them.
pub const DETAILS_DESCRIPTOR_SET: &[u8] = tonic_types::pb::FILE_DESCRIPTOR_SET;

/// The version of the worker protocol; see `Hello.protocol_version`.
pub const WORKER_PROTOCOL: u32 = 1;

/// Metadata of calls that a data plane makes on behalf of a client: the client's address. Trusted
/// only together with [`PLANE_METADATA`].
pub const CLIENT_METADATA: &str = "x-streaming-client";

/// Metadata of the same calls: when the client's request began, in Unix seconds. A bearer token
/// that was valid then is valid for the call.
pub const BEGAN_METADATA: &str = "x-streaming-began";

/// The data plane's own token, sent together with [`CLIENT_METADATA`].
pub const PLANE_METADATA: &str = "x-streaming-plane";
