//! Tests authorization against docs/access.md, token revocation and root key rotation.

use std::collections::{BTreeMap, HashMap};

use api::{
    code::{Code, Problem},
    v1,
};
use authz::{Grant, Operation, Restriction, Role, narrow};
use runtime::{Clock, SystemClock};

use crate::{
    calls::{call, calls},
    plane::{Caller, DEADLINE, Plane, Shared},
    waiting::eventually,
};

/// The table in the docs: for each call, the entry of each role.
fn table() -> BTreeMap<String, HashMap<Role, String>> {
    let text = include_str!("../../../docs/access.md");
    let table = text.split("### gRPC").nth(1).expect("a table of calls");
    let table = table.split("\n## ").next().unwrap_or(table);
    let mut lines = table.lines().filter(|line| line.starts_with('|'));
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let roles: Vec<Role> =
        cells(lines.next().unwrap())[1..].iter().map(|role| role.parse().unwrap()).collect();
    assert_eq!(roles.len(), Role::ALL.len());
    let row = |line: &str| {
        let cells = cells(line);
        let call = cells[0].trim_matches('`').to_owned();
        (call, roles.iter().copied().zip(cells[1..].iter().cloned()).collect())
    };
    lines.skip(1).map(row).collect()
}

fn name(path: &str) -> &str {
    path.strip_prefix("/streaming.v1.").unwrap()
}

async fn code(caller: &Caller, path: &str, token: Option<&str>) -> Option<Code> {
    call(caller, path, token).await.err().map(|status| Problem::from_status(&status).code)
}

#[test]
fn the_docs_list_every_call_and_nothing_else() {
    let calls = calls();
    let mut existing: Vec<&str> = calls.iter().map(|path| name(path)).collect();
    existing.sort_unstable();
    let table = table();
    let listed: Vec<&str> = table.keys().map(String::as_str).collect();
    assert_eq!(listed, existing, "docs/access.md, table gRPC: must list exactly these calls");
}

#[tokio::test]
async fn every_role_may_make_exactly_the_calls_that_the_docs_list() {
    let plane = Plane::start().await;
    let table = table();
    for path in calls() {
        for role in Role::ALL {
            let caller = plane.caller(role);
            let result = code(&caller, &path, Some(&caller.token)).await;
            let cell = table[name(&path)][&role].as_str();
            // An empty message is rejected for many reasons, but for its token's role only where
            // the table states it.
            match cell {
                "yes" | "any" | "open" => {
                    let outside = [Some(Code::PermissionDenied), Some(Code::Unauthenticated)];
                    assert!(!outside.contains(&result), "{role} {path}: {result:?}");
                }
                _ => assert_eq!(result, Some(Code::PermissionDenied), "{role} {path}"),
            }
        }
    }
    plane.stop().await;
}

#[tokio::test]
async fn no_call_accepts_a_token_for_another_purpose() {
    let plane = Plane::start().await;
    let admin = plane.caller(Role::Admin);
    let revoked = plane.shared.token(Role::Editor, "default");
    let revoke = v1::RevokeTokenRequest { token: revoked.clone() };
    admin.auth().revoke_token(admin.ask(revoke)).await.unwrap();
    let only_play = Restriction { operations: vec![Operation::Play], ..Restriction::default() };
    let narrowed = narrow(&admin.token, &only_play).unwrap();
    let (expired, playback) = (plane.shared.expired(Role::Admin), plane.shared.playback());
    let table = table();
    for path in calls() {
        if table[name(&path)][&Role::Admin] == "open" {
            continue;
        }
        for (kind, token, expected) in [
            ("none", None, Code::Unauthenticated),
            ("expired", Some(&expired), Code::Unauthenticated),
            ("revoked", Some(&revoked), Code::Unauthenticated),
            ("narrowed", Some(&narrowed), Code::PermissionDenied),
            ("playback", Some(&playback), Code::PermissionDenied),
        ] {
            let result = code(&admin, &path, token.map(String::as_str)).await;
            let any = table[name(&path)][&Role::Admin] == "any";
            let expected = (kind != "narrowed" || !any).then_some(expected);
            assert_eq!(result, expected, "{kind} {path}");
        }
    }
    plane.stop().await;
}

