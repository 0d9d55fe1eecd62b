//! Failures around a task: lost streams, lost leases, stops and failing programs.

use std::{fs, path::PathBuf, time::Duration};

use api::v1::{self, control_message::Message as Tell, worker_message::Message as Said};
use nix::sys::signal::Signal;

use crate::{
    clip::Clip,
    control::Control,
    encodes::Film,
    worker::{Worker, processes, script},
};

/// A wrapper script that waits `seconds` before it runs ffprobe.
fn slow(folder: &tempfile::TempDir, seconds: &str) -> PathBuf {
    script(folder.path(), &format!("sleep {seconds}; exec ffprobe \"$@\""))
}

async fn slow_worker(control: &mut Control, folder: &tempfile::TempDir, seconds: &str) -> Worker {
    let ffprobe = slow(folder, seconds);
    Worker::start(control, &["--ffprobe", ffprobe.to_str().unwrap(), "--worker-drain", "1s"]).await
}

fn finished(task: &str) -> impl FnMut(Said) -> Option<v1::Commit> {
    move |said| match said {
        Said::Commit(commit) if commit.task_id == task && commit.last => Some(commit),
        Said::Fail(fail) => panic!("{fail:?}"),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_task_survives_a_restart_of_control() {
    let mut control = Control::start().await;
    let folder = tempfile::tempdir().unwrap();
    let worker = slow_worker(&mut control, &folder, "0.7").await;
    let clip = Clip::numbered("a.mp4", "25", 2);
    let lease = worker.probe(&clip.path());
    let (task, token) = (lease.task_id.clone(), lease.token);
    control.tell(Tell::Lease(lease));
    worker.until(|| worker.task_folders() == 1).await;
    control.stop().await;
    control.listen();
    let beats = |said| match said {
        Said::Heartbeat(heartbeat) => {
            heartbeat.leases.into_iter().find(|lease| lease.token == token)
        }
        _ => None,
    };
    assert_eq!(control.wait(beats).await.task_id, task);
    assert_eq!(control.wait(finished(&task)).await.token, token);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unanswered_commit_is_repeated_on_the_next_stream() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let clip = Clip::numbered("a.mp4", "25", 2);
    control.mute_commits(true);
    let lease = worker.probe(&clip.path());
    let task = lease.task_id.clone();
    control.tell(Tell::Lease(lease));
    let first = control.wait(finished(&task)).await;
    control.stop().await;
    control.mute_commits(false);
    control.listen();
    assert_eq!(control.wait(finished(&task)).await, first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_nobody_confirms_is_given_up_in_time() {
    let mut control = Control::start().await;
    control.set_lease(Duration::from_millis(1500));
    let folder = tempfile::tempdir().unwrap();
    let worker = slow_worker(&mut control, &folder, "30").await;
    let clip = Clip::numbered("a.mp4", "25", 2);
    control.mute_heartbeats(true);
    control.tell(Tell::Lease(worker.probe(&clip.path())));
    worker.until(|| worker.task_folders() == 1).await;
    worker.until(|| worker.task_folders() == 0).await;
    let heard = control.listen_for(Duration::from_millis(300)).await;
    let spoke = |said: &Said| matches!(said, Said::Commit(_) | Said::Fail(_) | Said::Release(_));
    assert!(!heard.iter().any(spoke), "nothing is said of a lease that is gone: {heard:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_tasks_finish_and_then_gives_the_rest_back() {
    let mut control = Control::start().await;
    let folder = tempfile::tempdir().unwrap();
    // The first task must still be running when the second one starts, and must end well within the drain period.
    let seconds = format!("2.0{}", std::process::id());
    let ffprobe = slow(&folder, &seconds);
    let flags = ["--ffprobe", ffprobe.to_str().unwrap(), "--worker-drain", "6s"];
    let mut worker = Worker::start(&mut control, &flags).await;
    let clip = Clip::numbered("a.mp4", "25", 2);
    let lease = worker.probe(&clip.path());
    let task = lease.task_id.clone();
    control.tell(Tell::Lease(lease));
    // Its folder does not imply that its program has started.
    worker.until(|| !processes(&format!("sleep\0{seconds}")).is_empty()).await;
    slow(&folder, "30");
    let lease = worker.probe(&clip.path());
    let unfinished = lease.task_id.clone();
    control.tell(Tell::Lease(lease));
    worker.until(|| worker.task_folders() == 2).await;
    worker.signal(Signal::SIGTERM);
    // Only the first query of the first probe ran with the faster script, so that probe may finish or be released.
    let mut given_back = Vec::new();
    while !given_back.contains(&unfinished) {
        let pick = |said| match said {
            Said::Release(release) => Some(Ok(release.task_id)),
            Said::Commit(commit) => Some(Err(commit.task_id)),
            Said::Fail(fail) => panic!("{fail:?}"),
            _ => None,
        };
        match control.wait(pick).await {
            Ok(released) => given_back.push(released),
            Err(committed) => assert_eq!(committed, task),
        }
    }
    worker.until_exit().await;
    assert_eq!(worker.leftovers(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_gives_everything_back_at_once() {
    let mut control = Control::start().await;
    let folder = tempfile::tempdir().unwrap();
    let ffprobe = slow(&folder, "30");
    let flags = ["--ffprobe", ffprobe.to_str().unwrap(), "--worker-drain", "10m"];
    let mut worker = Worker::start(&mut control, &flags).await;
    let clip = Clip::numbered("a.mp4", "25", 2);
    let lease = worker.probe(&clip.path());
    let task = lease.task_id.clone();
    control.tell(Tell::Lease(lease));
    worker.until(|| worker.task_folders() == 1).await;
    worker.signal(Signal::SIGTERM);
    tokio::time::sleep(Duration::from_millis(200)).await;
    worker.signal(Signal::SIGTERM);
    let released =
        |said| matches!(said, Said::Release(release) if release.task_id == task).then_some(());
    control.wait(released).await;
    worker.until_exit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_misbehave_end_as_stable_codes() {
    let clip = Clip::numbered("a.mp4", "25", 2);
    let folder = tempfile::tempdir().unwrap();
    for (text, code) in [
        ("kill -SEGV $$", "ffmpeg_crashed"),
        ("echo '[error] x: No space left on device' >&2; exit 1", "disk_full"),
        ("echo '[error] y: Cannot allocate memory' >&2; exit 1", "out_of_memory"),
        ("echo \"[error] Unknown encoder 'libx264'\" >&2; exit 1", "encoder_missing"),
        ("exec sleep 100", "timeout"),
        ("while :; do echo '[error] noise' >&2; done", "timeout"),
        ("exit 1", "ffmpeg_failed"),
    ] {
        // Queries about encoders have no `-i`.
        let text = format!("[[ \" $* \" == *' -i '* ]] || exec ffmpeg \"$@\"; {text}");
        let ffmpeg = script(folder.path(), &text);
        let mut control = Control::start().await;
        let flags = ["--ffmpeg", ffmpeg.to_str().unwrap(), "--worker-stall", "1s"];
        let worker = Worker::start(&mut control, &flags).await;
        let source = control.work(worker.probe(&clip.path())).await.unwrap().source.unwrap();
        let audio = v1::AudioWork {
            grid: Some(v1::Grid { frame_rate: Some(v1::Ratio { num: 25, den: 1 }), frames: 50 }),
            number: 0,
            track: source.audio.first().cloned(),
            video: source.video,
            bitrate: 64_000,
            first_chunk: 0,
        };
        let lease = worker.lease(&clip.path(), v1::lease::Work::Audio(audio));
        let fail = control.work(lease).await.expect_err(code);
        assert_eq!((fail.code.as_str(), fail.retryable), (code, true), "{}", fail.message);
        worker.until(|| worker.task_folders() == 0).await;
    }
}

/// Uses a real full disk: no inodes are left when FFmpeg starts writing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_fails_the_attempt_and_pauses_the_worker() {
    if !Worker::may_mount() {
        eprintln!("skipped: nothing may be mounted here");
        return;
    }
    let mut control = Control::start().await;
    let worker = Worker::start_on_small_disk(&mut control).await;
    let clip = Clip::numbered("a.mp4", "25", 2);
    let film = Film::probe(&mut control, &worker, &clip).await;
    // FFmpeg cannot create its output.
    full(&mut control, &worker, &clip, &film).await;
    // The worker requests no tasks for now.
    let nothing = |said| match said {
        Said::Want(want) => (want.slots == 0 && want.express_slots == 0).then_some(()),
        _ => None,
    };
    control.wait(nothing).await;
    // Its files have been removed, but the last process that had them open may still be exiting, so retry. With
    // another file in their place, the task's folder cannot be created either.
    worker.until(|| fs::write(worker.scratch().join("in-the-way"), "").is_ok()).await;
    full(&mut control, &worker, &clip, &film).await;
}

/// Runs a chunk task, which must fail with `disk_full` and leave no files behind.
async fn full(control: &mut Control, worker: &Worker, clip: &Clip, film: &Film) {
    worker.until(|| worker.task_folders() == 0).await;
    let lease = worker.lease(&clip.path(), film.chunk(0, &[(160, 90)]));
    let fail = control.work(lease).await.expect_err("there is no space");
    assert_eq!((fail.code.as_str(), fail.retryable), ("disk_full", true), "{}", fail.message);
    worker.until(|| worker.task_folders() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn free_places_are_sent_again_with_the_leases_received_by_then() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let want = |said| match said {
        Said::Want(want) => Some(want),
        _ => None,
    };
    // This is the first report of free slots.
    let idle = control.wait(want).await;
    assert!(idle.slots > 0 && idle.leases_received == Some(0), "{idle:?}");
    let nothing = worker.scratch().join("nothing");
    control.work(worker.probe(&nothing)).await.expect_err("there is no source");
    let after = |said| want(said).filter(|want| want.slots == idle.slots);
    let after = control.wait(after).await;
    assert_eq!(after, v1::Want { leases_received: Some(1), ..idle });
}
