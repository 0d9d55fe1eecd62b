//! Rebuilds the crate when a migration file is added, because the crate embeds all of them.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
