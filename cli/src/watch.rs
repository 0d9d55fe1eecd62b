//! Shows a job's live progress per rung, from `WatchJob`. Reconnects when the stream breaks or ends
//! early.

use std::{io::IsTerminal, time::Duration};

use anyhow::{Result, bail};
use api::v1::{self, TaskState};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::time::sleep;
use tonic::{Code, Status};

use crate::{
    output,
    session::{Session, status_error},
    videos::clock,
    view,
};

/// Maximum number of consecutive reconnects, one second apart.
const RECONNECTS_MAX: u32 = 60;
const RECONNECT_INTERVAL: Duration = Duration::from_secs(1);
const BAR_STEPS: u64 = 1000;
/// Length of the first chunk relative to the others; see the time grid.
const FIRST_CHUNK_WEIGHT: f64 = 0.2;

/// How to show progress.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProgressFormat {
    /// As bars on a terminal, otherwise as lines of text.
    Bars,
    /// Every state as one line of JSON.
    Json,
}

/// `watch JOB`
pub(crate) async fn run(session: &Session<'_>, job_id: &str) -> Result<()> {
    let show = if session.json { ProgressFormat::Json } else { ProgressFormat::Bars };
    view::ensure_completed(&follow(session, job_id, show).await?)
}

/// Shows progress until the job ends, and returns its last state.
pub(crate) async fn follow(
    session: &Session<'_>,
    job_id: &str,
    show: ProgressFormat,
) -> Result<v1::Job> {
    let mut client = session.jobs().await?;
    let mut display = ProgressDisplay::new(show, session.json);
    let mut reconnects = 0;
    loop {
        let request = v1::WatchJobRequest { job_id: job_id.to_owned() };
        let end = match client.watch_job(request).await {
            Err(status) => Err(status),
            Ok(stream) => {
                let mut stream = stream.into_inner();
                loop {
                    match stream.message().await {
                        Err(status) => break Err(status),
                        Ok(None) => break Ok(()),
                        Ok(Some(job)) => {
                            reconnects = 0;
                            display.show(&job)?;
                            if view::has_ended(&job) {
                                display.finish(&job)?;
                                return Ok(job);
                            }
                        }
                    }
                }
            }
        };
        // A server that shuts down ends its streams; the job can be watched on another instance, or
        // on this one after its restart.
        match end {
            Err(status) if reconnects >= RECONNECTS_MAX || !is_transient(&status) => {
                return Err(status_error(status));
            }
            Ok(()) if reconnects >= RECONNECTS_MAX => {
                bail!("the server ended the stream too often")
            }
            _ => {}
        }
        reconnects += 1;
        sleep(RECONNECT_INTERVAL).await;
        // A restarted service may listen at another address.
        if let Ok(fresh) = session.jobs().await {
            client = fresh;
        }
    }
}

fn is_transient(status: &Status) -> bool {
    let broken = std::error::Error::source(status).is_some();
    matches!(status.code(), Code::Unavailable | Code::Cancelled) || broken
}

/// The output on the screen.
struct ProgressDisplay {
    show: ProgressFormat,
    bars: MultiProgress,
    total: ProgressBar,
    rungs: Vec<(String, ProgressBar)>,
    lines: bool,
    last_line: String,
}

impl ProgressDisplay {
    fn new(show: ProgressFormat, json: bool) -> Self {
        let bars = MultiProgress::new();
        let lines = show == ProgressFormat::Bars && !json && !std::io::stderr().is_terminal();
        let total = bars.add(ProgressBar::new_spinner());
        if show == ProgressFormat::Bars && !lines {
            total.enable_steady_tick(Duration::from_millis(120));
        }
        Self { show, bars, total, rungs: Vec::new(), lines, last_line: String::new() }
    }

    fn show(&mut self, job: &v1::Job) -> Result<()> {
        if self.show == ProgressFormat::Json {
            return Ok(output::json_line(&view::job(job))?);
        }
        if self.lines {
            let line = line(job);
            if line != self.last_line {
                output::line(&line)?;
                self.last_line = line;
            }
            return Ok(());
        }
        self.total.set_message(headline(job));
        for (name, share) in shares(job) {
            // A share is between 0 and 1.
            let steps = (share * BAR_STEPS as f64) as u64;
            self.bar(&name).set_position(steps);
        }
        Ok(())
    }

