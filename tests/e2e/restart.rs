//! Control and `up` end in the middle of a job, gently or not; the job completes (issue line 6).

use std::time::Duration;

use crate::{
    harness::{clip::Numbered, eventually, stack::Stack},
    worker_lost::{assert_whole, busy},
};

const JOB_DEADLINE: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn job_survives_a_restart_of_control() {
    let film = Numbered::seconds(64);
    let (stack, _script, video, job) = busy(&film, "1").await;
    stack.replace("streaming-control").await;
    stack.client().wait_job(&job, "completed", JOB_DEADLINE).await;
    assert_whole(&stack, &video, &job, &film).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn job_survives_restarts_of_everything() {
    let film = Numbered::seconds(84);
    let (mut stack, _script, video, job) = busy(&film, "1").await;
    let status = stack.stop();
    assert!(status.success(), "up ends well after SIGTERM: {status}");
    stack.up().await;
    let state = stack.client().job(&job).await["state"].clone();
    assert_eq!(state, "running", "the job goes on after a gentle restart");
    // No orphan after 5 s is asserted inside.
    stack.kill_up();
    stack.up().await;
    stack.client().wait_job(&job, "completed", JOB_DEADLINE).await;
    assert_whole(&stack, &video, &job, &film).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_plane_is_started_again_when_it_dies() {
    let stack = Stack::start().await;
    for program in ["streaming-dataplane", "redis-server", "postgres"] {
        stack.replace(program).await;
        // Health may be a second old: what it says must hold for a call that needs every part.
        eventually("the service works again", Duration::from_secs(40), async || {
            let health = stack.anonymous().try_get("/health").await.ok()?;
            let videos = stack.client().try_get("/api/videos").await.ok()?;
            (health.status == 200 && videos.status == 200).then_some(())
        })
        .await;
    }
}
