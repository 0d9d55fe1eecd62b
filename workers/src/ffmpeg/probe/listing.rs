//! Lists the packets of a track: all of them or, in a large source, the last ones and samples of the
//! others.

use std::time::Duration;

use super::{
    Prober, TRUNCATED,
    ends::Last,
    packets::Packets,
    report::{Report, Stream},
    unreadable,
};
use crate::{
    ffmpeg::{args, query::start_query},
    outcome::TaskFailure,
};

/// Maximum size of a source of which all packets are listed.
const LISTED_BYTES_MAX: u64 = 256 << 20;
/// The same for a source that is read over the network.
const LISTED_REMOTE_BYTES_MAX: u64 = 64 << 20;
/// The same for a source whose index states that the rate is constant.
const LISTED_CONSTANT_BYTES_MAX: u64 = 16 << 20;
/// Maximum duration of a list of packets.
const LIST_TIME_MAX: Duration = Duration::from_secs(120);
/// Samples of the packets of larger sources: their number, and their maximum length in seconds. In
/// bytes, all of them together are as large as a source of which all packets are listed.
const SAMPLES: u32 = 16;
const SAMPLE_SECONDS_MAX: f64 = 10.0;
/// Maximum duration of listing the samples. When it is exceeded, the rate is the stated one.
const SAMPLE_TIME_MAX: Duration = Duration::from_secs(10);
/// How many seconds before the stated end the list of all packets may end.
const LIST_GAP_SECONDS_MAX: f64 = 0.25;
/// Seconds before the stated end from which the last packets are searched.
const LAST_SECONDS: [f64; 2] = [10.0, 120.0];

impl Prober<'_> {
    /// The end of `stream`, and the presentation times of its packets, or of samples of them; none
    /// if some packets have none.
    pub(super) async fn packets(
        &self,
        report: &Report,
        stream: &Stream,
        bytes: u64,
    ) -> Result<(Last, Vec<i64>), TaskFailure> {
        let constant = report.is_constant(stream);
        let bytes_max = match self.source.file() {
            _ if constant => LISTED_CONSTANT_BYTES_MAX,
            Some(_) => LISTED_BYTES_MAX,
            None => LISTED_REMOTE_BYTES_MAX,
        };
        let claimed_ends = report.claimed_ends(stream);
        let end = claimed_ends.iter().copied().max_by(f64::total_cmp);
        let (last, times) = match end.filter(|_| bytes > bytes_max) {
            Some(end) => {
                let count = if constant || !stream.is_video() { 0 } else { SAMPLES };
                let part = bytes_max as f64 / bytes as f64;
                let (last, times) = tokio::join!(
                    self.last(stream.index, &claimed_ends),
                    self.samples(report, stream, (end, part), count)
                );
                (last?.0, times)
            }
            None => {
                let (mut last, times) = self.last(stream.index, &[]).await?;
                let found = last.seconds(stream.tick());
                // Damage in the middle of a file can end the list.
                if end > found.map(|end| end + LIST_GAP_SECONDS_MAX) {
                    last = last.later(self.last(stream.index, &claimed_ends).await?.0);
                }
                (last, if last.untimed { Vec::new() } else { times })
            }
        };
        Ok((last, times))
    }

    /// The presentation times of packets at `count` places, spread evenly over a source that ends
    /// at `end`, together up to `part` of it; empty if they cannot be listed in time, or some
    /// packets have none.
    async fn samples(
        &self,
        report: &Report,
        stream: &Stream,
        (end, part): (f64, f64),
        count: u32,
    ) -> Vec<i64> {
        if count == 0 {
            return Vec::new();
        }
        let start = report.start_pts(stream) as f64 * stream.tick();
        let step = (end - start).max(0.0) / f64::from(count);
        let length = (step * part).min(SAMPLE_SECONDS_MAX);
        let starts: Vec<f64> = (0..count).map(|n| start + step * f64::from(n)).collect();
        let args = args::probe_windows(self.source, stream.index, &starts, length);
        match self.list(args, stream.index, SAMPLE_TIME_MAX).await {
            Ok(listed) => listed.filter(|(of, _)| !of.untimed).map_or_else(Vec::new, |(_, t)| t),
            Err(failure) => {
                let reason = failure.message;
                tracing::info!(reason, "failed to list samples, using the stated frame rate");
                Vec::new()
            }
        }
    }

    /// Lists packets of stream `index`; `None` if there are none.
    async fn list(
        &self,
        args: Vec<std::ffi::OsString>,
        index: u32,
        time_max: Duration,
    ) -> Result<Option<(Last, Vec<i64>)>, TaskFailure> {
        let Self { toolbox, source, scratch } = *self;
        let program = &toolbox.ffprobe;
        let run = start_query(toolbox, program, args, Some(source), scratch, time_max)?;
        let mut packets = Packets::new(index);
        let listed = run.read(|bytes| {
            packets.push(bytes);
            Ok(())
        });
        listed.await.map_err(unreadable)?;
        Ok(packets.finish())
    }

    /// The end of stream `index`, which may be at any of `claimed_ends`, and the times of the
    /// packets that were listed for it: of the last ones, or of all without `claimed_ends`.
    pub(super) async fn last(
        &self,
        index: u32,
        claimed_ends: &[f64],
    ) -> Result<(Last, Vec<i64>), TaskFailure> {
        let near = |before| claimed_ends.iter().map(move |end| end - before);
        let near = LAST_SECONDS.into_iter().flat_map(near);
        let mut starts: Vec<Option<f64>> = near.filter(|start| *start > 0.0).map(Some).collect();
        starts.push(None);
        starts.dedup();
        for start in starts {
            let args = args::probe_packets_from(self.source, index, start);
            if let Some(listed) = self.list(args, index, LIST_TIME_MAX).await? {
                return Ok(listed);
            }
        }
        Err(TaskFailure::permanent(TRUNCATED, "no packets were found near its end"))
    }
}
