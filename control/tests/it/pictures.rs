//! Tests image tasks: their prerequisites, their input, the checks of their output, and videos
//! whose images are missing.

use std::{fs, path::Path, process::Command};

use api::v1::{self, JobState, TaskState, lease::Work, worker_message};
use authz::Role;
use media::{download, index::Index, layout, pictures::Size, tables};
use sha2::{Digest, Sha256};

use crate::{
    clip,
    plane::{Caller, Plane, Worker},
};

async fn transcode(caller: &Caller, video: &str) -> String {
    let request = v1::CreateJobRequest {
        video_id: video.to_owned(),
        generate_thumbnails: Some(true),
        generate_preview: Some(true),
        ..Default::default()
    };
    let job = caller.jobs().create_job(caller.ask(request)).await.unwrap().into_inner();
    assert!(job.notes.iter().all(|note| !note.contains("not made")), "{:?}", job.notes);
    job.job_id
}

/// Does the chunk and audio tasks, which the image tasks wait for.
async fn encode(worker: &mut Worker) {
    worker.want(8).await;
    for _ in 0..3 {
        let lease = worker.lease().await;
        assert!(matches!(lease.work, Some(Work::Chunk(_) | Work::Audio(_))), "{lease:?}");
        assert_eq!(worker.commit(clip::work(&lease)).await.refusal, None);
    }
}

/// The leases of the two image tasks, thumbnails first.
async fn picture_leases(worker: &mut Worker) -> [v1::Lease; 2] {
    let leases = [worker.lease().await, worker.lease().await];
    assert!(matches!(leases[0].work, Some(Work::Pictures(_))), "{leases:?}");
    assert!(matches!(leases[1].work, Some(Work::Preview(_))), "{leases:?}");
    leases
}

