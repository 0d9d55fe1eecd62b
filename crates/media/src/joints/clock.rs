//! Follows the clocks of a stream's tracks and detects when they jump.

use super::{
    Track,
    pes::{CLOCK_BITS, Stamp},
};

const TICKS_PER_SECOND: i64 = 90_000;
/// The longest gap in a track's clock, in seconds; a longer one counts as a jump, as it does in FFmpeg.
pub const GAP_SECONDS_MAX: i64 = 10;
const GAP_TICKS_MAX: i64 = GAP_SECONDS_MAX * TICKS_PER_SECOND;
/// How far decode times may go back because of rounding in muxers.
const BACK_TICKS_MAX: i64 = TICKS_PER_SECOND / 10;
/// The same for a track with reordered frames none of whose packets has carried both times: some muxers write
/// only presentation times, which go back and forth there.
const REORDERED_TICKS_MAX: i64 = TICKS_PER_SECOND;
/// How far one track may be ahead of another in a muxer's interleaving.
const INTERLEAVE_TICKS_MAX: i64 = 3 * TICKS_PER_SECOND;
/// Number of consecutive packets that confirm a jump.
const WITNESSES: u32 = 4;
/// The same at the end of the stream.
const WITNESSES_AT_END: u32 = 2;

/// `a - b` on a clock that wraps, in the shorter direction.
fn since(a: i64, b: i64) -> i64 {
    let unused = 64 - CLOCK_BITS;
    (a.wrapping_sub(b) << unused) >> unused
}

/// Whether a clock that never goes back continues from `latest` to `time` without a jump.
pub(super) fn continues(latest: i64, time: i64) -> bool {
    (-BACK_TICKS_MAX..=GAP_TICKS_MAX).contains(&since(time, latest))
}

/// The clock of one track.
#[derive(Debug)]
struct Clock {
    track: u32,
    /// The latest time, not counting those of an unconfirmed jump.
    latest: Option<i64>,
    /// The time of the last packet.
    last: i64,
    /// Whether the packets' times may be presentation times of reordered frames: until a packet has carried both
    /// times.
    reordered: bool,
    /// A jump that is not yet confirmed.
    pending: Option<Jump>,
    /// The position of the last jump.
    jumped: u64,
    /// The position of the last packet.
    seen: u64,
}

#[derive(Clone, Copy, Debug)]
struct Jump {
    /// Where the new recording begins, if the jump is a joint.
    cut: u64,
    /// The position of the last packet before the jump.
    seen: u64,
    /// The latest time before the jump.
    before: i64,
    /// The first time after it.
    first: i64,
    /// The latest time after it.
    latest: i64,
    witnesses: u32,
}

/// The beginning of a recording, and the clock that jumped there first.
#[derive(Clone, Copy, Debug)]
struct Joint {
    cut: u64,
    clock: usize,
}

/// The clocks of all tracks that are followed.
#[derive(Debug)]
pub(super) struct Clocks {
    clocks: Vec<Clock>,
    joints: Vec<Joint>,
    /// Tracks that began after the last packet of all other followed tracks.
    strangers: Vec<Stranger>,
    /// Tracks that are not followed and began while others continued: subtitles, other programs.
    ignored: Vec<u32>,
}

/// A track that may belong to a new recording with other stream ids.
#[derive(Clone, Copy, Debug)]
struct Stranger {
    track: u32,
    packets: u32,
    /// The time of its first packet.
    first: i64,
    /// The time of its last packet.
    stamp: Stamp,
    /// Where the new recording begins, if it is one.
    cut: u64,
}

impl Jump {
    /// Whether `time` comes after the packets that agree with the jump and not after those before it, although it
    /// may continue both: a short recording may reach the time at which the one before it ended.
    fn keeps_pace(&self, before: i64, time: i64) -> bool {
        if self.witnesses < 2 {
            return false;
        }
        let pace = since(self.latest, self.first) / i64::from(self.witnesses - 1);
        let step = since(time, self.latest);
        let returns = (step / 2..step).contains(&since(time, before));
        (1..=2 * pace).contains(&step) && !returns
    }
}

impl Clock {
    fn new(Track { id: track, reordered }: Track) -> Self {
        let (latest, pending) = (None, None);
        Self { track, latest, last: 0, reordered, pending, jumped: 0, seen: 0 }
    }

    /// Whether `time` continues from `latest` without a jump.
    fn continues(&self, latest: i64, time: i64) -> bool {
        let back = if self.reordered { REORDERED_TICKS_MAX } else { BACK_TICKS_MAX };
        (-back..=GAP_TICKS_MAX).contains(&since(time, latest))
    }

    /// Processes the time of the next packet; returns a jump once it is confirmed.
    fn tick(&mut self, Stamp { time, decode }: Stamp, cut: u64) -> Option<Jump> {
        self.reordered &= !decode;
        self.last = time;
        let seen = std::mem::replace(&mut self.seen, cut);
        let Some(latest) = self.latest else {
            self.latest = Some(time);
            return None;
        };
        let jumped = self.pending.is_some_and(|jump| jump.keeps_pace(latest, time));
        if self.continues(latest, time) && !jumped {
            self.pending = None;
            if since(time, latest) > 0 {
                self.latest = Some(time);
            }
            return None;
        }
        let begun = self.pending.filter(|jump| self.continues(jump.latest, time));
        let fresh = Jump { cut, seen, before: latest, first: time, latest: time, witnesses: 0 };
        let mut jump = begun.unwrap_or(fresh);
        jump.witnesses += 1;
        if since(time, jump.latest) > 0 {
            jump.latest = time;
        }
        self.pending = Some(jump);
        self.confirm(WITNESSES)
    }

