//! Tests text tracks, both extracted by workers and uploaded, and their entries in the index.

use std::{fs, path::Path};

use api::{
    code::{Code, Problem},
    v1::{self, JobState, TaskState, lease::Work},
};
use authz::Role;
use media::{
    index::Index,
    layout,
    source::{Source, TextTrack},
};
use sha2::{Digest, Sha256};

use crate::{
    clip,
    plane::{Caller, Plane, Worker},
};

fn track(index: u32, codec: &str, language: &str) -> TextTrack {
    let (codec, language) = (codec.to_owned(), language.to_owned());
    TextTrack { index, codec, language, ..TextTrack::default() }
}

/// The test source with two text tracks and one subtitle track stored as images.
fn source() -> Source {
    let german = TextTrack { default: true, ..track(4, "ass", "ger") };
    let pictures = track(3, "hdmv_pgs_subtitle", "fre");
    Source { text: vec![track(2, "subrip", "eng"), pictures, german], ..clip::source() }
}

const TEXT: &str = "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nhello\n";

/// Stores a text under a key of its lease and returns the commit.
fn commit(lease: &v1::Lease, number: u32, text: &str) -> v1::Commit {
    let digest = Sha256::digest(text);
    let name = format!("subtitles/{number}");
    let hex = hex::encode(digest);
    let key = layout::picture(&lease.output_prefix, &name, lease.token, &hex, "vtt");
    let path = Path::new(&lease.output_root).join(&key);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    let (bytes, sha256) = (text.len() as u64, digest.to_vec().into());
    v1::Commit {
        task_id: lease.task_id.clone(),
        token: lease.token,
        pictures: vec![v1::Picture { name, key, bytes, sha256 }],
        last: true,
        ..v1::Commit::default()
    }
}

async fn transcode(caller: &Caller, video: &str) -> v1::Job {
    let video_id = video.to_owned();
    let (no, yes) = (Some(false), Some(true));
    let request = v1::CreateJobRequest {
        video_id,
        generate_thumbnails: no,
        generate_preview: no,
        generate_hls: yes,
        ..Default::default()
    };
    caller.jobs().create_job(caller.ask(request)).await.unwrap().into_inner()
}

/// Does `count` tasks in the order of their leases; `text` handles those of text tracks. Returns
/// the numbers and stream indexes of the text tracks.
async fn encode(
    worker: &mut Worker,
    count: usize,
    mut text: impl AsyncFnMut(&mut Worker, &v1::Lease, u32),
) -> Vec<(u32, u32)> {
    let mut tracks = Vec::new();
    for _ in 0..count {
        worker.want(1).await;
        let lease = worker.lease().await;
        match &lease.work {
            Some(Work::Subtitles(work)) => {
                tracks.push((work.number, work.track.clone().unwrap().index));
                text(worker, &lease, work.number).await;
            }
            _ => assert_eq!(worker.commit(clip::work(&lease)).await.refusal, None),
        }
    }
    tracks
}

fn upload(video: &str, language: &str, content: &str) -> v1::CreateCaptionRequest {
    v1::CreateCaptionRequest {
        video_id: video.to_owned(),
        language: language.to_owned(),
        content: content.as_bytes().to_vec().into(),
        ..Default::default()
    }
}

async fn create(
    caller: &Caller,
    request: v1::CreateCaptionRequest,
) -> Result<v1::Caption, Problem> {
    let created = caller.videos().create_caption(caller.ask(request)).await;
    created.map(tonic::Response::into_inner).map_err(|status| Problem::from_status(&status))
}

async fn listed(caller: &Caller, video: &str) -> Vec<v1::Caption> {
    let request = v1::ListCaptionsRequest { video_id: video.to_owned() };
    caller.videos().list_captions(caller.ask(request)).await.unwrap().into_inner().captions
}

