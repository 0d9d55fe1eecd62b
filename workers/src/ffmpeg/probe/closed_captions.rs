//! Finds closed captions in a source without decoding pictures: pieces of the file show whether there
//! are any, and short samples of the video show which channels contain text.

use std::{collections::BTreeMap, time::Duration};

use media::{
    captions::closed::{
        Census, Channel,
        carriage::{Carriage, is_present},
        languages,
    },
    source::{Source, TextTrack},
};
use tokio::{task::spawn_blocking, time::timeout};

use super::{OpenedSource, Prober};
use crate::{
    ffmpeg::{
        args::{self, CaptionSample},
        caption_packets::CaptionPackets,
        run::{self, Run},
    },
    input::Input,
    outcome::TaskFailure,
};

/// The pieces of the file that are searched for captions, evenly spaced, and their size in bytes: an
/// eighth of a file altogether, within these bounds.
const PIECES: u64 = 8;
const PIECE_BYTES_MIN: u64 = 128 << 10;
const PIECE_BYTES_MAX: u64 = 1 << 20;
/// The samples of the video, evenly spaced, and the length of each in seconds. A video that is not
/// longer than all of them is read whole.
const SAMPLES: u32 = 6;
const SAMPLE_SECONDS: f64 = 20.0;
/// How long all samples may take. A channel that has not been found by then is missing.
const SAMPLES_TIME_MAX: Duration = Duration::from_secs(20);
/// Maximum size in bytes of a sample's captions.
const SAMPLE_BYTES_MAX: u64 = 64 << 20;

/// Adds the closed captions of the source to its text tracks. A failure only means that fewer are found.
pub(super) async fn add(prober: &Prober<'_>, file: &OpenedSource, source: &mut Source) {
    let own = source.text.iter().position(|track| track.codec == "eia_608");
    let (track, carriage) = match (own, &source.video) {
        (Some(place), _) => (source.text.remove(place), Carriage::Track),
        (None, Some(video)) => {
            let Some(carriage) = Carriage::of_codec(&video.codec) else { return };
            if !is_captioned(file, source.bytes).await {
                return;
            }
            (TextTrack { index: video.index, ..TextTrack::default() }, carriage)
        }
        (None, None) => return,
    };
    let census = Census::default();
    let found = timeout(SAMPLES_TIME_MAX, sample(prober, source, &track, carriage, census)).await;
    let channels = match found {
        Ok(Ok(channels)) => channels,
        Ok(Err(failure)) => {
            tracing::warn!(reason = failure.message, "failed to sample closed captions");
            Vec::new()
        }
        Err(_) => {
            tracing::warn!("failed to sample closed captions in time");
            Vec::new()
        }
    };
    tracing::info!(channels = channels.len(), "closed captions found");
    if channels.is_empty() && own.is_some() {
        source.text.push(track);
        return;
    }
    let languages = match &*source.format {
        "mpegts" => languages(&file.peek(0, PIECE_BYTES_MAX as usize).await),
        _ => BTreeMap::new(),
    };
    for channel in channels {
        let mut found = of_channel(&track, channel, own.is_some());
        if let Some(language) = languages.get(&channel).filter(|_| found.language.is_empty()) {
            found.language.clone_from(language);
        }
        source.text.push(found);
    }
}

fn of_channel(track: &TextTrack, channel: Channel, own: bool) -> TextTrack {
    let codec = match channel {
        _ if own => "eia_608",
        Channel::Line21(_) => "cea_608",
        Channel::Service(_) => "cea_708",
    };
    TextTrack {
        codec: codec.to_owned(),
        channel: channel.to_string(),
        hearing_impaired: true,
        ..track.clone()
    }
}

/// Whether pieces of the file contain captions. A file in a bucket is read in whole blocks of
/// [`PIECE_BYTES_MAX`], so there the pieces are fewer instead of smaller.
async fn is_captioned(file: &OpenedSource, bytes: u64) -> bool {
    let in_bucket = file.input().file().is_none();
    let part = bytes / PIECES;
    let (pieces, length) = match in_bucket {
        true => ((part / PIECE_BYTES_MAX).clamp(1, PIECES), PIECE_BYTES_MAX),
        false => (PIECES, (part / PIECES).clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX)),
    };
    for piece in 0..pieces {
        let start = bytes / pieces * piece;
        let start = if in_bucket { start - start % PIECE_BYTES_MAX } else { start };
        let piece = file.peek(start, length as usize).await;
        if spawn_blocking(move || is_present(&piece)).await.unwrap_or(false) {
            return true;
        }
    }
    false
}

/// The channels with text in samples of the video.
async fn sample(
    prober: &Prober<'_>,
    source: &Source,
    track: &TextTrack,
    carriage: Carriage,
    mut census: Census,
) -> Result<Vec<Channel>, TaskFailure> {
    let parts = source.video.as_ref().map(|video| &video.parts[..]).unwrap_or_default();
    let whole = source.duration <= f64::from(SAMPLES) * SAMPLE_SECONDS;
    for number in 0..SAMPLES {
        let (input, index, start) = match parts {
            [] if whole && number > 0 => break,
            [] => {
                let start = source.duration / f64::from(SAMPLES) * f64::from(number);
                (prober.source.clone(), track.index, start)
            }
            parts => {
                let place = parts.len() * number as usize / SAMPLES as usize;
                let Some(part) = parts.get(place) else { break };
                (prober.source.part(Some(part.start..part.end)), part.index, 0.0)
            }
        };
        let seconds = if whole { source.duration + 1.0 } else { SAMPLE_SECONDS };
        let sample = CaptionSample { start, seconds };
        census = read(prober, &input, index, carriage, sample, census).await?;
    }
    Ok(census.channels())
}

async fn read(
    prober: &Prober<'_>,
    input: &Input,
    index: u32,
    carriage: Carriage,
    sample: CaptionSample,
    mut census: Census,
) -> Result<Census, TaskFailure> {
    let run = Run {
        program: prober.toolbox.ffmpeg.clone(),
        args: args::closed_captions(input, index, carriage.unit_types(), Some(sample)),
        source: Some(input.clone()),
        scratch: prober.scratch.to_owned(),
        time_max: SAMPLES_TIME_MAX,
        stall_max: SAMPLES_TIME_MAX,
        file_bytes_max: SAMPLE_BYTES_MAX,
    };
    run::start(prober.toolbox, run)?.read_to_end(0).await?;
    let packets = CaptionPackets::open(prober.scratch, carriage);
    let mut packets = packets.map_err(|error| TaskFailure::io("open captions", &error))?;
    let census = spawn_blocking(move || {
        census.cut();
        while let Some((_, cc_data)) = packets.next_picture()? {
            census.picture(&cc_data);
        }
        Ok(census)
    });
    let census = census
        .await
        .map_err(|_| TaskFailure::retryable("internal", "read captions: the thread panicked"))?;
    census.map_err(|error: std::io::Error| TaskFailure::io("read captions", &error))
}
