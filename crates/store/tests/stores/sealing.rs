//! An incomplete source is moved to its key, also by repeated calls, or is deleted completely.

use futures::TryStreamExt;
use media::{UploadId, VideoId, layout};
use object_store::{
    ObjectStore, ObjectStoreExt, PutPayload, multipart::MultipartStore, path::Path,
};
use store::{Store, Stores, source::Source};
use uuid::Uuid;

use crate::{content, peer::Peer};

/// The smallest part that S3 accepts, except for the last one.
const PART_BYTES: usize = 5 << 20;

/// A multipart upload with two parts and a side object.
async fn begun(store: &Store, bytes: &[u8]) -> (Source<'static>, String, Vec<String>) {
    let s3 = store.s3.as_ref().unwrap();
    let (video, upload) = (VideoId::new(Uuid::now_v7()), UploadId::new(Uuid::now_v7()));
    let path = store.locate(&layout::source(video));
    let id = s3.create_multipart(&path).await.unwrap();
    let mut parts = Vec::new();
    for (number, part) in bytes.chunks(PART_BYTES).enumerate() {
        let part = PutPayload::from(part.to_vec());
        parts.push(s3.put_part(&path, &id, number, part).await.unwrap().content_id);
    }
    let tail = Path::from(layout::upload_tail(video, upload, 7));
    store.objects.put(&tail, "rest".into()).await.unwrap();
    (Source { video, upload, multipart_id: None, parts: &[] }, id, parts)
}

#[tokio::test]
async fn sealing_again_after_a_lost_reply_gives_the_same_object() {
    let peer = Peer::start();
    for store in peer.open(&["", "below"]) {
        let bytes = content(PART_BYTES + 1000);
        let (source, id, parts) = begun(&store, &bytes).await;
        let source = Source { multipart_id: Some(&id), parts: &parts, ..source };
        let key = layout::source(source.video);
        for _ in 0..3 {
            store.seal(&source, bytes.len() as u64).await.unwrap();
            assert!(store.read(&key, 0..bytes.len() as u64).await.unwrap() == bytes);
        }
        let tail = layout::upload_tail(source.video, source.upload, 7);
        assert!(store.size(&tail).await.is_err(), "the side object is deleted");
        // A different length means a different object, which is an error.
        assert!(store.seal(&source, 1).await.is_err());
    }
    assert_eq!(peer.multiparts().unwrap_or(0), 0);
}

#[tokio::test]
async fn discarding_removes_all_bytes_and_may_be_repeated() {
    let peer = Peer::start();
    let store = peer.open(&[""]).remove(0);
    let (source, id, parts) = begun(&store, &content(PART_BYTES + 1)).await;
    let source = Source { multipart_id: Some(&id), parts: &parts, ..source };
    assert_eq!(peer.multiparts().unwrap_or(1), 1);
    for _ in 0..2 {
        store.discard(&source).await.unwrap();
        assert_eq!(peer.multiparts().unwrap_or(0), 0);
        let left: Vec<_> = store.objects.list(None).try_collect().await.unwrap();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn sealing_and_discarding_in_a_folder_may_be_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let local = Stores::parse(&format!("file://{}", folder.path().display())).unwrap();
    let store = &local.all()[0];
    let (video, upload) = (VideoId::new(Uuid::now_v7()), UploadId::new(Uuid::now_v7()));
    let source = Source { video, upload, multipart_id: None, parts: &[] };
    let file = folder.path().join(layout::upload_file(video, upload));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, b"video").unwrap();
    for _ in 0..2 {
        store.seal(&source, 4).await.unwrap();
        assert_eq!(store.read(&layout::source(video), 0..5).await.unwrap(), "video");
    }
    std::fs::write(&file, b"another").unwrap();
    for _ in 0..2 {
        store.discard(&source).await.unwrap();
        assert!(!file.exists() && store.size(&layout::source(video)).await.is_ok());
    }
}
