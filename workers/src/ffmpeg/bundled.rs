//! Finds audio whose packets contain several frames each, of which FFmpeg's decoder reads only the
//! first: AMR in 3GP files of phones.

use std::{ffi::OsString, path::Path, time::Duration};

use media::source::AudioTrack;

use super::{Toolbox, args, query::query};
use crate::{input::Input, outcome::TaskFailure};

/// Codecs with the size of their largest frame in bytes, including its header (RFC 4867, 5.3).
const CODECS: [(&str, u64); 2] = [("amr_nb", 32), ("amr_wb", 61)];
/// A frame lasts 0.02 s; containers round.
const FRAME_SECONDS_MAX: f64 = 0.03;
/// The number of packets that are examined.
const PACKETS: u32 = 8;
/// Maximum duration of the query.
const QUERY_TIME_MAX: Duration = Duration::from_secs(20);
/// Maximum size of the query's output.
const QUERY_OUTPUT_BYTES_MAX: usize = 64 << 10;

/// The time of the first packet of `track`, in the source's seconds, if its packets contain several
/// frames each.
///
/// # Errors
/// When the source cannot be read.
pub async fn start_of_bundled(
    toolbox: &Toolbox,
    source: &Input,
    track: &AudioTrack,
    scratch: &Path,
) -> Result<Option<f64>, TaskFailure> {
    let codec = CODECS.into_iter().find(|(name, _)| *name == track.codec);
    let Some((_, frame_bytes_max)) = codec else { return Ok(None) };
    let args: Vec<OsString> = args::probe_first_packets(source, track.index, PACKETS);
    let (program, bytes) = (&toolbox.ffprobe, QUERY_OUTPUT_BYTES_MAX);
    let listed =
        query(toolbox, program, args, Some(source), scratch, QUERY_TIME_MAX, bytes).await?;
    Ok(start_in(&String::from_utf8_lossy(&listed), frame_bytes_max))
}

fn start_in(listed: &str, frame_bytes_max: u64) -> Option<f64> {
    let number = |line: &str, name: &str| -> Option<f64> {
        let value = line.split('|').find_map(|field| field.strip_prefix(name))?;
        value.parse().ok().filter(|number: &f64| number.is_finite())
    };
    let bundled = |line: &str| {
        number(line, "duration_time=").is_some_and(|seconds| seconds > FRAME_SECONDS_MAX)
            || number(line, "size=").is_some_and(|bytes| bytes > frame_bytes_max as f64)
    };
    let start = number(listed.lines().next()?, "pts_time=").unwrap_or(0.0);
    listed.lines().any(bundled).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::start_in;

    #[test]
    fn packets_of_several_frames_are_recognized_by_their_length_or_their_size() {
        let single = "pts_time=0.500000|duration_time=0.020000|size=32\n";
        let long = "pts_time=0.520000|duration_time=0.100000|size=30\n";
        let large = "pts_time=0.520000|duration_time=N/A|size=160\n";
        assert_eq!(start_in(&single.repeat(8), 32), None);
        assert_eq!(start_in(&format!("{single}{long}"), 32), Some(0.5));
        assert_eq!(start_in(large, 32), Some(0.52));
        assert_eq!(start_in("", 32), None);
    }
}
