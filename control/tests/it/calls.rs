//! Tests the authorization of calls, the isolation of tenants, and errors that name their field.

use api::{
    code::{Code, Problem},
    v1,
};
use authz::Role;
use prost_types::FileDescriptorSet;
use tonic::{Request, Status, client::Grpc};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    plane::{Caller, DEADLINE, Plane},
    waiting::eventually,
};

/// `/streaming.v1.Service/Call` of every call, from the descriptors that reflection serves.
pub(crate) fn calls() -> Vec<String> {
    let set = <FileDescriptorSet as prost::Message>::decode(api::FILE_DESCRIPTOR_SET).unwrap();
    let ours = set.file.into_iter().filter(|file| file.package() == "streaming.v1");
    let services = ours.flat_map(|file| file.service);
    let paths = services.flat_map(|service| {
        let name = service.name().to_owned();
        let path = move |call: &prost_types::MethodDescriptorProto| {
            format!("/streaming.v1.{name}/{}", call.name())
        };
        service.method.iter().map(path).collect::<Vec<_>>()
    });
    paths.collect()
}

/// Calls a method with an empty message, which is valid for every request type.
pub(crate) async fn call(caller: &Caller, path: &str, token: Option<&str>) -> Result<(), Status> {
    let mut grpc = Grpc::new(caller.channel.clone());
    grpc.ready().await.unwrap();
    let mut request = Request::new(tokio_stream::iter([()]));
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = path.parse().unwrap();
    let mut reply = grpc.streaming(request, path, codec).await?.into_inner();
    reply.message().await.map(drop)
}

#[tokio::test]
async fn every_call_needs_a_genuine_token() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Admin);
    let calls = calls();
    assert!(calls.len() >= 26, "{calls:?}");
    let forged = plane.shared.forged();
    for path in calls {
        let expected = match path.as_str() {
            // Instead of a bearer token, the message contains the identity provider's token.
            "/streaming.v1.AuthService/ExchangeToken" => Code::NotConfigured,
            // Instead of a bearer token, the message contains the token to renew.
            "/streaming.v1.AuthService/RenewPlaybackToken" => Code::InvalidField,
            // A one-time code.
            "/streaming.v1.AuthService/SignIn" => Code::InvalidField,
            "/streaming.v1.AuthService/GetSignInOptions" => continue,
            _ => Code::Unauthenticated,
        };
        for token in [None, Some("nonsense"), Some(forged.as_str())] {
            let status = call(&caller, &path, token).await.unwrap_err();
            assert_eq!(Problem::from_status(&status).code, expected, "{path}");
        }
    }
    plane.stop().await;
}

pub(crate) async fn create(caller: &Caller, title: &str) -> v1::Video {
    let request = v1::CreateVideoRequest { title: title.to_owned(), ..Default::default() };
    caller.videos().create_video(caller.ask(request)).await.unwrap().into_inner()
}

#[tokio::test]
async fn another_tenants_video_is_not_found() {
    let plane = Plane::start().await;
    let ours = plane.caller_of(Role::Admin, "ours");
    let theirs = plane.caller_of(Role::Admin, "theirs");
    let video_id = create(&ours, "secret").await.video_id;
    let mut codes = Vec::new();
    let get = v1::GetVideoRequest { video_id: video_id.clone() };
    codes.push(theirs.videos().get_video(theirs.ask(get)).await.map(drop));
    let delete = v1::DeleteVideoRequest { video_id: video_id.clone(), revision: None };
    codes.push(theirs.videos().delete_video(theirs.ask(delete)).await.map(drop));
    let update = v1::UpdateVideoRequest {
        video_id: video_id.clone(),
        title: "mine".to_owned(),
        update_mask: Some(prost_types::FieldMask { paths: vec!["title".to_owned()] }),
        ..Default::default()
    };
    codes.push(theirs.videos().update_video(theirs.ask(update)).await.map(drop));
    let job = v1::CreateJobRequest { video_id: video_id.clone(), ..Default::default() };
    codes.push(theirs.jobs().create_job(theirs.ask(job)).await.map(drop));
    let jobs = v1::ListJobsRequest { video_id: video_id.clone(), ..Default::default() };
    codes.push(theirs.jobs().list_jobs(theirs.ask(jobs)).await.map(drop));
    let begin = v1::BeginUploadRequest { video_id: video_id.clone(), ..Default::default() };
    codes.push(theirs.uploads().begin_upload(theirs.ask(begin)).await.map(drop));
    let play = v1::MintPlaybackTokenRequest { video_id: video_id.clone(), ..Default::default() };
    codes.push(theirs.auth().mint_playback_token(theirs.ask(play)).await.map(drop));
    for code in codes {
        assert_eq!(Problem::from_status(&code.unwrap_err()).code, Code::NotFound);
    }
    let list = theirs.ask(v1::ListVideosRequest::default());
    let list = theirs.videos().list_videos(list).await;
    assert!(list.unwrap().into_inner().videos.is_empty());
    let get = v1::GetVideoRequest { video_id };
    assert_eq!(ours.videos().get_video(ours.ask(get)).await.unwrap().into_inner().title, "secret");
    plane.stop().await;
}

