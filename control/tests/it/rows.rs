//! Creates rows for tests, where possible with the functions under test.

use control::{
    db::{
        Db,
        claim::{self, Claimed, Claimer, Share},
        jobs,
        lease::LeaseId,
        outputs::{self, Offered, Output},
        tasks, uploads, videos, workers,
    },
    domain::{Owner, TaskKind},
    plan::{self, Plan, TranscodeOptions},
};
use media::{
    JobId, VideoId, WorkerId,
    index::Fragment,
    source::{AudioTrack, Source, VideoTrack},
};
use tokio_postgres::GenericClient;
use uuid::Uuid;

/// Duration of a lease in seconds, for tests that do not depend on it.
pub(crate) const LEASE: f64 = 15.0;
/// How long after the end of a lease its former holder may still write, in seconds.
pub(crate) const GRACE: f64 = 30.0;

/// Records a connected worker that does not state which process it is.
pub(crate) async fn connect(
    db: &impl GenericClient,
    id: WorkerId,
    name: &str,
    encoders: &[String],
) {
    let worker = workers::Connecting { id, name, instance: "", slots: 2, encoders, version: "" };
    assert_eq!(workers::connect(db, &worker).await.unwrap(), name);
}

/// A small source of `seconds` at 10 frames per second.
pub(crate) fn source(seconds: u32) -> Source {
    Source {
        format: "matroska,webm".to_owned(),
        duration: f64::from(seconds),
        bytes: 1000,
        bitrate: 8000,
        video: Some(VideoTrack {
            index: 0,
            codec: "h264".to_owned(),
            width: 854,
            height: 480,
            frame_rate: (10, 1),
            time_base: (1, 10),
            first_pts: 0,
            last_pts: i64::from(seconds) * 10 - 1,
            hold_before: 0,
            hold_after: 0,
            parts: Vec::new(),
            interlaced: false,
            pixel_format: "yuv420p".to_owned(),
            transfer: String::new(),
            matrix: String::new(),
            primaries: String::new(),
            paced: false,
            hidden: 0,
            examined: 0,
        }),
        audio: vec![AudioTrack {
            index: 1,
            codec: "aac".to_owned(),
            channels: 2,
            sample_rate: 48_000,
            language: "eng".to_owned(),
            title: String::new(),
            purpose: media::purpose::AudioPurpose::default(),
            parts: Vec::new(),
        }],
        text: Vec::new(),
        notes: Vec::new(),
    }
}

/// The default plan of [`source`].
pub(crate) fn plan_of(seconds: u32) -> Plan {
    let wish = TranscodeOptions { hls: true, dash: true, ..TranscodeOptions::default() };
    plan::plan(&source(seconds), &media::ladder::default_profiles(), &wish).unwrap()
}

/// The owner of the test's videos.
pub(crate) fn owner() -> Owner {
    Owner { tenant: "default".to_owned(), subject: "ana".to_owned() }
}

/// A pool for an empty database.
pub(crate) async fn db() -> Db {
    Db::new(&crate::postgres::database().await, 8).unwrap()
}

/// Creates a probed video.
pub(crate) async fn video(db: &Db) -> VideoId {
    let id = VideoId::new(Uuid::now_v7());
    let new = videos::NewVideo {
        id,
        title: "a clip".to_owned(),
        description: String::new(),
        public: true,
        store: "file:///nowhere".to_owned(),
        auto_transcode: false,
    };
    let c = db.get().await.unwrap();
    videos::create(&*c, &owner(), &new).await.unwrap();
    let received = uploads::Received {
        title: String::new(),
        description: String::new(),
        public: None,
        bytes: 1000,
        sha256: vec![1; 32],
        filename: "clip.mkv".to_owned(),
        auto_transcode: false,
        arrived: std::time::Instant::now(),
    };
    assert!(uploads::received(&*c, id, &received).await.unwrap());
    let json = serde_json::to_value(source(30)).unwrap();
    assert!(uploads::probed(&*c, id, &json).await.unwrap());
    id
}

/// Queues a transcode of a video of `seconds`.
pub(crate) async fn job(db: &Db, video: VideoId, seconds: u32) -> JobId {
    job_of(db, video, plan_of(seconds)).await
}

/// Queues a transcode with this plan.
pub(crate) async fn job_of(db: &Db, video: VideoId, plan: Plan) -> JobId {
    let id = JobId::new(Uuid::now_v7());
    let c = db.get().await.unwrap();
    jobs::create(&*c, "default", video, id, &plan).await.unwrap();
    tasks::create(&*c, "default", video, id, &plan.tasks()).await.unwrap();
    videos::processing(&*c, video).await.unwrap();
    id
}

/// A worker with this name.
pub(crate) fn worker(name: &str) -> Claimer {
    Claimer {
        worker: WorkerId::new(Uuid::now_v7()),
        name: name.to_owned(),
        kinds: vec![TaskKind::Probe, TaskKind::Chunk, TaskKind::Audio],
        encoders: Vec::new(),
        avoided: Vec::new(),
    }
}

/// Claims tasks and starts their jobs, as a session does.
pub(crate) async fn claim(db: &Db, claimer: &Claimer, limit: u32) -> Vec<Claimed> {
    claim_share(db, claimer, Share { limit, priority_min: i32::MIN }).await
}

/// The same for a share.
pub(crate) async fn claim_share(db: &Db, claimer: &Claimer, share: Share) -> Vec<Claimed> {
    let c = db.get().await.unwrap();
    let claimed = claim::claim(&*c, claimer, share, LEASE).await.unwrap();
    claim::start_jobs(&*c, &claimed).await.unwrap();
    claimed
}

/// The lease of a claimed task.
pub(crate) fn lease(claimed: &Claimed) -> LeaseId {
    LeaseId { task: claimed.task, token: claimed.token }
}

/// Makes every lease expire.
pub(crate) async fn expire(db: &Db) {
    let sql = "UPDATE tasks SET lease_expires = now() - interval '1 second' WHERE state = 'leased'";
    db.get().await.unwrap().execute(sql, &[]).await.unwrap();
}

/// A task's state.
pub(crate) async fn state(db: &Db, claimed: &Claimed) -> String {
    let sql = "SELECT state::text AS state FROM tasks WHERE id = $1";
    let c = db.get().await.unwrap();
    c.query_one(sql, &[&claimed.task.uuid()]).await.unwrap().get("state")
}

/// The number that a query returns.
pub(crate) async fn number(db: &Db, sql: &str) -> i64 {
    db.get().await.unwrap().query_one(sql, &[]).await.unwrap().get(0)
}

/// An admitted output, written under the lease with this token.
pub(crate) fn output(rendition: &str, chunk: u32, token: u64) -> Output {
    Output {
        object: Offered {
            rendition: rendition.to_owned(),
            chunk,
            key: format!("videos/v/j/{rendition}/{chunk}/{token}-00.m4s"),
            bytes: 10,
            sha256: vec![7; 32],
            init: b"init".to_vec(),
        },
        fragments: vec![Fragment { bytes: 10, intra_bytes: 5, duration: 2 }],
        samples: None,
    }
}

/// Commits an output directly, without a task.
pub(crate) async fn commit(db: &Db, job: JobId, output: &Output) {
    let c = db.get().await.unwrap();
    let Offered { rendition, init, .. } = &output.object;
    assert!(outputs::fix_init(&*c, job, rendition, init).await.unwrap());
    assert!(outputs::insert(&*c, job, output, 1).await.unwrap());
}
