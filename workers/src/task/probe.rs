//! `probe`: examines the uploaded source.

use std::path::Path;

use super::{Interruption, Place, Task};
use crate::ffmpeg::{
    Fault,
    failure::Cause,
    probe::{self, sample},
};

pub(super) async fn run(
    task: &Task,
    place: &Place<'_>,
    scratch: &Path,
) -> Result<(), Interruption> {
    let toolbox = &task.workshop.toolbox;
    let probed = probe::probe(toolbox, &place.source, scratch).await;
    place.intact()?;
    match probed {
        Ok(source) => task.committer.commit(Vec::new(), true, Some(source.into())).await,
        Err(fault) => Err(weighed(fault, sample::check(toolbox, scratch).await).into()),
    }
}

/// Attributes a probe's failure, depending on whether the same host can probe the sample. If it cannot, the source's
/// failure is disregarded and the sample's is reported.
fn weighed(fault: Fault, sample: Result<(), Fault>) -> Fault {
    match (fault.cause, sample) {
        (_, Err(why)) => Fault { cause: Cause::UnhealthyHost, ..why },
        (Cause::Host, Ok(())) => Fault { cause: Cause::HealthyHost, ..fault },
        (_, Ok(())) => fault,
    }
}
