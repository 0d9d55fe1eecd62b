//! Which files may name which crates and modules, and the circles of imports within a program.

use std::path::{Path, PathBuf};

use crate::{
    code,
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
const IMPURE: [&str; 5] = ["std::env", "std::fs", "std::net", "std::process", "std::thread"];
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
    for (path, _) in files.iter().filter(|(path, _)| PURE_MODULES.iter().any(|m| belongs(path, m)))
    {
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
            for (line, import) in tree.paths(path) {
                let value = VALUES.iter().any(|value| below(&import, value));
                if !value && IMPURE.iter().any(|banned| below(&import, banned)) {
                    problems.push(format!("{folder}/src/{path}:{line} names {import}"));
                }
            }
        }
    }
    assert_none(&problems);
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
