//! Parses FFmpeg's standard error, progress lines and messages, in bounded memory.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use ffmpeg_sidecar::log_parser::{parse_time_str, try_parse_progress};

/// The longest line that is kept; longer ones are cut (hostile metadata can be huge).
const LINE_BYTES_MAX: usize = 2048;
/// How many of the last lines are kept to explain a failure.
const LOG_LINES_MAX: usize = 24;

/// The progress of a run. One thread reads FFmpeg's output and updates it; all others only read it.
#[derive(Debug, Default)]
pub struct Progress {
    frames: AtomicU64,
    seconds_bits: AtomicU64,
    size_kb: AtomicU64,
    speed_bits: AtomicU64,
    changes: AtomicU64,
    log: Mutex<VecDeque<String>>,
}

impl Progress {
    /// Frames written so far; 0 for audio.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Seconds of output so far.
    pub fn seconds(&self) -> f64 {
        f64::from_bits(self.seconds_bits.load(Ordering::Relaxed))
    }

    /// Seconds of output per second of wall-clock time.
    pub fn speed(&self) -> f64 {
        f64::from_bits(self.speed_bits.load(Ordering::Relaxed))
    }

    /// Increases with every sign of progress; the watchdog monitors it.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Records progress that FFmpeg does not report, such as bytes on its standard output.
    pub fn touch(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// The last lines, oldest first.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Reads FFmpeg's standard error until it is closed.
    pub(super) fn read(&self, mut stderr: impl Read) {
        let mut buffer = [0_u8; 4096];
        let mut line = Vec::new();
        loop {
            let length = match stderr.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            for byte in &buffer[..length] {
                match byte {
                    b'\r' | b'\n' => {
                        self.line(&line);
                        line.clear();
                    }
                    byte if line.len() < LINE_BYTES_MAX => line.push(*byte),
                    _ => {}
                }
            }
        }
        self.line(&line);
    }

    fn line(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim();
        if line.is_empty() {
            return;
        }
        let Some(found) = try_parse_progress(line) else {
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            if log.len() == LOG_LINES_MAX {
                log.pop_front();
            }
            log.push_back(line.to_owned());
            return;
        };
        let seconds = parse_time_str(&found.time).unwrap_or(0.0);
        let moved = [
            self.frames.swap(u64::from(found.frame), Ordering::Relaxed) != u64::from(found.frame),
            self.seconds_bits.swap(seconds.to_bits(), Ordering::Relaxed) != seconds.to_bits(),
            self.size_kb.swap(u64::from(found.size_kb), Ordering::Relaxed)
                != u64::from(found.size_kb),
        ];
        self.speed_bits.store(f64::from(found.speed).to_bits(), Ordering::Relaxed);
        if moved.contains(&true) {
            self.touch();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Progress;

    #[test]
    fn progress_and_messages_are_distinguished() {
        let progress = Progress::default();
        let text = "frame=  48 fps= 22 q=28.0 size=     256kB time=00:00:02.50 bitrate= 838.9kbits/s speed=1.25x    \r\
                    [error] broken thing\n\n";
        progress.read(text.as_bytes());
        assert_eq!(progress.frames(), 48);
        assert!((progress.seconds() - 2.5).abs() < 1e-9);
        assert!((progress.speed() - 1.25).abs() < 1e-6);
        assert_eq!(progress.log(), ["[error] broken thing"]);
        assert_eq!(progress.changes(), 1);
    }

    #[test]
    fn endless_lines_and_endless_logs_are_bounded() {
        let progress = Progress::default();
        let text = format!("{}\n{}", "x".repeat(1 << 20), "[error] again\n".repeat(1000));
        progress.read(text.as_bytes());
        assert_eq!(progress.log().len(), super::LOG_LINES_MAX);
        assert!(progress.log().iter().all(|line| line.len() <= super::LINE_BYTES_MAX));
    }
}
