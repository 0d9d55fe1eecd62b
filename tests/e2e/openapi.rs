//! The OpenAPI document as a contract: it is valid against OpenAPI's own schema, and schemathesis
//! tests a running service against it with generated valid and invalid requests.

use std::{
    fs,
    process::{Command, Output},
    time::Duration,
};

use serde_json::{Value, json};

use crate::harness::{clip::Numbered, program, stack::Stack};

const JOB_DEADLINE: Duration = Duration::from_secs(60);
const UNKNOWN: &str = "00000000-0000-7000-8000-000000000000";
/// The checks that every reply must pass.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
     response_headers_conformance,response_schema_conformance,unsupported_method,\
     allow_header_conformance,ignored_auth,negative_data_rejection";
/// Excluded: event streams, which do not end by themselves; the token exchange, which returns 409
/// without an identity provider; tus, whose media type schemathesis cannot send; and the console,
/// which is a redirect that schemathesis follows, and 503 where it was not built.
const LEFT_OUT: &str = "^(/api/(jobs/.id./|stream/.id./)?events|/api/auth/exchange|\
     /api/uploads(/.id.)?|/console(/.path.)?)$";
/// The schema of OpenAPI 3.1, as bundled with schemathesis.
const VALIDATE: &str = "import json, sys, jsonschema_rs\n\
     from schemathesis.specs.openapi.definitions import OPENAPI_31\n\
     schema = {**OPENAPI_31}\n\
     errors = list(jsonschema_rs.validator_for(schema).iter_errors(json.load(sys.stdin)))\n\
     sys.exit('; '.join(f'{list(e.instance_path)}: {e.message}' for e in errors[:5]) or 0)\n";

/// A program of `.tools/venv`; if it is missing, the test is skipped, but in CI it fails.
fn python(name: &str) -> Option<Command> {
    let path = program::repository().join(".tools/venv/bin").join(name);
    if path.exists() {
        return Some(Command::new(path));
    }
    assert!(!program::continuous_integration(), "{} is missing", path.display());
    eprintln!("skip: tools/install test makes .tools/venv");
    None
}

async fn output(mut command: Command) -> Output {
    let run = tokio::task::spawn_blocking(move || command.output());
    run.await.expect("join").expect("run program")
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

/// Existing objects for the path parameters. Operations that delete get an unknown id, because
/// schemathesis reuses ids from responses.
fn configuration(video: &str, job: &str) -> String {
    let videos =
        "getVideo updateVideo putSource createJob mintPlaybackToken createCaption listCaptions";
    let media = "getHlsPlaylist getDashManifest getMedia";
    let mut text = "[checks.negative_data_rejection]\nexpected-statuses = [\"4xx\"]\n".to_owned();
    let (jobs, ends) = ("getJob retryJob", "deleteVideo deleteCaption cancelJob deleteToken");
    for (operations, id) in [(videos, video), (jobs, job), (media, video), (ends, UNKNOWN)] {
        for operation in operations.split(' ') {
            text += &format!(
                "[[operations]]\ninclude-operation-id = \"{operation}\"\n\
                 parameters = {{ \"path.id\" = \"{id}\", \"path.version\" = \"{job}\", \
                 \"path.rendition\" = \"360p\", \"path.file\" = \"h0.m4s\" }}\n"
            );
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_match_the_openapi_document() {
    let Some(mut run) = python("schemathesis") else { return };
    let stack = Stack::start().await;
    let client = stack.client();
    let (video, job) = client.publish(&Numbered::seconds(6).file(), JOB_DEADLINE).await;
    let document = stack.anonymous().get("/api/openapi.json").await.expect(200);
    let file = stack.beside().join("openapi.json");
    fs::write(&file, &document.body).expect("write document");
    let config = stack.beside().join("schemathesis.toml");
    fs::write(&config, configuration(&video, &job)).expect("write configuration");

    let mut validate = python("python").expect("the venv contains both programs");
    validate.args(["-c", VALIDATE]).stdin(fs::File::open(&file).expect("open document"));
    let validated = output(validate).await;
    assert!(validated.status.success(), "{}", printed(&validated));

    run.current_dir(stack.beside()).arg("--config-file").arg(config).arg("run").arg(file);
    run.args(["--url", &format!("http://{}", stack.http)]);
    run.args(["--header", &format!("Authorization: Bearer {}", stack.token)]);
    run.args(["--checks", CHECKS, "--exclude-path-regex", LEFT_OUT]);
    run.args(["--phases", "examples,coverage,fuzzing", "--max-examples", "5", "--seed", "1"]);
    run.args(["--no-shrink", "--continue-on-failure", "--workers", "2", "--warnings", "off"]);
    run.args(["--request-timeout", "30", "--suppress-health-check", "all"]);
    let found = output(run).await;
    assert!(found.status.success(), "{}", printed(&found));
    // The service and the video still exist afterwards; schemathesis may have made the video
    // private.
    stack.anonymous().get("/health").await.expect(200);
    client.get(&format!("/api/stream/{video}/hls/playlist.m3u8")).await.expect(200);
}

/// Error texts reveal nothing about the internals behind the API.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn error_replies_reveal_nothing_internal() {
    let stack = Stack::start().await;
    let client = stack.client();
    let unknown = UNKNOWN;
    let mut replies = vec![
        client.get("/api/videos?pageToken=%27%3B--").await,
        client.get(&format!("/api/videos/{unknown}")).await,
        client.get("/api/videos/%00").await,
        client.get(&format!("/api/stream/{unknown}/hls/playlist.m3u8")).await,
        client.post(&format!("/api/videos/{unknown}/transcode"), &json!({"profiles": 7})).await,
        client.with_token("no.such.token").get("/api/jobs").await,
        stack.anonymous().get("/api/jobs").await,
    ];
    // While the database is stopped, the data plane replies without the control plane.
    stack.signal("postgres", nix::sys::signal::Signal::SIGSTOP);
    replies.push(client.get("/api/videos").await);
    stack.signal("postgres", nix::sys::signal::Signal::SIGCONT);
    let folder = stack.data().to_string_lossy().into_owned();
    for reply in replies {
        assert!((400..=599).contains(&reply.status), "{}", reply.text());
        assert_eq!(reply.header("content-type"), "application/problem+json");
        let text = reply.text();
        let document: Value = reply.json();
        assert_eq!(document["status"], reply.status, "{text}");
        assert!(document["code"].is_string() && document["errors"].is_array(), "{text}");
        for secret in
            [&folder, "panicked", ".rs:", "SELECT", "postgres", "127.0.0.1", "h2 ", "fred"]
        {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    stack.anonymous().get("/api/openapi.json").await.expect(200);
}
