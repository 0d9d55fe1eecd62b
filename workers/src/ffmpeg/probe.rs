//! Probes a source: runs ffprobe in the same sandbox and validates its output.
//!
//! There are three queries, and some more for closed captions. The first lists the container and
//! its streams. The other two examine the video track or, in a source without video, an audio
//! track: the first frames that decode, because only decoding shows where the timeline starts in
//! every container; and the packets, because the length and the rate that a container states can be
//! wrong. In a large source, these are the packets near the end and, in parallel, samples of the
//! others, so that the cost does not grow with the source's length. It does for transport and
//! program streams, whose packet headers are read once, and for sources that do not state their
//! length.

mod audio_overhang;
mod closed_captions;
mod ends;
mod fields;
mod joined;
mod listing;
mod matroska;
mod packets;
mod rate;
mod report;
pub mod sample;
mod truncation;
mod validate;

use std::{path::Path, time::Duration};

use media::source::Source;

use self::{
    audio_overhang::AudioSpan,
    ends::{Ends, First, first_pts},
    report::{Report, Stream},
    truncation::{Movie, shorter},
};
use super::{Toolbox, args, query::query};
use crate::{
    input::Input,
    outcome::{Cause, TaskFailure},
    source::OpenedSource,
};

/// The code of a truncated file.
const TRUNCATED: &str = "truncated_source";
/// Maximum duration of one query.
const QUERY_TIME_MAX: Duration = Duration::from_secs(20);
/// Maximum size of one query's output.
const QUERY_OUTPUT_BYTES_MAX: usize = 4 << 20;
/// Bytes at each end of a file that must be readable before the file is reported as invalid.
const END_BYTES: u64 = 64 << 10;
/// Numbers of packets whose frames show where the track starts; a larger one is used while too few
/// of them are shown.
const FIRST_PACKETS: [u32; 3] = [8, 40, 600];
/// Examines `source`.
///
/// # Errors
/// `not_a_video` or `truncated_source` when the file cannot be used; otherwise the failure of the
/// run.
pub async fn probe(
    toolbox: &Toolbox,
    file: &OpenedSource,
    scratch: &Path,
) -> Result<Source, TaskFailure> {
    let bytes = file.bytes()?;
    if bytes == 0 {
        return Err(TaskFailure::permanent("not_a_video", "is empty"));
    }
    match examine(toolbox, file, bytes, scratch).await {
        // FFmpeg reports the end of some files as an I/O error, so the worker checks the file
        // itself.
        Err(failure) if failure.cause == Cause::Host => {
            Err(cut_off(file, bytes).await.unwrap_or(failure))
        }
        // ffprobe treats an unreadable part of a file as the file's end and does not report it.
        Err(failure) if failure.cause == Cause::Source && !is_readable(file, bytes).await => {
            Err(TaskFailure::retryable("io_failed", "the source cannot be read"))
        }
        examined => examined,
    }
}

/// Whether both ends of a local file can be read. A source in S3 reports read errors itself.
async fn is_readable(file: &OpenedSource, bytes: u64) -> bool {
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

/// The failure of a file of which a part is missing, if there is evidence of that.
async fn cut_off(file: &OpenedSource, bytes: u64) -> Option<TaskFailure> {
    if let Some(failure) = Movie::read(file, bytes).await.failure() {
        return Some(failure);
    }
    if truncation::lacks_picture_of_dv(file, bytes).await {
        return Some(TaskFailure::permanent(TRUNCATED, "ends within its first picture"));
    }
    missing(file, bytes).await.map(shorter)
}

/// How many bytes are missing from a file whose format states its size.
async fn missing(file: &OpenedSource, bytes: u64) -> Option<u64> {
    let riff = truncation::missing_of_riff(file, bytes).await;
    let asf = truncation::missing_of_asf(file, bytes).await;
    riff.or(asf).or(matroska::missing(file, bytes).await)
}

async fn examine(
    toolbox: &Toolbox,
    file: &OpenedSource,
    bytes: u64,
    scratch: &Path,
) -> Result<Source, TaskFailure> {
    let source = file.input();
    let prober = Prober { toolbox, source, scratch };
    let json = match prober.query(args::probe_streams(source)).await {
        Ok(json) => json,
        Err(failure) => return Err(explained(unreadable(failure), file, bytes).await),
    };
    let mut report = Report::parse(&json)?;
    if let Some(missing) = missing(file, bytes).await {
        return Err(shorter(missing));
    }
    if report.is_movie() {
        let movie = Movie::read(file, bytes).await;
        report.fragmented = movie.fragmented;
        if let Some(failure) = movie.incomplete_fragment() {
            return Err(failure);
        }
    }
    if report.has_unknown_text() {
        report.name_text_codecs(&matroska::text_codecs(file).await);
    }
    let mut notes = Vec::new();
    loop {
        let examined = match joined::examine(&prober, file, &report).await? {
            Some(source) => Ok(source),
            None => prober.examine(&report, bytes).await,
        };
        let failure = match examined {
            Ok(source) => {
                let mut source = Source { notes, ..source };
                // Pictures without times cannot be put into the order in which they are shown.
                if !report.is_untimed() {
                    closed_captions::add(&prober, file, &mut source).await;
                }
                return Ok(source);
            }
            Err(Unusable::File(failure)) => return Err(explained(failure, file, bytes).await),
            Err(Unusable::Pictures(failure)) => explained(failure, file, bytes).await,
        };
        match report.omit_video() {
            Some(track) if failure.code != TRUNCATED => {
                notes.push(format!("{track}: left out, because it cannot be decoded"));
            }
            _ => return Err(failure),
        }
    }
}

/// The more precise failure of a file that is invalid because a part of it is missing.
async fn explained(failure: TaskFailure, file: &OpenedSource, bytes: u64) -> TaskFailure {
    match failure.code.as_ref() {
        "not_a_video" if failure.cause == Cause::Source => {
            Movie::read(file, bytes).await.failure().unwrap_or(failure)
        }
        _ => failure,
    }
}

/// Why a recording cannot be used.
enum Unusable {
    /// The pictures of its video track cannot be decoded; other tracks may be good.
    Pictures(TaskFailure),
    /// Any other reason.
    File(TaskFailure),
}

impl From<TaskFailure> for Unusable {
    fn from(failure: TaskFailure) -> Self {
        Self::File(failure)
    }
}

impl From<Unusable> for TaskFailure {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Pictures(failure) | Unusable::File(failure) => failure,
        }
    }
}

