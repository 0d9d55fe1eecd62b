//! Rows of `pictures` and `tables`: the admitted outputs of a job besides its renditions. Embedded
//! text tracks are stored in `pictures`.

use media::{JobId, index::TableObject, pictures::Picture, tables::ChunkTable};
use tokio_postgres::{GenericClient, Row};

use super::DbError;

/// One admitted image, clip or text track.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredImage {
    /// "poster", "thumbnails/3", "storyboard/0", "preview", "subtitles/1".
    pub name: String,
    /// The object.
    pub picture: Picture,
    /// Its time in the video; only for thumbnails.
    pub seconds: Option<f64>,
}

/// Commits images. Objects that an earlier attempt of the task has committed stay; garbage
/// collection then deletes the new ones.
pub async fn insert(
    tx: &impl GenericClient,
    job: JobId,
    images: &[StoredImage],
    token: i64,
) -> Result<(), DbError> {
    for one in images {
        tx.execute(
            "INSERT INTO pictures (job_id, name, object_key, bytes, sha256, seconds, token)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT DO NOTHING",
            &[
                &job.uuid(),
                &one.name,
                &one.picture.key,
                &one.picture.bytes.cast_signed(),
                &&one.picture.sha256[..],
                &one.seconds,
                &token,
            ],
        )
        .await?;
    }
    Ok(())
}

/// Deletes one row; garbage collection deletes its object. False if the row does not exist.
pub async fn delete(tx: &impl GenericClient, job: JobId, name: &str) -> Result<bool, DbError> {
    let rows = tx
        .execute("DELETE FROM pictures WHERE job_id = $1 AND name = $2", &[&job.uuid(), &name])
        .await?;
    Ok(rows == 1)
}

/// The images and text tracks of a job.
pub async fn of_job(db: &impl GenericClient, job: JobId) -> Result<Vec<StoredImage>, DbError> {
    let rows = db
        .query(
            "SELECT name, object_key, bytes, sha256, seconds FROM pictures WHERE job_id = $1",
            &[&job.uuid()],
        )
        .await?;
    rows.iter().map(|row| read_image(row, job)).collect()
}

fn read_image(row: &Row, job: JobId) -> Result<StoredImage, DbError> {
    let (bytes, sha256): (i64, &[u8]) = (row.try_get("bytes")?, row.try_get("sha256")?);
    let sha256 = sha256.try_into().map_err(|_| DbError::row("pictures", "sha256", job))?;
    let picture = Picture { key: row.try_get("object_key")?, bytes: bytes.unsigned_abs(), sha256 };
    Ok(StoredImage { name: row.try_get("name")?, picture, seconds: row.try_get("seconds")? })
}

/// The sample tables of one rendition, written as one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenditionTable {
    /// "720p" or "audio-0".
    pub rendition: String,
    /// The object.
    pub object: TableObject,
    /// For a rung: the size of its download.
    pub download_bytes: Option<u64>,
}

/// Records a job's sample tables; existing rows stay as they are.
pub async fn insert_tables(
    tx: &impl GenericClient,
    job: JobId,
    gathered: &[RenditionTable],
) -> Result<(), DbError> {
    for one in gathered {
        tx.execute(
            "INSERT INTO tables (job_id, rendition, object_key, bytes, download_bytes)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT DO NOTHING",
            &[
                &job.uuid(),
                &one.rendition,
                &one.object.key,
                &one.object.bytes.cast_signed(),
                &one.download_bytes.map(u64::cast_signed),
            ],
        )
        .await?;
    }
    Ok(())
}

/// The sample tables of a job.
pub async fn tables(db: &impl GenericClient, job: JobId) -> Result<Vec<RenditionTable>, DbError> {
    let rows = db
        .query(
            "SELECT rendition, object_key, bytes, download_bytes FROM tables WHERE job_id = $1",
            &[&job.uuid()],
        )
        .await?;
    let read = |row: &Row| {
        let (bytes, download): (i64, Option<i64>) =
            (row.try_get("bytes")?, row.try_get("download_bytes")?);
        let object = TableObject { key: row.try_get("object_key")?, bytes: bytes.unsigned_abs() };
        let download_bytes = download.map(i64::unsigned_abs);
        Ok(RenditionTable { rendition: row.try_get("rendition")?, object, download_bytes })
    };
    rows.iter().map(read).collect()
}

/// The sample tables of a rendition's chunks, in order; `None` if a chunk has no table.
pub async fn samples(
    db: &impl GenericClient,
    job: JobId,
    rendition: &str,
) -> Result<Option<Vec<ChunkTable>>, DbError> {
    let rows = db
        .query(
            "SELECT samples
             FROM outputs
             WHERE job_id = $1 AND rendition = $2
             ORDER BY chunk",
            &[&job.uuid(), &rendition],
        )
        .await?;
    let mut tables = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(bytes): Option<&[u8]> = row.try_get("samples")? else { return Ok(None) };
        let table = postcard::from_bytes(bytes);
        tables.push(table.map_err(|_| DbError::row("outputs", "samples", job))?);
    }
    Ok(Some(tables))
}

/// The keys of all objects that these rows of a job name.
pub async fn keys(db: &impl GenericClient, job: JobId) -> Result<Vec<String>, DbError> {
    let rows = db
        .query(
            "SELECT object_key FROM pictures WHERE job_id = $1
             UNION ALL
             SELECT object_key FROM tables WHERE job_id = $1",
            &[&job.uuid()],
        )
        .await?;
    rows.iter().map(|row| Ok(row.try_get("object_key")?)).collect()
}

/// Deletes the rows of a job's images and sample tables; garbage collection deletes their objects.
pub async fn drop_all(tx: &impl GenericClient, job: JobId) -> Result<(), DbError> {
    tx.execute("DELETE FROM pictures WHERE job_id = $1", &[&job.uuid()]).await?;
    tx.execute("DELETE FROM tables WHERE job_id = $1", &[&job.uuid()]).await?;
    Ok(())
}
