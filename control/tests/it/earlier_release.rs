//! A video's whole path through an instance, also with an earlier release's program on the current
//! schema.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use api::v1;
use authz::Role;
use control::db::{Db, schema};
use media::index::Index;
use runtime::Shutdown;
use tokio::process::Command;
use tonic::transport::Channel;

use crate::{
    clip,
    plane::{DEADLINE, Plane, Shared},
    postgres,
};

/// Uploads, probes, encodes and publishes a video.
pub(crate) async fn from_upload_to_index(plane: &Plane) {
    let caller = plane.caller(Role::Admin);
    let mut worker = plane.worker("one").await;
    let video = clip::upload(plane, &mut worker).await;
    let request = v1::CreateJobRequest { video_id: video.clone(), ..Default::default() };
    let job = caller.jobs().create_job(caller.ask(request)).await.unwrap().into_inner();
    worker.want(4).await;
    for _ in 0..3 {
        let lease = worker.lease().await;
        assert_eq!(worker.commit(clip::work(&lease)).await.refusal, None);
    }
    caller.job_when(&job.job_id, |job| job.state() == v1::JobState::Completed).await;
    let reader = plane.caller(Role::Dataplane);
    let request = reader.ask(v1::GetIndexRequest { video_id: video.clone(), ..Default::default() });
    let index = reader.playback().get_index(request).await.unwrap().into_inner().index;
    assert!(Index::decode(&index).unwrap().finished_at_ms.is_some());
    let request = caller.ask(v1::ListVideosRequest::default());
    let listed = caller.videos().list_videos(request).await.unwrap().into_inner().videos;
    assert_eq!(listed.len(), 1);
    let request = caller.ask(v1::DeleteVideoRequest { video_id: video, revision: None });
    caller.videos().delete_video(request).await.unwrap();
}

/// Starts an instance of another program. It ends when it is stopped or dropped.
async fn instance(shared: Arc<Shared>, program: &Path) -> Plane {
    let (store, file) = (shared.store(), shared.key_file().with_extension("addr"));
    let mut command = Command::new(program);
    command
        .args(["serve", "--grpc-addr", "127.0.0.1:0", "--database-url", &shared.database])
        .args(["--heartbeat", "500ms", "--stores", &format!("file://{}", store.display())])
        .arg("--root-key-file")
        .arg(shared.key_file())
        .env("STREAMING_ADDR_FILE", &file)
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let bound = async {
        loop {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            if let Ok(address) = text.trim().parse::<SocketAddr>() {
                return address;
            }
            assert!(child.try_wait().unwrap().is_none(), "the program ends");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let address = tokio::time::timeout(DEADLINE, bound).await.expect("it does not listen");
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let shutdown = Shutdown::new();
    let soft = shutdown.soft.clone();
    let served = tokio::spawn(async move {
        soft.cancelled().await;
        let pid = child.id().expect("it runs").cast_signed();
        let terminated = Command::new("kill").arg(pid.to_string()).status().await;
        assert!(terminated.unwrap().success() && child.wait().await.unwrap().success());
        Ok(())
    });
    Plane { shared, address, channel, shutdown, served }
}

/// `make test-rollback` names the program of the release to roll back to.
#[tokio::test]
async fn an_earlier_release_works_on_the_present_schema() {
    let Some(program) = std::env::var_os("STREAMING_TEST_EARLIER_CONTROL") else {
        eprintln!("skip: make test-rollback names the program of an earlier release");
        return;
    };
    let shared = Shared::new(postgres::database().await);
    let program = Path::new(&program);
    let version = Command::new(program).arg("--version").output().await.unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    let release = version.split_whitespace().last().unwrap();
    let db = Db::new(&shared.database, 1).unwrap();
    if schema::check(&*db.get().await.unwrap(), release, &[]).await.is_err() {
        let migrate = ["migrate", "--database-url", &shared.database];
        let rejected = Command::new(program).args(migrate).output().await.unwrap();
        assert_eq!(rejected.status.code(), Some(1), "{rejected:?}");
        eprintln!("the present schema needs a later release than {release}");
        return;
    }
    let plane = instance(shared, program).await;
    let whole = from_upload_to_index(&plane);
    tokio::time::timeout(6 * DEADLINE, whole).await.unwrap();
    plane.stop().await;
}
