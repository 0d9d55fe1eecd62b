//! Failures around a task: lost streams, lost leases, stops and failing programs.

use std::{fs, path::PathBuf, time::Duration};

use api::v1::{self, control_message::Message as ToWorker, worker_message::Message as FromWorker};
use nix::sys::signal::Signal;

use crate::{
    clip::Clip,
    control::Control,
    encodes::Probed,
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

fn finished(task: &str) -> impl FnMut(FromWorker) -> Option<v1::Commit> {
    move |message| match message {
        FromWorker::Commit(commit) if commit.task_id == task && commit.last => Some(commit),
        FromWorker::Fail(fail) => panic!("{fail:?}"),
        _ => None,
    }
}

/// Selects a report that the worker accepts no tasks.
fn no_slots(message: FromWorker) -> Option<()> {
    match message {
        FromWorker::Want(want) => (want.slots == 0 && want.express_slots == 0).then_some(()),
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
    control.send(ToWorker::Lease(lease));
    worker.until(|| worker.task_folders() == 1).await;
    control.stop().await;
    control.listen();
    let beats = |message| match message {
        FromWorker::Heartbeat(heartbeat) => {
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
    control.send(ToWorker::Lease(lease));
    let first = control.wait(finished(&task)).await;
    control.stop().await;
    control.mute_commits(false);
    control.listen();
    assert_eq!(control.wait(finished(&task)).await, first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_stopped_when_its_lease_is_not_confirmed_in_time() {
    let mut control = Control::start().await;
    control.set_lease(Duration::from_millis(1500));
    let folder = tempfile::tempdir().unwrap();
    let worker = slow_worker(&mut control, &folder, "30").await;
    let clip = Clip::numbered("a.mp4", "25", 2);
    control.mute_heartbeats(true);
    control.send(ToWorker::Lease(worker.probe(&clip.path())));
    worker.until(|| worker.task_folders() == 1).await;
    worker.until(|| worker.task_folders() == 0).await;
    // A result of the task would be sent at its end, so before the second heartbeat without its
    // lease.
    for _ in 0..2 {
        let idle = |message| match message {
            FromWorker::Heartbeat(heartbeat) => heartbeat.leases.is_empty().then_some(()),
            FromWorker::Commit(_) | FromWorker::Fail(_) | FromWorker::Release(_) => {
                panic!("the worker reports a task whose lease is lost: {message:?}")
            }
            _ => None,
        };
        control.wait(idle).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_tasks_finish_and_then_releases_the_others() {
    let mut control = Control::start().await;
    let folder = tempfile::tempdir().unwrap();
    // The first task must still be running when the second one starts, and must end well within the
    // drain period.
    let seconds = format!("2.0{}", std::process::id());
    let ffprobe = slow(&folder, &seconds);
    let flags = ["--ffprobe", ffprobe.to_str().unwrap(), "--worker-drain", "6s"];
    let mut worker = Worker::start(&mut control, &flags).await;
    let clip = Clip::numbered("a.mp4", "25", 2);
    let lease = worker.probe(&clip.path());
    let task = lease.task_id.clone();
    control.send(ToWorker::Lease(lease));
    // Its folder does not imply that its program has started.
    worker.until(|| !processes(&format!("sleep\0{seconds}")).is_empty()).await;
    slow(&folder, "30");
    let lease = worker.probe(&clip.path());
    let unfinished = lease.task_id.clone();
    control.send(ToWorker::Lease(lease));
    worker.until(|| worker.task_folders() == 2).await;
    worker.signal(Signal::SIGTERM);
    // Only the first query of the first probe ran with the faster script, so that probe may finish
    // or be released.
    let mut released_tasks = Vec::new();
    while !released_tasks.contains(&unfinished) {
        let pick = |message| match message {
            FromWorker::Release(release) => Some(Ok(release.task_id)),
            FromWorker::Commit(commit) => Some(Err(commit.task_id)),
            FromWorker::Fail(fail) => panic!("{fail:?}"),
            _ => None,
        };
        match control.wait(pick).await {
            Ok(released) => released_tasks.push(released),
            Err(committed) => assert_eq!(committed, task),
        }
    }
    worker.until_exit().await;
    assert_eq!(worker.leftovers(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_releases_all_tasks_at_once() {
    let mut control = Control::start().await;
    let folder = tempfile::tempdir().unwrap();
    let ffprobe = slow(&folder, "30");
    let flags = ["--ffprobe", ffprobe.to_str().unwrap(), "--worker-drain", "10m"];
    let mut worker = Worker::start(&mut control, &flags).await;
    let clip = Clip::numbered("a.mp4", "25", 2);
    let lease = worker.probe(&clip.path());
    let task = lease.task_id.clone();
    control.send(ToWorker::Lease(lease));
    worker.until(|| worker.task_folders() == 1).await;
    worker.signal(Signal::SIGTERM);
    control.wait(no_slots).await;
    worker.signal(Signal::SIGTERM);
    let released = |message| {
        matches!(message, FromWorker::Release(release) if release.task_id == task).then_some(())
    };
    control.wait(released).await;
    worker.until_exit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_programs_are_reported_with_stable_codes() {
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
            grid: Some(v1::Grid {
                frame_rate: Some(v1::Ratio { num: 25, den: 1 }),
                frames: 50,
                joined_remainder: false,
            }),
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
        eprintln!("skipped: mounting is not permitted on this machine");
        return;
    }
    let mut control = Control::start().await;
    let worker = Worker::start_on_small_disk(&mut control).await;
    let clip = Clip::numbered("a.mp4", "25", 2);
    let probed = Probed::probe(&mut control, &worker, &clip).await;
    // FFmpeg cannot create its output.
    full(&mut control, &worker, &clip, &probed).await;
    // The worker requests no tasks for now.
    control.wait(no_slots).await;
    // Its files have been removed, but the last process that had them open may still be exiting, so
    // retry. With another file in their place, the task's folder cannot be created either.
    worker.until(|| fs::write(worker.scratch().join("in-the-way"), "").is_ok()).await;
    full(&mut control, &worker, &clip, &probed).await;
}

/// Runs a chunk task, which must fail with `disk_full` and leave no files behind.
async fn full(control: &mut Control, worker: &Worker, clip: &Clip, probed: &Probed) {
    worker.until(|| worker.task_folders() == 0).await;
    let lease = worker.lease(&clip.path(), probed.chunk(0, &[(160, 90)]));
    let fail = control.work(lease).await.expect_err("the disk is full");
    assert_eq!((fail.code.as_str(), fail.retryable), ("disk_full", true), "{}", fail.message);
    worker.until(|| worker.task_folders() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn free_slots_are_sent_again_with_the_leases_received_by_then() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let want = |message| match message {
        FromWorker::Want(want) => Some(want),
        _ => None,
    };
    // This is the first report of free slots.
    let idle = control.wait(want).await;
    assert!(idle.slots > 0 && idle.leases_received == Some(0), "{idle:?}");
    let nothing = worker.scratch().join("nothing");
    control.work(worker.probe(&nothing)).await.expect_err("the source is missing");
    let after = |message| want(message).filter(|want| want.slots == idle.slots);
    let after = control.wait(after).await;
    assert_eq!(after, v1::Want { leases_received: Some(1), ..idle });
}
