//! Writes sample tables: one object per rendition of a complete video, from which data planes lay
//! out its downloads without reading a fragment.

use std::sync::Arc;

use media::{
    JobId, VideoId,
    download::{Download, Rendition},
    index::{Index, TableObject},
    layout,
    tables::{self, ChunkTable},
};
use sha2::{Digest, Sha256};

use crate::{
    db::images::{self, RenditionTable},
    objects,
    publish::PublishError,
    state::AppState,
};

/// Writes the tables of every rendition that can be downloaded and adds them to the index. A video
/// that was encoded before sample tables existed gets none.
///
/// # Errors
/// The database or the store failed, or the video's store is not configured.
pub async fn tables(
    app: &AppState,
    (video, job): (VideoId, JobId),
    store: &str,
    index: &mut Index,
) -> Result<Vec<RenditionTable>, PublishError> {
    let video_names = || index.video_renditions.iter().map(|r| r.name.clone());
    let audio_names = || index.audio_renditions.iter().map(|r| r.name.clone());
    let without_video = index.video_renditions.is_empty();
    // Without video, each audio track is a download of its own.
    let names: Vec<String> =
        if without_video { audio_names().collect() } else { video_names().collect() };
    let sound = match index.audio_renditions.first().filter(|_| !without_video) {
        Some(sound) => {
            let name = sound.name.clone();
            match read(app, job, &name).await? {
                Some(tables) => Some((name, tables)),
                None => return Ok(Vec::new()),
            }
        }
        None => None,
    };
    let mut gathered = Vec::new();
    for name in names {
        let Some(own) = read(app, job, &name).await? else { continue };
        let Some(bytes) = download_bytes(index, &name, own.clone(), sound.clone()).await else {
            tracing::warn!(job.id = %job, rendition = name, "failed to write sample tables: they differ from the index");
            continue;
        };
        gathered.push(write(app, (video, job), store, &name, &own, Some(bytes)).await?);
    }
    if let Some((name, tables)) = sound.filter(|_| !gathered.is_empty()) {
        gathered.push(write(app, (video, job), store, &name, &tables, None).await?);
    }
    for one in &gathered {
        if let Some(track) = index.track_mut(&one.rendition) {
            track.table = Some(one.object.clone());
        }
    }
    Ok(gathered)
}

type Tables = Arc<Vec<ChunkTable>>;

async fn read(app: &AppState, job: JobId, rendition: &str) -> Result<Option<Tables>, PublishError> {
    let tables = images::samples(&*app.db.get().await?, job, rendition).await?;
    Ok(tables.map(Arc::new))
}

/// The size of the file that data planes will lay out; `None` if the layout fails.
async fn download_bytes(
    index: &Index,
    name: &str,
    tables: Tables,
    sound: Option<(String, Tables)>,
) -> Option<u64> {
    let (index, name) = (index.clone(), name.to_owned());
    let measure = move || {
        let rendition = Rendition { track: index.track(&name)?.0, tables: &tables };
        let sound = match &sound {
            Some((name, tables)) => Some(Rendition { track: index.track(name)?.0, tables }),
            None => None,
        };
        Some(Download::new(&index, rendition, sound).ok()?.bytes())
    };
    tokio::task::spawn_blocking(measure).await.ok().flatten()
}

async fn write(
    app: &AppState,
    (video, job): (VideoId, JobId),
    store: &str,
    rendition: &str,
    chunks: &Tables,
    download_bytes: Option<u64>,
) -> Result<RenditionTable, PublishError> {
    let bytes = tables::encode(chunks);
    let hash = hex::encode(&Sha256::digest(&bytes)[..16]);
    let key = layout::tables(&layout::job_prefix(video, job), rendition, &hash);
    let object = TableObject { key, bytes: bytes.len() as u64 };
    objects::put(&app.stores, store, &object.key, bytes).await?;
    Ok(RenditionTable { rendition: rendition.to_owned(), object, download_bytes })
}