async fn delete(caller: &Caller, video: &str, caption: &str) -> Result<(), Problem> {
    let (video_id, caption_id) = (video.to_owned(), caption.to_owned());
    let request = v1::DeleteCaptionRequest { video_id, caption_id };
    let deleted = caller.videos().delete_caption(caller.ask(request)).await;
    deleted.map(drop).map_err(|status| Problem::from_status(&status))
}

/// The final index as data planes read it from the store.
fn stored(plane: &Plane, video: &str) -> Index {
    let object = plane.shared.store().join(layout::index(video.parse().unwrap()));
    Index::decode(&fs::read(object).unwrap()).unwrap()
}

/// Label, default flag and existence of the object for every track of the stored index.
fn in_store(plane: &Plane, video: &str) -> Vec<(String, bool, bool)> {
    let there = |key: &str| plane.shared.store().join(key).exists();
    let tracks = stored(plane, video).captions.into_iter();
    tracks.map(|t| (t.about.label, t.about.default, there(&t.object.key))).collect()
}

fn row(label: &str, default: bool) -> (String, bool, bool) {
    (label.to_owned(), default, true)
}

#[tokio::test]
async fn embedded_and_uploaded_tracks_are_listed_and_indexed_and_survive_a_new_job() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    let mut worker = plane.worker("one").await;
    let id = clip::upload_of(&plane, &mut worker, source()).await;
    // Before the video can be played.
    let early = create(&caller, upload(&id, "pt_BR", "")).await.unwrap_err();
    assert_eq!(early.violations[0].field, "language");
    let srt = "1\n00:00:00,000 --> 00:00:09,000\nolá\n";
    let mut request = upload(&id, "pt-BR", srt);
    request.kind = "captions".to_owned();
    let first = create(&caller, request).await.unwrap();
    assert_eq!((first.label.as_str(), first.source.as_str()), ("Português", "upload"));
    assert_eq!(first.url, format!("/api/stream/{id}/captions/{}.vtt", first.caption_id));
    let job = transcode(&caller, &id).await;
    assert!(job.notes.iter().any(|note| note.contains("hdmv_pgs_subtitle")), "{:?}", job.notes);
    let tracks = encode(&mut worker, 5, async |worker, lease, number| {
        let offer = commit(lease, number, TEXT);
        assert_eq!(worker.commit(offer.clone()).await.refusal, None);
        assert_eq!(worker.commit(offer).await.refusal, None, "the reply may have been lost");
    })
    .await;
    assert_eq!(tracks, [(0, 2), (1, 4)]);
    caller.job_when(&job.job_id, |job| job.state() == JobState::Completed).await;
    let rows = [row("English", false), row("Deutsch", true), row("Português", false)];
    assert_eq!(in_store(&plane, &id), rows);
    // After the job has ended: the label gets a number, and the default moves.
    let mut request = upload(&id, "en", TEXT);
    (request.format, request.default) = ("vtt".to_owned(), true);
    let second = create(&caller, request).await.unwrap();
    assert!(second.default && second.label == "English (2)", "{second:?}");
    let labels: Vec<_> =
        listed(&caller, &id).await.into_iter().map(|c| (c.label, c.default)).collect();
    assert_eq!(labels[3], ("English (2)".to_owned(), true));
    assert!(labels[..3].iter().all(|(_, default)| !default), "{labels:?}");
    assert_eq!(in_store(&plane, &id)[3], row("English (2)", true));
    let text = fs::read(plane.shared.store().join(&stored(&plane, &id).captions[2].object.key));
    // The cue is cut to the video's six seconds.
    let expected = "WEBVTT\n\n00:00:00.000 --> 00:00:06.000\nolá\n";
    assert_eq!(String::from_utf8(text.unwrap()).unwrap(), expected);
    removal(&plane, &caller, &id, &second.caption_id).await;
    plane.stop().await;
}

