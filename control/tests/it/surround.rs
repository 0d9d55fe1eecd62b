//! Surround renditions: optional, admitted only as planned, and listed once they are complete.

use std::collections::BTreeSet;

use api::v1::{self, JobState, worker_message};
use authz::Role;
use media::{index::Index, surround::SurroundCodec};

use crate::{
    clip,
    plane::{Plane, Worker},
};

/// The source of [`clip::source`] with a track of AC-3 in 5.1.
fn source() -> media::source::Source {
    let mut source = clip::source();
    (source.audio[0].codec, source.audio[0].channels) = ("ac3".to_owned(), 6);
    source
}

async fn transcode(plane: &Plane, video: &str) -> v1::Job {
    let caller = plane.caller(Role::Editor);
    let request =
        caller.ask(v1::CreateJobRequest { video_id: video.to_owned(), ..Default::default() });
    caller.jobs().create_job(request).await.unwrap().into_inner()
}

async fn index(plane: &Plane, video: &str) -> Index {
    let caller = plane.caller(Role::Dataplane);
    let request = caller.ask(v1::GetIndexRequest {
        video_id: video.to_owned(),
        index_version: media::index::VERSION.into(),
    });
    let reply = caller.playback().get_index(request).await.unwrap().into_inner();
    Index::decode(&reply.index).unwrap()
}

async fn give_up(worker: &Worker, lease: &v1::Lease) {
    let fail = v1::Fail {
        task_id: lease.task_id.clone(),
        token: lease.token,
        code: "unsupported_audio".to_owned(),
        message: "the track cannot be copied".to_owned(),
        retryable: false,
        ..v1::Fail::default()
    };
    worker.send(worker_message::Message::Fail(fail)).await;
}

/// Runs every task of the job; those that copy fail.
async fn finish(worker: &mut Worker, tasks: usize) {
    worker.want(1).await;
    for _ in 0..tasks {
        let lease = worker.lease().await;
        match &lease.work {
            Some(v1::lease::Work::Surround(work)) if work.codec != "aac" => {
                give_up(worker, &lease).await;
            }
            _ => assert_eq!(worker.commit(clip::work(&lease)).await.refusal, None),
        }
        worker.want(1).await;
    }
}

#[tokio::test]
async fn a_job_completes_with_the_surround_that_succeeded() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    let mut worker = plane.worker("one").await;
    let video = clip::upload_of(&plane, &mut worker, source()).await;
    let job = transcode(&plane, &video).await;
    // Two chunks, audio, and surround in AAC and AC-3.
    finish(&mut worker, 5).await;
    let job = caller.job_when(&job.job_id, |job| job.state() == JobState::Completed).await;
    let failed = job.tasks.iter().filter(|task| task.state() == v1::TaskState::Failed);
    let failed: Vec<_> = failed.map(|task| (task.kind.as_str(), task.ordinal)).collect();
    assert_eq!(failed, [("surround", 1)]);
    let complete = index(&plane, &video).await;
    let surround: Vec<_> = complete.surround().collect();
    let [(0, surround)] = surround[..] else { panic!("{surround:?}") };
    assert_eq!((surround.name.as_str(), surround.channels), ("surround-0", 6));
    assert_eq!(surround.track.codec, SurroundCodec::Aac.rfc6381());
    assert_eq!(complete.audio_renditions[0].channels, 2);
    // A data plane of the previous release states no version and reads the rest of the index.
    let caller = plane.caller(Role::Dataplane);
    let request = v1::GetIndexRequest { video_id: video.clone(), ..Default::default() };
    let reply = caller.playback().get_index(caller.ask(request)).await.unwrap().into_inner();
    assert_eq!(reply.index[4..6], 3_u16.to_le_bytes());
    let earlier = Index::decode(&reply.index).unwrap();
    assert_eq!(earlier, Index { audio_details: Vec::new(), ..complete });
    plane.stop().await;
}

#[tokio::test]
async fn surround_of_another_codec_or_number_of_channels_is_rejected() {
    let plane = Plane::start().await;
    let mut worker = plane.worker("one").await;
    let video = clip::upload_of(&plane, &mut worker, source()).await;
    transcode(&plane, &video).await;
    worker.want(1).await;
    let mut rejected = BTreeSet::new();
    while rejected.len() < 2 {
        let lease = worker.lease().await;
        if let Some(v1::lease::Work::Surround(work)) = &lease.work {
            // Stereo instead of 5.1; AAC instead of AC-3.
            let channels = if work.codec == "aac" { 2 } else { 6 };
            let outputs = clip::sounds(&lease, &work.grid.unwrap(), channels);
            let reply = worker.commit(v1::Commit { outputs, ..clip::work(&lease) }).await;
            let refusal = reply.refusal.unwrap();
            assert_eq!(refusal.code, "admission_refused");
            rejected.insert((work.codec.clone(), refusal.message));
        } else {
            assert_eq!(worker.commit(clip::work(&lease)).await.refusal, None);
        }
        worker.want(1).await;
    }
    let messages: Vec<String> = rejected.into_iter().map(|(_, message)| message).collect();
    assert!(messages[0].ends_with("2 channels, not [6] as planned"), "{messages:?}");
    assert!(messages[1].ends_with("the codec is mp4a.40.2, not ac-3 as planned"), "{messages:?}");
    // The video is final without surround, which may still come.
    let found = index(&plane, &video).await;
    assert!(found.finished_at_ms.is_some() && found.surround().count() == 0);
    plane.stop().await;
}