#[tokio::test]
async fn admins_of_other_tenants_cannot_make_the_operators_calls() {
    let plane = Plane::start().await;
    let worker = plane.worker("operators").await;
    let (own, foreign) = (plane.caller(Role::Admin), plane.caller_of(Role::Admin, "elsewhere"));
    for path in calls().iter().filter(|path| name(path).starts_with("PlaybackService/")) {
        let result = code(&foreign, path, Some(&foreign.token)).await;
        assert_eq!(result, Some(Code::PermissionDenied), "{path}");
        let result = code(&own, path, Some(&own.token)).await;
        assert_ne!(result, Some(Code::PermissionDenied), "{path}");
    }
    let workers = async |caller: &Caller| {
        let request = caller.ask(v1::ListWorkersRequest {});
        caller.workers().list_workers(request).await.unwrap().into_inner().workers.len()
    };
    assert_eq!((workers(&own).await, workers(&foreign).await), (1, 0));
    let drain = async |caller: &Caller| {
        let worker_id = worker.welcome.worker_id.clone();
        let request = caller.ask(v1::DrainWorkerRequest { worker_id });
        let drained = caller.workers().drain_worker(request).await;
        drained.map(drop).map_err(|status| Problem::from_status(&status).code)
    };
    assert_eq!(drain(&foreign).await, Err(Code::NotFound), "as an unknown one");
    assert_eq!(drain(&own).await, Ok(()));
    plane.stop().await;
}

#[tokio::test]
async fn a_revoked_token_ends_the_streams_that_it_opened() {
    let shared = Shared::new(crate::postgres::database().await);
    let (one, two) = (Plane::of(shared.clone()).await, Plane::of(shared).await);
    let (follower, other) = (two.caller(Role::Dataplane), two.caller(Role::Dataplane));
    let watch = async |caller: &Caller| {
        let request = caller.ask(v1::WatchChangesRequest {});
        caller.playback().watch_changes(request).await.unwrap().into_inner()
    };
    let (mut cut, mut kept) = (watch(&follower).await, watch(&other).await);
    let mut worker = two.worker("stolen").await;
    // The revocation happens on another instance, without Redis.
    let admin = one.caller(Role::Admin);
    for token in [follower.token.clone(), worker.token.clone()] {
        let revoke = admin.ask(v1::RevokeTokenRequest { token });
        admin.auth().revoke_token(revoke).await.unwrap();
    }
    let end = async {
        loop {
            if let Err(status) = cut.message().await.transpose().unwrap() {
                return Problem::from_status(&status).code;
            }
        }
    };
    assert_eq!(tokio::time::timeout(DEADLINE, end).await, Ok(Code::Unauthenticated));
    assert!(worker.ends().await, "no more work for the holder of a revoked token");
    let mut revoked = 0;
    while revoked < 2 {
        // The stream also sends the two revocations.
        let change = tokio::time::timeout(DEADLINE, kept.message()).await.unwrap().unwrap();
        revoked += change.unwrap().revoked.len();
    }
    for plane in [one, two] {
        plane.stop().await;
    }
}

async fn list(plane: &Plane, token: &str) -> Option<Code> {
    let caller = Caller { token: token.to_owned(), channel: plane.channel.clone() };
    let listed = caller.videos().list_videos(caller.ask(v1::ListVideosRequest::default())).await;
    listed.err().map(|status| Problem::from_status(&status).code)
}

