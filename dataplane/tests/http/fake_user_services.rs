//! The fake control plane's user-facing services: tokens for JWTs, and one video to read and
//! change.

use std::{
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use api::{
    code::{Code, Problem},
    v1::{self, Visibility, auth_service_server::AuthService, video_service_server::VideoService},
};
use authz::{Grant, Role, RootKeys};
use runtime::{Clock, SystemClock};
use tonic::{Request, Response, Status};

use crate::fake_control::FakeControl;

/// The keys that data planes receive once `introduced` is set, and the video.
#[derive(Clone)]
pub(crate) struct UserServices {
    pub(crate) keys: Arc<RootKeys>,
    /// Until this is set, a data plane cannot verify tokens.
    pub(crate) introduced: Arc<AtomicBool>,
    pub(crate) video: Arc<Mutex<v1::Video>>,
    pub(crate) sign_in_options: Arc<Mutex<v1::GetSignInOptionsResponse>>,
}

impl UserServices {
    pub(crate) fn new() -> Self {
        let video = v1::Video {
            video_id: FakeControl::ID.to_owned(),
            title: "as uploaded".to_owned(),
            visibility: Visibility::Public.into(),
            ..v1::Video::default()
        };
        let keys = Arc::new(RootKeys::generate());
        let video = Arc::new(Mutex::new(video));
        Self { keys, introduced: Arc::default(), video, sign_in_options: Arc::default() }
    }

    /// A biscuit with the role of an editor.
    pub(crate) fn token(&self, subject: &str) -> String {
        let (subject, tenant) = (subject.to_owned(), "default".to_owned());
        let grant = Grant { subject, tenant, role: Role::Editor };
        self.keys.mint(&grant, SystemClock.now_unix() + 600).unwrap()
    }

    fn video(&self) -> Response<v1::Video> {
        Response::new(self.video.lock().unwrap().clone())
    }
}

#[tonic::async_trait]
impl AuthService for FakeControl {
    async fn mint_token(
        &self,
        _request: Request<v1::MintTokenRequest>,
    ) -> Result<Response<v1::MintTokenResponse>, Status> {
        Err(Status::unimplemented("no test asks for it"))
    }

    async fn revoke_token(
        &self,
        _request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        Err(Status::unimplemented("no test asks for it"))
    }

    /// The JWT `x.y.NAME` belongs to NAME; all others are invalid.
    async fn exchange_token(
        &self,
        request: Request<v1::ExchangeTokenRequest>,
    ) -> Result<Response<v1::ExchangeTokenResponse>, Status> {
        let token = request.into_inner().token;
        let name = token.rsplit('.').next().unwrap();
        if name == "forged" {
            return Err(Status::unauthenticated("token has no valid signature"));
        }
        let seconds = SystemClock.now_unix() + 600;
        let expires_at = Some(prost_types::Timestamp { seconds, nanos: 0 });
        let token = self.user_services.token(name);
        Ok(Response::new(v1::ExchangeTokenResponse { token, expires_at }))
    }

    async fn mint_playback_token(
        &self,
        request: Request<v1::MintPlaybackTokenRequest>,
    ) -> Result<Response<v1::MintPlaybackTokenResponse>, Status> {
        let token = format!("{:?}", request.into_inner());
        let token = token.chars().filter(char::is_ascii_alphanumeric).collect();
        Ok(Response::new(v1::MintPlaybackTokenResponse { token, expires_at: None }))
    }

    /// Renews "ripe", but only for a data plane that sends no bearer token along.
    async fn renew_playback_token(
        &self,
        request: Request<v1::RenewPlaybackTokenRequest>,
    ) -> Result<Response<v1::RenewPlaybackTokenResponse>, Status> {
        assert!(request.metadata().get("authorization").is_none());
        let token = match request.into_inner().token.as_str() {
            "ripe" => "renewed".to_owned(),
            "" => return Err(Problem::field("token", "is missing").into()),
            "early" => {
                let retry_after = Some(Duration::from_secs(7));
                return Err(Problem { retry_after, ..Problem::new(Code::Conflict, "early") }.into());
            }
            _ => return Err(Problem::new(Code::PermissionDenied, "expired").into()),
        };
        let video_id = Self::ID.to_owned();
        Ok(Response::new(v1::RenewPlaybackTokenResponse { token, video_id, expires_at: None }))
    }

    async fn create_sign_in_code(
        &self,
        _request: Request<v1::CreateSignInCodeRequest>,
    ) -> Result<Response<v1::CreateSignInCodeResponse>, Status> {
        Err(Status::unimplemented("no test asks for it"))
    }

    async fn sign_in(
        &self,
        _request: Request<v1::SignInRequest>,
    ) -> Result<Response<v1::SignInResponse>, Status> {
        Err(Status::unimplemented("no test asks for it"))
    }

    async fn create_session(
        &self,
        _request: Request<v1::CreateSessionRequest>,
    ) -> Result<Response<v1::CreateSessionResponse>, Status> {
        Err(Status::unimplemented("no test asks for it"))
    }

    async fn sign_out(
        &self,
        _request: Request<v1::SignOutRequest>,
    ) -> Result<Response<v1::SignOutResponse>, Status> {
        Err(Status::unimplemented("no test asks for it"))
    }

    async fn get_caller(
        &self,
        _request: Request<v1::GetCallerRequest>,
    ) -> Result<Response<v1::GetCallerResponse>, Status> {
        Err(Status::unimplemented("no test asks for it"))
    }

    async fn list_tokens(
        &self,
        _request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        Err(Status::unimplemented("no test asks for it"))
    }

    async fn delete_token(
        &self,
        _request: Request<v1::DeleteTokenRequest>,
    ) -> Result<Response<v1::DeleteTokenResponse>, Status> {
        Err(Status::unimplemented("no test asks for it"))
    }

    async fn get_sign_in_options(
        &self,
        _request: Request<v1::GetSignInOptionsRequest>,
    ) -> Result<Response<v1::GetSignInOptionsResponse>, Status> {
        Ok(Response::new(self.user_services.sign_in_options.lock().unwrap().clone()))
    }

    async fn report_token_uses(
        &self,
        _request: Request<v1::ReportTokenUsesRequest>,
    ) -> Result<Response<v1::ReportTokenUsesResponse>, Status> {
        Err(Status::unimplemented("no test asks for it"))
    }
}

#[tonic::async_trait]
impl VideoService for FakeControl {
    async fn create_video(
        &self,
        _request: Request<v1::CreateVideoRequest>,
    ) -> Result<Response<v1::Video>, Status> {
        Err(Status::unimplemented("no test asks for it"))
    }

    async fn get_video(
        &self,
        _request: Request<v1::GetVideoRequest>,
    ) -> Result<Response<v1::Video>, Status> {
        Ok(self.user_services.video())
    }

    /// Accepts only an empty page token.
    async fn list_videos(
        &self,
        request: Request<v1::ListVideosRequest>,
    ) -> Result<Response<v1::ListVideosResponse>, Status> {
        let request = request.into_inner();
        *self.operations.videos.lock().unwrap() = Some(request.clone());
        if request.page_token.is_empty() {
            return Ok(Response::new(v1::ListVideosResponse::default()));
        }
        Err(Problem::at(Code::Malformed, "page_token", "is not a token of this list").into())
    }

    async fn update_video(
        &self,
        request: Request<v1::UpdateVideoRequest>,
    ) -> Result<Response<v1::Video>, Status> {
        let change = request.into_inner();
        let mut video = self.user_services.video.lock().unwrap();
        if change.revision.is_some_and(|seen| seen != video.revision) {
            return Err(Status::failed_precondition("another revision"));
        }
        (video.title, video.revision) = (change.title, video.revision + 1);
        drop(video);
        Ok(self.user_services.video())
    }

    async fn delete_video(
        &self,
        _request: Request<v1::DeleteVideoRequest>,
    ) -> Result<Response<v1::DeleteVideoResponse>, Status> {
        self.user_services.video.lock().unwrap().title = "deleted".to_owned();
        Ok(Response::new(v1::DeleteVideoResponse {}))
    }

    async fn reprobe_video(
        &self,
        _request: Request<v1::ReprobeVideoRequest>,
    ) -> Result<Response<v1::Video>, Status> {
        Err(Status::unimplemented("no test asks for it"))
    }

    async fn create_caption(
        &self,
        _request: Request<v1::CreateCaptionRequest>,
    ) -> Result<Response<v1::Caption>, Status> {
        Err(Status::unimplemented("no test asks for it"))
    }

    async fn list_captions(
        &self,
        _request: Request<v1::ListCaptionsRequest>,
    ) -> Result<Response<v1::ListCaptionsResponse>, Status> {
        Err(Status::unimplemented("no test asks for it"))
    }

    async fn delete_caption(
        &self,
        _request: Request<v1::DeleteCaptionRequest>,
    ) -> Result<Response<v1::DeleteCaptionResponse>, Status> {
        Err(Status::unimplemented("no test asks for it"))
    }
}
