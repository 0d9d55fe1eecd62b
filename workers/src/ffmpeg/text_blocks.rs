//! Text tracks whose codec FFmpeg does not know: ffprobe prints their packets, each of which is the
//! text of a cue.

use std::fmt::Write;

use serde::Deserialize;

/// Bytes that ffprobe prints per byte of a packet, rounded up, without short packets' own fields.
pub const PRINTED_PER_BYTE: usize = 8;
/// Where the bytes of a line in ffprobe's hexadecimal dump begin and end.
const DIGITS: std::ops::Range<usize> = 10..51;

#[derive(Debug, Deserialize)]
struct Packets {
    #[serde(default)]
    packets: Vec<Packet>,
}

#[derive(Debug, Deserialize)]
struct Packet {
    pts_time: Option<String>,
    duration_time: Option<String>,
    #[serde(default)]
    data: String,
}

/// Writes the cues in ffprobe's `json` as WebVTT, with the source's own timestamps; `None` if it is
/// not the output of ffprobe. Packets without a time or a duration are left out.
pub fn webvtt(json: &[u8]) -> Option<Vec<u8>> {
    let Packets { packets } = serde_json::from_slice(json).ok()?;
    let mut text = b"WEBVTT\n\n".to_vec();
    for Packet { pts_time, duration_time, data } in packets {
        let (Some(start), Some(length)) = (milliseconds(pts_time), milliseconds(duration_time))
        else {
            continue;
        };
        let mut timing = String::new();
        let end = start.saturating_add(length);
        writeln!(timing, "{} --> {}", timestamp(start), timestamp(end)).ok()?;
        text.extend(timing.into_bytes());
        text.extend(bytes(&data));
        text.extend(b"\n\n");
    }
    Some(text)
}

fn milliseconds(seconds: Option<String>) -> Option<u64> {
    let seconds: f64 = seconds?.parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then_some((seconds * 1000.0).round() as u64)
}

fn timestamp(ms: u64) -> String {
    let (hours, minutes) = (ms / 3_600_000, ms / 60_000 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{:03}", ms / 1000 % 60, ms % 1000)
}

/// The bytes of a dump with 16 bytes per line: an offset, hexadecimal digits, the text.
fn bytes(dump: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in dump.lines() {
        let digits = line.as_bytes().get(DIGITS).unwrap_or_default();
        let digits: Vec<u8> = digits.iter().filter_map(|digit| hex(*digit)).collect();
        bytes.extend(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]));
    }
    bytes
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::webvtt;

    #[test]
    fn packets_become_cues() {
        let json = br#"{"packets": [
            {"pts_time": "0.500000", "duration_time": "1.000000",
             "data": "\n00000000: 4865 6c6c 6f20 3c69 3e74 6865 7265 3c2f  Hello <i>there</\n00000010: 693e                                     i>\n"},
            {"pts_time": "3723.250000", "duration_time": "0.040000",
             "data": "\n00000000: c3a9 0a2d                                ...-\n"},
            {"duration_time": "1.000000", "data": "\n00000000: 41                                       A\n"}
        ]}"#;
        let text = String::from_utf8(webvtt(json).unwrap()).unwrap();
        assert_eq!(
            text,
            "WEBVTT\n\n00:00:00.500 --> 00:00:01.500\nHello <i>there</i>\n\n\
             01:02:03.250 --> 01:02:03.290\n\u{e9}\n-\n\n"
        );
        assert_eq!(webvtt(b"{}").unwrap(), b"WEBVTT\n\n");
        assert!(webvtt(b"no JSON").is_none());
    }
}
