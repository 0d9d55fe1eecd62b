//! Limits on the number, size and duration of tenants' open uploads, and the size of their parts.

use api::code::{Code, Problem};

use crate::{
    config::UploadArgs,
    db::uploads::sessions::{Open, UploadTimeouts},
};

/// How long after the last renewal of a lease another writer may take it, in seconds. Holders renew
/// it every second.
const LEASE_SECONDS: f64 = 6.0;
/// How long after a claim the lease ends, in seconds. A holder writes only within 2.5 s after a
/// renewal, so it has stopped by then even if it was not notified of the claim.
const CLAIM_SECONDS: f64 = 3.0;
/// How long after the last renewal an upload that cannot be resumed is aborted, in seconds.
const SINGLE_SECONDS: f64 = 60.0;
/// S3 requires parts of at least 5 MiB and allows at most 10 000 of them.
const PART_BYTES_MIN: u64 = 8 << 20;
const PARTS_MAX: u64 = 9_000;
const PART_BYTES_STEP: u64 = 1 << 20;

/// Limits on the number, size and duration of tenants' open uploads.
#[derive(Clone, Copy, Debug)]
pub struct UploadPolicy {
    /// How long leases and uploads last.
    pub timeouts: UploadTimeouts,
    open_max: i64,
    bytes_max: i64,
    /// How long rejected sources are kept, in seconds.
    rejected_keep: f64,
}

impl UploadPolicy {
    /// The policy that these flags configure.
    pub fn new(args: &UploadArgs) -> Self {
        let expiry = args.upload_expiry.as_secs_f64();
        Self {
            timeouts: UploadTimeouts {
                lease: LEASE_SECONDS,
                claim: CLAIM_SECONDS,
                expiry,
                single: SINGLE_SECONDS,
            },
            open_max: args.uploads_open_max.into(),
            bytes_max: args.uploads_bytes_max.try_into().unwrap_or(i64::MAX),
            rejected_keep: args.rejected_keep.as_secs_f64(),
        }
    }

    /// How long rejected sources are kept, in seconds, and the maximum size in bytes of a tenant's
    /// rejected sources and open uploads together.
    pub fn rejected_sources(&self) -> (f64, i64) {
        (self.rejected_keep, self.bytes_max)
    }

    /// Checks whether a tenant with the uploads `open` may begin another one of `length` bytes.
    ///
    /// # Errors
    /// [`Code::QuotaExceeded`] if the number or the total size of open uploads would exceed its
    /// limit.
    pub fn check_quota(&self, open: Open, length: i64) -> Result<(), Problem> {
        let rejected = |text: String| Err(Problem::new(Code::QuotaExceeded, text));
        if open.uploads >= self.open_max {
            return rejected(format!("{} uploads are open, which is the limit", self.open_max));
        }
        if open.bytes.saturating_add(length) > self.bytes_max {
            return rejected(format!(
                "open uploads may announce at most {} bytes in total",
                self.bytes_max
            ));
        }
        Ok(())
    }
}

/// Size of every part but the last, such that a source of `bytes` fits into the allowed number of
/// parts.
pub fn part_bytes(bytes: u64) -> u64 {
    let even = bytes.div_ceil(PARTS_MAX);
    even.next_multiple_of(PART_BYTES_STEP).max(PART_BYTES_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_large_enough_and_few_enough() {
        assert_eq!(part_bytes(0), PART_BYTES_MIN);
        assert_eq!(part_bytes(100 << 20), PART_BYTES_MIN);
        for bytes in [100 << 30, 5 << 40] {
            let part = part_bytes(bytes);
            assert!(
                bytes.div_ceil(part) <= PARTS_MAX && part.is_multiple_of(PART_BYTES_STEP),
                "{bytes}"
            );
        }
    }

    #[test]
    fn quotas_allow_uploads_up_to_the_limit() {
        let timeouts = UploadTimeouts { lease: 1.0, claim: 1.0, expiry: 1.0, single: 1.0 };
        let policy = UploadPolicy { timeouts, open_max: 2, bytes_max: 100, rejected_keep: 0.0 };
        let open = |uploads, bytes| Open { uploads, bytes };
        assert!(policy.check_quota(open(1, 60), 40).is_ok());
        let rejected = [(open(2, 0), 0), (open(1, 60), 41), (open(0, 1), i64::MAX)];
        for (open, length) in rejected {
            let problem = policy.check_quota(open, length).unwrap_err();
            assert_eq!(problem.code, Code::QuotaExceeded, "{open:?} {length}");
        }
    }
}
