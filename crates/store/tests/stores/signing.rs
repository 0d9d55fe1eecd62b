//! Presigned URLs: the requests that they allow, and those that they do not.

use std::time::Duration;

use object_store::{ObjectStoreExt, path::Path};
use sha2::{Digest, Sha256};
use store::{CHECKSUM_HEADER, Settings, Stores, checksum};

use crate::peer::Peer;

const LIFETIME: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_url_reads_or_writes_only_one_object_of_the_announced_size() {
    let peer = Peer::start();
    let store = peer.open(&["below"]).remove(0);
    let http = reqwest::Client::new();
    let sha256 = Sha256::digest(b"video");
    let url = store.sign_put("videos/a/7-x.m4s", &sha256, LIFETIME).await.unwrap().unwrap();
    let put = async |body: &'static str, digest: Option<String>| {
        let request = http.put(url.expose()).body(body);
        let request = match digest {
            Some(digest) => request.header(CHECKSUM_HEADER, digest),
            None => request,
        };
        request.send().await.unwrap().status().as_u16()
    };
    let good = Some(checksum(&sha256));
    assert_eq!(put("lies", good.clone()).await, 400, "other bytes");
    assert_eq!(put("lies", Some(checksum(&Sha256::digest(b"lies")))).await, 403, "other digest");
    assert_ne!(put("video", None).await, 200, "no digest");
    assert!(store.size("videos/a/7-x.m4s").await.is_err(), "nothing was written");
    assert_eq!(put("video", good).await, 200);
    assert_eq!(store.read("videos/a/7-x.m4s", 0..5).await.unwrap(), "video");

    let url = store.sign_get("videos/a/7-x.m4s", LIFETIME).await.unwrap().unwrap();
    let reply = http.get(url.expose()).header("range", "bytes=1-2").send().await.unwrap();
    assert_eq!(reply.status().as_u16(), 206);
    assert_eq!(reply.text().await.unwrap(), "id");
    assert_eq!(http.put(url.expose()).body("x").send().await.unwrap().status().as_u16(), 403);
    store.objects.put(&Path::from("videos/a/8"), "other".into()).await.unwrap();
    let other = url.expose().replace("7-x.m4s", "8");
    assert_eq!(http.get(other).send().await.unwrap().status().as_u16(), 403);
    assert!(!format!("{url:?} {url}").contains("Signature"));
    assert!(!url.expose().contains(&peer.secret()));
}

#[tokio::test]
async fn presigned_urls_expire_and_local_stores_have_none() {
    let peer = Peer::start();
    let store = peer.open(&[""]).remove(0);
    store.objects.put(&Path::from("a"), "video".into()).await.unwrap();
    // Signatures count whole seconds and include the current one.
    let lifetime = Duration::from_secs(3);
    let url = store.sign_get("a", lifetime).await.unwrap().unwrap();
    let http = reqwest::Client::new();
    let status = async || http.get(url.expose()).send().await.unwrap().status().as_u16();
    assert_eq!(status().await, 200);
    let signed = std::time::Instant::now();
    while signed.elapsed() < 5 * lifetime {
        // Garage rejects an expired signature with 400; workers renew a URL after any client error.
        let status = status().await;
        if status == 403 || (peer.minio.is_none() && status == 400) {
            let folder = tempfile::tempdir().unwrap();
            let list = format!("file://{}", folder.path().display());
            let none = Settings::from_vars(std::iter::empty());
            let local = Stores::parse_with(&list, &none).unwrap();
            assert!(local.all()[0].sign_get("a", LIFETIME).await.unwrap().is_none());
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the url does not run out");
}
