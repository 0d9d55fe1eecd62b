//! Events of the places of queued jobs.

use std::collections::HashMap;

use api::v1::{self, event::Event};
use authz::Role;
use control::db::Db;

use super::{Watched, assert_empty};
use crate::{plane::Plane, rows};

/// More jobs wait than fit on a page of events. An older job of another tenant waits, too.
#[tokio::test]
async fn every_job_behind_one_that_leaves_the_queue_is_sent_with_its_place() {
    const QUEUED: usize = 300;
    let plane = Plane::start().await;
    let db = Db::new(&plane.shared.database, 4).unwrap();
    let c = db.get().await.unwrap();
    let theirs = rows::video(&db).await;
    rows::job(&db, theirs, 30).await;
    for sql in [
        "UPDATE videos SET tenant = 'theirs' WHERE id = $1",
        "UPDATE jobs SET tenant = 'theirs' WHERE video_id = $1",
    ] {
        c.execute(sql, &[&theirs.uuid()]).await.unwrap();
    }
    // No other row ever changes its tenant, of which an object has one. The change may have been
    // numbered already.
    for sql in ["DELETE FROM pending_changes", "DELETE FROM changes"] {
        c.execute(sql, &[]).await.unwrap();
    }
    let video = rows::video(&db).await;
    let mut queued = Vec::new();
    for _ in 0..QUEUED {
        queued.push(rows::job(&db, rows::video(&db).await, 30).await);
    }
    // A retried job is behind the others.
    let retried = queued.remove(0);
    let sql = "UPDATE jobs SET queued_at = now() WHERE id = $1";
    c.execute(sql, &[&retried.uuid()]).await.unwrap();
    queued.push(retried);
    let caller = plane.caller(Role::Viewer);
    let (mut watched, _) = Watched::new(&caller).await;
    let (mut others, _) = Watched::new(&plane.caller_of(Role::Admin, "theirs")).await;
    // The job at the tenth place leaves: those before it keep their places.
    let sql = "UPDATE jobs SET state = 'running' WHERE id = $1";
    c.execute(sql, &[&queued[9].uuid()]).await.unwrap();
    let mut places = HashMap::new();
    while places.len() < QUEUED - 9 {
        let Some(Event::Job(job)) = watched.next().await.event else { panic!("only jobs change") };
        assert_eq!(places.insert(job.job_id, job.queue_position), None, "sent once");
    }
    for (place, job) in queued.iter().enumerate().skip(10) {
        assert_eq!(places[&job.to_string()], Some(place as u32), "{place}");
    }
    assert_eq!(places[&queued[9].to_string()], None);
    let listed = caller.jobs().list_jobs(caller.ask(v1::ListJobsRequest::default())).await;
    for job in listed.unwrap().into_inner().jobs {
        assert!(places.get(&job.job_id).is_none_or(|place| *place == job.queue_position));
    }
    // Jobs before it are not sent, nor those of another tenant.
    assert_empty(&db, video, &mut [&mut watched]).await;
    assert_empty(&db, theirs, &mut [&mut others]).await;
    plane.stop().await;
}
