//! Chooses the frame rate of the output.
//!
//! The container states a nominal rate, which is right for constant rates. With a variable one it
//! can be far off in both directions, so the times of the pictures decide: the rate is the lowest
//! of some at which every picture has a frame.

use media::{FrameRate, grid::FRAME_RATE_MAX, source::VideoTrack};

use super::{ends::Ends, report::Stream};

/// If the average rate is this close to the nominal one, the rate is constant.
const CONSTANT_RATE_TOLERANCE: f64 = 0.01;
/// Common rates, in frames per second, that a variable rate is rounded up to.
const RATE_STEPS: [u32; 6] = [10, 15, 24, 25, 30, 60];
/// The rate of a file that does not state one and has only one frame.
const RATE_UNKNOWN: (u32, u32) = (25, 1);
/// Highest rate that a container can mean.
const STATED_RATE_MAX: f64 = 1000.0;
/// From this rate on, a picture may be shown up to a frame late, which is not noticed: at most
/// 0.042 s. ITU-R BT.1359 gives 0.045 s as the limit for audio that is early.
const PACED_FPS_MIN: f64 = 23.9;
/// Highest multiple of the stated rate that is tried.
const MULTIPLE_MAX: u32 = 6;
/// Pictures that are closer to each other, in seconds, count as one: VP8 has packets without a
/// picture, and recordings that were joined may overlap by a tick or two.
const PICTURE_SECONDS_MIN: f64 = 0.002;

/// The rate that the container intends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stated {
    rate: (u32, u32),
    /// Every picture is shown for the same time.
    constant: bool,
}

impl Stated {
    /// The rate of `video`. With a variable rate, every frame has a place at the nominal rate. If
    /// that exceeds the maximum, as it does when timestamps jitter, the usual interval between
    /// frames is a better estimate, rounded up to the next common rate.
    pub(super) fn new(video: &Stream, ends: &Ends) -> Self {
        if ends.is_lone() {
            return Self { rate: lone_rate(video), constant: false };
        }
        let nominal = video.nominal_rate().filter(|rate| fps(*rate) <= STATED_RATE_MAX);
        let average = video.average_rate().filter(|rate| fps(*rate) <= STATED_RATE_MAX);
        let constant = |rate| Self { rate, constant: true };
        let varied = |rate| Self { rate, constant: false };
        match (nominal, average) {
            (Some(nominal), Some(average)) => {
                let (high, mean) = (fps(nominal), fps(average));
                if (high - mean).abs() <= high * CONSTANT_RATE_TOLERANCE {
                    return constant(nominal);
                }
                // The container counts fields as frames.
                if (high - 2.0 * mean).abs() <= high * CONSTANT_RATE_TOLERANCE {
                    return constant(average);
                }
                if high <= f64::from(FRAME_RATE_MAX) {
                    return varied(nominal);
                }
                match by_packets(video, ends) {
                    Some(usual) if fps(usual) > mean => varied(usual),
                    _ => varied(step_above(mean.min(high))),
                }
            }
            (None, Some(average)) => varied(step_above(fps(average))),
            (nominal, None) => varied(by_packets(video, ends).or(nominal).unwrap_or(RATE_UNKNOWN)),
        }
    }

    /// The rate for a track whose pictures are not examined.
    pub(super) const fn rate(self) -> (u32, u32) {
        self.rate
    }

    /// Chooses the rate of `track` and the placement of its pictures, which are due at `times`.
    pub(super) fn fit(self, track: &mut VideoTrack, times: &[i64]) {
        let times = pictures(track, times);
        let mut best: Option<VideoTrack> = None;
        for rate in self.candidates(mean(track, &times)) {
            let Some(tried) = with_rate(track, rate, &times) else { continue };
            let all_shown = tried.hidden == 0;
            if best.as_ref().is_none_or(|best| tried.hidden < best.hidden) {
                best = Some(tried);
            }
            if all_shown {
                break;
            }
        }
        if let Some(best) = best {
            *track = best;
        }
    }