fn ffmpeg(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("ffmpeg").args(["-v", "error"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn jpeg(size: Size) -> Vec<u8> {
    let picture = format!("testsrc2=s={}x{}", size.width, size.height);
    #[rustfmt::skip]
    let arguments = [
        "-f", "lavfi", "-i", &picture, "-frames:v", "1", "-c:v", "mjpeg", "-q:v", "4",
        "-pix_fmt", "yuvj420p", "-f", "image2pipe", "pipe:1",
    ];
    ffmpeg(&arguments)
}

/// The size of every image made from the only rung of the test video.
const SIZE: Size = Size { width: 128, height: 72 };
/// Three tiles in a row.
const SHEET: Size = Size { width: 384, height: 72 };

fn preview() -> Vec<u8> {
    let file = tempfile::NamedTempFile::with_suffix(".mp4").unwrap();
    #[rustfmt::skip]
    let arguments = [
        "-y", "-f", "lavfi", "-i", "testsrc2=s=128x72:r=5:d=6",
        "-f", "lavfi", "-i", "sine=sample_rate=48000:d=6", "-pix_fmt", "yuv420p",
        "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-movflags", "+faststart",
        file.path().to_str().unwrap(),
    ];
    ffmpeg(&arguments);
    fs::read(file.path()).unwrap()
}

type NamedObjects = Vec<(String, Vec<u8>)>;

/// All outputs of the two tasks, made before a lease runs.
fn made() -> (NamedObjects, NamedObjects) {
    let picture = jpeg(SIZE);
    let mut made: NamedObjects =
        (0..3).map(|n| (format!("thumbnails/{n}"), picture.clone())).collect();
    made.push(("poster".to_owned(), picture));
    made.push(("storyboard/0".to_owned(), jpeg(SHEET)));
    (made, vec![("preview".to_owned(), preview())])
}

/// Stores images under keys of their lease and returns the commit.
fn commit(lease: &v1::Lease, made: &[(String, Vec<u8>)]) -> v1::Commit {
    let store = |(name, bytes): &(String, Vec<u8>)| {
        let extension = if name == "preview" { "mp4" } else { "jpg" };
        let digest = Sha256::digest(bytes);
        let hex = hex::encode(digest);
        let key = layout::picture(&lease.output_prefix, name, lease.token, &hex, extension);
        let path = Path::new(&lease.output_root).join(&key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        let (name, bytes) = (name.clone(), bytes.len() as u64);
        v1::Picture { name, key, bytes, sha256: digest.to_vec().into() }
    };
    v1::Commit {
        task_id: lease.task_id.clone(),
        token: lease.token,
        pictures: made.iter().map(store).collect(),
        last: true,
        ..v1::Commit::default()
    }
}

/// Codec and number of frames of each stream, counted by ffprobe.
fn streams(file: &str) -> Vec<String> {
    let entries = "stream=codec_name,nb_read_frames";
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-of", "csv=p=0", "-show_entries", entries, file])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

async fn video(caller: &Caller, id: &str) -> v1::Video {
    let request = caller.ask(v1::GetVideoRequest { video_id: id.to_owned() });
    caller.videos().get_video(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn images_are_made_from_the_renditions_and_belong_to_the_video() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    let mut worker = plane.worker("one").await;
    let id = clip::upload(&plane, &mut worker).await;
    let job = transcode(&caller, &id).await;
    let (pictures, clip) = made();
    encode(&mut worker).await;
    let [thumbnails, preview] = picture_leases(&mut worker).await;
    // Six seconds at 5 frames per second: three GOPs. The tasks read an excerpt made of these, not
    // the source.
    assert!(!thumbnails.source_path.ends_with("/source"), "{}", thumbnails.source_path);
    assert_eq!(streams(&thumbnails.source_path), ["h264,3", "h264,3", "h264,3"]);
    let scenes = streams(&preview.source_path);
    assert_eq!((scenes[0].as_str(), scenes.len()), ("h264,30", 2), "{scenes:?}");
    for (lease, made) in [(&thumbnails, &pictures), (&preview, &clip)] {
        let offer = commit(lease, made);
        assert_eq!(worker.commit(offer.clone()).await.refusal, None);
        // A worker repeats a commit if the reply was lost.
        assert_eq!(worker.commit(offer).await.refusal, None);
    }
    caller.job_when(&job, |job| job.state() == JobState::Completed).await;
    let shown = video(&caller, &id).await;
    assert_eq!(shown.poster, format!("/api/stream/{id}/poster.jpg"));
    let listed: Vec<_> = shown.thumbnails.iter().map(|t| (t.time, t.url.as_str())).collect();
    let url = |n: u32| format!("/api/stream/{id}/thumbnails/{n}.jpg");
    assert_eq!(listed, [(0.0, &*url(0)), (2.0, &*url(1)), (4.0, &*url(2))]);
    assert_eq!(shown.storyboard, format!("/api/stream/{id}/storyboard.vtt"));
    assert_eq!(shown.preview, format!("/api/stream/{id}/preview.mp4"));
    let object = plane.shared.store().join(layout::index(id.parse().unwrap()));
    let index = Index::decode(&fs::read(object).unwrap()).unwrap();
    assert_eq!(index.pictures.thumbnails.len(), 3);
    assert!(index.pictures.poster.is_some() && index.pictures.preview.is_some());
    assert_eq!(index.pictures.storyboard.as_ref().unwrap().sheets.len(), 1);
    downloads_are_offered(&plane, &index, &shown);
    plane.stop().await;
}

fn downloads_are_offered(plane: &Plane, index: &Index, shown: &v1::Video) {
    let read = |rendition: &str| {
        let (track, _) = index.track(rendition).unwrap();
        let table = track.table.as_ref().unwrap();
        let bytes = fs::read(plane.shared.store().join(&table.key)).unwrap();
        assert_eq!(bytes.len() as u64, table.bytes);
        (track, tables::decode(&bytes).unwrap())
    };
    let ((video, video_tables), (audio, audio_tables)) = (read("360p"), read("audio-0"));
    let picture = download::Rendition { track: video, tables: &video_tables };
    let sound = download::Rendition { track: audio, tables: &audio_tables };
    let laid_out = download::Download::new(index, picture, Some(sound)).unwrap();
    let [offered] = &shown.downloads[..] else { panic!("{:?}", shown.downloads) };
    assert_eq!((offered.profile.as_str(), offered.bytes), ("360p", laid_out.bytes()));
    assert_eq!(offered.url, format!("/api/stream/{}/download/360p.mp4", index.video));
}

#[tokio::test]
async fn a_video_is_final_once_its_renditions_are_complete() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    let mut worker = plane.worker("one").await;
    let id = clip::upload(&plane, &mut worker).await;
    let job = transcode(&caller, &id).await;
    let data_plane = plane.caller(Role::Dataplane);
    let index = async || {
        let request =
            data_plane.ask(v1::GetIndexRequest { video_id: id.clone(), ..Default::default() });
        let reply = data_plane.playback().get_index(request).await.unwrap().into_inner();
        Index::decode(&reply.index).unwrap()
    };
    encode(&mut worker).await;
    let early = index().await;
    assert!(early.finished_at_ms.is_some());
    assert_eq!(caller.job(&job).await.state(), JobState::Running);
    // Without its images and tables it is not yet what the store keeps.
    let object = plane.shared.store().join(layout::index(early.video));
    assert!(!object.exists());
    let (pictures, clip) = made();
    let [thumbnails, preview] = picture_leases(&mut worker).await;
    assert!(!object.exists());
    for (lease, made) in [(&thumbnails, &pictures), (&preview, &clip)] {
        assert_eq!(worker.commit(commit(lease, made)).await.refusal, None);
    }
    caller.job_when(&job, |job| job.state() == JobState::Completed).await;
    let complete = index().await;
    assert_eq!(complete.finished_at_ms, early.finished_at_ms);
    assert_eq!(Index::decode(&fs::read(object).unwrap()).unwrap(), complete);
    plane.stop().await;
}

#[tokio::test]
async fn false_reports_about_images_are_rejected() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    let mut worker = plane.worker("one").await;
    let id = clip::upload(&plane, &mut worker).await;
    let job = transcode(&caller, &id).await;
    let (pictures, clip) = made();
    encode(&mut worker).await;
    let [mut thumbnails, mut preview] = picture_leases(&mut worker).await;
    for change in ["size", "cut", "missing"] {
        let (mut pictures, mut clip) = (pictures.clone(), clip.clone());
        match change {
            "size" => {
                let sheet = pictures[4].1.clone();
                clip[0].1.clone_from(&pictures[3].1);
                pictures[0].1 = sheet;
            }
            "cut" => {
                pictures[3].1.pop();
                let half = clip[0].1.len() / 2;
                clip[0].1.truncate(half);
            }
            _ => {
                pictures.pop();
                clip[0].0 = "poster".to_owned();
            }
        }
        rejected(&mut worker, commit(&thumbnails, &pictures), change).await;
        rejected(&mut worker, commit(&preview, &clip), change).await;
        worker.want(8).await;
        for _ in 0..2 {
            let lease = worker.lease().await;
            match lease.work {
                Some(Work::Pictures(_)) => thumbnails = lease,
                _ => preview = lease,
            }
        }
    }
    // The stored bytes differ from the announced digest.
    let offer = commit(&preview, &clip);
    fs::write(plane.shared.store().join(&offer.pictures[0].key), b"other").unwrap();
    rejected(&mut worker, offer, "other bytes").await;
    assert_eq!(video(&caller, &id).await.poster, "");
    assert_eq!(worker.commit(commit(&thumbnails, &pictures)).await.refusal, None);
    // After four failed attempts, the job completes without a preview.
    let job = caller.job_when(&job, |job| job.state() == JobState::Completed).await;
    let failed: Vec<_> = job.tasks.iter().filter(|t| t.state() == TaskState::Failed).collect();
    assert_eq!((failed.len(), failed[0].kind.as_str()), (1, "preview"));
    assert_eq!(failed[0].error.as_ref().unwrap().code, "admission_refused");
    let shown = video(&caller, &id).await;
    assert_eq!((shown.preview.as_str(), shown.poster.is_empty()), ("", false));
    plane.stop().await;
}

async fn rejected(worker: &mut Worker, offer: v1::Commit, change: &str) {
    let reply = worker.commit(offer).await;
    assert!(reply.lease_lost, "{change}");
    assert_eq!(reply.refusal.unwrap().code, "admission_refused", "{change}");
}

#[tokio::test]
async fn a_job_whose_image_tasks_fail_permanently_completes_without_images() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Admin);
    let mut worker = plane.worker("one").await;
    let id = clip::upload(&plane, &mut worker).await;
    let job = transcode(&caller, &id).await;
    encode(&mut worker).await;
    for lease in picture_leases(&mut worker).await {
        let fail = v1::Fail {
            task_id: lease.task_id,
            token: lease.token,
            code: "ffmpeg_crashed".to_owned(),
            message: "ended by signal 11".to_owned(),
            retryable: false,
            cause: v1::FailureCause::Source.into(),
        };
        worker.send(worker_message::Message::Fail(fail)).await;
    }
    let job = caller.job_when(&job, |job| job.state() == JobState::Completed).await;
    assert!(job.error.is_none() && job.progress == 100.0);
    let failed = job.tasks.iter().filter(|task| task.state() == TaskState::Failed);
    assert_eq!(failed.map(|t| t.kind.as_str()).collect::<Vec<_>>(), ["thumbnails", "preview"]);
    let shown = video(&caller, &id).await;
    assert_eq!((shown.state(), shown.playable), (v1::VideoState::Ready, true));
    assert_eq!((shown.poster, shown.preview), (String::new(), String::new()));
    assert_eq!(shown.downloads.len(), 1);
    plane.stop().await;
}