struct Prober<'a> {
    toolbox: &'a Toolbox,
    source: &'a Input,
    scratch: &'a Path,
}

impl Prober<'_> {
    /// Examines a source that is a single recording of `bytes` bytes with the streams of `report`.
    async fn examine(&self, report: &Report, bytes: u64) -> Result<Source, Unusable> {
        let video = report.video();
        let stream = match video {
            Some(video) => video,
            None => report.sound()?,
        };
        if report.is_untimed() {
            return Ok(self.untimed(report, stream, bytes).await?);
        }
        let (first, packets) = tokio::join!(
            self.first(stream, report.start_pts(stream)),
            self.packets(report, stream, bytes)
        );
        let first = first.map_err(|failure| match (failure.cause, video) {
            (Cause::Source, Some(_)) => Unusable::Pictures(failure),
            _ => Unusable::File(failure),
        })?;
        let (last, times) = packets?;
        let mut ends = Ends { first, last };
        if let Some(reorder) = report.reorder(stream, ends.last.duration) {
            ends.first.reorder = reorder;
        }
        match video {
            Some(video) => {
                let sound = self.audio_span(report, ends.seconds(video.tick())).await?;
                Ok(validate::video(report, video, (&ends, &times), &sound, bytes)?)
            }
            None => Ok(validate::audio_only(report, stream, &ends, bytes)?),
        }
    }

    /// Examines a raw stream of pictures. They have no times, so they are counted.
    async fn untimed(
        &self,
        report: &Report,
        stream: &Stream,
        bytes: u64,
    ) -> Result<Source, TaskFailure> {
        let (interlaced, count) = tokio::join!(
            self.first_frames(stream.index, |output| Some((
                validate::first_untimed(output)?,
                true
            ))),
            self.query(args::probe_packet_count(self.source, stream.index))
        );
        let count = count.map_err(unreadable)?;
        let pictures = validate::packet_count(&count).ok_or_else(undecodable)?;
        validate::untimed(report, stream, interlaced?, pictures, bytes)
    }

    async fn query(&self, args: Vec<std::ffi::OsString>) -> Result<Vec<u8>, TaskFailure> {
        let Self { toolbox, source, scratch } = *self;
        let program = &toolbox.ffprobe;
        let (time, bytes) = (QUERY_TIME_MAX, QUERY_OUTPUT_BYTES_MAX);
        query(toolbox, program, args, Some(source), scratch, time, bytes).await
    }

    async fn first(&self, stream: &Stream, start_pts: i64) -> Result<First, TaskFailure> {
        // At most `has_b_frames` frames are decoded before one that is shown earlier.
        let enough = |frames| frames > stream.has_b_frames;
        self.first_frames(stream.index, |output| {
            first_pts(output, start_pts).map(|(first, frames)| (first, enough(frames)))
        })
        .await
    }

    /// The result of `parse` on the list of the first frames. It also returns whether the list was
    /// long enough for it.
    async fn first_frames<T>(
        &self,
        index: u32,
        parse: impl Fn(&[u8]) -> Option<(T, bool)>,
    ) -> Result<T, TaskFailure> {
        let mut found = None;
        for packets in FIRST_PACKETS {
            let output = self.query(args::probe_first_frames(self.source, index, packets));
            let output = output.await.map_err(unreadable)?;
            if let Some((first, enough)) = parse(&output) {
                found = Some(first);
                if enough {
                    break;
                }
            }
        }
        found.ok_or_else(undecodable)
    }

    /// The time span of the audio. The last packets of tracks that state to outlast the video,
    /// which ends at `end`, are examined, because the stated end can be wrong.
    async fn audio_span(
        &self,
        report: &Report,
        (_, end): (f64, f64),
    ) -> Result<AudioSpan, TaskFailure> {
        let mut sound = AudioSpan::claimed(report);
        for (stream, claim) in audio_overhang::outlasting(report, end) {
            if sound.end.is_some_and(|end| end >= claim) {
                break;
            }
            match self.last(stream.index, &report.claimed_ends(stream)).await {
                Ok((last, _)) => {
                    let end = last.seconds(stream.tick());
                    sound.end = end.into_iter().chain(sound.end).max_by(f64::total_cmp);
                }
                // A track without packets does not extend the video.
                Err(failure) if failure.code == TRUNCATED => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(sound)
    }
}

fn undecodable() -> TaskFailure {
    TaskFailure::permanent("not_a_video", "no frame can be decoded")
}

/// Translates ffprobe's failure for the uploader. A failure of the host stays one, regardless of
/// the file.
fn unreadable(failure: TaskFailure) -> TaskFailure {
    match (failure.cause, failure.code.as_ref()) {
        (Cause::Source, "unsupported" | "output_too_large") => TaskFailure::permanent(
            "not_a_video",
            format!("cannot be read as a video: {}", failure.message),
        ),
        _ => failure,
    }
}
