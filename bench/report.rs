//! Tables for people and `bench/results/*.json` for programs, both with the machine and the
//! versions.

#![expect(clippy::print_stdout, reason = "the tables are the program's output")]

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::{harness::program, measure::Timeline};

/// The median.
pub(crate) fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// A table row: name, value, goal.
pub(crate) fn row(what: impl Into<String>, value: String, goal: &str) -> [String; 3] {
    [what.into(), value, goal.to_owned()]
}

fn first_line(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).current_dir(program::repository()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

fn machine_info() -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    json!({
        "cpu": model.trim_start_matches(['\t', ' ', ':']), "cores": cores,
        "memory": memory.lines().next().unwrap_or_default().split_whitespace().nth(1),
        "kernel": first_line("uname", &["-r"]),
        "load": fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').next(),
        "ffmpeg": first_line("ffmpeg", &["-version"]), "rustc": first_line("rustc", &["--version"]),
        "commit": first_line("git", &["describe", "--always", "--dirty"]),
    })
}

/// Prints the machine and the versions.
pub(crate) fn machine() {
    let machine_info = machine_info();
    for (key, value) in machine_info.as_object().into_iter().flatten() {
        println!("{key:>8}  {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
}

/// Prints a table and writes the results.
pub(crate) fn write(name: &str, rows: Vec<[String; 3]>, timelines: &[Timeline], mut result: Value) {
    println!("\n{:<44} {:>12}   goal", name, "median");
    for [what, value, goal] in &rows {
        println!("{what:<44} {value:>12}   {goal}");
    }
    for (n, timeline) in timelines.iter().enumerate() {
        let stages = timeline.stages();
        let known = stages.iter().filter(|(_, seconds)| seconds.is_finite());
        let stages: Vec<String> = known.map(|(stage, s)| format!("{stage} {s:.2}")).collect();
        println!("  run {n}, seconds: {}", stages.join(", "));
    }
    result["machine"] = machine_info();
    let dir = program::repository().join("bench/results");
    fs::create_dir_all(&dir).expect("make results folder");
    let text = serde_json::to_string_pretty(&result).expect("JSON");
    fs::write(dir.join(format!("{name}.json")), text + "\n").expect("write results");
}
