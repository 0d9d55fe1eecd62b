//! Names that survive a power cut.
//!
//! Syncing a file makes its bytes durable, not its name: that is in its folder, whose own name is in the
//! folder above. A file in a folder that was made a moment ago is lost with the folder.

use std::{fs::File, io, path::Path};

/// Makes durable every name between the folder `root` and `file`, which is below it. Folders that
/// were there before are synced, too: whoever made them may not have come that far.
///
/// # Errors
/// When a folder cannot be opened or synced.
pub fn sync_names(root: &Path, file: &Path) -> io::Result<()> {
    for folder in file.ancestors().skip(1).take_while(|folder| folder.starts_with(root)) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}
