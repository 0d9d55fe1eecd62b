//! Follows the clocks of a stream's tracks and detects when they jump.

use super::{
    Track,
    pes::{CLOCK_BITS, Stamp},
};

const TICKS_PER_SECOND: i64 = 90_000;
/// The longest gap in a track's clock, in seconds; a longer one counts as a jump, as it does in
/// FFmpeg.
pub const GAP_SECONDS_MAX: i64 = 10;
const GAP_TICKS_MAX: i64 = GAP_SECONDS_MAX * TICKS_PER_SECOND;
/// How far decode times may go back because of rounding in muxers.
const BACK_TICKS_MAX: i64 = TICKS_PER_SECOND / 10;
/// The same for a track with reordered frames none of whose packets has carried both times: some
/// muxers write only presentation times, which go back and forth there.
const REORDERED_TICKS_MAX: i64 = TICKS_PER_SECOND;
/// How far one track may be ahead of another in a muxer's interleaving.
const INTERLEAVE_TICKS_MAX: i64 = 3 * TICKS_PER_SECOND;
/// Number of consecutive packets that confirm a jump.
const CONFIRMING_PACKETS: u32 = 4;
/// The same at the end of the stream, and where packets seem to be missing.
const CONFIRMING_PACKETS_MIN: u32 = 2;

/// Maximum number of joints that are recorded, so that no stream occupies much memory.
const JOINTS_MAX: usize = 1 << 20;

/// `a - b` on a clock that wraps, in the shorter direction.
fn since(a: i64, b: i64) -> i64 {
    let unused = 64 - CLOCK_BITS;
    (a.wrapping_sub(b) << unused) >> unused
}

/// Whether a clock that never goes back continues from `latest` to `time` without a jump.
pub(super) fn continues(latest: i64, time: i64) -> bool {
    (-BACK_TICKS_MAX..=GAP_TICKS_MAX).contains(&since(time, latest))
}

/// The number of packets that confirm a joint before which packets are missing (`gap`) or not.
const fn packets_to_confirm(gap: bool) -> u32 {
    if gap { CONFIRMING_PACKETS_MIN } else { CONFIRMING_PACKETS }
}

/// The clock of one track.
#[derive(Debug)]
struct Clock {
    track: u32,
    /// The latest time, not counting those of an unconfirmed jump.
    latest: Option<i64>,
    /// The time of the last packet.
    last: i64,
    /// Whether the packets' times may be presentation times of reordered frames: until a packet has
    /// carried both times.
    reordered: bool,
    /// No other track was followed from the beginning.
    sole: bool,
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
    confirmations: u32,
    /// Packets seem to be missing before it.
    gap: bool,
    /// Tables before it seem to begin a recording.
    begins: bool,
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
    start: Start,
    clocks: Vec<Clock>,
    joints: Vec<Joint>,
    /// Tracks that began after the last packet of all other followed tracks.
    candidates: Vec<Candidate>,
    /// Tracks that are not followed and began while others continued: subtitles, other programs.
    ignored: Vec<u32>,
}

/// Whether the stream begins at the wrap of its clock, where packets from before and after the wrap
/// alternate.
#[derive(Clone, Copy, Debug)]
enum Start {
    Unknown,
    /// All packets so far are from after the wrap.
    Wrapped,
    /// Where the first packet begins that is from before the wrap; 0 if the stream does not begin
    /// at the wrap.
    At(u64),
}

impl Start {
    /// Processes a packet's time; `new` if it is the first of a followed track.
    fn tick(&mut self, time: i64, new: bool, cut: u64) {
        const BEFORE: i64 = (1 << CLOCK_BITS) - INTERLEAVE_TICKS_MAX;
        *self = match *self {
            Self::At(_) => return,
            Self::Unknown | Self::Wrapped if time < INTERLEAVE_TICKS_MAX => Self::Wrapped,
            Self::Wrapped if time > BEFORE && new => Self::At(cut),
            Self::Unknown | Self::Wrapped => Self::At(0),
        };
    }
}

/// A track that may belong to a new recording with other stream ids.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    track: u32,
    packets: u32,
    /// The time of its first packet.
    first: i64,
    /// The time of its last packet.
    stamp: Stamp,
    /// Where the new recording begins, if it is one.
    cut: u64,
    /// Tables before its first packet seem to begin a recording.
    begins: bool,
}

impl Candidate {
    /// Whether it is a recording if no other track continues. A track that is `followed` may only
    /// have begun late.
    fn is_confirmed(&self, followed: bool) -> bool {
        self.packets >= packets_to_confirm(self.begins) && (self.begins || !followed)
    }
}

