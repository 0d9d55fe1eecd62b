//! `probe`: what was uploaded?

use std::path::Path;

use super::{Interruption, Place, Task};
use crate::ffmpeg::probe;

pub(super) async fn run(
    task: &Task,
    place: &Place<'_>,
    scratch: &Path,
) -> Result<(), Interruption> {
    let source = probe::probe(&task.workshop.toolbox, &place.source, scratch).await?;
    place.intact()?;
    task.committer.commit(Vec::new(), true, Some(source.into())).await
}
