//! Closed captions of the video as a text track: FFmpeg copies them out of its packets without decoding
//! pictures, recording by recording, and this process decodes them.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use media::{
    Grid,
    captions::{
        CaptionError, ParseBudget, Window,
        closed::{Channel, Decoder, carriage::Carriage},
        length_of,
    },
    source::{Span, TextTrack, VideoTrack},
};
use tokio::task::spawn_blocking;

use super::{PARSE_TIME_MAX, Task, TaskIo, parse_failure};
use crate::{
    ffmpeg::{
        args,
        caption_packets::CaptionPackets,
        run::{self, Run},
    },
    input::Input,
    outcome::{TaskError, TaskFailure},
};

/// Maximum size in bytes of what FFmpeg copies: a day of captions in every picture at 60 Hz.
const COPY_BYTES_MAX: u64 = 1 << 30;

/// A recording, and its place in the video in milliseconds.
struct Recording {
    input: Input,
    index: u32,
    /// The time of the recording's clock that is at `start`.
    origin: i64,
    start: i64,
    end: i64,
}

/// The track as WebVTT.
pub(super) async fn text(
    task: &Task,
    task_io: &TaskIo<'_>,
    grid: &Grid,
    track: &TextTrack,
    video: Option<&VideoTrack>,
    (scratch, time_max): (&Path, Duration),
) -> Result<String, TaskError> {
    let invalid = || TaskFailure::lease("lease field track is invalid");
    let channel = Channel::parse(&track.channel).ok_or_else(invalid)?;
    // The captions are in the video track, or in a track of their own.
    let own = Carriage::of_codec(&track.codec);
    let carried = video.and_then(|video| Carriage::of_codec(&video.codec));
    let carriage = own.or(carried).ok_or_else(invalid)?;
    let source = task_io.source.input();
    let recordings = recordings(source, grid, video, own.map(|_| track.index));
    let toolbox = &task.context.toolbox;
    let mut decoder = Decoder::new(channel);
    let deadline = Instant::now() + time_max;
    for recording in recordings {
        let time_max = deadline.saturating_duration_since(Instant::now());
        let run = Run {
            program: toolbox.ffmpeg.clone(),
            args: args::closed_captions(
                &recording.input,
                recording.index,
                carriage.unit_types(),
                None,
            ),
            source: Some(source.clone()),
            scratch: scratch.to_owned(),
            time_max,
            stall_max: time_max,
            file_bytes_max: COPY_BYTES_MAX,
        };
        run::start(toolbox, run)?.read_to_end(0).await?;
        let packets = CaptionPackets::open(scratch, carriage);
        let packets = packets.map_err(|error| TaskFailure::io("open captions", &error))?;
        decoder = spawn_blocking(move || read(decoder, packets, &recording))
            .await
            .map_err(|_| TaskFailure::retryable("internal", "read captions: the thread panicked"))?
            .map_err(|error| TaskFailure::io("read captions", &error))?;
    }
    let length = Some(length_of(grid));
    let written = spawn_blocking(move || {
        let begun = Instant::now();
        let is_late = || begun.elapsed() >= PARSE_TIME_MAX;
        let mut budget = ParseBudget::until(&is_late);
        decoder.finish(&mut budget, Window { origin: 0, length })?.write()
    });
    let written: Result<String, CaptionError> = written
        .await
        .map_err(|_| TaskFailure::retryable("internal", "read captions: the thread panicked"))?;
    Ok(written.map_err(|error| parse_failure(&error))?)
}

/// The recordings of the video; a track of its own is in a source that was not joined.
fn recordings(
    source: &Input,
    grid: &Grid,
    video: Option<&VideoTrack>,
    own: Option<u32>,
) -> Vec<Recording> {
    let millis = |seconds: f64| (seconds * 1000.0).round() as i64;
    let recording = |span: Span| Recording {
        input: source.part(span.bytes),
        index: own.unwrap_or(span.track.index),
        origin: millis(span.track.seconds(span.track.start_pts())),
        start: millis(grid.seconds(span.frames.start)),
        end: millis(grid.seconds(span.frames.end)),
    };
    match video {
        Some(video) => video.spans(grid.rate(), grid.frames()).into_iter().map(recording).collect(),
        None => vec![Recording {
            input: source.clone(),
            index: own.unwrap_or_default(),
            origin: 0,
            start: 0,
            end: millis(grid.duration()),
        }],
    }
}

fn read(
    mut decoder: Decoder,
    mut packets: CaptionPackets,
    recording: &Recording,
) -> std::io::Result<Decoder> {
    let Recording { origin, start, end, .. } = *recording;
    while let Some((time, cc_data)) = packets.next_picture()? {
        let at = time.saturating_sub(origin).saturating_add(start).max(start);
        if at < end {
            decoder.picture(at, &cc_data);
        }
    }
    decoder.cut(end);
    Ok(decoder)
}
