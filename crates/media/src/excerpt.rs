//! Excerpts for images and previews: key frames or whole GOPs of finished renditions, assembled
//! into one progressive file that FFmpeg reads like any other.

use crate::{
    Grid,
    fmp4::{
        Mp4Error, boxes,
        fragment::{self, Defaults},
    },
    grid::{AAC_FRAME_SAMPLES, AUDIO_RATE},
    progressive::{self, MovieTrack, Sample, TrackHead},
};

/// Duration of a key frame: one second.
const STILL_TICKS: u32 = 1000;

/// The first sample of a fragment; `fragment` must extend at least to the end of that sample.
///
/// # Errors
/// The bytes are not the start of a canonical fragment.
pub fn key_frame(fragment: &[u8]) -> Result<&[u8], Mp4Error> {
    let moof = boxes::box_at(fragment, 0)?;
    let (moof_end, entries) = (moof.end, fragment::read(moof.body, Defaults::default())?.entries);
    let first = entries.first().ok_or(Mp4Error::Missing("sample"))?;
    let start = usize::try_from(first.offset).map_err(|_| Mp4Error::Invalid("sample offset"))?;
    if start < moof_end {
        return Err(Mp4Error::Invalid("sample offset"));
    }
    let end = start.checked_add(first.size as usize).ok_or(Mp4Error::Truncated("sample"))?;
    fragment.get(start..end).ok_or(Mp4Error::Truncated("sample"))
}

/// A file with several tracks of key frames, one second each; `tracks` are init segments and
/// frames. The last track continues with every frame of `moving`, a fragment of its own rendition.
///
/// # Errors
/// An init segment or the fragment cannot be read.
pub fn stills(tracks: &[(&[u8], Vec<&[u8]>)], moving: Option<&[u8]>) -> Result<Vec<u8>, Mp4Error> {
    let mut movie = Vec::with_capacity(tracks.len());
    for (init, frames) in tracks {
        let head = TrackHead { timescale: STILL_TICKS, delay: 0, ..TrackHead::read(init)? };
        let sample = |frame: &&[u8]| {
            let size = u32::try_from(frame.len()).map_err(|_| Mp4Error::Invalid("sample size"))?;
            Ok(Sample { size, duration: STILL_TICKS, composition: 0, sync: true })
        };
        let samples = frames.iter().map(sample).collect::<Result<Vec<_>, Mp4Error>>()?;
        movie.push(MovieTrack { head, runs: vec![samples.len() as u32], samples });
    }
    let mut payload = tracks.iter().flat_map(|(_, frames)| frames.concat()).collect();
    if let (Some(fragment), Some(last)) = (moving, movie.last_mut()) {
        append_moving(last, fragment, &mut payload)?;
    }
    let order: Vec<usize> = (0..movie.len()).collect();
    let mut out = progressive::header(&movie, &order)?;
    out.extend_from_slice(&payload);
    Ok(out)
}

/// Appends every frame of a fragment, one second each, in presentation order.
fn append_moving(
    track: &mut MovieTrack,
    fragment: &[u8],
    payload: &mut Vec<u8>,
) -> Result<(), Mp4Error> {
    let all = track.samples.len();
    let mut builder = Builder { track: track.clone(), time: 0, in_runs: 0 };
    let ticks = builder.append(fragment, STILL_TICKS, payload)?;
    for sample in &mut builder.track.samples[all..] {
        sample.composition = sample.composition / ticks.max(1) * STILL_TICKS;
    }
    builder.track.runs = vec![builder.track.samples.len() as u32];
    *track = builder.track;
    Ok(())
}

/// One cut of a clip.
#[derive(Clone, Debug)]
pub struct Cut<'a> {
    /// The first GOP.
    pub gop: u32,
    /// The video's fragments from that GOP on, complete.
    pub video: Vec<&'a [u8]>,
    /// The audio's fragments of the same GOPs; empty without audio.
    pub audio: Vec<&'a [u8]>,
}

