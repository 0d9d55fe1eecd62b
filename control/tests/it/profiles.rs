//! The operator's profiles: used if valid, rejected as a whole if not, and selected by name.

use std::process::Command;

use api::{code::Problem, v1};
use authz::Role;

use crate::{clip, plane::Plane};

const GOOD: &str = r#"
[[profile]]
name = "small"
width = 640
height = 360
video_bitrate = "600k"
audio_bitrate = "64k"
crf = 25

[[profile]]
name = "small-av1"
width = 640
height = 360
video_bitrate = "300k"
audio_bitrate = "64k"
codec = "av1"
"#;

#[test]
fn a_file_with_errors_prevents_the_start_with_one_line_per_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("profiles.toml");
    let bad = GOOD.replace("640", "6").replace("\"av1\"", "\"vp8\"");
    std::fs::write(&file, bad).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_streaming-control"))
        .args(["serve", "--grpc-addr", "127.0.0.1:0", "--stores", "file:///nowhere"])
        .args(["--database-url", "postgres://nowhere/x", "--root-key-file", "/nowhere"])
        .env("STREAMING_PROFILES_FILE", &file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let output = String::from_utf8(output.stderr).unwrap();
    let name = file.display();
    for problem in [
        "profile 1 (\"small\"): width: ",
        "profile 2 (\"small-av1\"): width: ",
        "profile 2 (\"small-av1\"): codec: must be one of h264, hevc, av1",
    ] {
        let lines = output.lines().filter(|line| line.contains(&format!("{name}: {problem}")));
        assert_eq!(lines.count(), 1, "{problem} in {output}");
    }
}

#[tokio::test]
async fn a_transcode_uses_the_profile_names_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("profiles.toml");
    std::fs::write(&file, GOOD).unwrap();
    let shared = crate::plane::Shared::new(crate::postgres::database().await);
    let plane = Plane::with(shared, &["--profiles-file", file.to_str().unwrap()]).await;
    let mut worker = plane.worker("a").await;
    let video_id = clip::upload(&plane, &mut worker).await;
    let caller = plane.caller(Role::Editor);
    let ask = |profiles: &[&str]| {
        caller.ask(v1::CreateJobRequest {
            video_id: video_id.clone(),
            profiles: profiles.iter().map(|p| (*p).to_owned()).collect(),
            ..v1::CreateJobRequest::default()
        })
    };
    let rejected = caller.jobs().create_job(ask(&["small", "720p"])).await.unwrap_err();
    let problem = Problem::from_status(&rejected);
    assert_eq!(problem.violations[0].field, "profiles[1]");
    assert!(problem.violations[0].message.contains("small, small-av1"), "{problem}");
    let job = caller.jobs().create_job(ask(&[])).await.unwrap().into_inner();
    assert_eq!(job.profiles, ["small", "small-av1"]);
    assert_eq!(job.preset, "veryfast, 10");
    // The worker of this test supports only libx264.
    worker.want(4).await;
    let lease = worker.lease().await;
    let Some(v1::lease::Work::Chunk(work)) = lease.work else { panic!("{lease:?}") };
    let rung = &work.rungs[0];
    let planned = (rung.name.as_str(), rung.codec.as_str(), rung.preset.as_str(), rung.crf);
    assert_eq!(planned, ("small", "h264", "veryfast", Some(25)));
    plane.stop().await;
}

/// Both rungs of the test clip have the same bytes, so the lower one saves a player nothing.
#[tokio::test]
async fn a_finished_job_notes_the_rungs_that_new_sessions_are_not_offered() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("profiles.toml");
    let profile = |name: &str, rate: &str| {
        format!(
            "[[profile]]\nname = \"{name}\"\nwidth = 128\nheight = 72\nvideo_bitrate = \"{rate}\"\n\
             audio_bitrate = \"64k\"\n"
        )
    };
    std::fs::write(&file, profile("low", "100k") + &profile("high", "200k")).unwrap();
    let shared = crate::plane::Shared::new(crate::postgres::database().await);
    let plane = Plane::with(shared, &["--profiles-file", file.to_str().unwrap()]).await;
    let mut worker = plane.worker("a").await;
    let video_id = clip::upload(&plane, &mut worker).await;
    let caller = plane.caller(Role::Editor);
    let request = v1::CreateJobRequest { video_id, ..v1::CreateJobRequest::default() };
    let job = caller.jobs().create_job(caller.ask(request)).await.unwrap().into_inner();
    assert_eq!((job.profiles, job.notes), (vec!["low".to_owned(), "high".to_owned()], Vec::new()));
    worker.want(8).await;
    // The first chunk of each rung, the second chunk, and the audio.
    for _ in 0..4 {
        let lease = worker.lease().await;
        assert_eq!(worker.commit(clip::work(&lease)).await.refusal, None);
    }
    let done = caller.job_when(&job.job_id, |job| job.state() == v1::JobState::Completed).await;
    let note = "low: left out of the manifests, because its bit rate is at least that of high; \
                it can be downloaded";
    assert_eq!(done.notes, [note]);
    plane.stop().await;
}
