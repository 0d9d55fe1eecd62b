//! Turns ffprobe's output into a [`Source`] or rejects the file. A pure function of bytes and
//! numbers.

use media::{
    FrameRate, Grid,
    source::{AudioTrack, Source, TextTrack, VideoTrack},
};

use super::{
    audio_overhang::AudioSpan,
    ends::{Ends, First, Last},
    fields::field,
    rate::{self, Stated},
    report::{Report, Stream},
};
use crate::{ffmpeg::args::PIXELS_MAX, outcome::TaskFailure};

/// Largest width or height.
const SIDE_MAX: u32 = 16_384;
/// Smallest width or height.
const SIDE_MIN: u32 = 2;
/// How much earlier than its container states a video may end, in seconds and as a fraction of its
/// length.
const MISSING_SECONDS_MAX: f64 = 1.0;
const MISSING_PART_MAX: f64 = 0.02;
/// Smaller gaps come from rounding and from the durations of last frames.
const MISSING_SECONDS_MIN: f64 = 0.25;
/// Less than even a recording of a blank screen needs: such a file has forged timestamps.
const BITS_PER_SECOND_MIN: f64 = 100.0;
/// The minimum bit rate applies to files longer than this.
const BIT_RATE_CHECK_SECONDS_MIN: f64 = 60.0;
/// Validates a file with a video track, whose pictures are due at `times` as far as it is known.
pub(super) fn video(
    report: &Report,
    stream: &Stream,
    (ends, times): (&Ends, &[i64]),
    audio: &AudioSpan,
    bytes: u64,
) -> Result<Source, TaskFailure> {
    let invalid = |message: String| TaskFailure::permanent("not_a_video", message);
    let time_base = stream.time_base().ok_or_else(|| invalid("has no time base".to_owned()))?;
    let (width, height) = display_size(stream).map_err(invalid)?;
    let (first_pts, last_pts) = ends.pts();
    let stated = Stated::new(stream, ends);
    let mut track = VideoTrack {
        index: stream.index,
        codec: stream
            .codec_name
            .clone()
            .ok_or_else(|| invalid("has an unknown codec".to_owned()))?,
        width,
        height,
        frame_rate: stated.rate(),
        time_base,
        first_pts,
        last_pts,
        interlaced: is_interlaced(stream, &ends.first),
        pixel_format: stream.pix_fmt.clone().unwrap_or_default(),
        transfer: stream.transfer(),
        matrix: stream.matrix(),
        primaries: stream.primaries(),
        hold_before: 0,
        hold_after: 0,
        paced: false,
        hidden: 0,
        examined: 0,
        parts: Vec::new(),
    };
    let span = ends.seconds(stream.tick());
    audio.hold(&mut track, span);
    // The packets of interlaced video may be fields.
    if !times.is_empty() && !track.interlaced {
        stated.fit(&mut track, times);
        // A frame has another length now.
        audio.hold(&mut track, span);
        rate::keep_last(&mut track, times);
    }
    let unwrapped = report.unwrapped(first_pts, stream.tick());
    track.first_pts -= unwrapped;
    track.last_pts -= unwrapped;
    let duration = plan(&track).map_err(invalid)?;
    check_bit_rate(duration, bytes)?;
    check_length(report, stream, span)?;
    Ok(source(report, Some(track), duration, bytes))
}

/// Validates a raw stream of `pictures` pictures, which are shown at the rate that the stream states.
pub(super) fn untimed(
    report: &Report,
    stream: &Stream,
    interlaced: bool,
    pictures: i64,
    bytes: u64,
) -> Result<Source, TaskFailure> {
    let first = First { pts: 0, reorder: 0, interlaced };
    let last = Last { pts: Some(pictures.saturating_sub(1).max(0)), ..Last::default() };
    let ends = Ends { first, last };
    let stream = stream.at_rate(Stated::new(stream, &ends).rate());
    video(report, &stream, (&ends, &[]), &AudioSpan::default(), bytes)
}

/// Parses ffprobe's output for the first frames of a raw stream: whether they are interlaced; `None`
/// if none decodes.
pub(super) fn first_untimed(output: &[u8]) -> Option<bool> {
    let text = String::from_utf8_lossy(output);
    let frames = text.lines().filter_map(|line| field(line, "interlaced_frame"));
    frames.map(|interlaced| interlaced == 1).reduce(|one, other| one || other)
}

/// Parses ffprobe's output for the number of packets.
pub(super) fn packet_count(output: &[u8]) -> Option<i64> {
    let text = String::from_utf8_lossy(output);
    text.lines().find_map(|line| field(line, "nb_read_packets")).filter(|count| *count > 0)
}

