//! Messages that no well-behaved client sends. Each is rejected with a specific status, and the
//! service keeps running without using much more memory.

use api::v1::{CreateVideoRequest, video_service_client::VideoServiceClient};
use bytes::{Buf, BufMut};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    metadata::{Ascii, MetadataValue},
    transport::Endpoint,
};

use crate::harness::{process, stack::Stack};

/// The largest message that control accepts.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// How much memory may grow while such messages are rejected.
const GROWTH_BYTES_MAX: u64 = 64 << 20;

/// Sends bytes unchanged, whether or not they are a valid message.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}

/// Sends these bytes as the message of CreateVideo.
async fn send(stack: &Stack, message: Vec<u8>) -> Result<(), Status> {
    let endpoint = Endpoint::from_shared(format!("http://{}", stack.grpc)).expect("address");
    let mut client = Grpc::new(endpoint.connect().await.expect("connect"));
    client.ready().await.expect("ready");
    let mut request = Request::new(message);
    let bearer: MetadataValue<Ascii> = format!("Bearer {}", stack.token).parse().expect("ASCII");
    request.metadata_mut().insert("authorization", bearer);
    let path = PathAndQuery::from_static("/streaming.v1.VideoService/CreateVideo");
    client.unary(request, path, Raw).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_messages_are_rejected_without_using_memory() {
    let stack = Stack::start().await;
    let control = stack.running("streaming-control")[0].pid;
    // Field 1 (title) with this many bytes; first a valid message, to check that the call itself
    // works.
    send(&stack, vec![0x0a, 1, b'a']).await.expect("a well-formed message");
    let before = process::memory_bytes(control);
    let mut large = vec![0x0a, 0x81, 0x80, 0x80, 0x02];
    large.resize(large.len() + MESSAGE_BYTES_MAX + 1, b'a');
    for _ in 0..20 {
        let error = send(&stack, large.clone()).await.expect_err("too large a message");
        assert!(matches!(error.code(), Code::OutOfRange | Code::ResourceExhausted), "{error}");
    }
    for garbage in [vec![0xff; 64], vec![0x0a, 200, b'a'], vec![0x0a, 2, 0xc3, 0x28], vec![0x0f]] {
        let error = send(&stack, garbage.clone()).await.expect_err("no message");
        assert_ne!(error.code(), Code::Unknown, "{garbage:?}: {error}");
        assert!(!error.message().contains(".rs"), "{error}");
    }
    // Field 3 (visibility) with a value that the enum does not have.
    let error = send(&stack, vec![0x18, 99]).await.expect_err("an unknown visibility");
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    let grown = process::memory_bytes(control).saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "{grown} bytes more");
    let endpoint = Endpoint::from_shared(format!("http://{}", stack.grpc)).expect("address");
    let mut fresh = VideoServiceClient::new(endpoint.connect().await.expect("connect"));
    let error = fresh.create_video(CreateVideoRequest::default()).await.expect_err("no token");
    assert_eq!(error.code(), Code::Unauthenticated);
    assert_eq!(stack.running("streaming-control")[0].pid, control, "control has not restarted");
}