/// A file of some GOPs: the cuts of a rendition and its audio, concatenated. Audio packets may
/// start slightly before or after the video of their cut; the clip keeps that offset.
///
/// # Errors
/// An init segment or a fragment cannot be read.
pub fn clip(
    grid: &Grid,
    video_init: &[u8],
    audio_init: Option<&[u8]>,
    cuts: &[Cut<'_>],
) -> Result<Vec<u8>, Mp4Error> {
    let mut payload = Vec::new();
    let mut picture = Builder::new(TrackHead::read(video_init)?);
    let mut sound = audio_init.map(TrackHead::read).transpose()?.map(Builder::new);
    let mut order = Vec::new();
    let frame_ticks = grid.rate().frame_ticks();
    for cut in cuts {
        let frames_before = picture.track.samples.len() as u64;
        for fragment in &cut.video {
            picture.append(fragment, frame_ticks, &mut payload)?;
        }
        order.push(0);
        if let Some(sound) = &mut sound {
            sound.continue_at(sound_start(grid, cut.gop, frames_before));
            for fragment in &cut.audio {
                sound.append(fragment, AAC_FRAME_SAMPLES, &mut payload)?;
            }
            order.push(1);
        }
        picture.end_run();
        sound.iter_mut().for_each(Builder::end_run);
    }
    let mut tracks = vec![picture.track];
    tracks.extend(sound.map(|sound| sound.track));
    let mut out = progressive::header(&tracks, &order)?;
    out.extend_from_slice(&payload);
    Ok(out)
}

/// Where in the clip the audio of a cut starts, in samples.
fn sound_start(grid: &Grid, gop: u32, frames_before: u64) -> u64 {
    let video_seconds = grid.seconds(grid.gop(gop).start);
    let audio_packets = grid.audio_frames(gop).start * u64::from(AAC_FRAME_SAMPLES);
    let late = audio_packets as f64 - video_seconds * f64::from(AUDIO_RATE);
    let start = grid.seconds(frames_before) * f64::from(AUDIO_RATE) + late;
    start.max(0.0).round() as u64
}

/// A track under construction.
struct Builder {
    track: MovieTrack,
    time: u64,
    in_runs: u32,
}

impl Builder {
    fn new(head: TrackHead) -> Self {
        let track = MovieTrack { head, samples: Vec::new(), runs: Vec::new() };
        Self { track, time: 0, in_runs: 0 }
    }

    /// Adjusts the duration of the last sample so that the next one starts at `time`.
    fn continue_at(&mut self, time: u64) {
        let Some(last) = self.track.samples.last_mut() else { return };
        let duration = i64::from(last.duration) + time.cast_signed() - self.time.cast_signed();
        let duration = u32::try_from(duration.max(1)).unwrap_or(last.duration);
        self.time = self.time - u64::from(last.duration) + u64::from(duration);
        last.duration = duration;
    }

    /// Appends every sample with the given `duration`; returns the original duration of the last
    /// one.
    fn append(
        &mut self,
        fragment: &[u8],
        duration: u32,
        payload: &mut Vec<u8>,
    ) -> Result<u32, Mp4Error> {
        let moof = boxes::box_at(fragment, 0)?;
        let mut lasted = 0;
        for entry in fragment::read(moof.body, Defaults::default())?.entries {
            let start = usize::try_from(entry.offset).unwrap_or(usize::MAX);
            let end = start.saturating_add(entry.size as usize);
            let data = fragment.get(start..end).ok_or(Mp4Error::Truncated("sample"))?;
            payload.extend_from_slice(data);
            let composition = u32::try_from(entry.composition_offset)
                .map_err(|_| Mp4Error::Invalid("composition offset"))?;
            let (size, sync) = (entry.size, entry.sync);
            self.track.samples.push(Sample { size, duration, composition, sync });
            self.time += u64::from(duration);
            lasted = entry.duration;
        }
        Ok(lasted)
    }

    fn end_run(&mut self) {
        let all = self.track.samples.len() as u32;
        self.track.runs.push(all - self.in_runs);
        self.in_runs = all;
    }
}
