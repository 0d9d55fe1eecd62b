//! Where the tracks of a source end according to their container.

use super::{Report, Stream, seconds};

/// The duration of an MP4 track whose writer did not know it (ISO/IEC 14496-12, 8.4.2.3).
const TICKS_UNKNOWN: i64 = u32::MAX as i64;
/// Containers that state no length of their own streams: FFmpeg estimates it from bit rates or from
/// the last packets of all streams; ASF states one length for all of them.
const UNSTATED: [&str; 8] = ["mp3", "aac", "ac3", "eac3", "amr", "mpegts", "mpeg", "asf"];

impl Report {
    /// The times at which a stream may end according to the container, in the source's seconds,
    /// the latest first.
    pub(in crate::ffmpeg::probe) fn claimed_ends(&self, stream: &Stream) -> Vec<f64> {
        let tick = stream.tick();
        let start = stream.start_pts.map(|pts| pts as f64 * tick);
        let file_start = seconds(self.format.start_time.as_deref());
        let start = start.or(file_start).unwrap_or(0.0);
        let own = stream.duration_ts.filter(|ticks| *ticks != TICKS_UNKNOWN);
        let own = own.map(|ticks| ticks as f64 * tick);
        let tag = stream.tags.get("DURATION").and_then(|text| clock(text));
        let tag = tag.filter(|_| self.is_matroska());
        let ends = match (tag, own) {
            // FFmpeg writes this tag counted from 0, mkvmerge from the track's first frame. Other
            // durations of Matroska's tracks are those of the file.
            (Some(tag), _) => vec![start + tag, tag],
            // The fragments' decode times, from 0.
            (None, Some(own)) if self.fragmented => vec![start + own, own],
            (None, Some(own)) => vec![start + own],
            (None, None) => {
                let file = seconds(self.format.duration.as_deref());
                file.map(|length| length + file_start.unwrap_or(0.0)).into_iter().collect()
            }
        };
        ends.into_iter().filter(|end| end.is_finite() && *end > 0.0).collect()
    }

    /// The end up to which a complete file has packets of this stream, in the source's seconds;
    /// `None` if the container does not state it.
    pub(in crate::ffmpeg::probe) fn stated_end(&self, stream: &Stream) -> Option<f64> {
        let format = self.format.format_name.as_str();
        if UNSTATED.contains(&format) || self.fragmented {
            return None;
        }
        let alone = self.streams.iter().filter(|s| s.codec_type.is_some()).count() == 1;
        let own = match self.is_matroska() {
            true => stream.tags.contains_key("DURATION"),
            false => stream.duration_ts.is_some(),
        };
        let ends = self.claimed_ends(stream).into_iter().filter(|_| own || alone);
        ends.min_by(f64::total_cmp)
    }
}

/// Parses a time such as "01:02:03.5" into seconds.
fn clock(text: &str) -> Option<f64> {
    let mut total = 0.0;
    for part in text.split(':') {
        total = total * 60.0 + part.trim().parse::<f64>().ok()?;
    }
    Some(total).filter(|value: &f64| value.is_finite() && *value > 0.0)
}
