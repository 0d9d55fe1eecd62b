//! Extends a video to the length of its audio: audio before the first picture or after the last one
//! is kept, and the nearest picture is held meanwhile, as players do.

use media::source::VideoTrack;

use super::report::{Report, Stream};

/// Shorter differences, in seconds, come from packet rounding and from the conventions of muxers
/// and broadcasts; they do not extend a video.
const HOLD_SECONDS_MIN: f64 = 0.5;

/// When the audio starts and ends, in the source's seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct AudioSpan {
    pub(super) start: Option<f64>,
    pub(super) end: Option<f64>,
}

impl AudioSpan {
    /// The start of the audio tracks, taken from their first packets. The claimed ends are
    /// unreliable and are left out.
    pub(super) fn claimed(report: &Report) -> Self {
        let starts = report.audible().filter_map(Stream::start_seconds);
        Self { start: starts.min_by(f64::total_cmp), end: None }
    }

    /// Repeats the first and last pictures of `track`, which are shown from `first` to `last`, for
    /// as long as there is audio or the file shows the last picture.
    pub(super) fn hold(&self, track: &mut VideoTrack, (first, last): (f64, f64)) {
        let (num, den) = track.frame_rate;
        if num == 0 || den == 0 {
            return;
        }
        let tick = track.seconds(1);
        let ticks = |seconds: f64| match seconds / tick {
            ticks if seconds >= HOLD_SECONDS_MIN && ticks.is_finite() => ticks.round() as u64,
            _ => 0,
        };
        track.hold_before = self.start.map_or(0, |start| ticks(first - start));
        let end = self.end.map_or(last, |end| end.max(last));
        // The last picture is shown for one frame anyway.
        let frame = f64::from(den) / f64::from(num);
        track.hold_after = ticks(end - track.seconds(track.last_pts) - frame);
    }
}

/// The audio tracks that claim to outlast the pictures' `end` or do not state their end, the one
/// that claims to end last first, each with its claim.
pub(super) fn outlasting(report: &Report, end: f64) -> Vec<(&Stream, f64)> {
    let claim = |stream| report.claimed_ends(stream).first().copied().unwrap_or(f64::INFINITY);
    let claims = report.audible().map(|stream| (stream, claim(stream)));
    let mut longer: Vec<_> = claims.filter(|(_, claim)| *claim >= end + HOLD_SECONDS_MIN).collect();
    longer.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    longer
}

#[cfg(test)]
mod tests {
    use media::source::VideoTrack;

    use super::{AudioSpan, Report, outlasting};

    fn track() -> VideoTrack {
        VideoTrack {
            index: 0,
            codec: "h264".to_owned(),
            width: 64,
            height: 36,
            frame_rate: (25, 1),
            time_base: (1, 1000),
            first_pts: 2000,
            last_pts: 5960,
            interlaced: false,
            pixel_format: "yuv420p".to_owned(),
            transfer: String::new(),
            matrix: String::new(),
            primaries: String::new(),
            paced: false,
            hidden: 0,
            examined: 0,
            hold_before: 0,
            hold_after: 0,
            parts: Vec::new(),
        }
    }

    fn held(start: f64, end: f64, last: f64) -> (u64, u64) {
        let mut track = track();
        AudioSpan { start: Some(start), end: Some(end) }.hold(&mut track, (2.0, last));
        (track.hold_before, track.hold_after)
    }

    #[test]
    fn pictures_are_held_while_there_is_only_audio() {
        assert_eq!(held(0.0, 9.0, 6.0), (2000, 3000));
        assert_eq!(held(2.0, 4.0, 6.0), (0, 0), "audio that ends early");
        assert_eq!(held(1.7, 6.4, 6.0), (0, 0), "a short difference");
        assert_eq!(held(2.0, 6.0, 8.0), (0, 2000), "a picture that is shown for long");
        let mut held = track();
        AudioSpan { start: Some(0.0), end: Some(9.0) }.hold(&mut held, (2.0, 6.0));
        let rate = media::FrameRate::new(25, 1).unwrap();
        assert_eq!((held.start_pts(), held.frames_at(rate)), (0, 225));
        assert_eq!(held.pictures_at(rate), 50..=149);
    }

    #[test]
    fn only_audio_tracks_that_may_outlast_the_video_are_examined() {
        let stream = |index: u32, ticks: u32| {
            format!(
                r#"{{"index": {index}, "codec_type": "audio", "codec_name": "aac", "channels": 2,
                "sample_rate": "48000", "time_base": "1/10", "start_pts": 0, "duration_ts": {ticks}}}"#
            )
        };
        let json = format!(r#"{{"streams": [{}, {}]}}"#, stream(1, 64), stream(2, 90));
        let report = Report::parse(json.as_bytes()).unwrap();
        let found = |end| -> Vec<u32> {
            outlasting(&report, end).iter().map(|(stream, _)| stream.index).collect()
        };
        assert_eq!(found(5.0), [2, 1]);
        assert_eq!(found(6.0), [2]);
        assert!(found(8.6).is_empty());
    }
}
