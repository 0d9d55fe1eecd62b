//! Control and `up` stop in the middle of a job, gracefully or not; the job completes.

use std::time::Duration;

use crate::{
    harness::{clip::Numbered, eventually, stack::Stack},
    worker_lost::{assert_whole, busy},
};

const JOB_DEADLINE: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn job_survives_a_restart_of_control() {
    let clip = Numbered::seconds(64);
    let (stack, _script, video, job) = busy(&clip, "1").await;
    stack.replace("streaming-control").await;
    stack.client().wait_job(&job, "completed", JOB_DEADLINE).await;
    assert_whole(&stack, &video, &job, &clip).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn job_survives_restarts_of_everything() {
    let clip = Numbered::seconds(84);
    let (mut stack, _script, video, job) = busy(&clip, "1").await;
    let status = stack.stop();
    assert!(status.success(), "up ends well after SIGTERM: {status}");
    stack.up().await;
    let state = stack.client().job(&job).await["state"].clone();
    assert_eq!(state, "running", "the job continues after a graceful restart");
    // `kill_up` asserts that no orphaned process remains after 5 s.
    stack.kill_up();
    stack.up().await;
    stack.client().wait_job(&job, "completed", JOB_DEADLINE).await;
    assert_whole(&stack, &video, &job, &clip).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn up_restarts_every_plane_that_exits() {
    let stack = Stack::start().await;
    for program in ["streaming-dataplane", "redis-server", "postgres"] {
        stack.replace(program).await;
        // The health state may be a second old, so a call that needs every component must succeed,
        // too.
        eventually("the service works again", Duration::from_secs(40), async || {
            let health = stack.anonymous().try_get("/health").await.ok()?;
            let videos = stack.client().try_get("/api/videos").await.ok()?;
            (health.status == 200 && videos.status == 200).then_some(())
        })
        .await;
    }
}