/// Validates a file without a video track.
pub(super) fn audio_only(
    report: &Report,
    stream: &Stream,
    ends: &Ends,
    bytes: u64,
) -> Result<Source, TaskFailure> {
    let invalid = |message: &str| TaskFailure::permanent("not_a_video", message);
    let tick = stream.tick();
    let first = ends.first.pts;
    let last = ends.last.pts.or(ends.last.dts).unwrap_or(first).saturating_add(ends.last.ticks());
    let duration = last.saturating_sub(first) as f64 * tick;
    Grid::of_sound(duration).map_err(|_| invalid("has audio of an unsupported length"))?;
    check_bit_rate(duration, bytes)?;
    check_length(report, stream, (first as f64 * tick, last as f64 * tick))?;
    let source = source(report, None, duration, bytes);
    if source.audio.is_empty() {
        return Err(invalid("has audio in an unsupported format"));
    }
    Ok(source)
}

fn source(report: &Report, video: Option<VideoTrack>, duration: f64, bytes: u64) -> Source {
    Source {
        format: report.format.format_name.clone(),
        duration,
        bytes,
        bitrate: report.bitrate().unwrap_or((bytes as f64 * 8.0 / duration) as u64),
        video,
        audio: report.sounds().into_iter().filter_map(audio).collect(),
        text: report
            .streams
            .iter()
            .filter(|stream| stream.is_subtitle() && report.is_shown(stream))
            .map(text)
            .collect(),
        notes: Vec::new(),
    }
}

fn text(stream: &Stream) -> TextTrack {
    TextTrack {
        index: stream.index,
        codec: stream.codec_name.clone().unwrap_or_else(|| "unknown".to_owned()),
        language: stream.tag("language"),
        title: stream.tag("title"),
        default: stream.is("default"),
        forced: stream.is("forced"),
        hearing_impaired: stream.is("hearing_impaired") || stream.is("captions"),
        commentary: stream.is("comment"),
        channel: String::new(),
    }
}

fn audio(stream: &Stream) -> Option<AudioTrack> {
    let codec = stream.codec_name.clone()?;
    Some(AudioTrack {
        index: stream.index,
        codec,
        channels: stream.channels,
        sample_rate: stream.sample_rate(),
        language: stream.tag("language"),
        title: stream.tag("title"),
        purpose: stream.purpose(),
        parts: Vec::new(),
    })
}

/// The size on screen, with square pixels and after rotation.
fn display_size(video: &Stream) -> Result<(u32, u32), String> {
    let (width, height) = (video.width, video.height);
    let sides = SIDE_MIN..=SIDE_MAX;
    let pixels = u64::from(width) * u64::from(height);
    if !sides.contains(&width) || !sides.contains(&height) || pixels > u64::from(PIXELS_MAX) {
        return Err(format!("has an unsupported picture size of {width}x{height}"));
    }
    let (num, den) = video.sample_aspect();
    let stretched = (f64::from(width) * f64::from(num) / f64::from(den)).round();
    if !(f64::from(SIDE_MIN)..=f64::from(SIDE_MAX)).contains(&stretched) {
        return Err(format!("has an unsupported pixel aspect ratio of {num}:{den}"));
    }
    let stretched = stretched as u32;
    Ok(if video.is_turned() { (height, stretched) } else { (stretched, height) })
}

fn is_interlaced(video: &Stream, first: &First) -> bool {
    let order = video.field_order.as_deref().unwrap_or("unknown");
    first.interlaced || matches!(order, "tt" | "bb" | "tb" | "bt")
}

/// The length of the output; an error if the file cannot be put on a grid.
pub(super) fn plan(track: &VideoTrack) -> Result<f64, String> {
    let (num, den) = track.frame_rate;
    let rate = FrameRate::for_source(num, den).map_err(|error| format!("has an {error}"))?;
    let grid = Grid::new(rate, track.frames_at(rate)).map_err(|error| format!("has an {error}"))?;
    Ok(grid.duration())
}

fn check_bit_rate(duration: f64, bytes: u64) -> Result<(), TaskFailure> {
    if duration > BIT_RATE_CHECK_SECONDS_MIN && bytes as f64 * 8.0 / duration < BITS_PER_SECOND_MIN
    {
        let message = format!("has {duration:.0} s of video in only {bytes} bytes");
        return Err(TaskFailure::permanent("not_a_video", message));
    }
    Ok(())
}

/// `start` and `found` are the start and the end of the stream, in the source's seconds.
fn check_length(
    report: &Report,
    stream: &Stream,
    (start, found): (f64, f64),
) -> Result<(), TaskFailure> {
    let Some(claimed) = report.stated_end(stream) else { return Ok(()) };
    let missing = claimed - found;
    let length = claimed - start;
    let relative = missing > length * MISSING_PART_MAX && missing > MISSING_SECONDS_MIN;
    if missing > MISSING_SECONDS_MAX || relative {
        let message = format!("ends {missing:.1} s before its stated end of {claimed:.1} s");
        return Err(TaskFailure::permanent("truncated_source", message));
    }
    Ok(())
}
