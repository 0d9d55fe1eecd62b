//! Builds indexes from committed rows: the growing one for each `GetIndex`, the final one as an
//! object.

use std::collections::HashMap;

use bytes::Bytes;
use media::{
    JobId, VideoId,
    fmp4::{self, Mp4Error},
    index::{AudioRendition, Chunk, Index, Track, VideoRendition},
    layout,
    pictures::{PREVIEW, Picture, Pictures},
};
use object_store::{ObjectStoreExt, PutPayload, path::Path};
use quick_cache::{Weighter, sync::Cache};
use store::Stores;
use thiserror::Error;

use crate::{
    db::{
        Db, DbError, GenericClient, captions, images,
        outputs::{self, Head, Output},
        pool::{self, Connection},
    },
    publish::captions::tracks,
};

/// Why an index cannot be built or stored.
#[derive(Debug, Error)]
pub enum IndexProblem {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A committed init segment is invalid; admission should have prevented that.
    #[error("read the init segment of {rendition} of job {job}")]
    Init {
        /// The job.
        job: JobId,
        /// Its rendition.
        rendition: String,
        /// What is wrong with it.
        #[source]
        source: Mp4Error,
    },
    /// The store that holds the video is not configured.
    #[error("store {0} is not configured")]
    Store(String),
    /// The store failed.
    #[error("write {key}")]
    Object {
        /// The key of the object.
        key: String,
        /// The store's error.
        #[source]
        source: object_store::Error,
    },
}

impl IndexProblem {
    /// Whether a retry may help, because only the database or the store failed.
    pub fn passing(&self) -> bool {
        match self {
            Self::Db(error) => error.transient(),
            Self::Object { source, .. } => store::explain(source).passing(),
            Self::Init { .. } | Self::Store(_) => false,
        }
    }
}

/// Maximum size of the cached indexes in bytes.
const CACHE_BYTES_MAX: u64 = 64 << 20;
const CACHE_ITEMS: usize = 1024;

#[derive(Clone)]
struct Bytewise;

impl Weighter<VideoId, (i64, Bytes)> for Bytewise {
    fn weight(&self, _key: &VideoId, value: &(i64, Bytes)) -> u64 {
        value.1.len() as u64 + 64
    }
}

/// Encoded indexes by video, each valid for exactly one revision of the video's row.
pub struct Indexes(Cache<VideoId, (i64, Bytes), Bytewise>);

impl Default for Indexes {
    fn default() -> Self {
        Self(Cache::with_weighter(CACHE_ITEMS, CACHE_BYTES_MAX, Bytewise))
    }
}

impl std::fmt::Debug for Indexes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Indexes").field("items", &self.0.len()).finish()
    }
}

impl Indexes {
    /// The encoded index of the version that is served now; `None` if no version is served.
    ///
    /// # Errors
    /// The database failed, or a committed init segment is invalid.
    pub async fn get(&self, db: &Db, video: VideoId) -> Result<Option<Bytes>, IndexProblem> {
        let mut connection = db.get().await?;
        let Some((revision, Some(_))) = outputs::served(&*connection, video).await? else {
            return Ok(None);
        };
        if let Some((cached, bytes)) = self.0.get(&video)
            && cached == revision
        {
            return Ok(Some(bytes));
        }
        let Some((revision, index)) = snapshot(&mut connection, video).await? else {
            return Ok(None);
        };
        let bytes = Bytes::from(index.encode());
        self.0.insert(video, (revision, bytes.clone()));
        Ok(Some(bytes))
    }
}

/// The index of the served version, read in one snapshot, and the revision of the row in that
/// snapshot.
async fn snapshot(
    connection: &mut Connection<'_>,
    video: VideoId,
) -> Result<Option<(i64, Index)>, IndexProblem> {
    let tx = pool::snapshot(connection).await?;
    let Some((_, Some(job))) = outputs::served(&tx, video).await? else { return Ok(None) };
    let built = of_job(&tx, video, job).await?;
    Ok(built.map(|(head, index)| (head.revision, index)))
}

