//! Where `cc_data` lies in the packets of a video codec that have not been decoded.

/// `user_identifier` of ATSC A/53 and its `user_data_type_code` for `cc_data`.
const ATSC: &[u8] = b"GA94\x03";
/// Before it in messages of ITU-T T.35: the United States, and ATSC as the provider.
const T35_ATSC: &[u8] = &[0xb5, 0x00, 0x31];
/// The user data of DVDs and some cameras, "CC" and its version.
const DVD: &[u8] = b"CC\x01\xf8";
/// Most triplets of one picture: five bits count them.
pub const TRIPLETS_MAX: usize = 31;
/// Most triplets in the user data of a DVD, which hold those of a whole GOP.
const DVD_TRIPLETS_MAX: usize = 126;

/// How a codec carries captions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carriage {
    /// H.264: SEI messages.
    Avc,
    /// HEVC: SEI messages.
    Hevc,
    /// MPEG-2 video: user data.
    Mpeg2,
    /// A track of its own (`c608` of QuickTime), which FFmpeg converts to triplets.
    Track,
}

impl Carriage {
    /// The carriage of a codec by FFmpeg's name.
    pub fn of_codec(codec: &str) -> Option<Self> {
        match codec {
            "h264" => Some(Self::Avc),
            "hevc" => Some(Self::Hevc),
            "mpeg2video" => Some(Self::Mpeg2),
            "eia_608" => Some(Self::Track),
            _ => None,
        }
    }

    /// The types of the units of packets that can contain captions, as FFmpeg's `filter_units` takes
    /// them; `None` for whole packets.
    pub const fn unit_types(self) -> Option<&'static str> {
        match self {
            Self::Avc => Some("6"),
            Self::Hevc => Some("39"),
            Self::Mpeg2 => Some("178"),
            Self::Track => None,
        }
    }

    /// The `cc_data` of one packet, whose units begin with start codes.
    pub fn cc_data(self, packet: &[u8]) -> Vec<[u8; 3]> {
        let mut triplets = Vec::new();
        match self {
            Self::Track => triplets.extend(packet.as_chunks().0.iter().take(TRIPLETS_MAX)),
            Self::Mpeg2 | Self::Avc | Self::Hevc => {
                for unit in units(packet) {
                    match (self, unit) {
                        (Self::Mpeg2, [0xb2, data @ ..]) => user_data(data, &mut triplets),
                        (Self::Avc, [head, sei @ ..]) if head & 0x1f == 6 => {
                            messages(sei, &mut triplets);
                        }
                        (Self::Hevc, [head, _, sei @ ..]) if (head >> 1) & 0x3f == 39 => {
                            messages(sei, &mut triplets);
                        }
                        _ => {}
                    }
                }
            }
        }
        triplets
    }
}

/// Whether a piece of a file contains `cc_data` of any codec.
pub fn is_present(piece: &[u8]) -> bool {
    let starts = |mark: &'static [u8]| piece.windows(mark.len()).any(|window| window == mark);
    starts(ATSC) || starts(DVD)
}

/// The units of a packet, without their start codes and not empty.
fn units(packet: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(packet);
    std::iter::from_fn(move || {
        let unit = rest?;
        rest = after_start_code(unit);
        let length = rest.map_or(unit.len(), |rest| unit.len() - rest.len() - 3);
        Some(&unit[..length])
    })
    .filter(|unit| !unit.is_empty())
}

fn after_start_code(bytes: &[u8]) -> Option<&[u8]> {
    let at = bytes.windows(3).position(|window| window == [0, 0, 1])?;
    bytes.get(at + 3..)
}

/// Reads the SEI messages of a unit, behind its header.
fn messages(unit: &[u8], triplets: &mut Vec<[u8; 3]>) {
    let payload = without_emulation(unit);
    let mut rest = &payload[..];
    // The rest of a unit begins with a stop bit.
    while rest.len() > 2 {
        let Some((kind, after)) = number(rest) else { return };
        let Some((size, after)) = number(after) else { return };
        let Some((message, after)) = after.split_at_checked(size) else { return };
        if kind == 4 {
            user_data(message.strip_prefix(T35_ATSC).unwrap_or_default(), triplets);
        }
        rest = after;
    }
}

/// A type or size of a message: bytes 0xff count 255 each, up to one that is smaller.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let full = bytes.iter().take_while(|byte| **byte == 0xff).count();
    let last = bytes.get(full)?;
    Some((full * 255 + usize::from(*last), &bytes[full + 1..]))
}

/// The bytes without those that prevent the emulation of start codes.
fn without_emulation(unit: &[u8]) -> Vec<u8> {
    let (mut out, mut zeros) = (Vec::with_capacity(unit.len()), 0);
    for byte in unit {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        out.push(*byte);
    }
    out
}

/// Reads user data of A/53 or of a DVD.
fn user_data(bytes: &[u8], triplets: &mut Vec<[u8; 3]>) {
    if let Some([flags, _, rest @ ..]) = bytes.strip_prefix(ATSC) {
        // `process_cc_data_flag`, and the count.
        let count = if flags & 0x40 == 0 { 0 } else { usize::from(flags & 0x1f) };
        triplets.extend(rest.as_chunks().0.iter().take(count));
    } else if let Some([_, rest @ ..]) = bytes.strip_prefix(DVD) {
        // Its count is often wrong, so the markers of the fields decide.
        for [marker, first, second] in rest.as_chunks().0.iter().take(DVD_TRIPLETS_MAX) {
            match marker {
                0xff => triplets.push([0xfc, *first, *second]),
                0xfe => triplets.push([0xfd, *first, *second]),
                _ => return,
            }
        }
    }
}
