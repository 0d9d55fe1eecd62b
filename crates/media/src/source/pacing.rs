//! Places the pictures of a track on the frames of a grid.
//!
//! A picture belongs to the frame nearest to its time. Where times jitter, two pictures may belong
//! to one frame, which would hide the first of them, and none to the next. In a *paced* track, a
//! picture that is due after the start of a frame which the picture before it has taken gets the
//! frame after that one. So pictures are hidden only where they follow one another faster than
//! frames do, and none is shown more than one frame late. The state is one number, so that a
//! decoder that starts a second before a chunk places the chunk's pictures as one that started
//! earlier.

use super::VideoTrack;
use crate::FrameRate;

/// Most ticks per frame of the timeline on which pictures are paced.
const TICKS_MAX: u32 = 1000;

/// Ticks per frame of that timeline at `rate`: fine enough for the times of sources, coarse enough
/// for the 32-bit time bases of FFmpeg.
pub const fn pacing_ticks(rate: FrameRate) -> u32 {
    let ticks = i32::MAX as u32 / rate.num();
    if ticks < TICKS_MAX { ticks } else { TICKS_MAX }
}

impl VideoTrack {
    /// The frames of a grid at `rate` that show the pictures due at `times`, which rise. A picture
    /// is hidden if the next one has the same frame.
    pub fn places(&self, times: &[i64], rate: FrameRate) -> impl Iterator<Item = i128> {
        let frame = i128::from(pacing_ticks(rate));
        let (start, paced) = (i128::from(self.start_pts()), self.paced);
        let num = i128::from(self.time_base.0) * i128::from(rate.num()) * frame;
        let den = i128::from(self.time_base.1.max(1)) * i128::from(rate.den());
        let mut taken: Option<i128> = None;
        times.iter().map(move |time| {
            let due = rounded((i128::from(*time) - start).saturating_mul(num), den);
            let nearest = rounded(due, frame) * frame;
            let place = match taken.filter(|_| paced) {
                Some(taken) if due > taken => nearest.max(taken + frame),
                Some(taken) => nearest.max(taken),
                None => nearest,
            };
            taken = Some(place);
            place / frame
        })
    }

    /// How many of the pictures due at `times`, which rise, a grid at `rate` hides.
    pub fn hidden(&self, times: &[i64], rate: FrameRate) -> u64 {
        let mut shown = None;
        let repeated = |place: &i128| shown.replace(*place) == Some(*place);
        self.places(times, rate).filter(repeated).count() as u64
    }
}

/// `num / den`, rounded to the nearest integer and halves up. Forged times saturate.
const fn rounded(num: i128, den: i128) -> i128 {
    num.saturating_mul(2).saturating_add(den).div_euclid(2 * den)
}

#[cfg(test)]
mod tests {
    use crate::{FrameRate, source::VideoTrack};

    /// A track in milliseconds.
    fn track(paced: bool) -> VideoTrack {
        VideoTrack {
            index: 0,
            codec: "vp9".to_owned(),
            width: 64,
            height: 36,
            frame_rate: (30, 1),
            time_base: (1, 1000),
            first_pts: 0,
            last_pts: 0,
            interlaced: false,
            pixel_format: String::new(),
            transfer: String::new(),
            matrix: String::new(),
            primaries: String::new(),
            hold_before: 0,
            hold_after: 0,
            paced,
            hidden: 0,
            examined: 0,
            parts: Vec::new(),
        }
    }

    #[test]
    fn exact_times_have_frames_of_their_own_however_their_container_rounds_them() {
        for (num, den) in [(24_000, 1001), (25, 1), (30_000, 1001), (50, 1), (60_000, 1001)] {
            let rate = FrameRate::new(num, den).unwrap();
            let millisecond =
                |n: i64| (n * i64::from(den) * 1000 + i64::from(num) / 2) / i64::from(num);
            let times: Vec<i64> = (0..10_000).map(millisecond).collect();
            for paced in [false, true] {
                assert!(track(paced).places(&times, rate).eq(0..10_000), "{num}/{den} {paced}");
            }
        }
    }

    #[test]
    fn a_picture_is_late_by_less_than_a_frame_or_hidden() {
        let rate = FrameRate::new(25, 1).unwrap();
        // Frames begin every 40 ms.
        let times = [0, 41, 79, 85, 159, 161, 162, 163, 200, 400];
        let places = |paced| track(paced).places(&times, rate).collect::<Vec<_>>();
        assert_eq!(places(false), [0, 1, 2, 2, 4, 4, 4, 4, 5, 10]);
        assert_eq!(places(true), [0, 1, 2, 3, 4, 5, 5, 5, 5, 10]);
        assert_eq!((track(false).hidden(&times, rate), track(true).hidden(&times, rate)), (4, 3));
    }

    /// Pictures at 30 per second, each up to 12 ms early or late.
    #[test]
    fn jitter_hides_no_picture_of_a_paced_track() {
        let rate = FrameRate::new(30, 1).unwrap();
        let jitter = |n: i64| n * 100 / 3 + 17 + (n * 7919 % 25) - 12;
        let times: Vec<i64> = (0..9000).map(jitter).collect();
        assert!(track(false).hidden(&times, rate) > 900);
        assert_eq!(track(true).hidden(&times, rate), 0);
    }

    #[test]
    fn forged_times_are_placed_without_an_overflow() {
        let track = VideoTrack { time_base: (u32::MAX, 1), ..track(true) };
        let rate = FrameRate::new(60, 1).unwrap();
        let mut places = track.places(&[i64::MIN, 0, i64::MAX], rate);
        assert!(places.next() < Some(0) && places.next() >= Some(0) && places.next() > Some(0));
    }

    #[test]
    fn faster_pictures_are_hidden_evenly() {
        let rate = FrameRate::new(60, 1).unwrap();
        let times: Vec<i64> = (0..2400).map(|n| n * 1000 / 120).collect();
        assert_eq!(track(false).hidden(&times, rate), 1200);
    }
}
