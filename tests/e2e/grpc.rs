//! grpcurl, an independent client, calls the service using reflection alone; also gRPC's errors for
//! invalid input.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use crate::harness::{clip::Numbered, program, stack::Stack};

/// The path of grpcurl. If it is not installed, the test prints that and ends; in CI it fails.
fn grpcurl() -> Option<PathBuf> {
    let found = program::tool("grpcurl");
    let hint = "grpcurl is missing: `make tools` builds it";
    assert!(found.is_some() || !program::continuous_integration(), "{hint}");
    if found.is_none() {
        eprintln!("skipped: {hint}");
    }
    found
}

fn run(stack: &Stack, token: Option<&str>, args: &[&str]) -> Option<Output> {
    let mut command = Command::new(grpcurl()?);
    command.args(["-plaintext", "-max-time", "20"]);
    if let Some(token) = token {
        command.args(["-H", &format!("authorization: Bearer {token}")]);
    }
    let address_at = args.iter().position(|arg| *arg == "@").expect("a place for the address");
    command.args(&args[..address_at]).arg(&stack.grpc).args(&args[address_at + 1..]);
    Some(command.output().expect("run grpcurl"))
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpcurl_lists_and_describes_without_protos_or_token() {
    let stack = Stack::start().await;
    let Some(listed) = run(&stack, None, &["@", "list"]) else { return };
    let listed = text(&listed);
    for service in ["VideoService", "JobService", "WorkerService", "AuthService"] {
        assert!(listed.contains(&format!("streaming.v1.{service}")), "{listed}");
    }
    let health = run(&stack, None, &["@", "grpc.health.v1.Health/Check"]).expect("grpcurl");
    assert!(text(&health).contains("SERVING"), "{}", text(&health));
    let described = run(&stack, None, &["@", "describe", "streaming.v1.Job"]).expect("grpcurl");
    assert!(text(&described).contains("eta_seconds"), "{}", text(&described));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_grpcurl_line_of_every_proto_works() {
    let stack = Stack::start().await;
    if grpcurl().is_none() {
        return;
    }
    let dir = program::repository().join("proto/streaming/v1");
    let mut lines = 0;
    for entry in fs::read_dir(dir).expect("proto folder").flatten() {
        let header = fs::read_to_string(entry.path()).expect("read proto");
        let header = header.split("syntax").next().expect("a header");
        let plain: Vec<&str> =
            header.lines().map(|line| line.trim_start_matches('/').trim()).collect();
        let joined = plain.join("\n").replace("\\\n", " ");
        let line = joined.lines().find(|line| line.starts_with("grpcurl"));
        let line = line.unwrap_or_else(|| panic!("{} has no grpcurl line", entry.path().display()));
        // Exactly as a user would type it, in a folder that contains ./data; only the port differs.
        let line = line.replace("localhost:50051", &stack.grpc);
        let tool = grpcurl().expect("grpcurl");
        let path = format!(
            "{}:{}",
            tool.parent().expect("folder").display(),
            std::env::var("PATH").expect("PATH")
        );
        let output = Command::new("sh")
            .args(["-c", &line])
            .current_dir(stack.beside())
            .env("PATH", path)
            .output();
        let output = output.expect("run line");
        assert!(output.status.success(), "{line}\n{}", text(&output));
        lines += 1;
    }
    assert!(lines >= 4, "{lines} protos");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_errors_are_typed_and_name_the_field() {
    let stack = Stack::start().await;
    let token = stack.token.clone();
    let Some(first) = run(&stack, None, &["@", "streaming.v1.VideoService/ListVideos"]) else {
        return;
    };
    assert!(text(&first).contains("Unauthenticated"), "{}", text(&first));
    let call = |request: &str, method: &str| {
        let method = format!("streaming.v1.{method}");
        text(&run(&stack, Some(&token), &["-d", request, "@", &method]).expect("grpcurl"))
    };
    let reply = call(r#"{"video_id": "not-a-uuid"}"#, "VideoService/GetVideo");
    assert!(reply.contains("InvalidArgument") && reply.contains("video_id"), "{reply}");
    // Reflection also decodes the error details: the stable code and the field.
    assert!(reply.contains("\"reason\": \"invalid_id\""), "{reply}");
    assert!(reply.contains("\"field\": \"video_id\""), "{reply}");
    let reply =
        call(r#"{"video_id": "00000000-0000-7000-8000-000000000000"}"#, "VideoService/GetVideo");
    assert!(reply.contains("NotFound"), "{reply}");
    let reply = call(r#"{"page_token": "tampered"}"#, "VideoService/ListVideos");
    assert!(reply.contains("InvalidArgument") && reply.contains("page_token"), "{reply}");
    let video = stack.client().upload_clip(&Numbered::seconds(6).file()).await;
    let reply =
        call(&format!(r#"{{"video_id": "{video}", "profiles": ["1p"]}}"#), "JobService/CreateJob");
    assert!(reply.contains("InvalidArgument") && reply.contains("profiles[0]"), "{reply}");
    let reply = call(r#"{"role": "emperor", "subject": "x"}"#, "AuthService/MintToken");
    assert!(reply.contains("InvalidArgument") && reply.contains("role"), "{reply}");
    let viewer = stack.rpc().mint("viewer").await;
    let request = format!(r#"{{"video_id": "{video}"}}"#);
    let reply =
        run(&stack, Some(&viewer), &["-d", &request, "@", "streaming.v1.JobService/CreateJob"]);
    let reply = text(&reply.expect("grpcurl"));
    assert!(reply.contains("PermissionDenied"), "{reply}");
    let worker = stack.rpc().mint("worker").await;
    let reply = run(&stack, Some(&worker), &["@", "streaming.v1.VideoService/ListVideos"]);
    let reply = text(&reply.expect("grpcurl"));
    assert!(reply.contains("PermissionDenied"), "workers may not list videos: {reply}");
}
