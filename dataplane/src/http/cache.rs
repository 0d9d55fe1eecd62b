//! How long caches may keep a reply: every `Cache-Control` that this plane sends.

use http::HeaderValue;

/// How long caches may keep a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CachePolicy {
    /// The content of the URL never changes.
    Immutable,
    /// Revalidated after this many seconds.
    Seconds(u32),
    /// Revalidated at every use.
    Revalidate,
    /// Never stored.
    NoStore,
}

impl CachePolicy {
    /// The value of `Cache-Control`; a `private` reply must not be stored by shared caches.
    pub(crate) fn header(self, private: bool) -> HeaderValue {
        let fixed = match (self, private) {
            (Self::Immutable, false) => "public, max-age=31536000, immutable",
            (Self::Immutable, true) => "private, max-age=31536000, immutable",
            (Self::Revalidate, false) => "public, no-cache",
            (Self::Revalidate, true) => "private, no-cache",
            (Self::NoStore, _) => "no-store",
            (Self::Seconds(seconds), _) => {
                let scope = if private { "private" } else { "public" };
                let text = format!("{scope}, max-age={seconds}");
                // This text is always a valid header value.
                return HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("no-store"));
            }
        };
        HeaderValue::from_static(fixed)
    }
}

#[cfg(test)]
mod tests {
    use super::CachePolicy;

    #[test]
    fn policies_are_written_for_shared_and_private_caches() {
        for (policy, public, private) in [
            (
                CachePolicy::Immutable,
                "public, max-age=31536000, immutable",
                "private, max-age=31536000, immutable",
            ),
            (CachePolicy::Seconds(60), "public, max-age=60", "private, max-age=60"),
            (CachePolicy::Revalidate, "public, no-cache", "private, no-cache"),
            (CachePolicy::NoStore, "no-store", "no-store"),
        ] {
            assert_eq!(policy.header(false), public);
            assert_eq!(policy.header(true), private);
        }
    }
}
