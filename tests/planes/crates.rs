//! Which crates each crate links, according to `cargo tree`.

use std::{collections::BTreeSet, env, process::Command};

use crate::repository;

/// The database and its drivers: only control may link them.
const DATABASE: [&str; 5] = ["tokio-postgres", "bb8", "bb8-postgres", "postgres-types", "refinery"];
/// Crates that perform or schedule I/O: forbidden in the pure crates and modules.
pub(crate) const IMPURE_CRATES: [&str; 9] =
    ["tokio", "hyper", "tonic", "object_store", "fred", "reqwest", "axum", "nix", "ffmpeg-sidecar"];
const PLANES: [&str; 3] = ["streaming-control", "streaming-dataplane", "streaming-worker"];

/// The names of all crates that `package` links, including itself.
fn links(package: &str) -> BTreeSet<String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let args = [
        "tree",
        "--locked",
        "--offline",
        "-e",
        "normal",
        "--prefix",
        "none",
        "-f",
        "{p}",
        "-p",
        package,
    ];
    let output =
        Command::new(cargo).args(args).current_dir(repository()).output().expect("run cargo");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo tree -p {package}: {errors}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let name = |line: &str| line.split(' ').next().map(str::to_owned);
    text.lines().filter_map(name).filter(|name| !name.is_empty()).collect()
}

fn assert_not_linked(package: &str, banned: &[&str]) {
    let linked = links(package);
    assert!(linked.contains(package), "{package} is in its own tree");
    let found: Vec<&&str> = banned.iter().filter(|name| linked.contains(**name)).collect();
    assert!(found.is_empty(), "{package} links {found:?}");
}

#[test]
fn data_plane_links_neither_database_nor_ffmpeg() {
    assert_not_linked("streaming-dataplane", &[&DATABASE[..], &["ffmpeg-sidecar"]].concat());
}

#[test]
fn worker_links_neither_database_nor_redis() {
    assert_not_linked("streaming-worker", &[&DATABASE[..], &["fred"]].concat());
}

#[test]
fn command_line_links_neither_database_nor_planes() {
    assert_not_linked("streaming-service", &[&DATABASE[..], &PLANES[..]].concat());
}

#[test]
fn control_does_not_link_ffmpeg() {
    assert_not_linked("streaming-control", &["ffmpeg-sidecar"]);
}

#[test]
fn media_and_authz_link_no_crates_that_do_io() {
    for package in ["media", "authz"] {
        assert_not_linked(package, &[&IMPURE_CRATES[..], &DATABASE[..], &PLANES[..]].concat());
    }
}

#[test]
fn crates_depend_on_no_plane_and_planes_on_no_other() {
    for package in ["media", "authz", "runtime", "store"] {
        assert_not_linked(package, &[&PLANES[..], &["api", "streaming-service"]].concat());
    }
    assert_not_linked("api", &PLANES);
    for plane in PLANES {
        let others: Vec<&str> = PLANES.into_iter().filter(|other| *other != plane).collect();
        assert_not_linked(plane, &others);
    }
}
