//! `probe`: examines the uploaded source.

use std::path::Path;

use super::{Task, TaskIo};
use crate::{
    ffmpeg::probe::{self, sample},
    outcome::{Cause, TaskError, TaskFailure},
};

pub(super) async fn run(
    task: &Task,
    task_io: &TaskIo<'_>,
    scratch: &Path,
) -> Result<(), TaskError> {
    let toolbox = &task.context.toolbox;
    let probed = probe::probe(toolbox, &task_io.source, scratch).await;
    task_io.intact()?;
    match probed {
        Ok(source) => task.committer.commit(Vec::new(), true, Some(source.into())).await,
        Err(failure) => Err(attributed(failure, sample::check(toolbox, scratch).await).into()),
    }
}

/// Attributes a probe's failure, depending on whether the same host can probe the sample. If it
/// cannot, the source's failure is disregarded and the sample's is reported.
fn attributed(failure: TaskFailure, sample: Result<(), TaskFailure>) -> TaskFailure {
    match (failure.cause, sample) {
        (_, Err(failure)) => TaskFailure { cause: Cause::UnhealthyHost, ..failure },
        (Cause::Host, Ok(())) => TaskFailure { cause: Cause::HealthyHost, ..failure },
        (_, Ok(())) => failure,
    }
}
