//! Makes file names durable, so that they survive a power failure.
//!
//! Syncing a file makes its bytes durable, but not its name: the name is stored in the file's
//! folder, whose own name is in the parent folder. A file in a newly created folder is lost
//! together with the folder.

use std::{fs::File, io, path::Path};

/// Makes all names between the folder `root` and `file`, which is below it, durable. Folders that
/// already existed are synced, too, because the process that created them may have ended before it
/// synced them.
///
/// # Errors
/// A folder cannot be opened or synced.
pub fn sync_names(root: &Path, file: &Path) -> io::Result<()> {
    for folder in file.ancestors().skip(1).take_while(|folder| folder.starts_with(root)) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}
