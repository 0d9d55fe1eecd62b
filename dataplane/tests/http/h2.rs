//! An HTTP/2 client that sends raw frames, including sequences that no well-behaved library sends.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// One frame.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// The bytes of a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of a request, in HPACK without Huffman coding.
pub(crate) fn head(method: &str, path: &str, authority: Option<&str>) -> Vec<u8> {
    let literal = |name: u8, value: &str| {
        let length = u8::try_from(value.len()).ok().filter(|length| *length < 127).unwrap();
        [&[name, length], value.as_bytes()].concat()
    };
    // In the static table :authority is 1, :method 2, :path 4 and `:scheme: http` 6.
    let authority = authority.map(|authority| literal(1, authority)).unwrap_or_default();
    [literal(2, method), vec![0x86], literal(4, path), authority].concat()
}

/// The status of a reply, from the first field of its head.
pub(crate) fn status(frame: &Frame) -> u16 {
    match frame.payload.as_slice() {
        // The static table contains seven statuses.
        [indexed @ 0x88..=0x8e, ..] => {
            [200, 204, 206, 304, 400, 404, 500][(indexed - 0x88) as usize]
        }
        // A literal `:status`, plain or in Huffman code, in which a digit below 3 has five bits.
        [0x48 | 0x08, 3, digits @ ..] => {
            std::str::from_utf8(&digits[..3]).unwrap().parse().unwrap()
        }
        [0x48 | 0x08, length, code @ ..] => digits(&code[..(length & 0x7f) as usize]),
        other => panic!("no status: {other:?}"),
    }
}

/// Decodes three digits in HPACK's Huffman code (RFC 7541, appendix B): 0, 1, 2 are 00000 to 00010,
/// the others 011001 and up.
fn digits(code: &[u8]) -> u16 {
    let bits: Vec<u8> = code.iter().flat_map(|b| (0..8).rev().map(move |n| b >> n & 1)).collect();
    let value = |bits: &[u8]| bits.iter().fold(0_u16, |value, bit| value << 1 | u16::from(*bit));
    let (mut at, mut number) = (0, 0);
    for _ in 0..3 {
        let short = value(&bits[at..at + 5]);
        let (digit, width) =
            if short < 3 { (short, 5) } else { (value(&bits[at..at + 6]) - 22, 6) };
        (at, number) = (at + width, number * 10 + digit);
    }
    number
}

/// An HTTP/2 connection.
pub(crate) struct Client {
    stream: TcpStream,
}

impl Client {
    /// Connects, and sets the initial window of each stream.
    pub(crate) async fn connect(address: SocketAddr, window: u32) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let setting = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &window.to_be_bytes()].concat();
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &setting)].concat()).await.unwrap();
        Self { stream }
    }

    /// Sends frames; returns whether the server still accepts them.
    pub(crate) async fn send(&mut self, frames: &[u8]) -> bool {
        self.stream.write_all(frames).await.is_ok()
    }

    /// Requests `path` on `stream`.
    pub(crate) async fn ask(&mut self, stream: u32, path: &str) {
        let head = frame(HEADERS, END_STREAM | END_HEADERS, stream, &head("GET", path, Some("x")));
        assert!(self.send(&head).await);
    }

    /// The next frame; settings and pings are answered internally. `None` when the connection has
    /// ended.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            self.stream.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let frame = Frame { kind: head[3], flags: head[4], stream, payload };
            match frame.kind {
                SETTINGS | PING if frame.flags & ACK == 0 => {
                    let kept = if frame.kind == PING { &frame.payload[..] } else { &[] };
                    self.send(&self::frame(frame.kind, ACK, 0, kept)).await;
                }
                SETTINGS | PING | WINDOW_UPDATE => {}
                _ => return Some(frame),
            }
        }
    }

    /// Allows the server to send this many more bytes.
    pub(crate) async fn open(&mut self, stream: u32, bytes: u32) {
        self.send(&frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())).await;
    }
}