/// The index of one job, served or not.
///
/// # Errors
/// The database failed, or a committed init segment is invalid.
pub async fn of_job(
    db: &impl GenericClient,
    video: VideoId,
    job: JobId,
) -> Result<Option<(Head, Index)>, IndexProblem> {
    let Some(head) = outputs::head(db, job).await? else { return Ok(None) };
    let committed = outputs::of_job(db, job).await?;
    let inits = outputs::inits(db, job).await?;
    let mut index = assemble(video, job, &head, committed, inits)?;
    let made = images::of_job(db, job).await?;
    let made: HashMap<String, Picture> = made.into_iter().map(|m| (m.name, m.picture)).collect();
    index.captions = tracks(job, &head.plan.text, &made, captions::of_video(db, video).await?);
    index.pictures = gather(&head, &made);
    for table in images::tables(db, job).await? {
        if let Some(track) = index.track_mut(&table.rendition) {
            track.table = Some(table.object);
        }
    }
    Ok(Some((head, index)))
}

fn gather(head: &Head, made: &HashMap<String, Picture>) -> Pictures {
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
) -> Result<Index, IndexProblem> {
    let plan = &head.plan;
    let mut tracks: HashMap<String, Track> = HashMap::new();
    for (rendition, init) in inits {
        let info = fmp4::init_info(&init).map_err(|source| {
            let rendition = rendition.clone();
            IndexProblem::Init { job, rendition, source }
        })?;
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
    let audio_renditions = plan.audio.iter().map(|audio| AudioRendition {
        name: audio.rendition(),
        label: audio.label.clone(),
        language: audio.language.clone(),
        channels: audio.channels,
        target_bitrate: audio.bitrate,
        track: track(&audio.rendition()),
    });
    let published_at = head.published_at.or(head.finished_at);
    Ok(Index {
        video,
        version: job,
        tenant: head.tenant.clone(),
        title: head.title.clone(),
        public: head.public,
        hls: plan.hls,
        dash: plan.dash,
        published_at_ms: published_at.map_or(0, jiff::Timestamp::as_millisecond),
        finished_at_ms: head.finished_at.map(jiff::Timestamp::as_millisecond),
        grid: plan.grid,
        video_renditions,
        audio_renditions: audio_renditions.collect(),
        pictures: Pictures::default(),
        captions: Vec::new(),
    })
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
) -> Result<(), IndexProblem> {
    let key = layout::index(video);
    loop {
        let before = outputs::served(&*db.get().await?, video).await?;
        let served = match before {
            Some((_, Some(_))) => snapshot(&mut db.get().await?, video).await?,
            _ => None,
        };
        match served {
            Some((_, index)) if index.finished_at_ms.is_some() => {
                put(stores, url, &key, index.encode()).await?;
            }
            _ => delete(stores, url, &key).await?,
        }
        let after = outputs::served(&*db.get().await?, video).await?;
        if after == before {
            return Ok(());
        }
    }
}

/// Writes a small object.
///
/// # Errors
/// The store failed or is not configured.
pub async fn put(
    stores: &Stores,
    url: &str,
    key: &str,
    bytes: Vec<u8>,
) -> Result<(), IndexProblem> {
    let store = stores.get(url).ok_or_else(|| IndexProblem::Store(url.to_owned()))?;
    let written = store.objects.put(&Path::from(key), PutPayload::from(bytes)).await;
    written.map(drop).map_err(|source| IndexProblem::Object { key: key.to_owned(), source })
}

/// Deletes an object; a missing object counts as deleted.
///
/// # Errors
/// The store failed or is not configured.
pub async fn delete(stores: &Stores, url: &str, key: &str) -> Result<(), IndexProblem> {
    let store = stores.get(url).ok_or_else(|| IndexProblem::Store(url.to_owned()))?;
    match store.objects.delete(&Path::from(key)).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(source) => Err(IndexProblem::Object { key: key.to_owned(), source }),
    }
}
