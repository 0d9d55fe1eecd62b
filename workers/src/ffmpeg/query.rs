//! Queries: runs that write no files and whose standard output is their result.

use std::{ffi::OsString, path::Path, time::Duration};

use super::{
    Toolbox,
    run::{Run, Running, start},
};
use crate::{input::Input, outcome::TaskFailure};

/// Runs a short query, `program` with `args`, and returns its output.
///
/// # Errors
/// As [`super::run::start`] and [`Running::read_to_end`].
pub async fn query(
    toolbox: &Toolbox,
    program: &Path,
    args: Vec<OsString>,
    source: Option<&Input>,
    scratch: &Path,
    time_max: Duration,
    bytes_max: usize,
) -> Result<Vec<u8>, TaskFailure> {
    start_query(toolbox, program, args, source, scratch, time_max)?.read_to_end(bytes_max).await
}

/// Starts a query, `program` with `args`, which writes no files.
///
/// # Errors
/// As [`super::run::start`].
pub fn start_query(
    toolbox: &Toolbox,
    program: &Path,
    args: Vec<OsString>,
    source: Option<&Input>,
    scratch: &Path,
    time_max: Duration,
) -> Result<Running, TaskFailure> {
    let run = Run {
        program: program.to_owned(),
        args,
        source: source.cloned(),
        scratch: scratch.to_owned(),
        time_max,
        stall_max: time_max,
        file_bytes_max: 1 << 20,
    };
    start(toolbox, run)
}
