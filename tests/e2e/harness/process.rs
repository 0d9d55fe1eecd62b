//! Reads processes from `/proc`. Tests stop the processes that they started by id, which they find
//! by parentage or by a mark in the environment; never by name alone.

use std::{
    fs,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};

/// One running process.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    /// Its name, for example "streaming-worker".
    pub(crate) program: String,
    /// Its arguments, separated by blanks.
    pub(crate) command: String,
}

/// Every process that is not a zombie.
pub(crate) fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").expect("read /proc");
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(read)
        .collect()
}

fn read(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain any character; the fields after the last parenthesis are
    // plain.
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let raw = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&raw).replace('\0', " ").trim().to_owned();
    // Prefer the first word of the command line: Debian's redis-server is a link to a program of
    // another name.
    let first = command.split([' ', ':']).next().unwrap_or_default();
    let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let named = if first.is_empty() { exe.to_string_lossy() } else { first.into() };
    let program = named.rsplit('/').next().unwrap_or_default().to_owned();
    Some(Process { pid, parent, program, command })
}

/// Children, their children and so on.
pub(crate) fn descendants(root: i32) -> Vec<Process> {
    let all = all();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for process in all.iter().filter(|p| p.parent == parent) {
            parents.push(process.pid);
            found.push(process.clone());
        }
    }
    found
}

/// Processes whose environment or arguments contain `mark`.
pub(crate) fn marked(mark: &str) -> Vec<Process> {
    let mut found = all();
    found.retain(|process| {
        let environment = fs::read(format!("/proc/{}/environ", process.pid)).unwrap_or_default();
        process.command.contains(mark) || String::from_utf8_lossy(&environment).contains(mark)
    });
    found
}

/// True while the process runs and is not a zombie.
pub(crate) fn alive(pid: i32) -> bool {
    read(pid).is_some()
}

/// Sends `signal`; ignores processes that have already ended.
pub(crate) fn send(pid: i32, signal: Signal) {
    assert!(pid > 1, "process {pid} must not be signalled");
    let _ = signal::kill(Pid::from_raw(pid), signal);
}

/// Waits until all processes have ended; returns those that have not.
pub(crate) fn wait_gone(pids: &[i32], deadline: Duration) -> Vec<i32> {
    let start = Instant::now();
    loop {
        let left: Vec<i32> = pids.iter().copied().filter(|pid| alive(*pid)).collect();
        if left.is_empty() || start.elapsed() > deadline {
            return left;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Private memory of the process (anonymous pages), in bytes.
pub(crate) fn memory_bytes(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("read process status");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("parse RssAnon");
    kib * 1024
}
