//! Verifies that packets did not change between the encoder and the worker.
//!
//! FFmpeg writes every rendition twice: as MP4, and as a list of each packet's size and Adler-32,
//! taken before the muxer processes the packet. The packets of x264 and x265 are in Annex B format
//! (start codes), while the MP4's samples are length-prefixed. SVT-AV1's packets begin with a
//! delimiter, which MP4 omits. Samples are therefore converted back before their checksums are
//! computed.

use adler2::Adler32;
use media::{Codec, fmp4::SampleView};
use thiserror::Error;

/// H.264's NAL unit type for SEI messages (supplemental enhancement information).
const SEI: u8 = 6;
/// The type of the SEI message that contains x264's version: unregistered user data.
const USER_DATA_UNREGISTERED: u8 = 5;
/// AV1's temporal delimiter OBU: its header and its size.
const TEMPORAL_DELIMITER: [u8; 2] = [0x12, 0];

/// Why packets and samples do not match.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PacketCheckError {
    /// A line of the list does not have the framecrc muxer's format.
    #[error("read packet checksums: line {0}")]
    Line(usize),
    /// The numbers of packets and samples differ.
    #[error("compare packets: {packets} encoded, {samples} in the file")]
    Count {
        /// Packets that were encoded.
        packets: usize,
        /// Samples in the file.
        samples: usize,
    },
    /// The sample's NAL units do not fill it exactly.
    #[error("compare packets: sample {0} is damaged")]
    Damaged(usize),
    /// The sample's bytes differ from the packet's.
    #[error("compare packets: sample {0} differs from what was encoded")]
    Differs(usize),
}

/// Checks that `samples` correspond one to one to the packets of `codec` whose checksums the
/// framecrc muxer wrote to `list`.
///
/// # Errors
/// When the list cannot be parsed, or at the first difference.
pub fn compare(
    codec: Codec,
    list: &str,
    samples: &[SampleView<'_>],
) -> Result<(), PacketCheckError> {
    let mut packets = Vec::with_capacity(samples.len());
    for (number, line) in list.lines().enumerate() {
        if !line.starts_with('#') && !line.is_empty() {
            packets.push(packet(line).ok_or(PacketCheckError::Line(number + 1))?);
        }
    }
    if packets.len() != samples.len() {
        return Err(PacketCheckError::Count { packets: packets.len(), samples: samples.len() });
    }
    for (place, (packet, sample)) in packets.iter().zip(samples).enumerate() {
        let units = || units(sample.data).ok_or(PacketCheckError::Damaged(place));
        let sum = match codec {
            // x264 writes its version once, in its first packet.
            Codec::H264 => annex_b_sum(&units()?, place == 0),
            Codec::Hevc => annex_b_sum(&units()?, false),
            Codec::Av1 => sum(&[&TEMPORAL_DELIMITER, sample.data]),
        };
        if sum != *packet {
            return Err(PacketCheckError::Differs(place));
        }
    }
    Ok(())
}

/// Size and Adler-32 of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Packet {
    bytes: u64,
    sum: u32,
}

/// Parses a line of the form "stream, dts, pts, duration, size, 0xsum[, side data...]".
fn packet(line: &str) -> Option<Packet> {
    let mut fields = line.split(',').map(str::trim).skip(4);
    let bytes = fields.next()?.parse().ok()?;
    let sum = u32::from_str_radix(fields.next()?.strip_prefix("0x")?, 16).ok()?;
    Some(Packet { bytes, sum })
}

