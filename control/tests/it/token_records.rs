//! Records of bearer tokens: which tokens have one, its fields, and revocation by its id.

use api::{
    code::{Code, Problem},
    v1,
};
use authz::{Grant, Restriction, Role, narrow};
use control::db::{Db, tokens};
use runtime::{Clock, SystemClock};

use crate::{
    plane::{Caller, DEADLINE, Plane, Shared},
    waiting::eventually,
};

async fn page(caller: &Caller, size: u32, token: &str) -> Result<v1::ListTokensResponse, Code> {
    let request = v1::ListTokensRequest { page_size: size, page_token: token.to_owned() };
    let listed = caller.auth().list_tokens(caller.ask(request)).await;
    listed.map(tonic::Response::into_inner).map_err(|status| Problem::from_status(&status).code)
}

async fn all(caller: &Caller) -> Vec<v1::TokenRecord> {
    page(caller, 100, "").await.unwrap().tokens
}

async fn mint(caller: &Caller, subject: &str) -> v1::MintTokenResponse {
    let (role, subject) = ("viewer".to_owned(), subject.to_owned());
    let request = v1::MintTokenRequest { role, subject, ..Default::default() };
    caller.auth().mint_token(caller.ask(request)).await.unwrap().into_inner()
}

async fn delete(caller: &Caller, id: &str) -> Option<Code> {
    let request = caller.ask(v1::DeleteTokenRequest { token_id: id.to_owned() });
    let deleted = caller.auth().delete_token(request).await;
    deleted.err().map(|status| Problem::from_status(&status).code)
}

async fn lists(plane: &Plane, token: &str) -> Option<Code> {
    let caller = Caller { token: token.to_owned(), channel: plane.channel.clone() };
    let listed = caller.videos().list_videos(caller.ask(v1::ListVideosRequest::default())).await;
    listed.err().map(|status| Problem::from_status(&status).code)
}

/// Today in UTC.
fn today() -> String {
    SystemClock.now().to_zoned(jiff::tz::TimeZone::UTC).date().to_string()
}

#[tokio::test]
async fn a_minted_token_has_a_record_and_its_first_use_adds_the_day() {
    let plane = Plane::start().await;
    let admin = plane.caller_of(Role::Admin, "acme");
    let minted = mint(&admin, "ana").await;
    let record = minted.record.unwrap();
    assert_eq!(record.token_id, minted.token_id);
    assert_eq!((record.subject.as_str(), record.role.as_str()), ("ana", "viewer"));
    assert_eq!((record.tenant.as_str(), record.last_used_day.as_str()), ("acme", ""));
    assert_eq!(record.expires_at, minted.expires_at);
    let find = async || all(&admin).await.into_iter().find(|one| one.token_id == record.token_id);
    assert_eq!(find().await, Some(record.clone()));
    assert_eq!(lists(&plane, &minted.token).await, None);
    let used = v1::TokenRecord { last_used_day: today(), ..record.clone() };
    eventually("the day is stored", DEADLINE, async || find().await == Some(used.clone())).await;
    plane.stop().await;
}

#[tokio::test]
async fn tokens_minted_offline_appear_with_their_first_use_and_sessions_never() {
    let plane = Plane::start().await;
    let admin = plane.caller_of(Role::Admin, "acme");
    let offline = plane.shared.token(Role::Editor, "acme");
    let subjects = async || {
        let mut subjects: Vec<_> = all(&admin).await.into_iter().map(|one| one.subject).collect();
        subjects.sort_unstable();
        subjects
    };
    eventually("the admin's own", DEADLINE, async || subjects().await == ["admin"]).await;
    let caller = Caller { token: offline.clone(), channel: plane.channel.clone() };
    let session = caller.auth().create_session(caller.ask(v1::CreateSessionRequest {})).await;
    let session = session.unwrap().into_inner().token;
    assert_eq!(lists(&plane, &session).await, None);
    assert_eq!(lists(&plane, &narrow(&offline, &Restriction::default()).unwrap()).await, None);
    let both = async || subjects().await == ["admin", "editor"];
    eventually("the exchanged token, once", DEADLINE, both).await;
    // Uses are stored in the order in which they were seen.
    let last = plane.shared.token(Role::Viewer, "acme");
    assert_eq!(lists(&plane, &last).await, None);
    let also_last = async || subjects().await.last().is_some_and(|subject| subject == "viewer");
    eventually("a token that was used later", DEADLINE, also_last).await;
    assert_eq!(subjects().await, ["admin", "editor", "viewer"]);
    plane.stop().await;
}