    /// Accepts the pending jump if enough packets agree with it.
    fn confirm(&mut self, witnesses: u32) -> Option<Jump> {
        let jump = self.pending.take_if(|jump| jump.witnesses >= witnesses)?;
        self.latest = Some(jump.latest);
        Some(jump)
    }
}

impl Clocks {
    pub(super) fn new(tracks: &[Track]) -> Self {
        let clocks = tracks.iter().copied().map(Clock::new).collect();
        Self { clocks, joints: Vec::new(), strangers: Vec::new(), ignored: Vec::new() }
    }

    /// Processes the time of a packet of any track; if a recording begins with it, it begins at `cut`.
    pub(super) fn tick(&mut self, track: u32, stamp: Stamp, cut: u64) {
        let begun = self.clocks.iter().any(|clock| clock.latest.is_some());
        match self.place(track) {
            Some(number) if !begun || self.clocks[number].latest.is_some() => {
                self.meet_strangers();
                if let Some(jump) = self.clocks[number].tick(stamp, cut) {
                    self.jump(number, jump);
                }
            }
            _ if begun && !self.ignored.contains(&track) => self.stranger(track, stamp, cut),
            _ => {}
        }
    }

    fn place(&self, track: u32) -> Option<usize> {
        self.clocks.iter().position(|clock| clock.track == track)
    }

    /// Gives up the strangers: tracks that began while others continued do not start a new recording.
    fn meet_strangers(&mut self) {
        for Stranger { track, stamp, cut, .. } in std::mem::take(&mut self.strangers) {
            match self.place(track) {
                Some(number) => {
                    self.clocks[number].tick(stamp, cut);
                }
                None => self.ignored.push(track),
            }
        }
    }

    /// Processes a packet of a stranger. A recording with other stream ids begins where all packets are its
    /// own.
    fn stranger(&mut self, track: u32, stamp: Stamp, cut: u64) {
        let cut = self.strangers.first().map_or(cut, |first| first.cut);
        let found = self.strangers.iter().position(|stranger| stranger.track == track);
        let place = found.unwrap_or_else(|| {
            self.strangers.push(Stranger { track, packets: 0, first: stamp.time, stamp, cut });
            self.strangers.len() - 1
        });
        let stranger = &mut self.strangers[place];
        stranger.packets += 1;
        stranger.stamp = stamp;
        let stranger = *stranger;
        if stranger.packets < WITNESSES || !self.is_alone(stranger) {
            return;
        }
        self.strangers.remove(place);
        let number = self.place(track).unwrap_or_else(|| {
            self.clocks.push(Clock::new(Track { id: track, reordered: true }));
            self.clocks.len() - 1
        });
        let clock = &mut self.clocks[number];
        clock.tick(stamp, cut);
        clock.jumped = cut;
        self.joints.push(Joint { cut, clock: number });
    }

    /// Whether the stranger's clock is far from all others, or it has been the only track for long. At the
    /// beginning of a recording one track may be far ahead of another.
    fn is_alone(&self, stranger: Stranger) -> bool {
        let Stranger { track, first, stamp, .. } = stranger;
        let mut begun = self.clocks.iter().filter(|clock| clock.latest.is_some());
        let far = |clock: &Clock| since(stamp.time, clock.last).abs() > INTERLEAVE_TICKS_MAX;
        let long = since(stamp.time, first) >= INTERLEAVE_TICKS_MAX && self.place(track).is_none();
        long || begun.all(far)
    }

    /// The positions at which the second and each later recording begins.
    pub(super) fn finish(mut self) -> Vec<u64> {
        for number in 0..self.clocks.len() {
            if let Some(jump) = self.clocks[number].confirm(WITNESSES_AT_END) {
                self.jump(number, jump);
            }
        }
        let mut cuts: Vec<u64> = self.joints.iter().map(|joint| joint.cut).collect();
        cuts.sort_unstable();
        cuts.dedup();
        cuts.retain(|cut| *cut > 0);
        cuts
    }

    /// Handles a jump of clock `number`: into a recording that another clock has jumped into before, or into
    /// a new one.
    fn jump(&mut self, number: usize, jump: Jump) {
        let jumped = std::mem::replace(&mut self.clocks[number].jumped, jump.cut);
        if let Some(joint) = self.joints.last_mut()
            && joint.clock != number
            && jumped < joint.cut
        {
            let now = self.clocks[joint.clock].last;
            if since(jump.latest, now).abs() <= INTERLEAVE_TICKS_MAX {
                joint.cut = joint.cut.min(jump.cut);
                return;
            }
        }
        if !self.has_paused(number, jump) {
            self.joints.push(Joint { cut: jump.cut, clock: number });
        }
    }

    /// Whether another clock has reached the same time without a jump, which means that this track only
    /// paused.
    fn has_paused(&self, number: usize, jump: Jump) -> bool {
        let others = self.clocks.iter().enumerate().filter(|(other, _)| *other != number);
        let mut steady = others.map(|(_, clock)| clock).filter(|clock| {
            clock.latest.is_some() && clock.pending.is_none() && clock.jumped <= jump.seen
        });
        let forward = since(jump.first, jump.before) > 0;
        forward && steady.any(|clock| since(clock.last, jump.first).abs() <= GAP_TICKS_MAX)
    }
}
