//! Transport and program streams that were joined from several recordings. Each recording is
//! examined separately, and they follow one another on the timeline of the source, as FFmpeg and
//! VLC play them.

use std::ops::Range;

use media::{
    FrameRate,
    grid::AUDIO_RATE,
    joints::{Container, Scanner, Track},
    source::{AudioPart, AudioTrack, Source, VideoPart, VideoTrack, sample_of},
};

use super::{OpenedSource, Prober, report::Report, validate};
use crate::{ffmpeg::args, outcome::TaskFailure};

/// The code of a source that was joined from more recordings than are supported.
const TOO_MANY: &str = "too_many_recordings";
/// Maximum number of recordings in a source. Each of them costs several runs of ffprobe.
const PARTS_MAX: usize = 10_000;
/// Maximum number of recordings times tracks: a lease names the place of each.
const TRACK_PARTS_MAX: usize = 40_000;
/// Maximum number of recordings in one chunk of the output: FFmpeg opens all of them at the same
/// time.
const CHUNK_PARTS_MAX: usize = 100;

/// One recording.
struct Part {
    bytes: Range<u64>,
    report: Report,
    source: Source,
}

/// Examines `file` if it was joined from several recordings. `whole` lists the streams at its
/// beginning.
pub(super) async fn examine(
    prober: &Prober<'_>,
    file: &OpenedSource,
    whole: &Report,
) -> Result<Option<Source>, TaskFailure> {
    let Some(container) = Container::of_format(&whole.format.format_name) else { return Ok(None) };
    let tracks = whole.video().into_iter().chain(whole.sounds());
    let tracks = tracks
        .filter_map(|stream| Some(Track { id: stream.id()?, reordered: stream.is_reordered() }));
    let tracks = tracks.collect::<Vec<_>>();
    let mut scanner = Scanner::new(container, &tracks);
    file.read(|bytes| scanner.push(bytes)).await?;
    let starts = scanner.finish();
    if starts == [0] {
        return Ok(None);
    }
    let parts_max = PARTS_MAX.min(TRACK_PARTS_MAX / tracks.len().max(1));
    if starts.len() > parts_max {
        return Err(too_many(starts.len(), parts_max, ""));
    }
    let bytes = file.bytes()?;
    let ends = starts.iter().skip(1).copied().chain([bytes]);
    let mut parts = Vec::new();
    for range in starts.iter().zip(ends).map(|(start, end)| *start..end) {
        parts.extend(examine_part(prober, range).await?);
    }
    let left_out = starts.len() - parts.len();
    tracing::info!(recordings = parts.len(), left_out, "source is joined from recordings");
    let source = join(whole, parts, bytes)?;
    fit_chunks(&source)?;
    Ok(Some(source))
}

fn too_many(count: usize, parts_max: usize, place: &str) -> TaskFailure {
    let message =
        format!("is joined from {count} recordings{place}; at most {parts_max} are supported");
    TaskFailure::permanent(TOO_MANY, message)
}

/// Checks the number of recordings of every chunk.
fn fit_chunks(source: &Source) -> Result<(), TaskFailure> {
    let (Some(video), Ok(grid)) = (&source.video, source.grid()) else { return Ok(()) };
    let mut counts = vec![0; grid.chunks() as usize];
    for span in video.spans(grid.rate(), grid.frames()) {
        let chunk = |frame: u64| grid.chunk_of(grid.gop_of(frame));
        let last = span.frames.end.saturating_sub(1).max(span.frames.start);
        for chunk in chunk(span.frames.start)..=chunk(last) {
            if let Some(count) = counts.get_mut(chunk as usize) {
                *count += 1;
            }
        }
    }
    let (number, count) = (0..).zip(counts).max_by_key(|(_, count)| *count).unwrap_or_default();
    if count <= CHUNK_PARTS_MAX {
        return Ok(());
    }
    let frames = grid.chunk_frames(number);
    let (start, end) = (grid.seconds(frames.start), grid.seconds(frames.end));
    let place = format!(" between {start:.0} s and {end:.0} s");
    Err(too_many(count, CHUNK_PARTS_MAX, &place))
}

