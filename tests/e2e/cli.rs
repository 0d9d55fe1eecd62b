//! The user's command as scripts run it: every list, every id, every error, and the exit codes.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::harness::{clip::Numbered, eventually, program, stack::Stack};

const UNKNOWN: &str = "00000000-0000-7000-8000-000000000000";
const JOB_DEADLINE: Duration = Duration::from_secs(120);

/// One run of the command.
struct Run(Output);

impl Run {
    /// Asserts the exit code.
    fn code(self, code: i32) -> Self {
        assert_eq!(self.0.status.code(), Some(code), "{}\n{}", self.out(), self.err());
        self
    }

    fn out(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    fn err(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.0.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.out()))
    }

    /// The error from the single line of JSON on standard error; standard output must be empty.
    fn failure(&self) -> Value {
        assert!(self.0.stdout.is_empty(), "{}", self.out());
        assert_eq!(self.err().lines().count(), 1, "{}", self.err());
        serde_json::from_slice::<Value>(&self.0.stderr).expect("JSON")["error"].clone()
    }
}

fn run(command: &mut Command, args: &[&str]) -> Run {
    Run(command.args(args).stdin(Stdio::null()).output().expect("run streaming-service"))
}

/// Runs the command against a running service.
fn with(stack: &Stack, args: &[&str]) -> Run {
    run(&mut stack.command("streaming-service"), args)
}

/// Runs the command without a service.
fn without(folder: &Path, args: &[&str]) -> Run {
    let mut command = Command::new(program::ours("streaming-service"));
    for (key, _) in
        std::env::vars_os().filter(|(k, _)| k.to_string_lossy().starts_with("STREAMING_"))
    {
        command.env_remove(key);
    }
    run(command.current_dir(folder).env("STREAMING_DATA", folder.join("data")), args)
}

