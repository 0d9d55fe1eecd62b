//! Attribution of failed probes: the source is the cause only if FFmpeg reports its bytes as
//! invalid on a host that can probe.

use api::v1::{self, FailureCause, worker_message::Message as FromWorker};

use crate::{
    clip::Clip,
    control::Control,
    worker::{Worker, script},
};

/// A shell command that logs ffprobe's error for invalid bytes.
const INVALID: &str = "echo '[error] x: Invalid data found when processing input' >&2";

/// Failures of a host, as shell commands that replace ffprobe.
fn failures() -> Vec<String> {
    let mut failures: Vec<String> = [
        "kill -KILL $$",
        "kill -SEGV $$",
        "exit 127",
        "exit 126",
        "exit 1",
        "exit 0",
        "echo '[error] x: Input/output error' >&2; exit 1",
        "echo '[error] x: Cannot allocate memory' >&2; exit 1",
        "echo 'ffprobe: error while loading shared libraries: libx.so.1' >&2; exit 1",
    ]
    .map(str::to_owned)
    .into();
    for end in ["kill -KILL $$", "exit 127", "exit 139"] {
        failures.push(format!("{INVALID}; {end}"));
    }
    failures.push(format!("{INVALID}; echo '[error] x: Input/output error' >&2; exit 1"));
    failures
}

/// Selects the worker's next report that it can or cannot probe.
fn healthy(can_probe: bool) -> impl FnMut(FromWorker) -> Option<v1::Health> {
    move |message| match message {
        FromWorker::Health(health) if health.can_probe == can_probe => Some(health),
        _ => None,
    }
}

async fn fail(control: &mut Control, worker: &Worker, clip: &Clip, reason: &str) -> v1::Fail {
    let fail = control.work(worker.probe(&clip.path())).await.expect_err(reason);
    assert!(!fail.message.contains('/'), "{reason}: {}", fail.message);
    fail
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_of_the_host_is_not_attributed_to_the_source_and_makes_the_worker_unhealthy() {
    let mut control = Control::start().await;
    let folder = tempfile::tempdir().unwrap();
    let ffprobe = script(folder.path(), "exec ffprobe \"$@\"");
    let flags = ["--ffprobe", ffprobe.to_str().unwrap(), "--worker-sample-retry", "100ms"];
    let worker = Worker::start(&mut control, &flags).await;
    let clip = Clip::numbered("a.mp4", "25", 2);
    for failure in failures() {
        script(folder.path(), &failure);
        control.send(v1::control_message::Message::Lease(worker.probe(&clip.path())));
        let trouble = control.wait(healthy(false)).await.trouble;
        assert!(!trouble.is_empty(), "{failure}");
        let failed = |message| match message {
            FromWorker::Fail(fail) => Some(fail),
            FromWorker::Commit(commit) => panic!("{commit:?}"),
            _ => None,
        };
        let fail = control.wait(failed).await;
        assert_eq!(
            (fail.cause(), fail.retryable),
            (FailureCause::UnhealthyHost, true),
            "{failure}"
        );
        script(folder.path(), "exec ffprobe \"$@\"");
        control.wait(healthy(true)).await;
    }
    control.work(worker.probe(&clip.path())).await.expect("a repaired host probes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_on_which_ffprobe_crashes_leaves_the_worker_healthy() {
    let mut control = Control::start().await;
    let folder = tempfile::tempdir().unwrap();
    let ffprobe = script(folder.path(), "exit 1");
    let worker = Worker::start(&mut control, &["--ffprobe", ffprobe.to_str().unwrap()]).await;
    let clip = Clip::numbered("a.mp4", "25", 2);
    for failure in failures() {
        let text = format!("[[ \" $* \" == *sample.mp4* ]] && exec ffprobe \"$@\"; {failure}");
        script(folder.path(), &text);
        let fail = fail(&mut control, &worker, &clip, &failure).await;
        assert_eq!((fail.cause(), fail.retryable), (FailureCause::HealthyHost, true), "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_is_attributed_to_the_source_only_if_the_host_probes_its_own_sample() {
    let mut control = Control::start().await;
    let folder = tempfile::tempdir().unwrap();
    let ffprobe = script(folder.path(), "exec ffprobe \"$@\"");
    let worker = Worker::start(&mut control, &["--ffprobe", ffprobe.to_str().unwrap()]).await;
    let text = Clip::bytes("text.mp4", b"once upon a time".repeat(100).as_slice());
    let found = fail(&mut control, &worker, &text, "a text").await;
    assert_eq!((found.code.as_str(), found.cause()), ("not_a_video", FailureCause::Source));
    // The result of an ffprobe that reports every file as invalid is not attributed to the source.
    script(folder.path(), &format!("{INVALID}; exit 1"));
    let found = fail(&mut control, &worker, &text, "a broken ffprobe").await;
    assert_eq!((found.cause(), found.retryable), (FailureCause::UnhealthyHost, true));
}