async fn removal(plane: &Plane, caller: &Caller, id: &str, uploaded: &str) {
    let key = stored(plane, id).captions[3].object.key.clone();
    delete(caller, id, uploaded).await.unwrap();
    assert!(!plane.shared.store().join(key).exists());
    assert_eq!(in_store(plane, id).len(), 3);
    assert_eq!(delete(caller, id, uploaded).await.unwrap_err().code, Code::NotFound);
    let embedded = listed(caller, id).await[0].caption_id.clone();
    delete(caller, id, &embedded).await.unwrap();
    assert_eq!(in_store(plane, id), [row("Deutsch", true), row("Português", false)]);
    assert_eq!(delete(caller, id, "x").await.unwrap_err().violations[0].field, "caption_id");
}

#[tokio::test]
async fn false_reports_about_text_tracks_are_rejected_and_the_job_completes_without_the_track() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    let mut worker = plane.worker("one").await;
    let id = clip::upload_of(&plane, &mut worker, source()).await;
    let job = transcode(&caller, &id).await;
    let mut invalid = vec![
        "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\n<script>x\n",
        "WEBVTT\n\n00:00:01.000 --> 00:00:07.000\nlate\n",
        "WEBVTT\n",
        "\u{0}binary",
    ];
    encode(&mut worker, 8, async |worker, lease, number| {
        let text = if number == 0 { invalid.pop() } else { None };
        let reply = worker.commit(commit(lease, number, text.unwrap_or(TEXT))).await;
        let code = reply.refusal.map(|failure| failure.code);
        assert_eq!(code, text.map(|_| "admission_refused".to_owned()), "{text:?}");
    })
    .await;
    assert!(invalid.is_empty());
    let job = caller.job_when(&job.job_id, |job| job.state() == JobState::Completed).await;
    let failed: Vec<_> = job.tasks.iter().filter(|t| t.state() == TaskState::Failed).collect();
    assert_eq!((failed.len(), failed[0].kind.as_str()), (1, "subtitles"));
    assert_eq!(in_store(&plane, &id), [row("Deutsch", true)]);
    plane.stop().await;
}

#[tokio::test]
async fn errors_of_an_upload_name_the_field() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    let mut worker = plane.worker("one").await;
    let id = clip::upload(&plane, &mut worker).await;
    let good = || upload(&id, "en", TEXT);
    type Change = fn(&mut v1::CreateCaptionRequest);
    let changes: [(Change, &str); 9] = [
        (|r| r.language = "english".to_owned(), "language"),
        (|r| r.language = "english please".to_owned(), "language"),
        (|r| r.language = String::new(), "language"),
        (|r| r.label = "x".repeat(65), "label"),
        (|r| r.kind = "chapters".to_owned(), "kind"),
        (|r| r.format = "ass".to_owned(), "format"),
        (|r| r.content = "1\nno times\n".into(), "content"),
        (|r| r.content = vec![0xff; 9].into(), "content"),
        (|r| r.content = TEXT.replace("00:00:0", "00:09:0").into(), "content"),
    ];
    for (change, field) in changes {
        let mut request = good();
        change(&mut request);
        let problem = create(&caller, request).await.unwrap_err();
        assert_eq!(
            (problem.code, problem.violations[0].field.as_str()),
            (Code::InvalidField, field)
        );
    }
    let mut large = good();
    large.content = vec![b'x'; (2 << 20) + 1].into();
    assert_eq!(create(&caller, large).await.unwrap_err().code, Code::TooLarge);
    let mut request = good();
    (request.content, request.validate_only) = (Default::default(), true);
    assert_eq!(create(&caller, request).await.unwrap(), v1::Caption::default());
    let other_tenant = plane.caller_of(Role::Admin, "elsewhere");
    assert_eq!(create(&other_tenant, good()).await.unwrap_err().code, Code::NotFound);
    let viewer = plane.caller(Role::Viewer);
    assert_eq!(create(&viewer, good()).await.unwrap_err().code, Code::PermissionDenied);
    assert_eq!(listed(&viewer, &id).await, []);
    // Rejected uploads leave no objects behind.
    assert!(!plane.shared.store().join(format!("videos/{id}/captions")).exists());
    plane.stop().await;
}
