//! The architecture as tests: which crates a crate may link, which modules a file may import, and
//! how long files and functions may be.

#![cfg(test)] // helpers fail by panicking, as tests do

mod crates;
mod imports;
mod names;
mod pages;
mod rust;
mod sizes;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Folders that contain this project's code.
const CODE: [&str; 8] =
    ["src", "crates", "control", "dataplane", "workers", "cli", "tests", "bench"];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of this project, with its text.
fn code() -> Vec<(PathBuf, String)> {
    let mut files = vec![repository().join("build.rs")];
    let mut dirs: Vec<PathBuf> = CODE.iter().map(|dir| repository().join(dir)).collect();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("read folder").flatten() {
            let path = entry.path();
            let skipped = path.ends_with("node_modules") || path.ends_with("target");
            if path.is_dir() && !skipped {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("read file");
        (path.strip_prefix(repository()).expect("inside").to_owned(), text)
    };
    files.into_iter().map(read).collect()
}

#[test]
fn package_lock_contains_no_registry_urls() {
    let lock = repository().join("tests/browser/package-lock.json");
    let text = fs::read_to_string(lock).expect("package-lock.json");
    assert!(!text.contains("http://") && !text.contains("https://"), "the lock file names hosts");
}
