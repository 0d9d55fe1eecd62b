//! Builds indexes from committed rows: the growing one for each `GetIndex`, the final one as an
//! object.

use std::collections::HashMap;

use bytes::Bytes;
use media::{
    JobId, VideoId, fmp4,
    index::{AudioDetails, AudioRendition, Chunk, Index, Track, VideoRendition},
    layout,
    pictures::{PREVIEW, Picture, Pictures},
    surround,
};
use store::Stores;

use super::{PublishError, captions::tracks};
use crate::{
    db::{
        Db, GenericClient, captions, images,
        outputs::{self, Head, Output},
        pool::{self, Connection},
    },
    index_cache::IndexCache,
    objects,
    plan::{Plan, PlannedAudio, PlannedSurround},
};

/// The encoded index of the version that is served now; `None` if no version is served.
///
/// # Errors
/// The database failed, or a committed init segment is invalid.
pub async fn encoded(
    db: &Db,
    cache: &IndexCache,
    video: VideoId,
) -> Result<Option<Bytes>, PublishError> {
    let mut connection = db.get().await?;
    let Some((revision, Some(_))) = outputs::served(&*connection, video).await? else {
        return Ok(None);
    };
    if let Some(bytes) = cache.get(video, revision) {
        return Ok(Some(bytes));
    }
    let Some((head, index)) = snapshot(&mut connection, video).await? else {
        return Ok(None);
    };
    let bytes = Bytes::from(index.encode());
    cache.insert(video, head.revision, bytes.clone());
    Ok(Some(bytes))
}

/// The index of the served version and its row, read in one snapshot.
async fn snapshot(
    connection: &mut Connection<'_>,
    video: VideoId,
) -> Result<Option<(Head, Index)>, PublishError> {
    let tx = pool::snapshot(connection).await?;
    let Some((_, Some(job))) = outputs::served(&tx, video).await? else { return Ok(None) };
    of_job(&tx, video, job).await
}

/// The index of one job, served or not.
///
/// # Errors
/// The database failed, or a committed init segment is invalid.
pub async fn of_job(
    db: &impl GenericClient,
    video: VideoId,
    job: JobId,
) -> Result<Option<(Head, Index)>, PublishError> {
    let Some(head) = outputs::head(db, job).await? else { return Ok(None) };
    let committed = outputs::of_job(db, job).await?;
    let inits = outputs::inits(db, job).await?;
    let mut index = assemble(video, job, &head, committed, inits)?;
    let made = images::of_job(db, job).await?;
    let made: HashMap<String, Picture> = made.into_iter().map(|m| (m.name, m.picture)).collect();
    index.captions = tracks(job, &head.plan.text, &made, captions::of_video(db, video).await?);
    index.pictures = images(&head, &made);
    for table in images::tables(db, job).await? {
        if let Some(track) = index.track_mut(&table.rendition) {
            track.table = Some(table.object);
        }
    }
    Ok(Some((head, index)))
}

fn images(head: &Head, made: &HashMap<String, Picture>) -> Pictures {
    let find = |name: &str| made.get(name).cloned();
    let gathered = head.plan.pictures.as_ref().map(|plan| plan.gather(find)).unwrap_or_default();
    Pictures { preview: find(PREVIEW), ..gathered }
}