/// Examines one recording; `None` when nothing in it can be decoded.
async fn examine_part(prober: &Prober<'_>, bytes: Range<u64>) -> Result<Option<Part>, TaskFailure> {
    let source = prober.source.part(Some(bytes.clone()));
    let prober = Prober { source: &source, ..*prober };
    let Range { start, end } = bytes;
    match Part::read(&prober, bytes).await {
        Ok(part) => Ok(Some(part)),
        Err(failure) if failure.code == "not_a_video" || failure.code == super::TRUNCATED => {
            tracing::info!(start, end, reason = failure.message, "recording omitted");
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

/// Combines the recordings into one source.
fn join(whole: &Report, parts: Vec<Part>, bytes: u64) -> Result<Source, TaskFailure> {
    let invalid = |message: String| TaskFailure::permanent("not_a_video", message);
    let first = parts.iter().find_map(|part| part.source.video.as_ref());
    let (video, lengths) = match first {
        Some(first) => {
            let (video, lengths) = pictures(first, &parts).map_err(invalid)?;
            (Some(video), lengths)
        }
        None => (None, parts.iter().map(|part| samples(part.source.duration)).collect()),
    };
    let duration = match &video {
        Some(video) => validate::plan(video).map_err(invalid)?,
        None => lengths.iter().sum::<u64>() as f64 / f64::from(AUDIO_RATE),
    };
    // The first of the recordings with the most audio tracks.
    let richest = parts.iter().rev().max_by_key(|part| part.source.audio.len());
    let richest = richest.ok_or_else(|| invalid("cannot be read as a video".to_owned()))?;
    let sounds = 0..richest.source.audio.len();
    Ok(Source {
        format: whole.format.format_name.clone(),
        duration,
        bytes,
        bitrate: (bytes as f64 * 8.0 / duration) as u64,
        video,
        audio: sounds.map(|number| sound(number, richest, &parts, &lengths)).collect(),
        text: richest.source.text.clone(),
        notes: Vec::new(),
    })
}

fn samples(seconds: f64) -> u64 {
    (seconds * f64::from(AUDIO_RATE)).round() as u64
}

/// The video of all recordings as one track with the properties of `first`, and the length of each
/// recording in audio samples. During a recording without video, the nearest picture is held.
fn pictures(first: &VideoTrack, parts: &[Part]) -> Result<(VideoTrack, Vec<u64>), String> {
    let (num, den) = first.frame_rate;
    let rate = FrameRate::for_source(num, den).map_err(|error| format!("has an {error}"))?;
    let ticks = |frames: u64| (frames as f64 / rate.fps() / first.seconds(1)).round() as u64;
    let mut whole = first.clone();
    let (mut ahead, mut end, mut lengths) = (0, 0, Vec::new());
    let (mut hidden, mut examined) = (0, 0);
    for part in parts {
        let begin = end;
        match &part.source.video {
            Some(track) if track.time_base == first.time_base => {
                let mut own = video_part(track, &part.bytes);
                end += whole.of_part(&own).frames_at(rate);
                own.hold_before += ticks(std::mem::take(&mut ahead));
                whole.interlaced |= track.interlaced;
                whole.paced |= track.paced;
                hidden += hidden_at(rate, track);
                examined += track.examined;
                whole.parts.push(own);
            }
            _ => {
                let frames = (part.source.duration * rate.fps()).round().max(1.0) as u64;
                end += frames;
                match whole.parts.last_mut() {
                    Some(last) => last.hold_after += ticks(frames),
                    None => ahead += frames,
                }
            }
        }
        lengths.push(sample_of(rate, end) - sample_of(rate, begin));
    }
    // Code that does not handle recordings sees one track of the total length.
    whole.last_pts = whole.start_pts().saturating_add_unsigned(ticks(end.saturating_sub(1)));
    whole.hold_after = 0;
    (whole.hidden, whole.examined) = (hidden, examined);
    Ok((whole, lengths))
}

/// How many of the examined pictures of `track` are hidden at `rate`, that of the first recording.
fn hidden_at(rate: FrameRate, track: &VideoTrack) -> u64 {
    let (num, den) = track.frame_rate;
    let own = FrameRate::for_source(num, den).map_or(0.0, FrameRate::fps);
    let surplus = (1.0 - rate.fps() / own).max(0.0) * track.examined as f64;
    track.hidden.max(surplus as u64)
}

fn video_part(track: &VideoTrack, bytes: &Range<u64>) -> VideoPart {
    VideoPart {
        start: bytes.start,
        end: bytes.end,
        index: track.index,
        first_pts: track.first_pts,
        last_pts: track.last_pts,
        hold_before: track.hold_before,
        hold_after: track.hold_after,
    }
}

/// Audio track `number` of the recording that has the most, continued through all recordings: each
/// contributes the track with the same stream id, else the one at the same position, else its
/// first.
fn sound(number: usize, richest: &Part, parts: &[Part], lengths: &[u64]) -> AudioTrack {
    let track = &richest.source.audio[number];
    let id = richest.stream_id(track.index);
    let part = |(part, samples): (&Part, &u64)| {
        let own = &part.source.audio;
        let same = own.iter().find(|track| id.is_some() && part.stream_id(track.index) == id);
        let found = same.or_else(|| own.get(number)).or_else(|| own.first());
        AudioPart {
            start: part.bytes.start,
            end: part.bytes.end,
            index: found.map(|track| track.index),
            origin: part.source.video.as_ref().map(VideoTrack::start_pts),
            samples: *samples,
        }
    };
    let parts = parts.iter().zip(lengths).map(part).collect();
    AudioTrack { parts, ..track.clone() }
}

impl Part {
    async fn read(prober: &Prober<'_>, bytes: Range<u64>) -> Result<Self, TaskFailure> {
        let output = prober.query(args::probe_streams(prober.source)).await;
        let report = Report::parse(&output.map_err(super::unreadable)?)?;
        let source = prober.examine(&report, bytes.end - bytes.start).await?;
        Ok(Self { bytes, report, source })
    }

    fn stream_id(&self, index: u32) -> Option<u32> {
        self.report.streams.iter().find(|stream| stream.index == index)?.id()
    }
}