#[tokio::test]
async fn only_admins_may_delete_other_users_videos() {
    let plane = Plane::start().await;
    let admin = plane.caller(Role::Admin);
    let mint = v1::MintTokenRequest {
        role: "editor".to_owned(),
        subject: "bea".to_owned(),
        ..Default::default()
    };
    let bea = admin.auth().mint_token(admin.ask(mint)).await.unwrap().into_inner();
    let bea = Caller { token: bea.token, channel: plane.channel.clone() };
    let editor = plane.caller(Role::Editor);
    let video_id = create(&editor, "mine").await.video_id;
    let delete = || v1::DeleteVideoRequest { video_id: video_id.clone(), revision: None };
    let status = bea.videos().delete_video(bea.ask(delete())).await.unwrap_err();
    assert_eq!(Problem::from_status(&status).code, Code::PermissionDenied);
    // Ending its upload would also delete the video, so that must fail as well.
    let begin =
        editor.ask(v1::BeginUploadRequest { video_id: video_id.clone(), ..Default::default() });
    editor.uploads().begin_upload(begin).await.unwrap();
    let begin = editor.ask(v1::BeginUploadRequest {
        length: Some(1),
        resumable: true,
        ..Default::default()
    });
    let upload_id = editor.uploads().begin_upload(begin).await.unwrap().into_inner();
    let upload_id = upload_id.upload.unwrap().upload_id;
    for abort in [
        v1::AbortUploadRequest { video_id: video_id.clone(), ..Default::default() },
        v1::AbortUploadRequest { upload_id, ..Default::default() },
    ] {
        let status = bea.uploads().abort_upload(bea.ask(abort.clone())).await.unwrap_err();
        assert_eq!(Problem::from_status(&status).code, Code::PermissionDenied, "{abort:?}");
        if abort.video_id.is_empty() {
            editor.uploads().abort_upload(editor.ask(abort)).await.unwrap();
        }
    }
    editor.videos().delete_video(editor.ask(delete())).await.unwrap();
    let status = editor.videos().delete_video(editor.ask(delete())).await.unwrap_err();
    assert_eq!(Problem::from_status(&status).code, Code::NotFound);
    plane.stop().await;
}

#[tokio::test]
async fn pages_continue_and_tampered_tokens_are_reported() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    for n in 0..5 {
        create(&caller, &format!("{n}")).await;
    }
    let mut titles = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListVideosRequest {
            page_size: 2,
            page_token: page_token.clone(),
            ..Default::default()
        };
        let page = caller.videos().list_videos(caller.ask(request)).await.unwrap().into_inner();
        titles.extend(page.videos.into_iter().map(|video| video.title));
        if page.next_page_token.is_empty() {
            break;
        }
        page_token = page.next_page_token;
    }
    assert_eq!(titles, ["4", "3", "2", "1", "0"]);
    let other_tenant = plane.caller_of(Role::Editor, "other");
    let tampered = page_token.replace(['a', '0'], "f");
    for (caller, token) in [(&other_tenant, page_token.clone()), (&caller, tampered)] {
        let request =
            v1::ListVideosRequest { page_size: 2, page_token: token, ..Default::default() };
        let status = caller.videos().list_videos(caller.ask(request)).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert_eq!(Problem::from_status(&status).violations[0].field, "page_token");
    }
    plane.stop().await;
}

