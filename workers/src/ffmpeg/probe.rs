//! Probes a source: runs ffprobe in the same sandbox and validates its output.
//!
//! There are three queries. The first lists the container and its streams. The other two examine the video track or,
//! in a source without video, an audio track: the first frames that decode, because only decoding shows where the
//! timeline starts in every container; and the packets near the end, because the length that a container states can
//! be wrong. The cost does not grow with the source's length, except for transport and program streams, whose packet
//! headers are read once.

mod audio_overhang;
mod joined;
mod report;
pub mod sample;
mod truncation;
mod validate;

use std::{path::Path, time::Duration};

use media::source::Source;

use self::{
    audio_overhang::Sounding,
    report::Report,
    validate::{Ends, first_pts, last_pts},
};
use super::{Fault, Toolbox, args, failure::Cause, run::ask};
use crate::source::{Input, Source as Opened};

/// The code of a truncated file.
const TRUNCATED: &str = "truncated_source";
/// Maximum duration of one query.
const QUESTION_TIME_MAX: Duration = Duration::from_secs(20);
/// Maximum size of one query's output.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Bytes at each end of a file that must be readable before the file is reported as invalid.
const END_BYTES: u64 = 64 << 10;
/// Numbers of packets whose frames show where the track starts; the larger one is used when none of the first packets
/// decodes.
const FIRST_PACKETS: [u32; 2] = [8, 600];
/// Seconds before the stated end from which the last packets are searched.
const LAST_SECONDS: [f64; 2] = [10.0, 120.0];

/// Examines `source`.
///
/// # Errors
/// `not_a_video` or `truncated_source` when the file cannot be used; otherwise the failure of the run.
pub async fn probe(toolbox: &Toolbox, file: &Opened, scratch: &Path) -> Result<Source, Fault> {
    let bytes = file.bytes()?;
    if bytes == 0 {
        return Err(Fault::permanent("not_a_video", "is empty"));
    }
    match examine(toolbox, file, bytes, scratch).await {
        // FFmpeg reports the end of some files as an I/O error, so the worker checks the file itself.
        Err(fault) if fault.cause == Cause::Host => {
            Err(cut_off(file, bytes).await.unwrap_or(fault))
        }
        // ffprobe treats an unreadable part of a file as the file's end and does not report it.
        Err(fault) if fault.cause == Cause::Source && !is_readable(file, bytes).await => {
            Err(Fault::retryable("io_failed", "the source cannot be read"))
        }
        examined => examined,
    }
}

/// Whether both ends of a local file can be read. A source in S3 reports read errors itself.
async fn is_readable(file: &Opened, bytes: u64) -> bool {
    if file.input().file().is_none() {
        return true;
    }
    let length = bytes.min(END_BYTES);
    for start in [0, bytes - length] {
        if file.peek(start, length as usize).await.len() as u64 != length {
            return false;
        }
    }
    true
}

/// The failure of a file that is shorter than its own header states, if it is.
async fn cut_off(file: &Opened, bytes: u64) -> Option<Fault> {
    if truncation::lacks_index(file).await {
        return Some(lacks_index());
    }
    let missing = truncation::missing_of_matroska(file, bytes).await?;
    Some(shorter(missing))
}

fn lacks_index() -> Fault {
    Fault::permanent(TRUNCATED, "ends before its index")
}

fn shorter(missing: u64) -> Fault {
    Fault::permanent(TRUNCATED, format!("is {missing} bytes shorter than its header says"))
}

async fn examine(
    toolbox: &Toolbox,
    file: &Opened,
    bytes: u64,
    scratch: &Path,
) -> Result<Source, Fault> {
    let source = file.input();
    let prober = Prober { toolbox, source, scratch };
    let json = match prober.ask(args::probe_streams(source)).await {
        Ok(json) => json,
        Err(fault) => return Err(unreadable(fault, truncation::lacks_index(file).await)),
    };
    let report = Report::parse(&json)?;
    if let Some(missing) = truncation::missing_of_riff(file, bytes).await {
        return Err(shorter(missing));
    }
    match joined::examine(&prober, file, &report).await? {
        Some(source) => Ok(source),
        None => prober.examine(&report, bytes).await,
    }
}