impl Jump {
    /// Whether `time` comes after the packets that agree with the jump and not after those before
    /// it, although it may continue both: a short recording may reach the time at which the one
    /// before it ended.
    fn keeps_pace(&self, before: i64, time: i64, sole: bool) -> bool {
        let step = since(time, self.latest);
        if self.confirmations < 2 {
            return sole && self.gap && (1..=TICKS_PER_SECOND).contains(&step);
        }
        let pace = since(self.latest, self.first) / i64::from(self.confirmations - 1);
        let returns = (step / 2..step).contains(&since(time, before));
        (1..=2 * pace).contains(&step) && !returns
    }
}

impl Clock {
    fn new(Track { id: track, reordered }: Track) -> Self {
        let (latest, pending) = (None, None);
        Self { track, latest, last: 0, reordered, sole: false, pending, jumped: 0, seen: 0 }
    }

    /// Whether `time` continues from `latest` without a jump.
    fn continues(&self, latest: i64, time: i64) -> bool {
        let back = if self.reordered { REORDERED_TICKS_MAX } else { BACK_TICKS_MAX };
        (-back..=GAP_TICKS_MAX).contains(&since(time, latest))
    }

    /// Processes the time of the next packet; returns a jump once it is confirmed.
    fn tick(&mut self, stamp: Stamp, cut: u64) -> Option<Jump> {
        let Stamp { time, decode, gap, begins } = stamp;
        self.reordered &= !decode;
        self.last = time;
        let seen = std::mem::replace(&mut self.seen, cut);
        let Some(latest) = self.latest else {
            self.latest = Some(time);
            return None;
        };
        let jumped = self.pending.is_some_and(|jump| jump.keeps_pace(latest, time, self.sole));
        if self.continues(latest, time) && !jumped {
            self.pending = None;
            if since(time, latest) > 0 {
                self.latest = Some(time);
            }
            return None;
        }
        let begun = self.pending.filter(|jump| self.continues(jump.latest, time));
        let mut jump = begun.unwrap_or(Jump {
            cut,
            seen,
            before: latest,
            first: time,
            latest: time,
            confirmations: 0,
            gap,
            begins,
        });
        jump.confirmations += 1;
        if since(time, jump.latest) > 0 {
            jump.latest = time;
        }
        self.pending = Some(jump);
        self.confirm(packets_to_confirm(jump.gap))
    }

    /// Accepts the pending jump if enough packets agree with it.
    fn confirm(&mut self, confirmations: u32) -> Option<Jump> {
        let jump = self.pending.take_if(|jump| jump.confirmations >= confirmations)?;
        self.latest = Some(jump.latest);
        Some(jump)
    }
}

impl Clocks {
    pub(super) fn new(tracks: &[Track]) -> Self {
        let sole = tracks.len() == 1;
        let clock = |track: &Track| Clock { sole, ..Clock::new(*track) };
        let clocks = tracks.iter().map(clock).collect();
        let start = Start::Unknown;
        Self { start, clocks, joints: Vec::new(), candidates: Vec::new(), ignored: Vec::new() }
    }

    /// Processes the time of a packet of any track; if a recording begins with it, it begins at
    /// `cut`.
    pub(super) fn tick(&mut self, track: u32, stamp: Stamp, cut: u64) {
        let new = self.place(track).is_some_and(|number| self.clocks[number].latest.is_none());
        self.start.tick(stamp.time, new, cut);
        let begun = self.clocks.iter().any(|clock| clock.latest.is_some());
        match self.place(track) {
            Some(number) if !begun || self.clocks[number].latest.is_some() => {
                let clock = &self.clocks[number];
                let jumps = clock.latest.is_some_and(|latest| !clock.continues(latest, stamp.time));
                self.resolve_candidates(jumps);
                if let Some(jump) = self.clocks[number].tick(stamp, cut) {
                    self.jump(number, jump);
                }
            }
            _ if begun && !self.ignored.contains(&track) => self.candidate(track, stamp, cut),
            _ => {}
        }
    }

    /// Whether the clock of `track` is checked.
    pub(super) fn follows(&self, track: u32) -> bool {
        self.place(track).is_some()
    }

    fn place(&self, track: u32) -> Option<usize> {
        self.clocks.iter().position(|clock| clock.track == track)
    }

    /// Decides about the candidates when a packet of another track follows them. If that track's
    /// clock `jumps`, they were a recording. Otherwise they are given up: tracks that began while
    /// others continued do not start a recording.
    fn resolve_candidates(&mut self, jumps: bool) {
        for candidate in std::mem::take(&mut self.candidates) {
            let Candidate { track, stamp, cut, .. } = candidate;
            match self.place(track) {
                place if jumps && candidate.is_confirmed(place.is_some()) => self.begin(candidate),
                Some(number) => {
                    self.clocks[number].tick(stamp, cut);
                }
                None => self.ignored.push(track),
            }
        }
    }