    /// The rates that are tried, from the lowest: the stated one, up to the maximum; one that is a
    /// little higher, for clocks that run fast; and multiples, which keep a regular rhythm; and 60.
    /// Those below `mean`, the average rate, are skipped. A higher constant rate is the only one: it
    /// is halved ([`FrameRate::for_source`]), which keeps its rhythm, too.
    fn candidates(self, mean: f64) -> Vec<(u32, u32)> {
        let fits = |rate: &(u32, u32)| !is_above_maximum(*rate);
        if self.constant && !fits(&self.rate) {
            return vec![self.rate];
        }
        let first = if fits(&self.rate) { self.rate } else { (FRAME_RATE_MAX, 1) };
        let scaled =
            |(num, den): (u32, u32)| Some((first.0.checked_mul(num)?, first.1.checked_mul(den)?));
        let raised = scaled((101, 100)).filter(|rate| fps(*rate) >= PACED_FPS_MIN);
        let multiples = (2..=MULTIPLE_MAX).map_while(|times| scaled((times, 1)).filter(fits));
        let higher = raised.into_iter().chain(multiples).chain([(FRAME_RATE_MAX, 1)]);
        let fast_enough = |rate: &(u32, u32)| fps(*rate) >= mean * (1.0 - CONSTANT_RATE_TOLERANCE);
        let higher = higher.filter(fits).filter(fast_enough);
        [first].into_iter().chain(higher).collect()
    }
}

/// Extends `track` if its last picture, the last of `times`, is shown after its end because the
/// picture before it has its frame.
pub(super) fn keep_last(track: &mut VideoTrack, times: &[i64]) {
    let (num, den) = track.frame_rate;
    let Ok(rate) = FrameRate::for_source(num, den) else { return };
    let places = track.places(&pictures(track, times), rate).last();
    let missing = places.map_or(0, |place| place + 1 - i128::from(track.frames_at(rate)));
    let frame = 1.0 / rate.fps() / track.seconds(1);
    if missing > 0 && frame.is_finite() {
        let ticks = (missing as f64 * frame).round() as u64;
        track.hold_after = track.hold_after.saturating_add(ticks);
    }
}

/// The times of distinct pictures of `track` among `times`.
fn pictures(track: &VideoTrack, times: &[i64]) -> Vec<i64> {
    let mut last: Option<i64> = None;
    let is_distinct = |time: &i64| {
        let distinct = |last: i64| track.seconds(time.saturating_sub(last)) >= PICTURE_SECONDS_MIN;
        let shown = *time >= track.first_pts && last.is_none_or(distinct);
        last = if shown { Some(*time) } else { last };
        shown
    };
    times.iter().copied().filter(is_distinct).collect()
}

/// The average rate of the pictures that are due at `times`.
fn mean(track: &VideoTrack, times: &[i64]) -> f64 {
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return 0.0 };
    let seconds = track.seconds(last.saturating_sub(*first));
    if seconds > 0.0 { (times.len() - 1) as f64 / seconds } else { 0.0 }
}

/// `track` at `rate`, with the number of pictures that have no frame there.
fn with_rate(track: &VideoTrack, rate: (u32, u32), times: &[i64]) -> Option<VideoTrack> {
    let output = FrameRate::for_source(rate.0, rate.1).ok()?;
    // Which pictures of a constant rate above the maximum are shown must be regular.
    let paced = fps(rate) >= PACED_FPS_MIN && !is_above_maximum(rate);
    let mut track = VideoTrack { frame_rate: rate, paced, ..track.clone() };
    (track.hidden, track.examined) = (track.hidden(times, output), times.len() as u64);
    Some(track)
}

fn is_above_maximum(rate: (u32, u32)) -> bool {
    fps(rate) > f64::from(FRAME_RATE_MAX) * 1.001
}

fn fps((num, den): (u32, u32)) -> f64 {
    f64::from(num) / f64::from(den)
}

/// The rate of a video with a single picture. Containers that only know durations state their
/// clock's rate.
fn lone_rate(video: &Stream) -> (u32, u32) {
    let usual = |(num, den): &(u32, u32)| num / den <= FRAME_RATE_MAX;
    let stated = video.average_rate().filter(usual).or_else(|| video.nominal_rate().filter(usual));
    stated.unwrap_or(RATE_UNKNOWN)
}

/// Estimates the rate from the usual interval between packets, for containers that do not state it.
fn by_packets(video: &Stream, ends: &Ends) -> Option<(u32, u32)> {
    let step = ends.last.step.filter(|step| *step > 0)?;
    // The interval was rounded to ticks; a lower rate than the true one is tried first.
    let fps = 1.0 / ((step as f64 + 0.5) * video.tick());
    (fps.is_finite() && fps > 0.0 && fps <= STATED_RATE_MAX).then(|| step_above(fps))
}