#[tokio::test]
async fn errors_name_the_field() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Admin);
    let mut faults = Vec::new();
    let long = v1::CreateVideoRequest { title: "x".repeat(201), ..Default::default() };
    faults.push(("title", caller.videos().create_video(caller.ask(long)).await.map(drop)));
    let id = v1::GetVideoRequest { video_id: "7".to_owned() };
    faults.push(("video_id", caller.videos().get_video(caller.ask(id)).await.map(drop)));
    let id = v1::GetJobRequest { job_id: "x".to_owned() };
    faults.push(("job_id", caller.jobs().get_job(caller.ask(id)).await.map(drop)));
    let page = v1::ListVideosRequest { page_size: 101, ..Default::default() };
    faults.push(("page_size", caller.videos().list_videos(caller.ask(page)).await.map(drop)));
    let role = v1::MintTokenRequest { role: "root".to_owned(), ..Default::default() };
    faults.push(("role", caller.auth().mint_token(caller.ask(role)).await.map(drop)));
    let video_id = create(&caller, "t").await.video_id;
    let mask = v1::UpdateVideoRequest {
        video_id,
        update_mask: Some(prost_types::FieldMask { paths: vec!["owner".to_owned()] }),
        ..Default::default()
    };
    faults.push(("update_mask", caller.videos().update_video(caller.ask(mask)).await.map(drop)));
    for (field, fault) in faults {
        let status = fault.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{field}");
        assert_eq!(Problem::from_status(&status).violations[0].field, field);
    }
    plane.stop().await;
}

#[tokio::test]
async fn a_profile_that_does_not_fit_is_named_by_its_index() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    let mut worker = plane.worker("one").await;
    let video_id = crate::clip::upload(&plane, &mut worker).await;
    for (profiles, field) in [
        (vec!["360p", "8k"], "profiles[1]"),
        (vec!["4k"], "profiles[0]"),
        (vec!["360p", "360p"], "profiles[1]"),
    ] {
        let profiles = profiles.into_iter().map(str::to_owned).collect();
        let request =
            v1::CreateJobRequest { video_id: video_id.clone(), profiles, ..Default::default() };
        let status = caller.jobs().create_job(caller.ask(request)).await.unwrap_err();
        assert_eq!(Problem::from_status(&status).violations[0].field, field);
    }
    let request = v1::CreateJobRequest {
        video_id: video_id.clone(),
        generate_thumbnails: Some(true),
        ..Default::default()
    };
    let job = caller.jobs().create_job(caller.ask(request)).await.unwrap().into_inner();
    assert!(job.notes.iter().all(|note| !note.starts_with("thumbnails")), "{:?}", job.notes);
    let request = v1::CreateJobRequest { video_id, ..Default::default() };
    let status = caller.jobs().create_job(caller.ask(request)).await.unwrap_err();
    let problem = Problem::from_status(&status);
    assert_eq!(problem.code, Code::Conflict);
    assert!(problem.message.contains(&job.job_id));
    plane.stop().await;
}

#[tokio::test]
async fn a_revoked_token_is_rejected_and_only_operators_mint_for_other_tenants() {
    let plane = Plane::start().await;
    let admin = plane.caller(Role::Admin);
    let mint = |role: &str, tenant: &str| v1::MintTokenRequest {
        role: role.to_owned(),
        subject: "x".to_owned(),
        ttl_seconds: 60,
        tenant: tenant.to_owned(),
    };
    let minted = admin.auth().mint_token(admin.ask(mint("viewer", "other"))).await.unwrap();
    let minted = minted.into_inner().token;
    let viewer = Caller { token: minted.clone(), channel: plane.channel.clone() };
    let list = || v1::ListVideosRequest::default();
    viewer.videos().list_videos(viewer.ask(list())).await.unwrap();
    let revoke = v1::RevokeTokenRequest { token: minted };
    viewer.auth().revoke_token(viewer.ask(revoke)).await.unwrap();
    let status = viewer.videos().list_videos(viewer.ask(list())).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unauthenticated);
    let keys = plane.caller(Role::Dataplane);
    let keys =
        keys.playback().get_keys(keys.ask(v1::GetKeysRequest {})).await.unwrap().into_inner();
    assert_eq!((keys.keys.len(), keys.revoked.len()), (1, 1));
    let other_tenant = plane.caller_of(Role::Admin, "other");
    for (role, tenant) in [("viewer", "default"), ("worker", ""), ("dataplane", "other")] {
        let status =
            other_tenant.auth().mint_token(other_tenant.ask(mint(role, tenant))).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::PermissionDenied);
    }
    plane.stop().await;
}

