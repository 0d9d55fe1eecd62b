//! Runs the examples of the documentation as a user would paste them: every fenced block marked `sh
//! run`, in order, in one shell, beside a running service.

use std::{fs, os::unix::fs::symlink, process::Command, time::Duration};

use crate::harness::{eventually, program, stack::Stack};

/// Differs from a reader's shell in one way: an HTTP error ends the run, unless the line prints the
/// status itself.
const PREAMBLE: &str = "set -euo pipefail\n\
    curl() { case \"$*\" in *%{http_code}*) command curl \"$@\";; \
    *) command curl --fail-with-body --max-time 120 \"$@\";; esac; }\n";

/// The blocks of a page that are marked to be run.
fn blocks(page: &str) -> Vec<String> {
    let text = fs::read_to_string(program::repository().join(page)).expect("read page");
    let marked = text.split("\n```sh run\n").skip(1);
    let blocks = marked.map(|rest| rest.split("\n```").next().unwrap_or_default().to_owned());
    let blocks: Vec<String> = blocks.collect();
    assert_eq!(
        blocks.len(),
        text.matches("```sh run").count(),
        "{page}: blocks must begin at the start of a line"
    );
    blocks
}

/// Runs a page's blocks and returns their output.
async fn run(page: &str, least: usize) -> Option<String> {
    if program::tool("grpcurl").is_none() {
        assert!(!program::continuous_integration(), "grpcurl is missing");
        eprintln!("skip: no grpcurl");
        return None;
    }
    let blocks = blocks(page);
    assert!(blocks.len() >= least, "{page} has {} blocks to run", blocks.len());
    let stack = Stack::start().await;
    eventually("up makes its sample", Duration::from_secs(30), async || {
        stack.data().join("sample.mp4").exists().then_some(())
    })
    .await;
    // The reader's working folder: programs where `make build` puts them, the tools, and ./data.
    fs::create_dir(stack.beside().join("target")).expect("make folder");
    symlink(program::bin_dir(), stack.beside().join("target/release")).expect("link programs");
    symlink(program::repository().join(".tools"), stack.beside().join(".tools")).expect("link");
    let script = format!("{PREAMBLE}PATH=$PWD/.tools/bin:$PATH\n{}\n", blocks.join("\necho\n"));
    let mut shell = Command::new("bash");
    let (key, data) = ("STREAMING_DATA", stack.data());
    shell.args(["-c", &script]).current_dir(stack.beside()).env_clear().env(key, data);
    for name in ["PATH", "HOME", "LANG"] {
        shell.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    let output = tokio::task::spawn_blocking(move || shell.output()).await.expect("join");
    let output = output.expect("run bash");
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let end: Vec<&str> = out.lines().rev().take(8).collect();
    assert!(
        output.status.success(),
        "{page}: {}\n{err}\nlast lines first: {end:#?}",
        output.status
    );
    Some(out.into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn examples_of_the_readme_work_as_pasted() {
    let Some(output) = run("README.md", 7).await else { return };
    for sign in [
        "\"jobId\"",
        "event: job",
        "#EXTM3U",
        "<MPD",
        "404\n",
        "streaming.v1.JobService",
        "\"expiresAt\"",
    ] {
        assert!(output.contains(sign), "{sign}:\n{output}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn examples_of_the_api_page_work_as_pasted() {
    let Some(output) = run("docs/api.md", 12).await else { return };
    for sign in
        ["Renamed", "\"completed\"", "422 application/problem+json", "SERVING", "Reserved", "404\n"]
    {
        assert!(output.contains(sign), "{sign}:\n{output}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn examples_of_the_uploads_page_work_as_pasted() {
    let Some(output) = run("docs/uploads.md", 5).await else { return };
    for sign in ["\"videoId\"", "/api/uploads/", "204\n", "video-id: "] {
        assert!(
            output.to_ascii_lowercase().contains(&sign.to_ascii_lowercase()),
            "{sign}:\n{output}"
        );
    }
}
