//! Where MPEG transport and program streams were joined: the places at which their clock jumps.
//!
//! Such a stream has no index and no table of its length; every packet states its time, and nothing prevents
//! two recordings from being appended to each other. So the whole stream is read once, packet headers only.
//!
//! A jump is what FFmpeg and VLC take for one: the decode time of a track goes back, or forward by more than
//! [`GAP_SECONDS_MAX`]. The wrap of the 33-bit clock is not a jump, nor is a single time stamp that the packets
//! after it contradict, nor a pause of one track during which another goes on.

mod clock;
mod pes;
mod program;
mod transport;

pub use self::clock::GAP_SECONDS_MAX;
use self::{clock::Clocks, program::Program, transport::Transport};

/// Which of the two kinds of stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// MPEG-TS: packets of 188 bytes, also with four bytes before each (M2TS) or 16 after.
    Transport,
    /// MPEG-PS of MPEG-1 or MPEG-2 (`.mpg`, `.vob`).
    Program,
}

impl Container {
    /// The container that ffprobe calls `name`.
    pub fn of_format(name: &str) -> Option<Self> {
        match name {
            "mpegts" => Some(Self::Transport),
            "mpeg" => Some(Self::Program),
            _ => None,
        }
    }
}

/// Finds the joints of a stream whose bytes are pushed from the first to the last.
#[derive(Debug)]
pub struct Scanner {
    reader: Reader,
    clocks: Clocks,
    /// Bytes that are not yet a whole header.
    rest: Vec<u8>,
    /// The position of the first of them in the stream.
    at: u64,
    /// Bytes to pass over before the next header.
    skip: u64,
}

#[derive(Debug)]
enum Reader {
    Transport(Transport),
    Program(Program),
}

/// What a reader did with the bytes it was given.
enum Step {
    /// The next header is this many bytes further on.
    Used(u64),
    /// The header is not complete yet.
    Short,
}

impl Scanner {
    /// Follows the clocks of `tracks`: FFmpeg's stream ids, which are PIDs in a transport stream and stream
    /// ids in a program stream.
    pub fn new(container: Container, tracks: &[u32]) -> Self {
        let reader = match container {
            Container::Transport => Reader::Transport(Transport::default()),
            Container::Program => Reader::Program(Program::default()),
        };
        Self { reader, clocks: Clocks::new(tracks), rest: Vec::new(), at: 0, skip: 0 }
    }

    /// Reads the next bytes of the stream, split anywhere.
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

    /// Where the second recording begins, the third, and so on, in bytes from the start of the stream.
    pub fn finish(self) -> Vec<u64> {
        self.clocks.finish()
    }
}