#[tokio::test]
async fn data_planes_describe_videos_of_every_tenant_before_they_can_be_played() {
    let plane = Plane::start().await;
    let owner = plane.caller_of(Role::Editor, "other");
    let video = create(&owner, "not yet").await;
    let reader = plane.caller(Role::Dataplane);
    let describe = async |video_id: String| {
        let request = reader.ask(v1::DescribeVideoRequest { video_id });
        reader.playback().describe_video(request).await.map(tonic::Response::into_inner)
    };
    let described = describe(video.video_id.clone()).await.unwrap();
    assert_eq!((described.video, described.tenant.as_str()), (Some(video), "other"));
    let unknown = describe("01936b2e-7c1a-7d33-8b0e-000000000001".to_owned()).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
    let malformed = describe("nope".to_owned()).await.unwrap_err();
    assert_eq!(malformed.code(), tonic::Code::InvalidArgument);
    plane.stop().await;
}

#[tokio::test]
async fn the_status_lists_every_dependency() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Dataplane);
    let _worker = plane.worker("one").await;
    // A result from before the worker connected may be reused for a second.
    eventually("every dependency is up", DEADLINE, async || {
        let request = caller.ask(v1::GetStatusRequest {});
        let status = caller.playback().get_status(request).await.unwrap().into_inner();
        let names: Vec<_> = status.dependencies.iter().map(|d| d.name.as_str()).collect();
        assert_eq!(names, ["postgres", "redis", "store", "workers"]);
        status.dependencies.iter().all(|d| d.ok)
    })
    .await;
    let request = caller.ask(v1::GetMetricsRequest {});
    let text = caller.playback().get_metrics(request).await.unwrap().into_inner().text;
    assert!(text.contains("\nstreaming_service_active_transcoding_jobs 0\n"), "{text}");
    plane.stop().await;
}

#[tokio::test]
async fn health_needs_no_token() {
    let plane = Plane::start().await;
    let mut health = HealthClient::new(plane.channel.clone());
    for service in ["", "streaming.v1.VideoService", "streaming.v1.WorkerService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let reply = health.check(request).await.unwrap().into_inner();
        assert_eq!(reply.status(), ServingStatus::Serving, "{service}");
    }
    plane.stop().await;
}

#[tokio::test]
async fn an_update_needs_the_current_revision() {
    let plane = Plane::start().await;
    let editor = plane.caller(Role::Editor);
    let video = create(&editor, "first").await;
    let rename = async |title: &str, revision: Option<u64>| {
        let request = editor.ask(v1::UpdateVideoRequest {
            video_id: video.video_id.clone(),
            title: title.to_owned(),
            update_mask: Some(prost_types::FieldMask { paths: vec!["title".to_owned()] }),
            revision,
            ..v1::UpdateVideoRequest::default()
        });
        let renamed = editor.videos().update_video(request).await;
        renamed.map(|reply| reply.into_inner().title).map_err(|s| Problem::from_status(&s).code)
    };
    let seen = Some(video.revision);
    // Of several concurrent changes of the same revision, exactly one succeeds.
    let titles: Vec<String> = (0..8).map(|n| format!("by {n}")).collect();
    let renamed = futures::future::join_all(titles.iter().map(|title| rename(title, seen))).await;
    let (made, rejected): (Vec<_>, Vec<_>) = renamed.into_iter().partition(Result::is_ok);
    assert_eq!(made.len(), 1, "{made:?}");
    assert!(rejected.iter().all(|r| *r == Err(Code::PreconditionFailed)), "{rejected:?}");
    assert_eq!(rename("large", Some(u64::MAX)).await, Err(Code::PreconditionFailed));
    assert_eq!(rename("any", None).await.as_deref(), Ok("any"));
    let delete = async |revision: Option<u64>| {
        let video_id = video.video_id.clone();
        let request = editor.ask(v1::DeleteVideoRequest { video_id, revision });
        editor.videos().delete_video(request).await.map_err(|s| Problem::from_status(&s).code)
    };
    assert_eq!(delete(seen).await.map(drop), Err(Code::PreconditionFailed));
    delete(seen.map(|revision| revision + 2)).await.unwrap();
    assert_eq!(rename("gone", seen).await, Err(Code::NotFound));
    plane.stop().await;
}
