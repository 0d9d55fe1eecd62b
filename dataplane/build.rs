//! Rebuilds the crate when a file of `web/dist` is added, because the crate embeds all of them.

use std::path::Path;

const DIST: &str = "../web/dist";
const WEB: &str = "../web";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Cargo considers a missing path changed at every build; the folder above notices the first
    // build of the web files.
    let watched = [DIST, WEB].into_iter().find(|folder| Path::new(folder).exists());
    if let Some(folder) = watched {
        println!("cargo:rerun-if-changed={folder}");
    }
}