    /// Processes a packet of a candidate. A recording with other stream ids begins where all
    /// packets are its own.
    fn candidate(&mut self, track: u32, stamp: Stamp, cut: u64) {
        let found = self.candidates.iter().position(|candidate| candidate.track == track);
        if found.is_none() && stamp.begins {
            self.resolve_candidates(true);
        }
        let first = self.candidates.first();
        let (cut, begins) = first.map_or((cut, stamp.begins), |first| (first.cut, first.begins));
        let place = found.unwrap_or_else(|| {
            let first = stamp.time;
            self.candidates.push(Candidate { track, packets: 0, first, stamp, cut, begins });
            self.candidates.len() - 1
        });
        let candidate = &mut self.candidates[place];
        candidate.packets += 1;
        candidate.stamp = stamp;
        let candidate = *candidate;
        if candidate.packets >= CONFIRMING_PACKETS && self.is_alone(candidate) {
            self.candidates.remove(place);
            self.begin(candidate);
        }
    }

    /// A recording begins with the candidate.
    fn begin(&mut self, Candidate { track, stamp, cut, .. }: Candidate) {
        let number = self.place(track).unwrap_or_else(|| {
            self.clocks.push(Clock::new(Track { id: track, reordered: true }));
            self.clocks.len() - 1
        });
        let clock = &mut self.clocks[number];
        clock.tick(stamp, cut);
        clock.jumped = cut;
        self.join(cut, number);
    }

    /// Records a joint, unless there are too many to store.
    fn join(&mut self, cut: u64, clock: usize) {
        if self.joints.len() < JOINTS_MAX {
            self.joints.push(Joint { cut, clock });
        }
    }

    /// Whether the candidate's clock is far from all others, or it has been the only track for
    /// long. At the beginning of a recording one track may be far ahead of another. A followed
    /// track that begins close to the others and outlasts them continues their recording.
    fn is_alone(&self, candidate: Candidate) -> bool {
        let Candidate { track, first, stamp, .. } = candidate;
        let mut begun = self.clocks.iter().filter(|clock| clock.latest.is_some());
        let followed = self.follows(track);
        let time = if followed { first } else { stamp.time };
        let far = |clock: &Clock| since(time, clock.last).abs() > INTERLEAVE_TICKS_MAX;
        let long = since(stamp.time, first) >= INTERLEAVE_TICKS_MAX && !followed;
        long || begun.all(far)
    }

    /// The positions at which the recordings begin.
    pub(super) fn finish(mut self) -> Vec<u64> {
        self.resolve_candidates(true);
        for number in 0..self.clocks.len() {
            if let Some(jump) = self.clocks[number].confirm(CONFIRMING_PACKETS_MIN) {
                self.jump(number, jump);
            }
        }
        let mut cuts: Vec<u64> = self.joints.iter().map(|joint| joint.cut).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let start = match self.start {
            Start::At(start) => start,
            Start::Unknown | Start::Wrapped => 0,
        };
        cuts.retain(|cut| *cut > start);
        cuts.insert(0, start);
        cuts
    }

    /// Handles a jump of clock `number`: into a recording that another clock has jumped into
    /// before, or into a new one.
    fn jump(&mut self, number: usize, jump: Jump) {
        let jumped = std::mem::replace(&mut self.clocks[number].jumped, jump.cut);
        if let Some(joint) = self.joints.last_mut()
            && joint.clock != number
            && jumped < joint.cut
            && !jump.begins
        {
            let now = self.clocks[joint.clock].last;
            if since(jump.latest, now).abs() <= INTERLEAVE_TICKS_MAX {
                joint.cut = joint.cut.min(jump.cut);
                return;
            }
        }
        if !self.has_paused(number, jump) {
            self.join(jump.cut, number);
        }
    }

    /// Whether another clock has reached the same time without a jump, which means that this track
    /// only paused.
    fn has_paused(&self, number: usize, jump: Jump) -> bool {
        let others = self.clocks.iter().enumerate().filter(|(other, _)| *other != number);
        let mut steady = others.map(|(_, clock)| clock).filter(|clock| {
            clock.latest.is_some() && clock.pending.is_none() && clock.jumped <= jump.seen
        });
        let forward = since(jump.first, jump.before) > 0;
        forward && steady.any(|clock| since(clock.last, jump.first).abs() <= GAP_TICKS_MAX)
    }
}
