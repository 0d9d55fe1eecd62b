//! The tasks that encode chunks.

use media::{Codec, ladder::Rung};

use super::{NewTask, PRIORITY_FIRST, PRIORITY_FIRST_OTHERS, Plan, priority, task};
use crate::domain::TaskKind;

impl Plan {
    /// One task per encoder and chunk, because not every worker has every encoder and slow encoders
    /// must not delay fast ones. The lowest rung of the first chunk is a task of its own, so that
    /// the first picture does not wait for larger ones.
    pub(super) fn chunk_tasks(&self, chunk: u32) -> Vec<NewTask> {
        let mut encoders: Vec<&'static str> = Vec::new();
        for rung in &self.rungs {
            if !encoders.contains(&rung.encoder()) {
                encoders.push(rung.encoder());
            }
        }
        let of_encoder = |encoder| self.rungs.iter().filter(move |r| r.encoder() == encoder);
        let groups = encoders.into_iter().map(|encoder| of_encoder(encoder).collect::<Vec<_>>());
        groups.flat_map(|rungs| self.tasks_of_rungs(chunk, &rungs)).collect()
    }

    /// The tasks that encode `rungs`, which have the same encoder, in `chunk`.
    pub(super) fn tasks_of_rungs(&self, chunk: u32, rungs: &[&Rung]) -> Vec<NewTask> {
        let lowest = rungs.first().is_some_and(|rung| self.rungs.first() == Some(*rung));
        let (alone, others) = rungs.split_at(usize::from(chunk == 0 && lowest));
        let priority = if chunk == 0 { PRIORITY_FIRST_OTHERS } else { priority(TaskKind::Chunk) };
        let tasks = [(alone, PRIORITY_FIRST), (others, priority)];
        let tasks = tasks.into_iter().filter(|(rungs, _)| !rungs.is_empty());
        tasks.map(|(rungs, priority)| self.chunk(chunk, rungs, priority)).collect()
    }

    pub(super) fn chunk(&self, chunk: u32, rungs: &[&Rung], priority: i32) -> NewTask {
        let frames = self.grid.chunk_frames(chunk);
        let frames = (frames.end - frames.start) as f64;
        let megapixels = |rung: &&Rung| f64::from(rung.width) * f64::from(rung.height) / 1e6;
        let cost = |rung: &&Rung| megapixels(rung) * cost(rung.codec);
        NewTask {
            rungs: rungs.iter().map(|r| r.name.clone()).collect(),
            priority,
            encoder: rungs.first().map_or("", |rung| rung.encoder()),
            ..task(TaskKind::Chunk, chunk, frames * rungs.iter().map(cost).sum::<f64>())
        }
    }
}

/// Cost of a pixel at the default preset, relative to H.264 (measured on two cores).
const fn cost(codec: Codec) -> f64 {
    match codec {
        Codec::H264 => 1.0,
        Codec::Hevc => 2.5,
        Codec::Av1 => 3.0,
    }
}
