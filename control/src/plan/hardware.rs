//! Replaces hardware encoders that no worker has, or that fail. Pure.
//!
//! All chunks of a rendition share one init segment, which differs between encoders. So a rung has
//! one encoder: it is encoded in software from its first chunk on, or from its hardware encoder
//! alone.

use media::HardwareEncoder;

use super::{NewTask, Plan};

/// Why a hardware encoder is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// No worker has it.
    Absent,
    /// The last attempt of a task failed on a worker that has it.
    Failed,
}

impl Loss {
    /// The reason in a note. A rung that has `begun` had a worker with the encoder.
    fn text(self, hardware: HardwareEncoder, begun: bool) -> String {
        match (self, begun) {
            (Self::Absent, true) => format!("no worker has {hardware} any more"),
            (Self::Absent, false) => format!("no worker has {hardware}"),
            (Self::Failed, _) => format!("{hardware} failed"),
        }
    }
}

/// A rung that is encoded in software from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplacedRung {
    /// The rendition of the hardware encoder.
    pub before: String,
    /// The rendition of the software encoder.
    pub after: String,
}

impl Plan {
    /// Encodes the rungs of `hardware` in software, from their first chunks on, and notes it.
    /// A rung of which a chunk is `committed` continues under another name, because players and
    /// caches may have segments of the first one, whose bytes must not change. Returns these rungs
    /// and the tasks that encode them.
    pub fn replace_hardware(
        &mut self,
        hardware: HardwareEncoder,
        loss: Loss,
        committed: impl Fn(&str) -> bool,
    ) -> (Vec<ReplacedRung>, Vec<NewTask>) {
        let mut replaced = Vec::new();
        for place in 0..self.rungs.len() {
            if self.rungs[place].hardware != Some(hardware) {
                continue;
            }
            let before = self.rungs[place].name.clone();
            let restarted = committed(&before);
            let after = if restarted { self.unused_name(&before) } else { before.clone() };
            let reason = loss.text(hardware, restarted);
            self.notes.push(match restarted {
                true => format!("{before}: restarted in software as {after}, because {reason}"),
                false => format!("{before}: encoded in software, because {reason}"),
            });
            self.rungs[place].hardware = None;
            self.rungs[place].name.clone_from(&after);
            self.rename(&before, &after);
            replaced.push(ReplacedRung { before, after });
        }
        let is_replaced = |name: &String| replaced.iter().any(|rung| rung.after == *name);
        let rungs: Vec<_> = self.rungs.iter().filter(|rung| is_replaced(&rung.name)).collect();
        let chunks = 0..self.grid.chunks();
        let tasks = chunks.flat_map(|chunk| self.tasks_of_rungs(chunk, &rungs)).collect();
        (replaced, tasks)
    }

    fn unused_name(&self, name: &str) -> String {
        let numbers = (2..).map(|number| format!("-{number}"));
        let suffixes = std::iter::once(String::new()).chain(numbers);
        let mut names = suffixes.map(|suffix| format!("{name}-software{suffix}"));
        let used = |name: &String| self.rungs.iter().any(|rung| rung.name == *name);
        names.find(|name| !used(name)).unwrap_or_default()
    }

    /// Renames the rendition that images and the preview clip are taken from.
    fn rename(&mut self, before: &str, after: &str) {
        let pictures = self.pictures.iter_mut().flat_map(|p| [&mut p.strip, &mut p.poster_from]);
        let sources = pictures.chain(self.preview.iter_mut().map(|preview| &mut preview.rung));
        sources.filter(|rung| *rung == before).for_each(|rung| after.clone_into(rung));
    }
}
