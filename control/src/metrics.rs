//! Metrics of control: recorded as events happen, and read from the database every few seconds.
//! Labels contain only kinds, states and names that the service itself defines.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use api::v1;
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram, Meter},
};

use crate::{db::task_counts::Load, domain::TaskKind};

/// The instruments, and the latest values from the database.
#[derive(Debug)]
pub struct Metrics {
    playable: Histogram<f64>,
    ended: Counter<u64>,
    attempts_failed: Counter<u64>,
    measured: Arc<Mutex<Measurements>>,
}

#[derive(Debug, Default)]
struct Measurements {
    /// By kind of task. A kind that was seen once stays, with zeros when it has no tasks.
    load: BTreeMap<&'static str, Load>,
    workers: Workers,
    dependencies: BTreeMap<String, bool>,
}

/// The number of workers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Workers {
    /// Connected to any instance.
    pub connected: u64,
    /// Connected and unable to probe.
    pub unhealthy: u64,
}

/// How a transcode job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedJob {
    /// All outputs are indexed.
    Completed,
    /// A task that is not optional failed permanently.
    Failed,
    /// Cancelled on request.
    Cancelled,
}

impl EndedJob {
    const ALL: [Self; 3] = [Self::Completed, Self::Failed, Self::Cancelled];

    fn label(self) -> KeyValue {
        let state = match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        };
        KeyValue::new("state", state)
    }
}

fn outcome(failed: bool) -> KeyValue {
    KeyValue::new("outcome", if failed { "failed" } else { "retried" })
}

impl Metrics {
    /// Registers the instruments.
    pub fn new(meter: &Meter) -> Self {
        let ended = meter
            .u64_counter("streaming_service_jobs_ended_total")
            .with_description("Ended transcode jobs, by outcome")
            .build();
        for how in EndedJob::ALL {
            ended.add(0, &[how.label()]);
        }
        let attempts_failed = meter
            .u64_counter("streaming_service_attempts_failed_total")
            .with_description("Failed attempts at tasks, by outcome of the task")
            .build();
        for failed in [false, true] {
            attempts_failed.add(0, &[outcome(failed)]);
        }
        let kinds = TaskKind::with_property(TaskKind::is_for_workers);
        let idle = kinds.into_iter().map(|kind| (kind.text(), Load::default()));
        let measured = Measurements { load: idle.collect(), ..Measurements::default() };
        let measured = Arc::new(Mutex::new(measured));
        observe_load(meter, &measured);
        observe_parts(meter, &measured);
        let playable = meter
            .f64_histogram("streaming_service_time_to_playable_seconds")
            .with_description("Time from a transcode request to the first playable segment")
            .build();
        Self { playable, ended, attempts_failed, measured }
    }

    /// Records that a video became playable, this many seconds after its transcode was requested.
    pub fn playable(&self, seconds: f64) {
        self.playable.record(seconds.max(0.0), &[]);
    }

    /// Records the end of a transcode job.
    pub fn ended(&self, how: EndedJob) {
        self.ended.add(1, &[how.label()]);
    }

    /// Records a failed attempt, after which the task has failed permanently or is retried.
    pub fn attempt_failed(&self, for_good: bool) {
        self.attempts_failed.add(1, &[outcome(for_good)]);
    }

    /// Stores the latest numbers of ready and leased tasks by kind, and of workers.
    pub fn set_load(&self, load: Vec<(&'static str, Load)>, workers: Workers) {
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        for old in measured.load.values_mut() {
            *old = Load::default();
        }
        measured.load.extend(load);
        measured.workers = workers;
    }

    /// Stores the latest state of the dependencies.
    pub fn dependencies(&self, dependencies: &[v1::Dependency]) {
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        measured.dependencies = dependencies.iter().map(|d| (d.name.clone(), d.ok)).collect();
    }
}

/// Registers a gauge with one value per kind of task.
fn by_kind(
    meter: &Meter,
    measured: &Arc<Mutex<Measurements>>,
    name: &'static str,
    about: &'static str,
    read: fn(&Load) -> u64,
) {
    let measured = Arc::clone(measured);
    let _observed = meter
        .u64_observable_gauge(name)
        .with_description(about)
        .with_callback(move |observer| {
            let measured = measured.lock().unwrap_or_else(PoisonError::into_inner);
            for (kind, load) in &measured.load {
                observer.observe(read(load), &[KeyValue::new("kind", *kind)]);
            }
        })
        .build();
}

/// Registers a gauge with the largest value over all kinds of tasks.
fn largest(
    meter: &Meter,
    measured: &Arc<Mutex<Measurements>>,
    name: &'static str,
    about: &'static str,
    read: fn(&Load) -> f64,
) {
    let measured = Arc::clone(measured);
    let _observed = meter
        .f64_observable_gauge(name)
        .with_description(about)
        .with_callback(move |observer| {
            let measured = measured.lock().unwrap_or_else(PoisonError::into_inner);
            observer.observe(measured.load.values().map(read).fold(0.0, f64::max), &[]);
        })
        .build();
}

fn observe_load(meter: &Meter, measured: &Arc<Mutex<Measurements>>) {
    let name = "streaming_service_queue_depth";
    by_kind(meter, measured, name, "Tasks that are ready to be leased", |load| load.ready);
    let name = "streaming_service_leases";
    by_kind(meter, measured, name, "Tasks that are leased", |load| load.leased);
    let name = "streaming_service_queue_oldest_seconds";
    largest(meter, measured, name, "Longest wait of a task that is ready to be leased", |l| {
        l.waits_seconds
    });
    let name = "streaming_service_lease_oldest_seconds";
    largest(meter, measured, name, "Longest time since a leased task was first leased", |l| {
        l.held_seconds
    });
    let name = "streaming_service_lease_silence_seconds";
    largest(meter, measured, name, "Longest time since a lease was renewed", |load| {
        load.silent_seconds
    });
}

fn observe_parts(meter: &Meter, measured: &Arc<Mutex<Measurements>>) {
    let seen = Arc::clone(measured);
    let _observed = meter
        .u64_observable_gauge("streaming_service_workers_connected")
        .with_description("Workers connected to any instance of control")
        .with_callback(move |observer| {
            let measured = seen.lock().unwrap_or_else(PoisonError::into_inner);
            observer.observe(measured.workers.connected, &[]);
        })
        .build();
    let seen = Arc::clone(measured);
    let _observed = meter
        .u64_observable_gauge("streaming_service_workers_unhealthy")
        .with_description("Connected workers that fail to probe their own sample and get no probes")
        .with_callback(move |observer| {
            let measured = seen.lock().unwrap_or_else(PoisonError::into_inner);
            observer.observe(measured.workers.unhealthy, &[]);
        })
        .build();
    let seen = Arc::clone(measured);
    let _observed = meter
        .u64_observable_gauge("streaming_control_dependency_up")
        .with_description("1 while this instance of control can use the dependency")
        .with_callback(move |observer| {
            let measured = seen.lock().unwrap_or_else(PoisonError::into_inner);
            for (name, up) in &measured.dependencies {
                observer.observe(u64::from(*up), &[KeyValue::new("dependency", name.clone())]);
            }
        })
        .build();
}
