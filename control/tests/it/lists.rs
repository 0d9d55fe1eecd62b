//! Lists: searching, filtering, sorting and paging of videos, filters of jobs, places in the queue,
//! profiles and workers.

use std::collections::BTreeSet;

use api::{
    code::{Code, Problem},
    v1::{self, JobState, VideoState, WorkerState},
};
use authz::Role;
use control::{
    db::{
        GenericClient,
        videos::{self, Filter, Order},
        workers,
    },
    page::{Cursor, TitleCursor},
};

use crate::{
    plane::{Caller, DEADLINE, Plane},
    rows::{self, number},
    waiting::eventually,
};

async fn create(caller: &Caller, title: &str) -> String {
    let request = v1::CreateVideoRequest { title: title.to_owned(), ..Default::default() };
    caller.videos().create_video(caller.ask(request)).await.unwrap().into_inner().video_id
}

async fn page(
    caller: &Caller,
    request: v1::ListVideosRequest,
) -> Result<v1::ListVideosResponse, Problem> {
    let listed = caller.videos().list_videos(caller.ask(request)).await;
    listed.map(|page| page.into_inner()).map_err(|status| Problem::from_status(&status))
}

fn titles(page: &v1::ListVideosResponse) -> Vec<String> {
    page.videos.iter().map(|video| video.title.clone()).collect()
}

/// All titles of a list, read in pages of two.
async fn titles_by_two(caller: &Caller, request: &v1::ListVideosRequest) -> Vec<String> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListVideosRequest { page_size: 2, page_token, ..request.clone() };
        let page = page(caller, request).await.unwrap();
        all.extend(titles(&page));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

fn sorted(sort: &str) -> v1::ListVideosRequest {
    v1::ListVideosRequest { sort: sort.to_owned(), ..Default::default() }
}

fn search(q: &str) -> v1::ListVideosRequest {
    v1::ListVideosRequest { q: q.to_owned(), ..Default::default() }
}

#[tokio::test]
async fn every_order_lists_each_video_once_over_its_pages() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    // Equal titles, another case, letters outside of ASCII, none.
    let created = ["b", "a", "Zebra", "äpfel", "a", "", "A", "émile", "a"];
    for title in created {
        create(&caller, title).await;
    }
    create(&plane.caller_of(Role::Editor, "elsewhere"), "another tenant's").await;
    let newest: Vec<&str> = created.iter().rev().copied().collect();
    for sort in ["", "-createdAt"] {
        assert_eq!(titles_by_two(&caller, &sorted(sort)).await, newest, "{sort}");
    }
    assert_eq!(titles_by_two(&caller, &sorted("createdAt")).await, created);
    let by_title = titles_by_two(&caller, &sorted("title")).await;
    let folded: Vec<String> = by_title.iter().map(|title| title.to_lowercase()).collect();
    assert_eq!(folded, ["", "a", "a", "a", "a", "äpfel", "b", "émile", "zebra"]);
    let reversed: Vec<String> = by_title.into_iter().rev().collect();
    assert_eq!(titles_by_two(&caller, &sorted("-title")).await, reversed);
    let problem = page(&caller, sorted("size")).await.unwrap_err();
    assert_eq!((problem.code, problem.violations[0].field.as_str()), (Code::Malformed, "sort"));
    plane.stop().await;
}

#[tokio::test]
async fn a_search_takes_every_character_literally_and_ignores_case() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    for title in ["100% Grün", "100 percent", "a_b\\c", "aXb/c", "ΟΔΟΣ", "Ab"] {
        create(&caller, title).await;
    }
    for (q, found) in [
        ("%", vec!["100% Grün"]),
        ("_", vec!["a_b\\c"]),
        ("\\", vec!["a_b\\c"]),
        ("GRÜN", vec!["100% Grün"]),
        ("0% g", vec!["100% Grün"]),
        ("οδοσ", vec!["ΟΔΟΣ"]),
        ("ab", vec!["Ab"]),
        ("a b", vec![]),
        (".*", vec![]),
        ("'; --", vec![]),
    ] {
        assert_eq!(titles(&page(&caller, search(q)).await.unwrap()), found, "{q:?}");
    }
    for bad in ["x".repeat(201), "a\0b".to_owned()] {
        let problem = page(&caller, search(&bad)).await.unwrap_err();
        assert_eq!(problem.violations[0].field, "q");
    }
    assert_eq!(titles(&page(&caller, search(&"x".repeat(200))).await.unwrap()).len(), 0);
    plane.stop().await;
}

