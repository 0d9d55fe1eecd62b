//! Finds where MPEG transport and program streams were joined: the positions at which their clock
//! jumps.
//!
//! Such a stream has no index and does not state its duration; every packet carries its time, and
//! recordings can simply be appended to each other. So the whole stream is read once, packet
//! headers only.
//!
//! The definition of a jump is that of FFmpeg and VLC: a track's decode time goes back, or forward
//! by more than [`GAP_SECONDS_MAX`]. The wrap of the 33-bit clock, a single timestamp that the
//! packets after it contradict, and a pause of one track while another continues are not jumps.
//! Programs of a multiplex other than that of the followed tracks do not count: each has its own
//! clock.

mod clock;
mod pes;
mod program;
mod tables;
mod transport;

pub use self::clock::GAP_SECONDS_MAX;
use self::{clock::Clocks, program::Program, transport::Transport};

/// The two kinds of stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// MPEG-TS: packets of 188 bytes, optionally with four bytes before each (M2TS) or 16 after
    /// each.
    Transport,
    /// MPEG-PS of MPEG-1 or MPEG-2 (`.mpg`, `.vob`).
    Program,
}

impl Container {
    /// The container for ffprobe's format name.
    pub fn of_format(name: &str) -> Option<Self> {
        match name {
            "mpegts" => Some(Self::Transport),
            "mpeg" => Some(Self::Program),
            _ => None,
        }
    }
}

/// A track whose clock is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Track {
    /// FFmpeg's stream id: a PID in a transport stream, a stream id in a program stream.
    pub id: u32,
    /// Whether frames may be presented in another order than they are decoded in.
    pub reordered: bool,
}

/// Finds the joints of a stream whose bytes are pushed in order.
#[derive(Debug)]
pub struct Scanner {
    reader: Reader,
    clocks: Clocks,
    /// Bytes of an incomplete header.
    rest: Vec<u8>,
    /// The position of the first of these bytes in the stream.
    at: u64,
    /// Bytes to skip before the next header.
    skip: u64,
}

#[derive(Debug)]
enum Reader {
    Transport(Transport),
    Program(Program),
}

/// The result of reading one header.
enum Step {
    /// The next header is this many bytes ahead.
    Used(u64),
    /// The header is not complete yet.
    Short,
}

impl Scanner {
    /// Creates a scanner that checks the clocks of `tracks`.
    pub fn new(container: Container, tracks: &[Track]) -> Self {
        let reader = match container {
            Container::Transport => Reader::Transport(Transport::default()),
            Container::Program => Reader::Program(Program::default()),
        };
        Self { reader, clocks: Clocks::new(tracks), rest: Vec::new(), at: 0, skip: 0 }
    }

    /// Reads the next bytes of the stream, which may be split anywhere.
    pub fn push(&mut self, bytes: &[u8]) {
        let skipped = self.skip.min(bytes.len() as u64);
        self.skip -= skipped;
        self.at += skipped;
        let mut buffer = std::mem::take(&mut self.rest);
        buffer.extend_from_slice(&bytes[skipped as usize..]);
        let (mut used, length) = (0, buffer.len() as u64);
        while used < length {
            let (rest, at) = (&buffer[used as usize..], self.at + used);
            let step = match &mut self.reader {
                Reader::Transport(reader) => reader.step(rest, at, &mut self.clocks),
                Reader::Program(reader) => reader.step(rest, at, &mut self.clocks),
            };
            match step {
                Step::Used(bytes) => used += bytes,
                Step::Short => break,
            }
        }
        self.skip += used.saturating_sub(length);
        self.at += used.min(length);
        buffer.drain(..used.min(length) as usize);
        self.rest = buffer;
    }

    /// The positions, in bytes, at which the recordings begin. The first is 0, except in a stream
    /// that begins where its clock wraps: leading packets with times from after the wrap are
    /// skipped, because players expect later packets to have later times.
    pub fn finish(self) -> Vec<u64> {
        self.clocks.finish()
    }
}
