//! The behaviour that all stores must share.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStoreExt, PutPayload, multipart::MultipartStore, path::Path};
use store::{ReadError, Store, Stores};

use crate::{content, peer::Peer};

/// The smallest part that S3 accepts, except for the last one.
const PART_BYTES: usize = 5 << 20;

#[tokio::test]
async fn folders_and_buckets_behave_the_same() {
    let peer = Peer::start();
    let folder = tempfile::tempdir().unwrap();
    let local = Stores::parse(&format!("file://{}", folder.path().display())).unwrap();
    let buckets = peer.open(&["", "below/here"]);
    for store in local.all().iter().chain(&buckets) {
        store.check().await.unwrap();
        whole_objects(store).await;
        ranges(store).await;
        parts(store).await;
        listing_and_deleting(store).await;
    }
    // The store with a prefix stays below it, and the other one does not.
    buckets[1].objects.put(&Path::from("a"), "b".into()).await.unwrap();
    assert_eq!(buckets[0].read("below/here/a", 0..1).await.unwrap(), "b");
    assert!(buckets[1].locate("a").as_ref().ends_with("below/here/a"));
}

async fn whole_objects(store: &Store) {
    let key = "videos/v/j/360p/0/7-ab.m4s";
    let path = Path::from(key);
    let bytes = content(100_000);
    store.objects.put(&path, bytes.clone().into()).await.unwrap();
    assert_eq!(store.size(key).await.unwrap(), 100_000);
    assert_eq!(store.read(key, 0..100_000).await.unwrap(), bytes);
    store.objects.put(&path, Bytes::from_static(b"again").into()).await.unwrap();
    assert_eq!(store.read(key, 0..5).await.unwrap(), "again", "the later one wins whole");
    store.objects.put(&Path::from("empty"), PutPayload::new()).await.unwrap();
    assert_eq!(store.size("empty").await.unwrap(), 0);
    assert_eq!(store.read("empty", 0..0).await.unwrap(), "");
    for missing in ["videos/v/none", "videos/v", "none"] {
        assert!(matches!(store.size(missing).await, Err(ReadError::Missing)), "{missing}");
        let read = store.read(missing, 0..1).await;
        assert!(matches!(read, Err(ReadError::Missing)), "{missing}: {read:?}");
    }
}

async fn ranges(store: &Store) {
    let bytes = content(1 << 20);
    store.objects.put(&Path::from("videos/r"), bytes.clone().into()).await.unwrap();
    for range in [0..1, 17..1000, 0..1 << 20, (1 << 20) - 1..1 << 20, 300_000..900_001] {
        let read = store.read("videos/r", range.start as u64..range.end as u64).await.unwrap();
        assert!(read == bytes[range.clone()], "{range:?}");
    }
    // A range that is only partly inside the object is an error.
    for range in [0..(1 << 20) + 1, (1 << 20) - 1..(1 << 20) + 5, 1 << 20..(1 << 20) + 1] {
        let read = store.read("videos/r", range.clone()).await;
        assert!(matches!(read, Err(ReadError::Missing)), "{range:?}: {read:?}");
    }
}

async fn parts(store: &Store) {
    let bytes = content(2 * PART_BYTES + 12_345);
    let path = Path::from("videos/p/source");
    let mut upload = store.objects.put_multipart(&path).await.unwrap();
    for part in bytes.chunks(PART_BYTES) {
        upload.put_part(Bytes::copy_from_slice(part).into()).await.unwrap();
    }
    assert!(matches!(store.size("videos/p/source").await, Err(ReadError::Missing)));
    upload.complete().await.unwrap();
    let read = store.read("videos/p/source", 0..bytes.len() as u64).await.unwrap();
    assert!(read == bytes);
    let mut dropped = store.objects.put_multipart(&Path::from("videos/p/dropped")).await.unwrap();
    dropped.put_part(Bytes::from_static(b"x").into()).await.unwrap();
    dropped.abort().await.unwrap();
    assert!(matches!(store.size("videos/p/dropped").await, Err(ReadError::Missing)));

    let Some(s3) = &store.s3 else { return };
    // By an id that may have been stored, in any order, and with one part twice.
    let path = store.locate("videos/p/by-id");
    let id = s3.create_multipart(&path).await.unwrap();
    let part = |n: usize| {
        let end = bytes.len().min((n + 1) * PART_BYTES);
        PutPayload::from(Bytes::copy_from_slice(&bytes[n * PART_BYTES..end]))
    };
    let last = s3.put_part(&path, &id, 2, part(2)).await.unwrap();
    let first = s3.put_part(&path, &id, 0, part(0)).await.unwrap();
    s3.put_part(&path, &id, 1, part(0)).await.unwrap();
    let second = s3.put_part(&path, &id, 1, part(1)).await.unwrap();
    s3.complete_multipart(&path, &id, vec![first, second, last]).await.unwrap();
    assert!(store.read("videos/p/by-id", 0..bytes.len() as u64).await.unwrap() == bytes);
    let id = s3.create_multipart(&path).await.unwrap();
    s3.abort_multipart(&path, &id).await.unwrap();
    assert!(
        s3.put_part(&path, &id, 0, part(0)).await.is_err(),
        "an aborted upload accepts no parts"
    );
}

async fn listing_and_deleting(store: &Store) {
    let keys: Vec<String> = (0..1100).map(|n| format!("videos/l/j/{n}")).collect();
    let puts = futures::stream::iter(&keys).map(Ok::<_, object_store::Error>);
    let put = async |key: &String| store.objects.put(&Path::from(&**key), "x".into()).await;
    puts.try_for_each_concurrent(16, async |key| put(key).await.map(drop)).await.unwrap();
    store.objects.put(&Path::from("videos/lonely"), "x".into()).await.unwrap();
    let list = async |prefix: &str| -> BTreeSet<String> {
        let found = store.objects.list(Some(&Path::from(prefix)));
        found.map_ok(|object| object.location.to_string()).try_collect().await.unwrap()
    };
    let found = list("videos/l").await;
    assert_eq!(found, keys.iter().cloned().collect(), "more than one page, and no neighbour");
    let doomed = found.iter().map(|key| Ok(Path::from(&**key))).collect::<Vec<_>>();
    let deleted = store.objects.delete_stream(Box::pin(futures::stream::iter(doomed)));
    let deleted: Vec<Path> = deleted.try_collect().await.unwrap();
    assert_eq!(deleted.len(), keys.len());
    assert!(list("videos/l").await.is_empty());
    assert!(list("videos").await.contains("videos/lonely"));
}