/// The NAL units of a sample, if their lengths fill it exactly.
fn units(mut sample: &[u8]) -> Option<Vec<&[u8]>> {
    let mut units = Vec::new();
    while !sample.is_empty() {
        let (length, rest) = sample.split_first_chunk::<4>()?;
        let (unit, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        units.push(unit);
        sample = rest;
    }
    Some(units)
}

/// Size and checksum of `units` in the encoder's format: a picture's first unit follows a start
/// code of four bytes, the others one of three. A start code of three bytes also precedes x264's
/// version message, which FFmpeg prepends to the first picture.
fn annex_b_sum(units: &[&[u8]], version_first: bool) -> Packet {
    let prepended = version_first && units.len() > 1 && is_version_message(units[0]);
    let picture = usize::from(prepended);
    let mut parts: Vec<&[u8]> = Vec::with_capacity(units.len() * 2);
    for (place, unit) in units.iter().enumerate() {
        parts.extend([if place == picture { &[0, 0, 0, 1][..] } else { &[0, 0, 1] }, unit]);
    }
    sum(&parts)
}

/// Whether the unit is x264's version message. Other messages belong to their picture and are part
/// of the encoder's packet.
fn is_version_message(unit: &[u8]) -> bool {
    matches!(unit, [head, USER_DATA_UNREGISTERED, ..] if head & 0x1f == SEI)
}

/// Size and checksum of the concatenated `parts`. FFmpeg's variant of Adler-32 starts from 0
/// instead of 1.
fn sum(parts: &[&[u8]]) -> Packet {
    let (mut sum, mut bytes) = (Adler32::from_checksum(0), 0);
    for part in parts {
        sum.write_slice(part);
        bytes += part.len() as u64;
    }
    Packet { bytes, sum: sum.checksum() }
}

#[cfg(test)]
mod tests {
    use media::{Codec, fmp4::SampleView};

    use super::{PacketCheckError, compare};

    fn view(data: &[u8]) -> SampleView<'_> {
        SampleView { data, decode_time: 0, composition_offset: 0, duration: 1, sync: true }
    }

    #[test]
    fn every_kind_of_damage_is_detected() {
        // Units [5] and [6, 7]; Annex B: 0 0 0 1 5 0 0 1 6 7.
        let sample = [0, 0, 0, 1, 5, 0, 0, 0, 2, 6, 7];
        let sum = {
            let (mut low, mut high) = (0_u32, 0_u32);
            for byte in [0, 0, 0, 1, 5, 0, 0, 1, 6, 7] {
                low += byte;
                high += low;
            }
            high << 16 | low
        };
        let list = format!("#tb 0: 1/25\n0,  0,  0,  1,  10, {sum:#010x}, S=1,  8\n");
        assert_eq!(compare(Codec::H264, &list, &[view(&sample)]), Ok(()));
        let mut flipped = sample;
        flipped[4] ^= 1;
        assert_eq!(
            compare(Codec::H264, &list, &[view(&flipped)]),
            Err(PacketCheckError::Differs(0))
        );
        assert_eq!(
            compare(Codec::H264, &list, &[view(&sample[..9])]),
            Err(PacketCheckError::Damaged(0))
        );
        assert_eq!(
            compare(Codec::H264, &list, &[]),
            Err(PacketCheckError::Count { packets: 1, samples: 0 })
        );
        assert_eq!(compare(Codec::H264, "nonsense", &[]), Err(PacketCheckError::Line(1)));
    }
    /// x264 writes a picture's captions as an SEI message before the picture. Only the first packet
    /// begins with x264's version message.
    #[test]
    fn only_the_version_message_of_the_first_packet_is_ignored() {
        let (version, captions, slice) = ([6, 5, 1], [6, 4, 1], [0x65, 9]);
        let annex_b = |units: &[(&[u8], &[u8])]| {
            let packet: Vec<u8> =
                units.iter().flat_map(|(code, unit)| [*code, *unit].concat()).collect();
            let (mut low, mut high) = (0_u32, 0_u32);
            for byte in &packet {
                low += u32::from(*byte);
                high += low;
            }
            format!("0, 0, 0, 1, {}, {:#010x}\n", packet.len(), high << 16 | low)
        };
        let sample = |units: &[&[u8]]| {
            let prefixed = |unit: &&[u8]| [&(unit.len() as u32).to_be_bytes()[..], *unit].concat();
            units.iter().flat_map(prefixed).collect::<Vec<u8>>()
        };
        let (long, short) = (&[0, 0, 0, 1][..], &[0, 0, 1][..]);
        let first = [(short, &version[..]), (long, &captions[..]), (short, &slice[..])];
        let later = [(long, &captions[..]), (short, &slice[..])];
        let own_data = [(long, &version[..]), (short, &slice[..])];
        let list = [annex_b(&first), annex_b(&later), annex_b(&own_data)].concat();
        let samples = [
            sample(&[&version, &captions, &slice]),
            sample(&[&captions, &slice]),
            sample(&[&version, &slice]),
        ];
        assert_eq!(compare(Codec::H264, &list, &samples.each_ref().map(|s| view(s))), Ok(()));
        // Without a version message, the first packet begins with the picture's own message.
        let list = annex_b(&later);
        assert_eq!(compare(Codec::H264, &list, &[view(&samples[1])]), Ok(()));
    }

    /// From the output of FFmpeg 5.1.9: SVT-AV1's shortest packet, which shows an existing frame.
    #[test]
    fn packets_of_av1_are_samples_after_a_delimiter() {
        let list = "#codec_id 0: av1\n0,  2,  2,  1,  5, 0x01820105, F=0x0, S=1,  8\n";
        let sample = [0x1a, 0x01, 0xd8];
        assert_eq!(compare(Codec::Av1, list, &[view(&sample)]), Ok(()));
        let flipped = [0x1a, 0x01, 0xd9];
        assert_eq!(compare(Codec::Av1, list, &[view(&flipped)]), Err(PacketCheckError::Differs(0)));
        assert!(compare(Codec::Hevc, list, &[view(&sample)]).is_err());
    }
}