#[tokio::test]
async fn a_page_token_is_valid_only_with_its_filters_and_order() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    for number in 0..4 {
        create(&caller, &format!("video {number}")).await;
    }
    let uploading = vec![i32::from(VideoState::Uploading)];
    let requests = [
        v1::ListVideosRequest::default(),
        search("video"),
        search("vide"),
        sorted("title"),
        sorted("-title"),
        sorted("createdAt"),
        v1::ListVideosRequest { states: uploading.clone(), ..Default::default() },
        v1::ListVideosRequest { states: uploading, ..search("video") },
    ];
    for (number, request) in requests.iter().enumerate() {
        let first = v1::ListVideosRequest { page_size: 2, ..request.clone() };
        let page_token = page(&caller, first).await.unwrap().next_page_token;
        assert!(!page_token.is_empty(), "{number}");
        for (other, request) in requests.iter().enumerate() {
            let request =
                v1::ListVideosRequest { page_token: page_token.clone(), ..request.clone() };
            match page(&caller, request).await {
                Ok(page) => assert!(number == other && page.videos.len() == 2, "{number} {other}"),
                Err(problem) => {
                    assert_ne!(number, other);
                    assert_eq!(problem.code, Code::Malformed);
                    assert_eq!(problem.violations[0].field, "page_token");
                }
            }
        }
    }
    plane.stop().await;
}

#[tokio::test]
async fn states_select_videos_and_jobs_in_any_combination() {
    let plane = Plane::start().await;
    let db = control::db::Db::new(&plane.shared.database, 2).unwrap();
    let caller = plane.caller(Role::Editor);
    let (uploaded, processing) = (rows::video(&db).await, rows::video(&db).await);
    let job = rows::job(&db, processing, 30).await;
    let reserved = create(&caller, "reserved").await;
    let ids = async |states: &[VideoState]| -> BTreeSet<String> {
        let states = states.iter().map(|state| i32::from(*state)).collect();
        let request = v1::ListVideosRequest { states, ..Default::default() };
        page(&caller, request).await.unwrap().videos.into_iter().map(|v| v.video_id).collect()
    };
    let uploaded = uploaded.to_string();
    assert_eq!(ids(&[VideoState::Uploading]).await, BTreeSet::from([reserved.clone()]));
    let both = [VideoState::Uploading, VideoState::Uploaded, VideoState::Uploading];
    assert!(ids(&both).await.is_superset(&BTreeSet::from([reserved, uploaded])));
    assert_eq!(ids(&[VideoState::Failed]).await, BTreeSet::new());
    let jobs = async |video_id: &str, states: &[i32]| {
        let (video_id, states) = (video_id.to_owned(), states.to_vec());
        let request = v1::ListJobsRequest { video_id, states, ..Default::default() };
        let listed = caller.jobs().list_jobs(caller.ask(request)).await;
        let listed = listed.map_err(|status| Problem::from_status(&status))?;
        Ok::<_, Problem>(listed.into_inner().jobs.into_iter().map(|j| j.job_id).collect::<Vec<_>>())
    };
    let (queued, ended) = (i32::from(JobState::Queued), i32::from(JobState::Completed));
    for video in [String::new(), processing.to_string()] {
        assert_eq!(jobs(&video, &[ended, queued]).await.unwrap(), [job.to_string()]);
        assert_eq!(jobs(&video, &[ended]).await.unwrap(), Vec::<String>::new());
    }
    for unknown in [0, 77, -1] {
        let problem = jobs("", &[queued, unknown]).await.unwrap_err();
        assert_eq!(
            (problem.code, problem.violations[0].field.as_str()),
            (Code::Malformed, "states")
        );
    }
    plane.stop().await;
}