#[tokio::test]
async fn data_planes_report_the_uses_that_they_see() {
    let plane = Plane::start().await;
    let (admin, dataplane) = (plane.caller(Role::Admin), plane.caller(Role::Dataplane));
    let now = SystemClock.now_unix();
    let one = |id: u8, subject: &str, used_at| v1::TokenUse {
        revocation_id: vec![id; 64].into(),
        subject: subject.to_owned(),
        role: "viewer".to_owned(),
        tenant: "default".to_owned(),
        expires_at: now + 600,
        used_at,
    };
    let report = async |uses: Vec<v1::TokenUse>| {
        let request = dataplane.ask(v1::ReportTokenUsesRequest { uses });
        let reported = dataplane.auth().report_token_uses(request).await;
        reported.err().map(|status| Problem::from_status(&status).code)
    };
    let day = 86_400;
    let uses = vec![
        one(1, "a", now - 3 * day),
        one(1, "a", now - day),
        one(2, "b", now),
        one(1, "a", now - 2 * day),
        one(3, "nul\0", now),
    ];
    assert_eq!(report(uses.clone()).await, None);
    // An earlier day does not replace a later one, and a report may be repeated.
    assert_eq!(report(uses).await, None);
    let records = all(&admin).await;
    let of = |subject: &str| records.iter().find(|one| one.subject == subject).unwrap();
    let yesterday = jiff::Timestamp::from_second(now - day).unwrap();
    assert_eq!(of("a").last_used_day, yesterday.to_string()[..10]);
    assert_eq!(of("b").last_used_day, today());
    assert!(!records.iter().any(|one| one.subject.contains("nul")));
    let mut short = one(4, "c", now);
    short.revocation_id = vec![4; 63].into();
    assert_eq!(report(vec![short]).await, Some(Code::InvalidField));
    let mut unknown = one(4, "c", now);
    unknown.role = "root".to_owned();
    assert_eq!(report(vec![unknown]).await, Some(Code::InvalidField));
    assert_eq!(report(vec![one(5, "d", now); 1001]).await, Some(Code::InvalidField));
    // A use that is reported after the revocation brings no record back.
    let id = of("b").token_id.clone();
    assert_eq!(delete(&admin, &id).await, None);
    assert_eq!(report(vec![one(2, "b", now)]).await, None);
    assert!(!all(&admin).await.iter().any(|one| one.subject == "b"));
    plane.stop().await;
}

#[tokio::test]
async fn deleting_a_record_revokes_its_token_and_nothing_else() {
    let shared = Shared::new(crate::postgres::database().await);
    let (one, two) = (Plane::of(shared.clone()).await, Plane::of(shared).await);
    let admin = one.caller_of(Role::Admin, "acme");
    let (lost, kept) = (mint(&admin, "lost").await, mint(&admin, "kept").await);
    let narrowed = narrow(&lost.token, &Restriction::default()).unwrap();
    let foreign = one.caller_of(Role::Admin, "elsewhere");
    assert_eq!(delete(&foreign, &lost.token_id).await, Some(Code::NotFound));
    // The role is checked before the id.
    let editor = one.caller_of(Role::Editor, "acme");
    for id in [lost.token_id.as_str(), "junk", ""] {
        assert_eq!(delete(&editor, id).await, Some(Code::PermissionDenied), "{id}");
    }
    assert_eq!(delete(&admin, "junk").await, Some(Code::InvalidId));
    assert_eq!(delete(&admin, &lost.token_id).await, None);
    for token in [&lost.token, &narrowed] {
        assert_eq!(lists(&one, token).await, Some(Code::Unauthenticated));
        eventually("the other instance rejects it", DEADLINE, async || {
            lists(&two, token).await == Some(Code::Unauthenticated)
        })
        .await;
    }
    assert_eq!(lists(&two, &kept.token).await, None);
    assert_eq!(delete(&admin, &lost.token_id).await, Some(Code::NotFound));
    // Revoking a token by its text removes the record, too.
    let revoke = admin.ask(v1::RevokeTokenRequest { token: kept.token.clone() });
    admin.auth().revoke_token(revoke).await.unwrap();
    let subjects: Vec<String> = all(&admin).await.into_iter().map(|one| one.subject).collect();
    assert!(!subjects.iter().any(|subject| ["lost", "kept"].contains(&subject.as_str())));
    for plane in [one, two] {
        plane.stop().await;
    }
}

#[tokio::test]
async fn lists_are_paged_newest_first_per_tenant() {
    let plane = Plane::start().await;
    let admin = plane.caller_of(Role::Admin, "acme");
    let foreign = plane.caller_of(Role::Admin, "elsewhere");
    let mut minted = Vec::new();
    for number in 0..5 {
        minted.push(mint(&admin, &format!("subject-{number}")).await.token_id);
    }
    minted.reverse();
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = page(&admin, 2, &token).await.unwrap();
        assert!(page.tokens.len() <= 2);
        seen.extend(page.tokens.into_iter().filter(|one| one.role == "viewer"));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
        assert_eq!(self::page(&foreign, 2, &token).await, Err(Code::Malformed));
    }
    assert_eq!(seen.iter().map(|one| one.token_id.clone()).collect::<Vec<_>>(), minted);
    assert_eq!(page(&admin, 101, "").await, Err(Code::InvalidField));
    assert!(all(&foreign).await.iter().all(|one| one.tenant == "elsewhere"));
    let viewer = plane.caller_of(Role::Viewer, "acme");
    assert_eq!(page(&viewer, 101, "junk").await, Err(Code::PermissionDenied));
    plane.stop().await;
}

#[tokio::test]
async fn records_of_expired_tokens_are_kept_for_seven_days() {
    let db = crate::rows::db().await;
    let client = db.get().await.unwrap();
    let hour = jiff::SignedDuration::from_hours(1);
    let now = SystemClock.now();
    let grant = |subject: &str| Grant {
        subject: subject.to_owned(),
        tenant: "default".to_owned(),
        role: Role::Viewer,
    };
    for (id, subject, end) in [
        (1_u8, "old", now - 7 * 24 * hour - hour),
        (2, "recent", now - 7 * 24 * hour + hour),
        (3, "valid", now + hour),
    ] {
        tokens::create(&*client, &[id; 64], &grant(subject), end).await.unwrap();
    }
    tokens::delete_old(&*client).await.unwrap();
    let listed = tokens::list(&*client, "default", None, 10).await.unwrap();
    let mut subjects: Vec<String> = listed.into_iter().map(|row| row.subject).collect();
    subjects.sort_unstable();
    assert_eq!(subjects, ["recent", "valid"]);
    drop(client);
    let _: Db = db;
}