fn step_above(fps: f64) -> (u32, u32) {
    let step = RATE_STEPS.into_iter().find(|step| fps <= f64::from(*step) * 1.01);
    step.map_or(((fps * 1000.0).round() as u32, 1000), |step| (step, 1))
}

#[cfg(test)]
mod tests {
    use media::source::VideoTrack;

    use super::{Stated, keep_last};

    /// A track in milliseconds.
    fn track() -> VideoTrack {
        VideoTrack {
            index: 0,
            codec: "vp8".to_owned(),
            width: 64,
            height: 36,
            frame_rate: (1, 1),
            time_base: (1, 1000),
            first_pts: 0,
            last_pts: 0,
            interlaced: false,
            pixel_format: "yuv420p".to_owned(),
            transfer: String::new(),
            matrix: String::new(),
            primaries: String::new(),
            hold_before: 0,
            hold_after: 0,
            paced: false,
            hidden: 0,
            examined: 0,
            parts: Vec::new(),
        }
    }

    /// The rate of pictures at `times`, whether they are paced, and how many are hidden.
    fn fitted(rate: (u32, u32), constant: bool, times: &[i64]) -> ((u32, u32), bool, u64) {
        let mut track = track();
        Stated { rate, constant }.fit(&mut track, times);
        (track.frame_rate, track.paced, track.hidden)
    }

    fn every(num: i64, den: i64, count: i64) -> Vec<i64> {
        (0..count).map(|n| (n * den * 1000 + num / 2) / num).collect()
    }

    #[test]
    fn a_constant_rate_stays_as_stated() {
        for (num, den) in
            [(24_000, 1001), (25, 1), (30_000, 1001), (50, 1), (60_000, 1001), (60, 1)]
        {
            let times = every(num.into(), den.into(), 1000);
            assert_eq!(fitted((num, den), true, &times), ((num, den), true, 0));
        }
        assert_eq!(fitted((2, 1), true, &every(2, 1, 100)), ((2, 1), false, 0));
        // Halved to 60.
        assert_eq!(fitted((120, 1), true, &every(120, 1, 1000)), ((120, 1), false, 499));
    }

    #[test]
    fn a_variable_rate_is_the_lowest_that_shows_every_picture() {
        // Bursts at 30 per second between pauses, 12 per second on average.
        let bursts: Vec<i64> = (0..200).map(|n| n / 10 * 833 + n % 10 * 1000 / 30).collect();
        assert_eq!(fitted((15, 1), false, &bursts), ((30, 1), true, 0));
        // A clock that is 0.5 % fast.
        let fast: Vec<i64> = (0..3000).map(|n| n * 33_167 / 1000).collect();
        assert_eq!(fitted((30, 1), true, &fast), ((3030, 100), true, 0));
        // Telecined: pictures last two and three fields in turn.
        let film: Vec<i64> = (0..500).map(|n| (n * 5 + 1) / 2 * 1001 / 60).collect();
        assert_eq!(fitted((30_000, 1001), false, &film), ((30_000, 1001), true, 0));
        // A picture a minute.
        let slides: Vec<i64> = (0..60).map(|n| n * 60_000).collect();
        assert_eq!(fitted((10, 1), false, &slides), ((10, 1), false, 0));
        // Pairs of pictures 4 ms apart, 100 per second: 60 of them are shown.
        let pairs: Vec<i64> = (0..600).flat_map(|n| [n * 20, n * 20 + 4]).collect();
        let (rate, paced, hidden) = fitted((1000, 1), false, &pairs);
        assert!(rate == (60, 1) && paced && (470..=490).contains(&hidden), "{hidden}");
    }

    /// VP8 has packets without a picture, a millisecond from another packet.
    #[test]
    fn packets_at_the_same_time_are_one_picture() {
        let times: Vec<i64> = every(25, 1, 100).iter().flat_map(|t| [*t, *t + 1]).collect();
        assert_eq!(fitted((25, 1), true, &times), ((25, 1), true, 0));
    }

    #[test]
    fn the_last_picture_is_kept_when_another_has_its_frame() {
        let mut track = VideoTrack { frame_rate: (25, 1), last_pts: 44, paced: true, ..track() };
        let rate = media::FrameRate::new(25, 1).unwrap();
        keep_last(&mut track, &[0, 30, 44]);
        assert_eq!(track.frames_at(rate), 3);
        keep_last(&mut track, &[0, 30, 44]);
        assert_eq!(track.frames_at(rate), 3);
    }
}
