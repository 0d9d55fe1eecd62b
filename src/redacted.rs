//! `Debug` for messages that contain presigned URLs, with the URLs left out so that they can be
//! logged.

use std::fmt;

use crate::v1;

impl fmt::Debug for v1::Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("task_id", &self.task_id)
            .field("token", &self.token)
            .field("attempt", &self.attempt)
            .field("source_path", &self.source_path)
            .field("source_key", &self.source_key)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for v1::AccessReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessReply")
            .field("request", &self.request)
            .field("refusal", &self.refusal)
            .field("output_urls", &self.output_urls.len())
            .field("url_seconds", &self.url_seconds)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::v1;

    #[test]
    fn presigned_urls_are_not_shown() {
        let url = || "http://store/video?X-Amz-Signature=abc".to_owned();
        let lease = v1::Lease { source_url: url(), ..Default::default() };
        let reply =
            v1::AccessReply { source_url: url(), output_urls: vec![url()], ..Default::default() };
        let control_message = v1::ControlMessage {
            message: Some(v1::control_message::Message::Lease(lease.clone())),
        };
        let shown = format!("{lease:?} {reply:?} {control_message:?}");
        assert!(!shown.contains("Signature") && !shown.contains("store"), "{shown}");
    }
}
