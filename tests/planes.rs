//! The architecture as tests: which crate may link and name which others, and how long files and
//! functions may grow.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Lines of a file.
const FILE_LINES_MAX: usize = 400;
/// Lines of a function without blank lines and comments; clippy enforces the same limit.
const FUNCTION_LINES_MAX: usize = 70;
/// The database and its drivers: only control may link them.
const DATABASE: [&str; 5] = ["tokio-postgres", "bb8", "bb8-postgres", "postgres-types", "refinery"];
/// Crates that perform or schedule I/O: forbidden in the pure crates.
const IMPURE: [&str; 9] =
    ["tokio", "hyper", "tonic", "object_store", "fred", "reqwest", "axum", "nix", "ffmpeg-sidecar"];
const PLANES: [&str; 3] = ["streaming-control", "streaming-dataplane", "streaming-worker"];
/// Folders that contain this project's code.
const CODE: [&str; 7] = ["src", "crates", "control", "dataplane", "workers", "cli", "tests"];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

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
fn data_plane_holds_no_database_and_no_ffmpeg() {
    assert_not_linked("streaming-dataplane", &[&DATABASE[..], &["ffmpeg-sidecar"]].concat());
}

#[test]
fn worker_holds_no_database_and_no_redis() {
    assert_not_linked("streaming-worker", &[&DATABASE[..], &["fred"]].concat());
}

#[test]
fn command_line_holds_no_database_and_no_plane() {
    assert_not_linked("streaming-service", &[&DATABASE[..], &PLANES[..]].concat());
}

#[test]
fn control_runs_no_ffmpeg() {
    assert_not_linked("streaming-control", &["ffmpeg-sidecar"]);
}

#[test]
fn media_and_authz_are_pure() {
    for package in ["media", "authz"] {
        assert_not_linked(package, &[&IMPURE[..], &DATABASE[..], &PLANES[..]].concat());
    }
}

#[test]
fn arrows_point_down_only() {
    for package in ["media", "authz", "runtime", "store"] {
        assert_not_linked(package, &[&PLANES[..], &["api", "streaming-service"]].concat());
    }
    assert_not_linked("api", &PLANES);
    for plane in PLANES {
        let others: Vec<&str> = PLANES.into_iter().filter(|other| *other != plane).collect();
        assert_not_linked(plane, &others);
    }
}

#[test]
fn ffmpeg_has_one_door() {
    for (path, text) in code() {
        let door =
            path.starts_with("workers/src/ffmpeg") || path == Path::new("workers/src/ffmpeg.rs");
        let own = path == Path::new("tests/planes.rs");
        assert!(
            door || own || !text.contains("ffmpeg_sidecar"),
            "{} names ffmpeg_sidecar",
            path.display()
        );
    }
}

#[test]
fn tasks_belong_to_a_tracker() {
    for (path, text) in code() {
        let test = path.components().any(|part| part.as_os_str() == "tests");
        let spawned = text
            .lines()
            .any(|line| !line.trim_start().starts_with("//") && line.contains("tokio::spawn("));
        assert!(test || !spawned, "{}: a bare tokio::spawn outlives its owner", path.display());
    }
}

#[test]
fn every_file_says_what_it_is_and_stays_short() {
    for (path, text) in code() {
        let path = path.display();
        assert!(text.starts_with("//!"), "{path} does not open with //!");
        let lines = text.lines().count();
        assert!(lines <= FILE_LINES_MAX, "{path} has {lines} lines");
    }
}

#[test]
fn functions_stay_short() {
    for (path, text) in code() {
        for (name, lines) in functions(&text) {
            assert!(lines <= FUNCTION_LINES_MAX, "{}: {name} has {lines} lines", path.display());
        }
    }
}

/// Functions and their line counts, by indentation: rustfmt closes each function at the column where it
/// began.
fn functions(text: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut open: Vec<(usize, String, usize)> = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        if trimmed.is_empty() || trimmed.starts_with("//") {
            continue;
        }
        open.iter_mut().for_each(|(_, _, lines)| *lines += 1);
        if open.last().is_some_and(|(at, _, _)| *at == indent) && trimmed.starts_with('}') {
            let (_, name, lines) = open.pop().expect("an open function");
            found.push((name, lines.saturating_sub(1)));
        }
        let Some((before, after)) = trimmed.split_once("fn ") else { continue };
        let mut words = before.split_whitespace();
        let declared =
            words.all(|word| matches!(word, "const" | "async") || word.starts_with("pub"));
        if declared && !trimmed.ends_with(['}', ';']) {
            let name = after.split(['(', '<']).next().unwrap_or(after);
            open.push((indent, name.to_owned(), 0));
        }
    }
    found
}

#[test]
fn function_lengths_are_counted() {
    let text = "impl X {\n    pub(crate) fn one(&self) {\n        a();\n\n        // why\n        b();\n    }\n}\nfn two(\n    a: u8,\n) -> u8 {\n    a\n}\n";
    assert_eq!(functions(text), [("one".to_owned(), 2), ("two".to_owned(), 3)]);
}

#[test]
fn browser_packages_come_from_no_fixed_registry() {
    let lock = repository().join("tests/browser/package-lock.json");
    let text = fs::read_to_string(lock).expect("package-lock.json");
    assert!(!text.contains("http://") && !text.contains("https://"), "the lock file names hosts");
}
