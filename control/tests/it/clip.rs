//! A tiny test video, and its chunks as a worker would encode them.

use std::{path::Path, process::Command};

use api::v1;
use authz::Role;
use media::{
    Grid,
    fmp4::rewrite::{AudioRewriter, Rewritten, video_chunk},
    layout,
    source::Source,
};
use sha2::{Digest, Sha256};

use crate::{
    plane::{Caller, Plane, Worker},
    rows,
};

/// Six seconds at 5 frames per second: two chunks of one rung, and audio.
pub(crate) fn source() -> Source {
    let mut source = rows::source(6);
    source.bytes = 6;
    let video = source.video.as_mut().unwrap();
    (video.width, video.height) = (128, 72);
    (video.frame_rate, video.time_base, video.last_pts) = ((5, 1), (1, 5), 29);
    source
}

/// Stores a source and returns the call that waits for its probe.
pub(crate) async fn send_source(
    plane: &Plane,
    caller: &Caller,
) -> (String, v1::CompleteUploadRequest) {
    let request = caller.ask(v1::BeginUploadRequest::default());
    let begun = caller.uploads().begin_upload(request).await.unwrap().into_inner();
    let path = plane.shared.store().join(&begun.key);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, b"source").unwrap();
    let complete = v1::CompleteUploadRequest {
        video_id: begun.video_id.clone(),
        title: "a clip".to_owned(),
        description: String::new(),
        visibility: v1::Visibility::Public.into(),
        bytes: 6,
        sha256: hex::encode(Sha256::digest(b"source")),
        filename: "clip.mkv".to_owned(),
        wait_seconds: 20,
        upload_id: String::new(),
        writer: String::new(),
        transcode: String::new(),
    };
    (begun.video_id, complete)
}

/// Uploads the test video; `worker` runs the probe.
pub(crate) async fn upload(plane: &Plane, worker: &mut Worker) -> String {
    upload_of(plane, worker, source()).await
}

/// Uploads a file that the probe reports to be `source`.
pub(crate) async fn upload_of(plane: &Plane, worker: &mut Worker, source: Source) -> String {
    let caller = plane.caller(Role::Editor);
    let (id, complete) = send_source(plane, &caller).await;
    let request = caller.ask(complete);
    let mut uploads = caller.uploads();
    let waiting = uploads.complete_upload(request);
    let probe = async {
        worker.want(1).await;
        let lease = worker.lease().await;
        assert!(matches!(lease.work, Some(v1::lease::Work::Probe(_))), "{lease:?}");
        let report = Some(source.into());
        let reply = worker.commit(v1::Commit { source: report, ..probed(&lease) }).await;
        assert_eq!(reply.refusal, None);
        worker.want(0).await;
    };
    let (video, ()) = tokio::join!(waiting, probe);
    let video = video.unwrap().into_inner();
    assert_eq!(video.state(), v1::VideoState::Uploaded);
    assert_eq!(video.metadata.unwrap().fps, 5.0);
    id
}

/// The commit of a probe.
pub(crate) fn probed(lease: &v1::Lease) -> v1::Commit {
    v1::Commit {
        task_id: lease.task_id.clone(),
        token: lease.token,
        last: true,
        source: Some(source().into()),
        ..v1::Commit::default()
    }
}

/// Does the work of a lease: stores the objects and returns the commit.
pub(crate) fn work(lease: &v1::Lease) -> v1::Commit {
    let outputs = match lease.work.clone().unwrap() {
        v1::lease::Work::Chunk(work) => {
            let grid = Grid::try_from(work.grid.unwrap()).unwrap();
            let rungs = work.rungs.iter();
            rungs.map(|rung| stored(lease, &rung.name, chunk(&grid, work.chunk))).collect()
        }
        v1::lease::Work::Audio(work) => {
            let grid = Grid::try_from(work.grid.unwrap()).unwrap();
            let name = format!("audio-{}", work.number);
            sound(&grid, 2).into_iter().map(|chunk| stored(lease, &name, chunk)).collect()
        }
        v1::lease::Work::Surround(work) => sounds(lease, &work.grid.unwrap(), 6),
        _ => Vec::new(),
    };
    v1::Commit {
        task_id: lease.task_id.clone(),
        token: lease.token,
        outputs,
        last: true,
        ..v1::Commit::default()
    }
}

/// Stores AAC with this number of channels as the output of a lease for surround.
pub(crate) fn sounds(lease: &v1::Lease, grid: &v1::Grid, channels: u32) -> Vec<v1::Output> {
    let Some(v1::lease::Work::Surround(work)) = &lease.work else { panic!("{lease:?}") };
    let (grid, name) = (Grid::try_from(*grid).unwrap(), format!("surround-{}", work.number));
    sound(&grid, channels).into_iter().map(|chunk| stored(lease, &name, chunk)).collect()
}

/// Writes an object under a key of its lease.
fn stored(lease: &v1::Lease, rendition: &str, made: Rewritten) -> v1::Output {
    let digest = Sha256::digest(&made.bytes);
    let prefix = &lease.output_prefix;
    let key = layout::chunk(prefix, rendition, made.chunk, lease.token, &hex::encode(digest));
    let path = Path::new(&lease.output_root).join(&key);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, &made.bytes).unwrap();
    v1::Output {
        rendition: rendition.to_owned(),
        chunk: made.chunk,
        key,
        bytes: made.bytes.len() as u64,
        sha256: digest.to_vec().into(),
        init: made.init.into(),
    }
}

fn chunk(grid: &Grid, chunk: u32) -> Rewritten {
    let frames = grid.chunk_frames(chunk);
    let trim = format!(
        "trim=start_frame={}:end_frame={},setpts=PTS-STARTPTS,format=yuv420p",
        frames.start, frames.end
    );
    let gop = grid.gop_frames().to_string();
    let timescale = grid.rate().timescale().to_string();
    #[rustfmt::skip]
    let made = ffmpeg(&[
        "-f", "lavfi", "-i", "testsrc2=s=128x72:r=5", "-vf", &trim,
        "-frames:v", &(frames.end - frames.start).to_string(),
        "-c:v", "libx264", "-preset", "veryfast", "-threads", "1", "-qp", "4",
        "-g", &gop, "-keyint_min", &gop, "-sc_threshold", "0", "-flags", "+cgop+global_header",
        "-video_track_timescale", &timescale,
        "-movflags", "+frag_keyframe+empty_moov+default_base_moof",
    ]);
    video_chunk(&made, grid, chunk).unwrap()
}

fn sound(grid: &Grid, channels: u32) -> Vec<Rewritten> {
    let (seconds, channels) = ((grid.duration() + 0.1).to_string(), channels.to_string());
    #[rustfmt::skip]
    let made = ffmpeg(&[
        "-f", "lavfi", "-i", "sine=frequency=1000:sample_rate=48000", "-t", &seconds,
        "-ac", &channels, "-c:a", "aac", "-b:a", "96k",
        "-movflags", "+empty_moov+default_base_moof", "-frag_duration", "2000000",
    ]);
    let mut rewriter = AudioRewriter::new(*grid);
    rewriter.push(&made).unwrap();
    let mut chunks = Vec::new();
    while let Some(chunk) = rewriter.next_chunk().unwrap() {
        chunks.push(chunk);
    }
    chunks.extend(rewriter.finish().unwrap());
    chunks
}

fn ffmpeg(arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error"]).args(arguments).args(["-f", "mp4", "pipe:1"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