#[tokio::test]
async fn a_revocation_reaches_other_instances_their_data_planes_and_those_that_start_later() {
    // Without Redis, the database rows alone must carry the revocation.
    let shared = Shared::new(crate::postgres::database().await);
    let (one, two) = (Plane::of(shared.clone()).await, Plane::of(shared.clone()).await);
    let follower = two.caller(Role::Dataplane);
    let changes = follower.ask(v1::WatchChangesRequest {});
    let mut changes = follower.playback().watch_changes(changes).await.unwrap().into_inner();
    assert_eq!(changes.message().await.unwrap().unwrap(), v1::Change::default());
    let parent = shared.token(Role::Viewer, "default");
    let child = narrow(&parent, &Restriction::default()).unwrap();
    let admin = one.caller(Role::Admin);
    let revoke = v1::RevokeTokenRequest { token: child.clone() };
    admin.auth().revoke_token(admin.ask(revoke)).await.unwrap();
    assert_eq!(list(&one, &child).await, Some(Code::Unauthenticated));
    eventually("the other instance rejects it", DEADLINE, async || {
        list(&two, &child).await == Some(Code::Unauthenticated)
    })
    .await;
    assert_eq!(
        list(&two, &parent).await,
        None,
        "the token that it was attenuated from still works"
    );
    let notified = async {
        loop {
            let change = changes.message().await.unwrap().unwrap();
            if !change.revoked.is_empty() {
                return change.revoked.len();
            }
        }
    };
    assert_eq!(tokio::time::timeout(DEADLINE, notified).await.unwrap(), 1);
    let left = shared.store().join("keys/revoked.json");
    eventually(
        "the store lists it for instances that start without a database",
        DEADLINE,
        async || std::fs::read_to_string(&left).unwrap_or_default().len() > 100,
    )
    .await;
    let three = Plane::of(shared).await;
    assert_eq!(list(&three, &child).await, Some(Code::Unauthenticated));
    for plane in [one, two, three] {
        plane.stop().await;
    }
}

#[tokio::test]
async fn keys_are_added_and_removed_without_a_restart() {
    let plane = Plane::start().await;
    let follower = plane.caller(Role::Dataplane);
    let changes = follower.ask(v1::WatchChangesRequest {});
    let mut changes = follower.playback().watch_changes(changes).await.unwrap().into_inner();
    changes.message().await.unwrap().unwrap();
    let old = plane.shared.token(Role::Admin, "default");
    let path = plane.shared.key_file();
    let mut keys = control::identity::key_file::load(&path).unwrap();
    keys.rotate();
    std::fs::write(&path, keys.to_json()).unwrap();
    let grant =
        Grant { subject: "a".to_owned(), tenant: "default".to_owned(), role: Role::Dataplane };
    let new = keys.mint(&grant, SystemClock.now_unix() + 600).unwrap();
    eventually("the new key verifies", DEADLINE, async || {
        list(&plane, &new).await == Some(Code::PermissionDenied)
    })
    .await;
    assert_eq!(list(&plane, &old).await, None, "the old key still verifies");
    let received = async {
        loop {
            if changes.message().await.unwrap().unwrap().keys {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, received).await.unwrap();
    let public = plane.shared.store().join("keys/public.json");
    eventually("the store has the public keys", DEADLINE, async || {
        let text = std::fs::read(&public).unwrap_or_default();
        text == serde_json::to_vec(&keys.public()).unwrap()
    })
    .await;
    // An invalid file changes nothing.
    std::fs::write(&path, "junk").unwrap();
    assert!(keys.remove(0));
    std::fs::write(&path, keys.to_json()).unwrap();
    eventually("tokens of the removed key are rejected", DEADLINE, async || {
        list(&plane, &old).await == Some(Code::Unauthenticated)
    })
    .await;
    let caller = Caller { token: new, channel: plane.channel.clone() };
    let keys = caller.playback().get_keys(caller.ask(v1::GetKeysRequest {})).await.unwrap();
    let ids: Vec<u32> = keys.into_inner().keys.iter().map(|key| key.id).collect();
    assert_eq!(ids, [1]);
    plane.stop().await;
}