    fn bar(&mut self, name: &str) -> &ProgressBar {
        let known = self.rungs.iter().position(|(known, _)| known == name);
        let index = known.unwrap_or_else(|| {
            let bar = self.bars.add(ProgressBar::new(BAR_STEPS));
            let style = ProgressStyle::with_template("{prefix:>8} {bar:40} {percent:>3} %");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(name.to_owned());
            self.rungs.push((name.to_owned(), bar));
            self.rungs.len() - 1
        });
        &self.rungs[index].1
    }

    fn finish(&self, job: &v1::Job) -> Result<()> {
        for (_, bar) in &self.rungs {
            bar.abandon();
        }
        self.total.finish_and_clear();
        if self.show == ProgressFormat::Bars
            && !self.lines
            && job.state() == v1::JobState::Completed
        {
            eprintln!("job {} completed", job.job_id);
        }
        Ok(())
    }
}

fn headline(job: &v1::Job) -> String {
    let mut text = format!("{} {:.0} %", view::state(job), job.progress);
    if job.speed > 0.0 {
        text.push_str(&format!("  {:.1}x", job.speed));
    }
    if let Some(seconds) = job.eta_seconds {
        text.push_str(&format!("  {} left", clock(seconds as f64)));
    }
    text
}

/// Everything on one line, for logs. Omits the speed, which would change the line at every update.
fn line(job: &v1::Job) -> String {
    let mut text = format!("{} {:.0} %", view::state(job), job.progress);
    for (name, share) in shares(job) {
        text.push_str(&format!("  {name} {:.0} %", share * 100.0));
    }
    text
}

/// The finished share of each rung and of audio, from 0 to 1.
fn shares(job: &v1::Job) -> Vec<(String, f64)> {
    let mut shares = Vec::new();
    for rung in &job.profiles {
        let chunks = job.tasks.iter().filter(|task| task.rungs.contains(rung));
        shares.extend(share(chunks).map(|share| (rung.clone(), share)));
    }
    let sound = job.tasks.iter().filter(|task| task.kind == "audio");
    shares.extend(share(sound).map(|share| ("audio".to_owned(), share)));
    shares
}

fn share<'a>(tasks: impl Iterator<Item = &'a v1::Task>) -> Option<f64> {
    let (mut done, mut total) = (0.0, 0.0);
    for task in tasks {
        let weight =
            if task.kind == "chunk" && task.ordinal == 0 { FIRST_CHUNK_WEIGHT } else { 1.0 };
        let fraction = match task.state() {
            TaskState::Done => 1.0,
            _ => (task.progress / 100.0).clamp(0.0, 1.0),
        };
        done += weight * fraction;
        total += weight;
    }
    (total > 0.0).then(|| done / total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(kind: &str, ordinal: u32, rungs: &[&str], state: TaskState, progress: f64) -> v1::Task {
        v1::Task {
            kind: kind.to_owned(),
            ordinal,
            rungs: rungs.iter().map(|rung| (*rung).to_owned()).collect(),
            state: state.into(),
            progress,
            ..v1::Task::default()
        }
    }

    #[test]
    fn the_shorter_first_chunk_counts_less_in_shares() {
        let job = v1::Job {
            profiles: vec!["360p".to_owned(), "720p".to_owned()],
            tasks: vec![
                task("chunk", 0, &["360p"], TaskState::Done, 0.0),
                task("chunk", 0, &["720p"], TaskState::Ready, 0.0),
                task("chunk", 1, &["360p", "720p"], TaskState::Leased, 50.0),
                task("audio", 0, &[], TaskState::Leased, 25.0),
            ],
            ..v1::Job::default()
        };
        let shares = shares(&job);
        assert_eq!(shares.len(), 3);
        assert!((shares[0].1 - 0.7 / 1.2).abs() < 1e-9);
        assert!((shares[1].1 - 0.5 / 1.2).abs() < 1e-9);
        assert!((shares[2].1 - 0.25).abs() < 1e-9);
    }

    #[test]
    fn a_job_without_tasks_shows_no_bars() {
        assert!(shares(&v1::Job::default()).is_empty());
    }
}