fn assemble(
    video: VideoId,
    job: JobId,
    head: &Head,
    committed: Vec<Output>,
    inits: Vec<(String, Vec<u8>)>,
) -> Result<Index, PublishError> {
    let plan = &head.plan;
    let mut tracks: HashMap<String, Track> = HashMap::new();
    let mut channels: HashMap<String, u32> = HashMap::new();
    for (rendition, init) in inits {
        let info = fmp4::init_info(&init).map_err(|source| {
            let rendition = rendition.clone();
            PublishError::Init { job, rendition, source }
        })?;
        channels.insert(rendition.clone(), info.channels);
        let track = Track {
            codec: info.codec,
            timescale: info.timescale,
            init,
            chunks: Vec::new(),
            table: None,
        };
        tracks.insert(rendition, track);
    }
    for Output { object, fragments, .. } in committed {
        let Some(track) = tracks.get_mut(&object.rendition) else { continue };
        let place = object.chunk as usize;
        if track.chunks.len() <= place {
            track.chunks.resize(place + 1, None);
        }
        track.chunks[place] = Some(Chunk { key: object.key, fragments });
    }
    let mut track = |name: &str| tracks.remove(name).unwrap_or_default();
    let video_renditions = plan.rungs.iter().map(|rung| VideoRendition {
        name: rung.name.clone(),
        width: rung.width,
        height: rung.height,
        target_bitrate: rung.video_bitrate,
        track: track(&rung.name),
    });
    let video_renditions = video_renditions.collect();
    let audio_details = details(plan, &mut track, &channels);
    let audio_renditions = plan.audio.iter().map(|audio| AudioRendition {
        name: audio.rendition(),
        label: audio.label.clone(),
        language: audio.language.clone(),
        channels: audio.channels,
        target_bitrate: audio.bitrate,
        track: track(&audio.rendition()),
    });
    let published_at = head.published_at.or(head.ended_at);
    Ok(Index {
        video,
        version: job,
        tenant: head.tenant.clone(),
        title: head.title.clone(),
        public: head.public,
        hls: plan.hls,
        dash: plan.dash,
        published_at_ms: published_at.map_or(0, jiff::Timestamp::as_millisecond),
        finished_at_ms: head.ended_at.map(jiff::Timestamp::as_millisecond),
        grid: plan.grid,
        video_renditions,
        audio_renditions: audio_renditions.collect(),
        pictures: Pictures::default(),
        captions: Vec::new(),
        audio_details,
    })
}

/// The details of the audio renditions; empty if no rendition has any.
fn details(
    plan: &Plan,
    track: &mut impl FnMut(&str) -> Track,
    channels: &HashMap<String, u32>,
) -> Vec<AudioDetails> {
    let mut surround = |planned: &PlannedSurround, audio: &PlannedAudio| {
        let name = planned.rendition();
        let codec = planned.codec.rfc6381().to_owned();
        AudioRendition {
            label: audio.label.clone(),
            language: audio.language.clone(),
            channels: channels.get(&name).copied().unwrap_or(surround::CHANNELS),
            target_bitrate: planned.bitrate,
            track: Track { codec, ..track(&name) },
            name,
        }
    };
    let details = plan.audio.iter().map(|audio| {
        let planned = plan.surround.iter().filter(|planned| planned.audio == audio.number);
        let surround = planned.map(|planned| surround(planned, audio)).collect();
        AudioDetails { purpose: audio.track.purpose, surround }
    });
    let details: Vec<_> = details.collect();
    if details.iter().all(|details| *details == AudioDetails::default()) {
        return Vec::new();
    }
    details
}

/// Brings the video's index object up to date with its row: writes the final index of the served
/// version, or deletes the object. If two instances do this at the same time, the later state
/// remains.
///
/// # Errors
/// The database or the store failed, or the store is not configured.
pub async fn sync_object(
    db: &Db,
    stores: &Stores,
    video: VideoId,
    url: &str,
) -> Result<(), PublishError> {
    let key = layout::index(video);
    loop {
        let before = outputs::served(&*db.get().await?, video).await?;
        let served = match before {
            Some((_, Some(_))) => snapshot(&mut db.get().await?, video).await?,
            _ => None,
        };
        match served {
            // The object exists from the completion of the job on, with its images and tables.
            Some((head, index)) if head.completed => {
                objects::put(stores, url, &key, index.encode()).await?;
            }
            _ => objects::delete(stores, url, &key).await?,
        }
        let after = outputs::served(&*db.get().await?, video).await?;
        if after == before {
            return Ok(());
        }
    }
}

/// Like [`sync_object`] for a change whose chore repeats it later, so an error is only logged.
pub async fn try_sync_object(db: &Db, stores: &Stores, video: VideoId, url: &str) {
    if let Err(error) = sync_object(db, stores, video, url).await {
        tracing::warn!(video.id = %video, %error, "failed to rewrite the index object");
    }
}
