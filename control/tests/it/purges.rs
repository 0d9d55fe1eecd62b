//! Purges are sent to the configured URL and retried after failures.

use std::sync::{Arc, Mutex};

use api::v1;
use authz::Role;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    calls::create,
    clip,
    plane::{DEADLINE, Plane, Shared},
    waiting::eventually,
};

/// Headers and bodies of the received requests.
type Requests = Arc<Mutex<Vec<String>>>;

/// A server that replies to the first `failures` requests with 503 and to all later ones with 200.
async fn receiver(failures: usize) -> (String, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Requests::default();
    let seen = requests.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let request = read(&mut stream).await;
            let count = {
                let mut seen = seen.lock().unwrap();
                seen.push(request);
                seen.len()
            };
            let status = if count <= failures { "503 Service Unavailable" } else { "200 OK" };
            let reply =
                format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(reply.as_bytes()).await;
        }
    });
    (format!("http://purger:s3cret@{address}/purge?x=1"), requests)
}

async fn read(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase();
            let length = length.split("content-length: ").nth(1).unwrap();
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            if body.len() >= length {
                return text;
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap() == 0 {
            return text;
        }
    }
}

#[tokio::test]
async fn purges_of_deleted_and_hidden_videos_are_retried_after_failures() {
    let (url, requests) = receiver(2).await;
    let shared = Shared::new(crate::postgres::database().await);
    let plane = Plane::with(shared, &["--purge-url", &url]).await;
    let admin = plane.caller(Role::Admin);
    let [hidden, deleted] = [create(&admin, "a").await, create(&admin, "b").await];
    let [renamed, described] = [create(&admin, "c").await, create(&admin, "e").await];
    let update = |video: &v1::Video, path: &str| {
        admin.ask(v1::UpdateVideoRequest {
            video_id: video.video_id.clone(),
            title: "d".to_owned(),
            description: "d".to_owned(),
            visibility: v1::Visibility::Private.into(),
            update_mask: Some(prost_types::FieldMask { paths: vec![path.to_owned()] }),
            revision: None,
        })
    };
    admin.videos().update_video(update(&described, "description")).await.unwrap();
    // The title is part of a download's file name.
    admin.videos().update_video(update(&renamed, "title")).await.unwrap();
    admin.videos().update_video(update(&hidden, "visibility")).await.unwrap();
    let delete = v1::DeleteVideoRequest { video_id: deleted.video_id.clone(), revision: None };
    admin.videos().delete_video(admin.ask(delete)).await.unwrap();

    let received = |video: &v1::Video| {
        let tag = format!("video-{}", video.video_id);
        let requests = requests.lock().unwrap();
        requests.iter().skip(2).filter(|request| request.contains(&tag)).count()
    };
    // Each purge is sent twice, the second time when every data plane has received the change.
    eventually("purges are sent again", DEADLINE, async || {
        [&hidden, &deleted, &renamed].into_iter().all(|video| received(video) >= 2)
    })
    .await;
    assert_eq!(received(&described), 0, "cached replies do not contain the description");
    let requests = requests.lock().unwrap().clone();
    for request in requests {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /purge?x=1 HTTP/1.1\r\n"), "{head}");
        let head = head.to_ascii_lowercase();
        assert!(head.contains("content-type: application/json"), "{head}");
        assert!(head.contains("authorization: basic chvyz2vyonmzy3jlda=="), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let tags = body["tags"].as_array().unwrap();
        assert!(
            !tags.is_empty() && tags.iter().all(|tag| tag.as_str().unwrap().starts_with("video-"))
        );
    }
    plane.stop().await;
}

#[tokio::test]
async fn a_new_transcode_purges_the_version_it_replaces() {
    let (url, requests) = receiver(0).await;
    let shared = Shared::new(crate::postgres::database().await);
    // Encoding takes a while on a busy machine.
    let plane = Plane::with(shared, &["--purge-url", &url, "--lease", "60s"]).await;
    let editor = plane.caller(Role::Editor);
    let mut worker = plane.worker("one").await;
    let video = clip::upload(&plane, &mut worker).await;
    let purges = || {
        let requests = requests.lock().unwrap();
        requests.iter().filter(|request| request.contains(&format!("video-{video}"))).count()
    };
    for replaces in [false, true] {
        let create = v1::CreateJobRequest { video_id: video.clone(), ..Default::default() };
        let job = editor.jobs().create_job(editor.ask(create)).await.unwrap().into_inner();
        worker.want(4).await;
        for _ in 0..3 {
            let lease = worker.lease().await;
            assert_eq!(worker.commit(clip::work(&lease)).await.refusal, None);
        }
        editor.job_when(&job.job_id, |job| job.state() == v1::JobState::Completed).await;
        if !replaces {
            // Before this job, caches could not keep any version for long.
            assert_eq!(purges(), 0);
        }
    }
    eventually("the old version is purged, twice", DEADLINE, async || purges() >= 2).await;
    plane.stop().await;
}
