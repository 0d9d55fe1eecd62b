//! Reads the packets of an audio track while FFmpeg writes it, and writes them as chunks.

use super::{
    Mp4Error, TrackKind,
    boxes::{self, Code},
    fragment::Head,
    init::{self, Header},
    rewritten::Rewritten,
    sample,
};
use crate::{Grid, grid::AUDIO_RATE};

/// Largest box accepted in FFmpeg's audio output, in bytes: an hour at the highest bit rate.
const AUDIO_BOX_BYTES_MAX: u64 = 256 << 20;

/// A packet and its decode time, in samples.
pub(super) type Packet = (u64, Vec<u8>);

/// Splits FFmpeg's output into packets.
#[derive(Debug, Default)]
pub(super) struct PacketReader {
    /// Bytes of an incomplete box, or a `moof` whose `mdat` is not complete yet.
    buffer: Vec<u8>,
    header: Option<Header>,
    /// Decode time just past the last packet.
    time: u64,
}

impl PacketReader {
    /// The track's parameters, once they have arrived.
    pub(super) const fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Accepts the next bytes of the output, split at any position, and returns the packets that
    /// they complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Packet>, Mp4Error> {
        self.buffer.extend_from_slice(bytes);
        let mut buffer = std::mem::take(&mut self.buffer);
        let (mut at, mut packets) = (0, Vec::new());
        while let Some(used) = self.step(&buffer[at..], &mut packets)? {
            at += used;
        }
        buffer.drain(..at);
        self.buffer = buffer;
        Ok(packets)
    }

    /// Processes the box (or the fragment) at the start of `rest` and returns its length.
    fn step(&mut self, rest: &[u8], packets: &mut Vec<Packet>) -> Result<Option<usize>, Mp4Error> {
        let Some((kind, end)) = whole_box(rest)? else { return Ok(None) };
        match &kind {
            b"moov" => self.begin(&rest[..end])?,
            b"moof" => {
                let Some((next, length)) = whole_box(&rest[end..])? else { return Ok(None) };
                if next != *b"mdat" {
                    return Err(Mp4Error::Missing("mdat"));
                }
                self.fragment(&rest[..end + length], packets)?;
                return Ok(Some(end + length));
            }
            _ => {}
        }
        Ok(Some(end))
    }

    fn begin(&mut self, moov: &[u8]) -> Result<(), Mp4Error> {
        let header = init::read(moov)?;
        if header.kind() != TrackKind::Audio || self.header.is_some() {
            return Err(Mp4Error::Unsupported("track"));
        }
        if header.timescale != AUDIO_RATE {
            return Err(Mp4Error::Invalid("timescale"));
        }
        self.header = Some(header);
        Ok(())
    }

    fn fragment(&mut self, bytes: &[u8], packets: &mut Vec<Packet>) -> Result<(), Mp4Error> {
        let defaults = self.header.as_ref().ok_or(Mp4Error::Missing("moov"))?.defaults;
        let moof = boxes::box_at(bytes, 0)?;
        let mut samples = Vec::new();
        self.time = sample::append(moof.body, bytes, defaults, self.time, &mut samples)?;
        packets.extend(samples.into_iter().map(|s| (s.decode_time, s.data.to_vec())));
        Ok(())
    }
}

/// Writes chunk `chunk` of an audio track, whose packets `next` returns in order.
pub(super) fn write_chunk(
    header: &Header,
    grid: &Grid,
    chunk: u32,
    mut next: impl FnMut() -> Option<Vec<u8>>,
) -> Result<Rewritten, Mp4Error> {
    let samples = header.packet_samples();
    let mut rewritten = Rewritten::new(chunk, header.write(samples));
    for gop in grid.chunk_gops(chunk) {
        let frames = grid.sound_frames(gop, samples);
        let expected = frames.end - frames.start;
        let own: Vec<_> = (0..expected).map_while(|_| next()).collect();
        if own.len() as u64 != expected {
            return Err(Mp4Error::SampleCount { expected, found: own.len() as u64 });
        }
        let entries: Vec<_> = own.iter().map(|packet| (packet.len() as u32, 0)).collect();
        let head = Head {
            kind: TrackKind::Audio,
            gop,
            decode_time: frames.start * u64::from(samples),
            sample_duration: samples,
            samples: &entries,
        };
        rewritten.append(&head, own.iter().map(Vec::as_slice))?;
    }
    Ok(rewritten)
}

/// The kind and length of the box at the start of `bytes`; `None` until the box is complete.
fn whole_box(bytes: &[u8]) -> Result<Option<(Code, usize)>, Mp4Error> {
    let Some((kind, _, size)) = boxes::header(bytes)? else { return Ok(None) };
    if size > AUDIO_BOX_BYTES_MAX {
        return Err(Mp4Error::Unsupported("box above 256 MiB"));
    }
    let size = size as usize;
    Ok((bytes.len() >= size).then_some((kind, size)))
}