struct Prober<'a> {
    toolbox: &'a Toolbox,
    source: &'a Input,
    scratch: &'a Path,
}

impl Prober<'_> {
    /// Examines a source that is a single recording of `bytes` bytes with the streams of `report`.
    async fn examine(&self, report: &Report, bytes: u64) -> Result<Source, Fault> {
        let video = report.video();
        let stream = match video {
            Some(video) => video,
            None => report.sound()?,
        };
        let (first, last) = tokio::join!(
            self.first(stream.index, report.start_pts(stream)),
            self.last(stream.index, report.claimed_end(stream))
        );
        let mut ends = Ends { first: first?, last: last? };
        if let Some(reorder) = report.reorder(stream, ends.last.duration) {
            ends.first.reorder = reorder;
        }
        match video {
            Some(video) => {
                let sound = self.sounding(report, ends.seconds(video.tick())).await?;
                validate::film(report, video, &ends, &sound, bytes)
            }
            None => validate::sound(report, stream, &ends, bytes),
        }
    }

    async fn ask(&self, args: Vec<std::ffi::OsString>) -> Result<Vec<u8>, Fault> {
        let Self { toolbox, source, scratch } = *self;
        let program = &toolbox.ffprobe;
        let (time, bytes) = (QUESTION_TIME_MAX, ANSWER_BYTES_MAX);
        ask(toolbox, program, args, Some(source), scratch, time, bytes).await
    }

    async fn first(&self, index: u32, start_pts: i64) -> Result<validate::First, Fault> {
        for packets in FIRST_PACKETS {
            let answer = self.ask(args::probe_first_frames(self.source, index, packets)).await;
            let answer = answer.map_err(|fault| unreadable(fault, false))?;
            if let Some(first) = first_pts(&answer, start_pts) {
                return Ok(first);
            }
        }
        Err(Fault::permanent("not_a_video", "nothing of the film can be decoded"))
    }

    /// The time span of the audio. If a track states that it outlasts the video, which ends at `end`, its last packets
    /// are examined, because the stated end can be wrong.
    async fn sounding(&self, report: &Report, (_, end): (f64, f64)) -> Result<Sounding, Fault> {
        let mut sound = Sounding::claimed(report);
        if let Some(stream) = audio_overhang::outlasting(report, end) {
            match self.last(stream.index, report.claimed_end(stream)).await {
                Ok(last) => sound.end = last.seconds(stream.tick()),
                // A track without packets does not extend the video.
                Err(fault) if fault.code == TRUNCATED => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(sound)
    }

    async fn last(&self, index: u32, claimed_end: Option<f64>) -> Result<validate::Last, Fault> {
        let near = LAST_SECONDS.iter().filter_map(|before| claimed_end.map(|end| end - before));
        let mut starts: Vec<Option<f64>> = near.filter(|start| *start > 0.0).map(Some).collect();
        starts.push(None);
        for start in starts {
            let answer = self.ask(args::probe_last_packets(self.source, index, start)).await;
            match answer {
                // The whole file has too many packets for one query: no further start is tried.
                Err(fault) if fault.code == "output_too_large" => break,
                answer => {
                    let answer = answer.map_err(|fault| unreadable(fault, false))?;
                    if let Some(last) = last_pts(&answer, index) {
                        return Ok(last);
                    }
                }
            }
        }
        Err(Fault::permanent(TRUNCATED, "no packet of the film is found at its end"))
    }
}

/// Translates ffprobe's failure for the uploader. A failure of the host stays one, regardless of the file.
fn unreadable(fault: Fault, lacks_index: bool) -> Fault {
    match (fault.cause, fault.code.as_ref()) {
        (Cause::Source, "not_a_video" | "unsupported") if lacks_index => self::lacks_index(),
        (Cause::Source, "unsupported" | "output_too_large") => {
            Fault::permanent("not_a_video", format!("cannot be read as a video: {}", fault.message))
        }
        _ => fault,
    }
}
