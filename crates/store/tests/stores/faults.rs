//! Requests to a failing store are repeated within limits; a partial response is never taken as
//! complete.

use std::{sync::atomic::Ordering, time::Duration};

use object_store::{ObjectStoreExt, path::Path};
use store::{ReadError, Store, StoreErrorKind};
use tokio::time::Instant;

use crate::{
    content,
    minio::Minio,
    open,
    proxy::{Proxy, ProxyMode},
};

const BYTES: usize = 2 << 20;
const KEY: &str = "videos/v/j/720p/1/7-ab.m4s";

async fn prepared(minio: &Minio) -> Vec<u8> {
    let bytes = content(BYTES);
    let store = open(minio, &minio.address, "s3://videos").remove(0);
    store.objects.put(&Path::from(KEY), bytes.clone().into()).await.unwrap();
    bytes
}

async fn behind(minio: &Minio, mode: ProxyMode, times: usize) -> (Proxy, Store) {
    let proxy = Proxy::start(&minio.address, mode, times).await;
    let store = open(minio, &proxy.address, "s3://videos").remove(0);
    (proxy, store)
}

#[tokio::test]
async fn interrupted_replies_are_resumed_and_never_count_as_complete() {
    let minio = Minio::start(&["videos"]);
    let bytes = prepared(&minio).await;
    let (proxy, store) = behind(&minio, ProxyMode::Cut(700_000), 3).await;
    let read = store.read(KEY, 1000..BYTES as u64).await.unwrap();
    assert!(read == bytes[1000..]);
    assert!(proxy.spoilt.load(Ordering::SeqCst) >= 2);

    let (proxy, store) = behind(&minio, ProxyMode::Cut(20_000), usize::MAX).await;
    let read = store.read(KEY, 0..BYTES as u64).await;
    assert!(matches!(read, Err(ReadError::Store(_))), "{:?}", read.map(|bytes| bytes.len()));
    assert!(proxy.spoilt.load(Ordering::SeqCst) < 60, "tries are bounded");
}

#[tokio::test]
async fn requests_to_busy_stores_are_retried_for_a_while() {
    let minio = Minio::start(&["videos"]);
    let bytes = prepared(&minio).await;
    let (_proxy, store) = behind(&minio, ProxyMode::Busy, 3).await;
    assert!(store.read(KEY, 0..BYTES as u64).await.unwrap() == bytes);
    let (_proxy, store) = behind(&minio, ProxyMode::Busy, 3).await;
    store.objects.put(&Path::from("videos/x"), "x".into()).await.unwrap();

    let (_proxy, store) = behind(&minio, ProxyMode::Busy, usize::MAX).await;
    let begun = Instant::now();
    let read = store.read(KEY, 0..10).await;
    let Err(ReadError::Store(kind)) = read else { panic!("{read:?}") };
    assert_eq!(kind, StoreErrorKind::Failing("SlowDown".to_owned()));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let error = store.check().await.unwrap_err();
    assert!(error.passing() && error.to_string().contains("SlowDown"), "{error}");
}

#[tokio::test]
async fn slow_stores_are_read_and_unavailable_ones_are_reported_by_name() {
    let mut minio = Minio::start(&["videos"]);
    let bytes = prepared(&minio).await;
    let (_proxy, store) =
        behind(&minio, ProxyMode::Slow(Duration::from_millis(20)), usize::MAX).await;
    assert!(store.read(KEY, 0..500_000).await.unwrap() == bytes[..500_000]);
    let direct = open(&minio, &minio.address, "s3://videos,s3://nowhere");
    let error = direct[1].check().await.unwrap_err();
    assert!(error.to_string().contains("s3://nowhere: no such bucket"), "{error}");
    assert!(!error.passing());
    minio.stop();
    let read = direct[0].read(KEY, 0..10).await;
    assert!(matches!(read, Err(ReadError::Store(StoreErrorKind::Unreachable(_)))), "{read:?}");
    minio.start_again();
    assert!(
        direct[0].read(KEY, 0..10).await.unwrap() == bytes[..10],
        "the stored bytes are still there"
    );
}