/// The command's JSON for an object must have the same values as the REST API's.
fn assert_same(cli: &Value, rest: &Value) {
    let fields = cli.as_object().expect("object");
    assert!(fields.len() >= 9, "{cli:#}");
    for (name, value) in fields {
        assert_eq!(value, &rest[name], "{name} of\n{cli:#}\n{rest:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_line_lists_shows_changes_and_reports_errors() {
    let stack = Stack::start().await;
    let client = stack.client();
    let clip = Numbered::seconds(6).file();
    let mut videos = Vec::new();
    for _ in 0..3 {
        videos.insert(0, client.upload_clip(&clip).await);
    }
    lists(&stack, &videos);
    let rest = client.get(&format!("/api/videos/{}", videos[0])).await.expect(200).json();
    assert_same(&with(&stack, &["--json", "videos", "get", &videos[0]]).code(0).json(), &rest);
    assert!(with(&stack, &["videos", "get", &videos[0]]).code(0).out().contains("640x360"));
    errors(&stack, &videos[0]).await;
    jobs(&stack, &videos[0]).await;
    captions(&stack, &videos[0]).await;
    cancelled(&stack, &videos[1]).await;
    tokens(&stack, &videos[2]);
    let gone = with(&stack, &["videos", "delete", &videos[2], "--json"]).code(0).json();
    assert_eq!(gone, json!({"videoId": videos[2], "deleted": true}));
    with(&stack, &["videos", "get", &videos[2]]).code(4);
    workers(&stack).await;
}

fn lists(stack: &Stack, newest_first: &[String]) {
    let ids = |page: &Value| -> Vec<String> {
        let videos = page["videos"].as_array().expect("videos").iter();
        videos.map(|video| video["videoId"].as_str().expect("id").to_owned()).collect()
    };
    let first = with(stack, &["videos", "list", "--json", "--limit", "2"]).code(0).json();
    assert_eq!(ids(&first), newest_first[..2]);
    let token = first["nextPageToken"].as_str().expect("a further page");
    let rest = with(stack, &["videos", "list", "--json", "--page-token", token]).code(0).json();
    assert_eq!(ids(&rest), newest_first[2..]);
    assert_eq!(rest["nextPageToken"], Value::Null);
    let all = with(stack, &["videos", "list", "--all", "--json"]).code(0).json();
    assert_eq!(ids(&all), newest_first);
    let text = with(stack, &["videos", "list", "--limit", "1"]).code(0);
    assert_eq!(text.out().lines().count(), 2, "{}", text.out());
    assert!(text.err().contains("--page-token"), "{}", text.err());
    let tampered = with(stack, &["videos", "list", "--page-token", "tampered"]).code(1);
    assert!(tampered.err().contains("page_token"), "{}", tampered.err());
    with(stack, &["videos", "list", "--limit", "0"]).code(2);
}

async fn errors(stack: &Stack, video: &str) {
    for command in [
        &["videos", "get"][..],
        &["videos", "delete"],
        &["jobs", "get"],
        &["jobs", "cancel"],
        &["jobs", "retry"],
        &["jobs", "watch"],
        &["watch"],
        &["transcode"],
        &["workers", "drain"],
        &["token", "playback"],
    ] {
        let unknown = with(stack, &[command, &["--json", UNKNOWN]].concat()).code(4);
        assert_eq!(unknown.failure()["code"], "not_found", "{command:?}");
        let result = with(stack, &[command, &["no-uuid"]].concat());
        assert!(matches!(result.0.status.code(), Some(1 | 4)), "{command:?}: {}", result.err());
        assert!(
            result.err().contains("id") || result.err().contains("no-uuid"),
            "{}",
            result.err()
        );
        assert_eq!(result.err().lines().count(), 1, "{}", result.err());
    }
    let result = with(stack, &["transcode", video, "--profiles", "9p", "--json"]).code(1);
    assert_eq!(result.failure()["code"], "invalid_field");
    let mut foreign = stack.command("streaming-service");
    let result = run(foreign.env("STREAMING_TOKEN", "nonsense"), &["videos", "list", "--json"]);
    assert_eq!(result.code(5).failure()["code"], "unauthenticated");
    let viewer = stack.rpc().mint("viewer").await;
    let mut weak = stack.command("streaming-service");
    let result = run(weak.env("STREAMING_TOKEN", viewer), &["videos", "delete", video, "--json"]);
    assert_eq!(result.code(5).failure()["code"], "permission_denied");
}

async fn jobs(stack: &Stack, video: &str) {
    let queued = with(stack, &["transcode", video, "--profiles", "360p", "--json"]).code(0).json();
    let job = queued["jobId"].as_str().expect("jobId");
    let watched = with(stack, &["jobs", "watch", job, "--json"]).code(0);
    let lines: Vec<Value> =
        watched.out().lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect();
    assert_eq!(lines.last().expect("states")["state"], "completed");
    let rest = stack.client().job(job).await;
    assert_same(&with(stack, &["jobs", "get", job, "--json"]).code(0).json(), &rest);
    let listed = with(stack, &["jobs", "list", "--video", video, "--json"]).code(0).json();
    assert_eq!(listed["jobs"][0]["jobId"], job);
    assert_eq!(listed["nextPageToken"], Value::Null);
    assert!(with(stack, &["jobs", "list"]).code(0).out().contains(job));
    assert_eq!(
        with(stack, &["jobs", "retry", job, "--json"]).code(1).failure()["code"],
        "conflict"
    );
    let text = with(stack, &["jobs", "get", job]).code(0).out();
    assert!(text.contains("360p") && text.contains("collect"), "{text}");
}

/// Text tracks are added from files in any encoding and from standard input, listed, and deleted.
async fn captions(stack: &Stack, video: &str) {
    let srt = stack.beside().join("video.fr.srt");
    std::fs::write(&srt, b"1\n00:00:01,000 --> 00:00:02,000\nd\xe9j\xe0\n\nvu\n").expect("write");
    let srt = srt.to_str().expect("UTF-8");
    let add = ["captions", "add", video, srt, "--language", "fr"];
    let options = ["--label", "Franz\u{f6}sisch", "--kind", "captions", "--default", "--json"];
    let added = with(stack, &[&add[..], &options].concat()).code(0).json();
    let mut piped = stack.command("streaming-service");
    piped.args(["captions", "add", video, "-", "--language", "en"]);
    let mut piped = piped.stdin(Stdio::piped()).spawn().expect("run streaming-service");
    let vtt = b"WEBVTT\n\n00:01.000 --> 00:02.000\nhello\n";
    std::io::Write::write_all(&mut piped.stdin.take().expect("stdin"), vtt).expect("write");
    assert!(piped.wait().expect("wait").success());
    let path = format!("/api/videos/{video}/captions");
    let rest = stack.client().get(&path).await.expect(200).json();
    assert_eq!(with(stack, &["captions", "list", video, "--json"]).code(0).json(), rest);
    assert_eq!(rest["captions"][0], added);
    assert_eq!(rest["captions"].as_array().map(Vec::len), Some(2));
    let url = added["url"].as_str().expect("url");
    let text = stack.client().get(url).await.expect(200).text();
    assert_eq!(text, "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\ndéjà\nvu\n");
    let id = added["id"].as_str().expect("id");
    let table = with(stack, &["captions", "list", video]).code(0).out();
    assert!(table.contains(id) && table.contains("Französisch"), "{table}");
    with(stack, &["captions", "add", video, srt]).code(2);
    let wrong = with(stack, &["captions", "add", video, srt, "--language", "French", "--json"]);
    assert_eq!(wrong.code(1).failure()["code"], "invalid_field");
    let gone = with(stack, &["captions", "delete", video, id, "--json"]).code(0).json();
    assert_eq!(gone, json!({"captionId": id, "deleted": true}));
    with(stack, &["captions", "delete", video, id]).code(4);
    with(stack, &["captions", "list", UNKNOWN]).code(4);
}

async fn cancelled(stack: &Stack, video: &str) {
    let queued = with(stack, &["transcode", video, "--json"]).code(0).json();
    let job = queued["jobId"].as_str().expect("jobId");
    let result = with(stack, &["jobs", "cancel", job, "--json"]).code(0).json();
    if result["state"] == "cancelled" {
        assert_eq!(with(stack, &["jobs", "watch", job]).code(6).out().lines().count(), 1);
        let again = with(stack, &["jobs", "retry", job, "--json"]).code(0).json();
        assert_eq!(again["jobId"], job);
    }
    stack.client().wait_job(job, "completed", JOB_DEADLINE).await;
}

fn tokens(stack: &Stack, video: &str) {
    let minted =
        with(stack, &["token", "mint", "--role", "editor", "--subject", "ana", "--json"]).code(0);
    let token = minted.json()["token"].as_str().expect("token").to_owned();
    let mut ana = stack.command("streaming-service");
    run(ana.env("STREAMING_TOKEN", &token), &["videos", "list"]).code(0);
    with(stack, &["token", "revoke", &token]).code(0);
    let mut ana = stack.command("streaming-service");
    run(ana.env("STREAMING_TOKEN", &token), &["videos", "list"]).code(5);
    let playback = with(stack, &["token", "playback", video, "--ttl", "10m", "--json"]).code(0);
    assert!(playback.json()["hls"].as_str().expect("hls").contains(video));
}

async fn workers(stack: &Stack) {
    let listed = with(stack, &["workers", "list", "--json"]).code(0).json();
    let worker = &listed["workers"][0];
    assert_eq!((&worker["connected"], &worker["draining"]), (&json!(true), &json!(false)));
    let drained = with(stack, &["workers", "drain", "worker-1", "--wait", "--json"]).code(0).json();
    assert_eq!(drained["workerId"], worker["workerId"]);
    assert_eq!(drained["gone"], true);
    eventually("another worker connects", Duration::from_secs(20), async || {
        let listed = with(stack, &["workers", "list", "--json"]).code(0).json();
        let fresh =
            listed["workers"].as_array()?.iter().any(|w| w["workerId"] != worker["workerId"]);
        fresh.then_some(())
    })
    .await;
    let all = with(stack, &["workers", "list", "--all"]).code(0).out();
    assert!(all.contains("gone"), "{all}");
}

#[test]
fn command_line_names_the_missing_settings_of_the_service() {
    let folder = tempfile::tempdir().expect("folder");
    for command in [
        &["videos", "list"][..],
        &["jobs", "cancel", UNKNOWN],
        &["workers", "list"],
        &["token", "mint", "--role", "viewer"],
        &["watch", UNKNOWN],
    ] {
        let result = without(folder.path(), command).code(3);
        assert!(result.err().contains("STREAMING_GRPC_ADDR"), "{}", result.err());
        let result = without(folder.path(), &[command, &["--json"]].concat()).code(3);
        assert_eq!(result.failure()["exitCode"], 3);
    }
    let clip = folder.path().join("video.mp4");
    std::fs::write(&clip, "x").expect("write file");
    let clip = clip.to_str().expect("UTF-8");
    let result = without(folder.path(), &["upload", clip]).code(3);
    assert!(result.err().contains("STREAMING_HTTP_ADDR"), "{}", result.err());
    let unreachable = ["--grpc-addr", "127.0.0.1:1", "--token", "x", "videos", "list", "--json"];
    let result = without(folder.path(), &unreachable).code(3).failure();
    assert!(result["message"].as_str().expect("text").contains("127.0.0.1:1"), "{result}");
    let nowhere = ["--grpc-addr", "127.0.0.1:1", "videos", "list"];
    assert!(without(folder.path(), &nowhere).code(3).err().contains("STREAMING_TOKEN"));
    without(folder.path(), &["videos", "lst"]).code(2);
    without(folder.path(), &["token", "mint", "--role", "emperor"]).code(2);
    assert!(without(folder.path(), &["--help"]).code(0).out().contains("Exit codes"));
}

#[test]
fn command_line_completes_in_every_shell_and_mints_offline() {
    let folder = tempfile::tempdir().expect("folder");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = without(folder.path(), &["completions", shell]).code(0).out();
        assert!(script.contains("drain") && script.contains("page-token"), "{shell}");
        if shell == "bash" {
            let file = folder.path().join("completions.bash");
            std::fs::write(&file, &script).expect("write script");
            let load = "source completions.bash; complete -p streaming-service";
            let result =
                Command::new("bash").args(["-euc", load]).current_dir(folder.path()).output();
            let result = result.expect("run bash");
            assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
        }
    }
    without(folder.path(), &["completions", "dos"]).code(2);
    without(folder.path(), &["keys", "new", "--out", "root.keys"]).code(0);
    let again = without(folder.path(), &["keys", "new", "--out", "root.keys", "--json"]).code(1);
    assert!(again.failure()["message"].as_str().expect("text").contains("root.keys"));
    let mint = ["token", "mint", "--root-key", "root.keys", "--role", "worker", "--ttl", "1h"];
    assert_eq!(without(folder.path(), &mint).code(0).out().lines().count(), 1);
}
