//! The worker's metrics. Label values are task kinds and outcomes that this code defines.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use opentelemetry::{
    KeyValue,
    metrics::{Histogram, UpDownCounter},
};
use runtime::telemetry;

struct Instruments {
    running: UpDownCounter<i64>,
    duration: Histogram<f64>,
}

/// Created at first use, when the process's meter has been set up.
static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = telemetry::meter();
    Instruments {
        running: meter
            .i64_up_down_counter("streaming_worker_tasks_running")
            .with_description("Running tasks, including those that wait for a slot")
            .build(),
        duration: meter
            .f64_histogram("streaming_worker_task_duration_seconds")
            .with_description("From a lease to its last commit or failure")
            .build(),
    }
});

/// Whether the worker can probe its own sample.
static CAN_PROBE: AtomicBool = AtomicBool::new(true);

/// Records whether this worker takes probes.
pub(crate) fn can_probe(can: bool) {
    CAN_PROBE.store(can, Ordering::Relaxed);
}

/// Registers the gauges for slots and health, and exports 0 running tasks.
pub(crate) fn announce(slots: usize) {
    INSTRUMENTS.running.add(0, &[]);
    let meter = telemetry::meter();
    // The callback stays registered after its handle is dropped.
    let _observed = meter
        .u64_observable_gauge("streaming_worker_slots")
        .with_description("Tasks that this worker runs at a time, without express slots")
        .with_callback(move |observer| observer.observe(slots as u64, &[]))
        .build();
    let _observed = meter
        .u64_observable_gauge("streaming_worker_can_probe")
        .with_description("1 while this worker can probe its own sample, so that it takes probes")
        .with_callback(|observer| observer.observe(CAN_PROBE.load(Ordering::Relaxed).into(), &[]))
        .build();
}

/// A running task, counted until it is dropped.
pub(crate) struct Running(Instant);

/// Counts a task that has started.
pub(crate) fn begun() -> Running {
    INSTRUMENTS.running.add(1, &[]);
    Running(Instant::now())
}

impl Running {
    /// Records the duration of a task that has ended.
    pub(crate) fn ended(&self, kind: &'static str, outcome: &'static str) {
        let labels = [KeyValue::new("kind", kind), KeyValue::new("outcome", outcome)];
        let took: Duration = self.0.elapsed();
        INSTRUMENTS.duration.record(took.as_secs_f64(), &labels);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        INSTRUMENTS.running.add(-1, &[]);
    }
}
