//! Which files may name which crates and modules, and the circles of imports within a program.

use std::path::{Path, PathBuf};

use crate::{
    code,
    crates::IMPURE_CRATES,
    imports::Tree,
    rust::{Token, shipped, tokens},
};

/// Programs whose import graph must have no circles.
const PROGRAMS: [&str; 4] = ["control", "dataplane", "workers", "cli"];
/// Modules of control that decide without I/O.
const PURE_MODULES: [&str; 2] = ["domain", "plan"];
/// Must not be imported by those: wire types, the database and the RPCs.
const OUTSIDE_PURE: [&str; 8] = [
    "api::Code",
    "api::code",
    "api::v1",
    "crate::db",
    "crate::grpc",
    "postgres_types",
    "tokio_postgres",
    "tonic",
];
/// Crates of the database, which only control's module `db` may name.
const DATABASE: [&str; 5] = ["bb8", "bb8_postgres", "postgres_types", "refinery", "tokio_postgres"];
/// Modules of the standard library that reach outside of the process.
const IMPURE_MODULES: [&str; 5] =
    ["std::env", "std::fs", "std::net", "std::process", "std::thread"];
/// Types of those modules that are only values.
const VALUES: [&str; 3] = ["std::net::IpAddr", "std::net::Ipv4Addr", "std::net::Ipv6Addr"];

/// The Rust files of a crate in `folder`, as paths below its `src/` with their texts.
fn sources(folder: &str) -> Vec<(String, String)> {
    let below = |(path, text): (PathBuf, String)| {
        let path = path.strip_prefix(format!("{folder}/src")).ok()?.to_str()?.to_owned();
        Some((path, text))
    };
    let files: Vec<(String, String)> = code().into_iter().filter_map(below).collect();
    assert!(!files.is_empty(), "{folder}/src contains no Rust files");
    files
}

/// Whether `path` is `prefix` or below it.
fn below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Whether a file below `src/` belongs to the module `name`.
fn belongs(path: &str, name: &str) -> bool {
    path.strip_prefix(name).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// Whether a file of control belongs to a module that decides without I/O.
fn is_pure(path: &str) -> bool {
    PURE_MODULES.iter().any(|name| belongs(path, name))
}

/// The crates and modules named in a file that do I/O or reach outside of the process, as messages.
fn impure_names(folder: &str, path: &str, tree: &Tree) -> Vec<String> {
    let impure = |import: &str| {
        let linked = IMPURE_CRATES.iter().any(|name| below(import, &name.replace('-', "_")));
        let module = IMPURE_MODULES.iter().any(|banned| below(import, banned));
        linked || (module && !VALUES.iter().any(|value| below(import, value)))
    };
    let mut messages = Vec::new();
    for (line, import) in tree.paths(path) {
        if impure(&import) {
            messages.push(format!("{folder}/src/{path}:{line} names {import}"));
        }
    }
    messages
}

fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn only_the_module_ffmpeg_names_its_crate() {
    for (path, text) in code() {
        let allowed =
            path.starts_with("workers/src/ffmpeg") || path == Path::new("workers/src/ffmpeg.rs");
        let own = path.starts_with("tests/planes");
        assert!(
            allowed || own || !text.contains("ffmpeg_sidecar"),
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
fn only_the_module_db_names_database_crates() {
    let mut problems = Vec::new();
    for (path, text) in code() {
        let tested = path.components().any(|part| part.as_os_str() == "tests");
        let inside = path.strip_prefix("control/src").ok().and_then(Path::to_str);
        if tested || inside.is_some_and(|path| belongs(path, "db")) {
            continue;
        }
        let shipped = shipped(tokens(&text));
        let named = shipped.tokens.iter().filter(|token| DATABASE.contains(&token.text.as_str()));
        let text =
            |token: &Token| format!("{}:{} names {}", path.display(), token.line, token.text);
        problems.extend(named.map(text));
    }
    assert_none(&problems);
}

#[test]
fn domain_and_plan_import_no_wire_types_no_database_and_no_rpcs() {
    let files = sources("control");
    let tree = Tree::new(&files);
    let mut problems = Vec::new();
    for (path, _) in files.iter().filter(|(path, _)| is_pure(path)) {
        for (line, import) in tree.paths(path) {
            if OUTSIDE_PURE.iter().any(|banned| below(&import, banned)) {
                problems.push(format!("control/src/{path}:{line} imports {import}"));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn media_and_authz_name_no_files_sockets_or_processes() {
    let mut problems = Vec::new();
    for folder in ["crates/media", "crates/authz"] {
        let files = sources(folder);
        let tree = Tree::new(&files);
        for (path, _) in &files {
            problems.extend(impure_names(folder, path, &tree));
        }
    }
    assert_none(&problems);
}

#[test]
fn domain_and_plan_name_no_files_sockets_or_processes() {
    let files = sources("control");
    let tree = Tree::new(&files);
    let mut problems = Vec::new();
    for (path, _) in files.iter().filter(|(path, _)| is_pure(path)) {
        problems.extend(impure_names("control", path, &tree));
    }
    assert_none(&problems);
}

#[test]
fn names_of_files_and_crates_that_do_io_are_found_but_not_addresses() {
    let text = "use std::{fs, net::{IpAddr, TcpStream}}; fn f() { tokio::fs::read(g) }";
    let tree = Tree::new(&[("plan.rs".to_owned(), text.to_owned())]);
    let expected = ["std::fs", "std::net::TcpStream", "tokio::fs::read"];
    let expected = expected.map(|name| format!("control/src/plan.rs:1 names {name}"));
    assert_eq!(impure_names("control", "plan.rs", &tree), expected);
}

#[test]
fn files_do_not_import_one_another_in_circles() {
    let mut problems = Vec::new();
    for program in PROGRAMS {
        let circles = Tree::new(&sources(program)).file_circles();
        problems.extend(circles.into_iter().map(|circle| format!("{program}/src: {circle}")));
    }
    assert_none(&problems);
}

#[test]
fn siblings_do_not_import_one_another_in_circles() {
    let mut problems = Vec::new();
    for program in PROGRAMS {
        let circles = Tree::new(&sources(program)).sibling_circles();
        problems.extend(circles.into_iter().map(|circle| format!("{program}/src: {circle}")));
    }
    assert_none(&problems);
}