#[tokio::test]
async fn a_queued_job_knows_its_place_until_it_runs_and_after_a_retry() {
    let plane = Plane::start().await;
    let db = control::db::Db::new(&plane.shared.database, 2).unwrap();
    let caller = plane.caller(Role::Editor);
    let mut queued = Vec::new();
    for _ in 0..3 {
        let video = rows::video(&db).await;
        queued.push(rows::job(&db, video, 30).await.to_string());
    }
    let places = async || {
        let mut places = Vec::new();
        for job in &queued {
            places.push(caller.job(job).await.queue_position);
        }
        let listed = caller.jobs().list_jobs(caller.ask(v1::ListJobsRequest::default())).await;
        // Newest first.
        let listed = listed.unwrap().into_inner().jobs.into_iter().rev();
        assert_eq!(listed.map(|job| job.queue_position).collect::<Vec<_>>(), places);
        places
    };
    assert_eq!(places().await, [Some(1), Some(2), Some(3)]);
    // The first task that is leased is one of the first job.
    let mut worker = plane.worker("one").await;
    worker.want(1).await;
    worker.lease().await;
    caller.job_when(&queued[0], |job| job.state() == JobState::Running).await;
    assert_eq!(places().await, [None, Some(1), Some(2)]);
    worker.want(0).await;
    let job_id = queued[1].clone();
    let cancel = caller.ask(v1::CancelJobRequest { job_id: job_id.clone() });
    caller.jobs().cancel_job(cancel).await.unwrap();
    assert_eq!(places().await, [None, None, Some(1)]);
    // A retry queues the job again, behind the others.
    let retried = caller.jobs().retry_job(caller.ask(v1::RetryJobRequest { job_id })).await;
    assert_eq!(retried.unwrap().into_inner().queue_position, Some(2));
    assert_eq!(places().await, [None, Some(2), Some(1)]);
    plane.stop().await;
}

#[tokio::test]
async fn configured_profiles_are_listed_with_their_settings() {
    let plane = Plane::start().await;
    let viewer = plane.caller(Role::Viewer);
    let listed = viewer.jobs().list_profiles(viewer.ask(v1::ListProfilesRequest {})).await;
    let listed = listed.unwrap().into_inner().profiles;
    let names: Vec<&str> = listed.iter().map(|profile| profile.name.as_str()).collect();
    assert_eq!(names, ["360p", "480p", "720p", "1080p", "4k"]);
    let expected = v1::Profile {
        name: "720p".to_owned(),
        width: 1280,
        height: 720,
        video_bitrate: 2_800_000,
        audio_bitrate: 128_000,
        codec: "h264".to_owned(),
        preset: "veryfast".to_owned(),
    };
    assert_eq!(listed[2], expected);
    plane.stop().await;
}

#[tokio::test]
async fn workers_are_listed_with_version_and_state_until_their_successor_connects() {
    let plane = Plane::start().await;
    let admin = plane.caller(Role::Admin);
    let states = async || {
        let listed = admin.workers().list_workers(admin.ask(v1::ListWorkersRequest {})).await;
        let mut states: Vec<(String, WorkerState)> = Vec::new();
        for worker in listed.unwrap().into_inner().workers {
            assert_eq!(worker.version, "7.8.9");
            states.push((worker.name.clone(), worker.state()));
        }
        states.sort_unstable_by_key(|(name, state)| (name.clone(), i32::from(*state)));
        states
    };
    let become_states = async |expected: &[(&str, WorkerState)]| {
        let expected: Vec<_> =
            expected.iter().map(|(name, state)| ((*name).to_owned(), *state)).collect();
        eventually("the workers reach the states", DEADLINE, async || states().await == expected)
            .await;
    };
    let (mut kept, lost) = (plane.worker("kept").await, plane.worker("lost").await);
    become_states(&[("kept", WorkerState::Connected), ("lost", WorkerState::Connected)]).await;
    drop(lost);
    become_states(&[("kept", WorkerState::Connected), ("lost", WorkerState::Lost)]).await;
    let _again = plane.worker("lost").await;
    let reconnected =
        [("lost", WorkerState::Connected), ("lost", WorkerState::Gone)].map(|state| state);
    become_states(&[&[("kept", WorkerState::Connected)], &reconnected[..]].concat()).await;
    let worker_id = kept.welcome.worker_id.clone();
    let drain = admin.ask(v1::DrainWorkerRequest { worker_id });
    admin.workers().drain_worker(drain).await.unwrap();
    become_states(&[&[("kept", WorkerState::Draining)], &reconnected[..]].concat()).await;
    kept.want(0).await;
    while !matches!(kept.next().await, v1::control_message::Message::Drain(_)) {}
    drop(kept);
    become_states(&[&[("kept", WorkerState::Gone)], &reconnected[..]].concat()).await;
    plane.stop().await;
}

