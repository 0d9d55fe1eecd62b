//! The wire contract: generated gRPC code, conversions to domain types, and the closed list of error
//! codes that gRPC and HTTP share.

pub mod cached;
pub mod code;
pub mod path;
mod redacted;
pub mod wire;

/// Generated from `proto/streaming/v1`.
#[expect(
    missing_docs,
    clippy::all,
    clippy::too_many_lines,
    reason = "generated; the comments are in the .proto files"
)]
pub mod v1 {
    tonic::include_proto!("streaming.v1");
}

/// Every descriptor with its imports and comments, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/streaming_v1.bin"));

/// The messages in a refusal's details, so that clients without local protos can read them.
pub const DETAILS_DESCRIPTOR_SET: &[u8] = tonic_types::pb::FILE_DESCRIPTOR_SET;

/// The version of the worker stream; see `Hello.protocol_version`.
pub const WORKER_PROTOCOL: u32 = 1;

/// Metadata of a call that a data plane makes in somebody's name: that client's address. Believed only
/// beside [`PLANE_METADATA`].
pub const CLIENT_METADATA: &str = "x-streaming-client";

/// Metadata of the same calls: when the client's request began, in Unix seconds. A bearer token that was good then
/// is good for the call.
pub const BEGAN_METADATA: &str = "x-streaming-began";

/// The data plane's own token, beside [`CLIENT_METADATA`].
pub const PLANE_METADATA: &str = "x-streaming-plane";
