//! Sends queued purges to the CDN until the receiver accepts them or about a day has passed.

use media::VideoId;

use super::BackgroundError;
use crate::{db::chores, state::AppState};

/// Maximum tags of one request.
const TAGS_MAX: i64 = 100;
/// The longest pause between two tries, in seconds.
const PAUSE_SECONDS_MAX: f64 = 300.0;
/// With that pause, about a day.
const TRIES_MAX: i32 = 300;

/// Sends the purges that are due.
///
/// # Errors
/// The database failed. A receiver that fails is not an error.
pub async fn round(app: &AppState) -> Result<(), BackgroundError> {
    let Some(purger) = &app.purger else {
        // No purge URL is configured.
        chores::drop_purges(&*app.db.get().await?).await?;
        return Ok(());
    };
    loop {
        let due = chores::take_purges(&*app.db.get().await?, TAGS_MAX).await?;
        if due.is_empty() {
            return Ok(());
        }
        let mut videos: Vec<VideoId> = due.iter().map(|purge| purge.video).collect();
        videos.sort_unstable();
        videos.dedup();
        let sent = purger.send(&videos).await;
        let db = app.db.get().await?;
        if sent.is_ok() {
            tracing::debug!(tags = videos.len(), "purge sent");
        }
        for purge in due {
            match &sent {
                Ok(()) => chores::done(&*db, purge.id).await?,
                Err(reason) if purge.attempt >= TRIES_MAX => {
                    tracing::error!(video.id = %purge.video, reason, "failed to send a purge, giving up");
                    chores::done(&*db, purge.id).await?;
                }
                Err(_) => chores::postpone(&*db, purge.id, pause(purge.attempt)).await?,
            }
        }
        if let Err(reason) = sent {
            tracing::warn!(reason, tags = videos.len(), "failed to send a purge, retrying later");
            return Ok(());
        }
    }
}

/// Seconds until the next try: 1, 2, 4 and so on.
fn pause(attempt: i32) -> f64 {
    2_f64.powi((attempt - 1).clamp(0, 16)).min(PAUSE_SECONDS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_bound_and_retries_last_a_day() {
        assert_eq!([1, 2, 3, 9, 10].map(pause), [1.0, 2.0, 4.0, 256.0, PAUSE_SECONDS_MAX]);
        let total: f64 = (1..=TRIES_MAX).map(pause).sum();
        assert!((20.0..=28.0).contains(&(total / 3600.0)), "{total}");
    }
}