#[tokio::test]
async fn a_worker_whose_control_instance_died_is_not_listed_as_connected() {
    let db = rows::db().await;
    let client = db.get().await.unwrap();
    let id = media::WorkerId::new(uuid::Uuid::now_v7());
    rows::connect(&*client, id, "a", &[]).await;
    let connected = async || workers::list(&*client, 10).await.unwrap()[0].connected;
    assert!(connected().await);
    // The instance that served the stream records nothing any more.
    let sql = "UPDATE workers SET seen_at = now() - interval '16 seconds'";
    client.execute(sql, &[]).await.unwrap();
    assert!(!connected().await);
}

/// How many scans of the whole table, and how many rows by an index, this session has read from
/// `videos` in this transaction.
async fn reads(db: &impl GenericClient) -> (i64, i64) {
    let sql = "SELECT seq_scan, idx_tup_fetch
               FROM pg_stat_xact_user_tables
               WHERE relname = 'videos'";
    let row = db.query_one(sql, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

/// The pages of every order, also later ones, read a page's rows from an index; they neither scan
/// the table, with the rows of other tenants, nor sort the tenant's.
#[tokio::test]
async fn pages_are_read_from_an_index_of_the_tenant() {
    const ROWS: usize = 101;
    let db = rows::db().await;
    let mut client = db.get().await.unwrap();
    client
        .batch_execute(
            "INSERT INTO videos (id, tenant, owner, title, state, public, store, created_at)
             SELECT gen_random_uuid(), 'tenant ' || n % 2, 'o', 'Video ' || md5(n::text),
                    CASE WHEN n % 10 = 0 THEN 'failed' ELSE 'ready' END::video_state, true, 's',
                    now() - make_interval(secs => n)
             FROM generate_series(1, 20000) n;
             ANALYZE videos",
        )
        .await
        .unwrap();
    for descending in [false, true] {
        let (mut created, mut title) = (None, None);
        for _ in 0..3 {
            let orders = [
                Order::Created { descending, after: created },
                Order::Title { descending, after: title.clone() },
            ];
            for order in orders {
                let tx = client.transaction().await.unwrap();
                let (scans_before, fetched_before) = reads(&tx).await;
                let filter = Filter::default();
                let found = videos::list(&tx, "tenant 1", filter, &order, ROWS as i64).await;
                let last = found.unwrap().pop().unwrap();
                let id = last.id.uuid();
                match order {
                    Order::Created { .. } => created = Some(Cursor { time: last.created_at, id }),
                    Order::Title { .. } => title = Some(TitleCursor { title: last.title, id }),
                }
                let (scans, fetched) = reads(&tx).await;
                assert_eq!(scans, scans_before, "{descending} {order:?}");
                let fetched = fetched - fetched_before;
                assert!(fetched <= ROWS as i64 + 1, "{fetched} {descending} {order:?}");
            }
        }
    }
    let order = || Order::Title { descending: false, after: None };
    let filter = Filter { title_part: "VIDEO 0", states: &[control::domain::VideoState::Failed] };
    let found = videos::list(&*client, "tenant 0", filter, &order(), 101).await.unwrap();
    let expected = number(
        &db,
        "SELECT count(*) FROM videos
         WHERE tenant = 'tenant 0' AND title LIKE 'Video 0%' AND state = 'failed'",
    );
    assert_eq!(found.len() as i64, expected.await.min(101));
    assert!(found.windows(2).all(|pair| pair[0].title <= pair[1].title));
}
