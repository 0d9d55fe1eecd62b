//! Reports to control which tokens this plane verified by itself, so that their records state on
//! which day they were last used. Nothing waits for a report.

use std::{sync::Arc, time::Duration};

use api::{
    limits::TOKEN_USES_MAX,
    v1::{ReportTokenUsesRequest, TokenUse, auth_service_client::AuthServiceClient},
};
use tonic::Code;

use crate::{app::App, control::CALL_TIME_MAX};

/// Time between two reports.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Reports until the soft stop, and once more then.
pub(crate) async fn report(app: Arc<App>) {
    loop {
        let stopped = tokio::select! {
            () = app.shutdown.soft.cancelled() => true,
            () = tokio::time::sleep(REPORT_EVERY) => false,
        };
        report_once(&app).await;
        if stopped {
            return;
        }
    }
}

async fn report_once(app: &App) {
    let (control, verifier) = (&app.playback.control, &app.playback.verifier);
    loop {
        let uses = verifier.take_uses(TOKEN_USES_MAX);
        if uses.is_empty() {
            return;
        }
        let message = ReportTokenUsesRequest { uses: uses.iter().map(message).collect() };
        let reported = control.call(CALL_TIME_MAX, |channel| {
            let request = control.own(message.clone());
            async move { AuthServiceClient::new(channel).report_token_uses(request).await }
        });
        match reported.await {
            Ok(_) => {}
            // Control has not been updated yet, or rejects these uses; repeating them is useless.
            Err(status) if matches!(status.code(), Code::Unimplemented | Code::InvalidArgument) => {
                tracing::debug!(code = ?status.code(), "failed to report the use of tokens");
            }
            Err(status) => {
                tracing::debug!(code = ?status.code(), "failed to report the use of tokens, retrying");
                return verifier.return_uses(uses);
            }
        }
    }
}

fn message(one: &authz::TokenUse) -> TokenUse {
    TokenUse {
        revocation_id: one.revocation_id.clone().into(),
        subject: one.grant.subject.clone(),
        role: one.grant.role.text().to_owned(),
        tenant: one.grant.tenant.clone(),
        expires_at: one.expires_at,
        used_at: one.used_at,
    }
}
