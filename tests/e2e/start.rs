//! `streaming-service up`: its output, the errors that it reports, and that it leaves no processes
//! or files behind.

use std::{
    ffi::OsStr,
    fs,
    net::TcpListener,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    process::{Command, Output},
    time::Duration,
};

use serde_json::json;

use crate::harness::{clip::Numbered, eventually, stack::Stack};

fn start_error(mut command: Command) -> (Output, String) {
    let output = command.arg("up").output().expect("run up");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, text)
}

fn assert_one_line(what: &str, output: &Output, text: &str, names: &str) {
    assert!(!output.status.success(), "{what}: {text}");
    assert_eq!(text.trim_end().lines().count(), 1, "{what}: one line: {text}");
    assert!(text.contains(names), "{what}: names {names}: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_instance_on_the_same_data_folder_fails_to_start() {
    let stack = Stack::start().await;
    let (output, text) = start_error(stack.command("streaming-service"));
    assert_one_line("second instance", &output, &text, &stack.data().to_string_lossy());
    stack.anonymous().get("/health").await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn port_in_use_is_reported() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = taken.local_addr().expect("address").port().to_string();
    for variable in ["STREAMING_HTTP_ADDR", "STREAMING_GRPC_ADDR"] {
        let stack = Stack::new(&[(variable, &format!("127.0.0.1:{port}"))]);
        let (output, text) = start_error(stack.command("streaming-service"));
        assert_one_line(variable, &output, &text, &port);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_ffmpeg_is_reported_by_name() {
    let stack = Stack::new(&[("STREAMING_FFMPEG", "/nowhere/ffmpeg-of-mine")]);
    let (output, text) = start_error(stack.command("streaming-service"));
    assert_one_line("no ffmpeg", &output, &text, "ffmpeg-of-mine");
}

/// Runs a plane directly with the minimal configuration and these variables in addition.
fn plane(stack: &Stack, program: &str, verb: &str, variables: &[(&str, &str)]) -> (Output, String) {
    let mut command = stack.command(program);
    command
        .arg(verb)
        .env("STREAMING_DATABASE_URL", "postgres://u:pass-word@127.0.0.1:1/x")
        .env("STREAMING_STORES", format!("file://{}", stack.beside().display()))
        .env("STREAMING_ROOT_KEY_FILE", "/nowhere/root.keys")
        .env("STREAMING_CONTROL_URLS", "http://127.0.0.1:1")
        .env("STREAMING_TOKEN_FILE", "/nowhere/token")
        .envs(variables.iter().copied());
    let output = command.output().expect("run plane");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, text)
}

#[test]
fn planes_report_invalid_variables_in_one_line() {
    let stack = Stack::new(&[]);
    let (control, dataplane, worker) = (
        ("streaming-control", "serve"),
        ("streaming-dataplane", "serve"),
        ("streaming-worker", "run"),
    );
    for ((program, verb), variable, value) in [
        (control, "STREAMING_GRPC_ADDR", "nonsense"),
        (control, "STREAMING_LEASE", "soon"),
        (control, "STREAMING_DEFAULT_VISIBILITY", "secret"),
        (control, "STREAMING_METRICS_ADDR", "9090"),
        (dataplane, "STREAMING_DRAIN", "soon"),
        (dataplane, "STREAMING_RATE_GENERAL", "many"),
        (dataplane, "STREAMING_TRUSTED_PROXIES", "my-proxy"),
        (dataplane, "STREAMING_CDN_BASE_URL", "cdn"),
        (worker, "STREAMING_WORKER_SLOTS", "some"),
        (worker, "STREAMING_WORKER_SOURCE", "guess"),
    ] {
        let (output, text) = plane(&stack, program, verb, &[(variable, value)]);
        assert_one_line(&format!("{variable}={value}"), &output, &text, variable);
    }
    // A variable with an empty value counts as unset.
    let (output, text) = plane(&stack, "streaming-control", "serve", &[("STREAMING_STORES", "")]);
    assert_one_line("required", &output, &text, "set STREAMING_STORES");
}

/// Whether a service that was started again is healthy depends on all three tokens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_the_last_start_are_used_again_unless_they_were_revoked() {
    let mut stack = Stack::start().await;
    let read = |stack: &Stack| {
        ["run/worker.token", "run/dataplane.token", "admin.token"]
            .map(|name| fs::read_to_string(stack.data().join(name)).expect("token"))
    };
    let first = read(&stack);
    stack.stop();
    stack.up().await;
    assert_eq!(read(&stack), first);
    // The admin's token is the last one, because it revokes the others.
    for token in &first {
        let output = stack
            .command("streaming-service")
            .args(["token", "revoke", token])
            .output()
            .expect("run token revoke");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    stack.stop();
    stack.up().await;
    let last = read(&stack);
    assert!(first.iter().zip(&last).all(|(before, now)| before != now));
    stack.client().get("/api/videos").await.expect(200);
    stack.stop();
    stack.up().await;
    assert_eq!(read(&stack), last);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ready_block_names_urls_and_keeps_the_token_secret() {
    let mut stack = Stack::start().await;
    let printed = eventually("the ready block", Duration::from_secs(20), async || {
        let text = fs::read_to_string(stack.beside().join("up-1.out")).expect("output of up");
        text.contains("Ctrl-C").then_some(text)
    })
    .await;
    assert!(printed.contains(&stack.http) && printed.contains(&stack.grpc), "{printed}");
    assert!(printed.contains("admin.token") && !printed.contains(&stack.token), "{printed}");
    let mode = fs::metadata(stack.data().join("admin.token")).expect("token").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "only the owner reads the token");

    // Both upload commands that `up` prints work when pasted.
    let lines = printed.lines().map(str::trim).filter(|line| line.contains("upload"));
    let commands: Vec<&str> = lines.collect();
    assert_eq!(commands.len(), 2, "the upload commands of the command line and of curl: {printed}");
    for command in commands {
        let output = Command::new("bash").args(["-c", command]).current_dir("/").output();
        let output = output.expect("run pasted line");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(
            output.status.success() && text.contains("videoId") || command.contains("--wait"),
            "{command}\n{text}"
        );
    }
    let videos = stack.client().get("/api/videos").await.expect(200).json();
    assert_eq!(videos["videos"].as_array().map(Vec::len), Some(2), "{videos:#}");

    // A second start reuses the data, and tokens of the first start still work.
    let token = stack.token.clone();
    assert!(stack.stop().success());
    stack.up().await;
    let again = stack.client().with_token(&token).get("/api/videos").await.expect(200).json();
    assert_eq!(again["videos"], videos["videos"]);
}

/// Names that some program could take for more than a name: lists, quotes, escapes, patterns,
/// options, and bytes that are not UTF-8.
fn odd_names() -> [Vec<u8>; 3] {
    let marks = "-a, b'c\"d%20%s%03d$HOME`e`\\f=g:h;#&*?[i]{j}~Größe";
    let long = ["k".repeat(200), "l".repeat(200), "m".repeat(200)].join("/");
    [marks.into(), b"n,\xff\no\xfe".to_vec(), long.into()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn up_starts_and_encodes_in_any_folder_that_a_file_system_allows() {
    for name in odd_names() {
        let mut stack = Stack::named(OsStr::from_bytes(&name), &[]);
        stack.up().await;
        let client = stack.client();
        let reply = client.upload(&Numbered::seconds(6).file(), &[]).await.expect(201);
        let video = reply.json()["videoId"].as_str().expect("videoId").to_owned();
        let wish =
            json!({"profiles": ["360p"], "generateThumbnails": true, "generatePreview": true});
        let job = client.transcode(&video, &wish).await;
        client.wait_job(&job, "completed", Duration::from_secs(120)).await;
        let poster = format!("/api/stream/{video}/poster.jpg");
        client.get(&poster).await.expect(200);
        // The command finds the service in the folder, and a second start finds what the first one
        // made.
        let listed = stack.command("streaming-service").args(["videos", "list"]).output();
        let listed = String::from_utf8_lossy(&listed.expect("list videos").stdout).into_owned();
        assert!(listed.contains(&video), "{listed}");
        assert!(stack.stop().success());
        stack.up().await;
        stack.client().get(&poster).await.expect(200);
    }
}
