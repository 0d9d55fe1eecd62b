//! Decides which chunks have their lower rungs encoded ahead of the others. Pure.
//!
//! A chunk task encodes all rungs of a codec in one decode. That is cheapest, but the lower rungs
//! then wait for the slowest one. Where the ladder is encoded more slowly than it plays, a chunk that
//! a viewer reaches soon gets three tasks: for the lowest rung, for the highest, and for those
//! between them. All other chunks keep one task, so a fast fleet decodes nothing twice.

use std::ops::Range;

use media::ladder::Rung;

use super::{NewTask, PRIORITY_LEAD, PRIORITY_LEAD_OTHERS, Plan};

/// Shorter runs are not measured: FFmpeg starts and seeks first, and heartbeats are seconds apart.
pub const MEASURED_SECONDS_MIN: f64 = 5.0;
/// Time of a run in which FFmpeg starts, seeks and decodes up to the chunk.
const START_SECONDS: f64 = 1.0;
/// The lowest rung is encoded this long before a viewer reaches it, and longer by the time that one
/// chunk of the whole ladder takes, because such a task may occupy every slot.
const LEAD_SECONDS: f64 = 40.0;
/// Longest lead, which bounds the number of tasks that one round creates.
const LEAD_SECONDS_MAX: f64 = 300.0;

/// A chunk task that is running.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunningChunk {
    /// The number of the chunk.
    pub chunk: u32,
    /// The task's weight.
    pub weight: f64,
    /// The encoded part at the last heartbeat, 0 to 1.
    pub fraction: f64,
    /// Seconds from the start of the attempt to the last heartbeat; 0 if unknown.
    pub seconds: f64,
}

impl Plan {
    /// Seconds of video that the running tasks encode per second, counted in whole ladders; `None`
    /// while no task has run long enough. Tasks that have just begun count as the others do.
    pub fn ladder_speed(&self, running: &[RunningChunk]) -> Option<f64> {
        // A task that repeats the lowest rung of a running one has no weight.
        let running: Vec<_> = running.iter().filter(|task| task.weight > 0.0).collect();
        let measured = running.iter().filter(|task| task.seconds >= MEASURED_SECONDS_MIN);
        let speeds: Vec<f64> = measured.map(|task| self.speed(task)).collect();
        let mean = speeds.iter().sum::<f64>() / speeds.len() as f64;
        (!speeds.is_empty()).then_some(mean * running.len() as f64)
    }

    fn speed(&self, task: &RunningChunk) -> f64 {
        let ladder: f64 = self.chunk_tasks(task.chunk).iter().map(|task| task.weight).sum();
        let frames = self.grid.chunk_frames(task.chunk);
        let seconds = self.grid.seconds(frames.end) - self.grid.seconds(frames.start);
        seconds * task.fraction * (task.weight / ladder) / (task.seconds - START_SECONDS)
    }

    /// The chunks whose lower rungs are encoded ahead, if the ladder is encoded at `speed` and the
    /// first viewer has reached `position` seconds. Empty if `speed` suffices.
    pub fn lead_chunks(&self, speed: f64, position: f64) -> Range<u32> {
        if speed >= 1.0 {
            return 1..1;
        }
        let chunk_seconds =
            f64::from(media::grid::CHUNK_GOPS * self.grid.gop_frames()) / self.grid.rate().fps();
        let lead = (LEAD_SECONDS + chunk_seconds / speed).min(LEAD_SECONDS_MAX);
        let start = |chunk| self.grid.seconds(self.grid.chunk_frames(chunk).start);
        let due = (1..self.grid.chunks()).take_while(|chunk| start(*chunk) < position + lead);
        1..1 + due.count() as u32
    }

    /// The tasks that encode the lower rungs of `chunk`, the lowest one first and alone. The highest
    /// rung of the encoder is not part of them, unless it is the lowest.
    pub fn lead_tasks(&self, chunk: u32) -> Vec<NewTask> {
        let Some(lowest) = self.rungs.first() else { return Vec::new() };
        let higher = self.rungs.iter().skip(1).filter(|rung| rung.encoder() == lowest.encoder());
        let mut between: Vec<&Rung> = higher.collect();
        between.pop();
        let mut tasks = vec![self.chunk(chunk, &[lowest], PRIORITY_LEAD)];
        if !between.is_empty() {
            tasks.push(self.chunk(chunk, &between, PRIORITY_LEAD_OTHERS));
        }
        tasks
    }
}
