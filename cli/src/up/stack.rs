//! The running children, in the order in which they were started; they are stopped in reverse
//! order.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, anyhow};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    child::{Exits, Spec, supervise},
    log,
};

/// During the start, a child that exits this often counts as failed.
const START_EXITS_MAX: u32 = 3;
const START_PATIENCE: Duration = Duration::from_secs(90);
const DEATHS_INTERVAL: Duration = Duration::from_millis(50);

/// A supervised child.
pub(crate) struct Running {
    name: String,
    log: PathBuf,
    stop: CancellationToken,
    task: JoinSet<()>,
    exits: watch::Receiver<Exits>,
}

impl Running {
    fn failure(&self, what: &str) -> anyhow::Error {
        let quote = log::last_line(&self.log).unwrap_or_else(|| "nothing".to_owned());
        anyhow!("{} {what}; the last line in {}: {quote}", self.name, self.log.display())
    }

    async fn stop(mut self) {
        self.stop.cancel();
        while self.task.join_next().await.is_some() {}
    }
}

/// All children.
pub(crate) struct Stack {
    hard: CancellationToken,
    groups: Vec<Vec<Running>>,
}

impl Stack {
    /// A stack without children; `hard` cuts every stop short.
    pub(crate) fn new(hard: CancellationToken) -> Self {
        Self { hard, groups: Vec::new() }
    }

    /// Starts one child.
    pub(crate) fn start(&mut self, spec: Spec) {
        self.start_group(vec![spec]);
    }

    /// Starts children that do not depend on each other; they are stopped together.
    pub(crate) fn start_group(&mut self, specs: Vec<Spec>) {
        let group = specs.into_iter().map(|spec| run(spec, &self.hard)).collect();
        self.groups.push(group);
    }

    /// Waits for `sign`, the readiness of the group that was started last.
    ///
    /// # Errors
    /// If a child has exited too often, or `sign` did not complete in time; the last line of the
    /// child's log is quoted.
    pub(crate) async fn wait<T>(&self, sign: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            value = timeout(START_PATIENCE, sign) => value.map_err(|_| self.timeout()),
            failure = self.given_up() => Err(failure),
        }
    }

    fn timeout(&self) -> anyhow::Error {
        let what = format!("is not ready after {} s", START_PATIENCE.as_secs());
        let last = self.groups.last().and_then(|group| group.first());
        last.map_or_else(|| anyhow!("no program was started"), |running| running.failure(&what))
    }

    /// Returns once a child has exited too often.
    async fn given_up(&self) -> anyhow::Error {
        loop {
            for running in self.groups.iter().flatten() {
                let exits = running.exits.borrow().clone();
                if exits.count >= START_EXITS_MAX {
                    return running.failure(&format!("does not start ({})", exits.last));
                }
            }
            sleep(DEATHS_INTERVAL).await;
        }
    }

    /// Stops all children, the last started first.
    pub(crate) async fn stop(self) {
        for group in self.groups.into_iter().rev() {
            let mut stops = group.into_iter().map(Running::stop).collect::<JoinSet<_>>();
            while stops.join_next().await.is_some() {}
        }
    }
}

fn run(spec: Spec, hard: &CancellationToken) -> Running {
    let (sender, exits) = watch::channel(Exits::default());
    let (name, log) = (spec.name.clone(), spec.log.clone());
    let stop = CancellationToken::new();
    let mut task = JoinSet::new();
    task.spawn(supervise(spec, stop.clone(), hard.clone(), sender));
    Running { name, log, stop, task, exits }
}
