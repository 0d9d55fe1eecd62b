//! TLS on both listeners, and the rules for plaintext. The clients are curl, grpcurl and openssl,
//! which do not share code with this project.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::harness::{clip::Numbered, eventually, program, stack::Stack};

/// Creates a self-signed certificate, as users do for a first try.
fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let names = "subjectAltName=DNS:localhost,IP:127.0.0.1";
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", names, "-keyout"])
        .args([&key, Path::new("-out"), &cert])
        .output()
        .expect("run openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (cert, key)
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// curl's output, which ends with the status and the HTTP version.
fn curl(stack: &Stack, cert: &Path, args: &[&str]) -> String {
    let url = format!("https://{}/health", stack.http);
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "20", "-w", "\n%{http_code} HTTP/%{http_version}", "--cacert"])
        .arg(cert)
        .args(args)
        .arg(url)
        .output()
        .expect("run curl");
    text(&output)
}

/// Sends raw bytes over TLS and reads the reply until the server closes the connection.
fn raw(stack: &Stack, request: &str) -> String {
    let mut client = Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &stack.http])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("run openssl");
    client.stdin.as_mut().expect("stdin").write_all(request.as_bytes()).expect("send");
    let mut reply = String::new();
    client.stdout.take().expect("stdout").read_to_string(&mut reply).expect("read");
    client.wait().expect("wait for openssl");
    reply
}

fn cli(stack: &Stack, args: &[&str]) -> String {
    let output = stack.command("streaming-service").args(args).output().expect("run");
    assert!(output.status.success(), "{args:?}: {}", text(&output));
    text(&output)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_connections_use_tls() {
    let mut stack = Stack::new(&[]);
    let (cert, key) = certificate(stack.beside());
    stack.set("STREAMING_TLS_CERT_FILE", &cert.to_string_lossy());
    stack.set("STREAMING_TLS_KEY_FILE", &key.to_string_lossy());
    stack.launch();
    stack.wait_addresses().await;
    // This client sends nothing: the server must not wait for it longer than the handshake timeout.
    let mut silent = TcpStream::connect(&stack.http).expect("connect");
    silent.set_read_timeout(Some(Duration::from_secs(30))).expect("set timeout");

    assert!(curl(&stack, &cert, &["--http1.1"]).ends_with("200 HTTP/1.1"));
    assert!(curl(&stack, &cert, &["--http2"]).ends_with("200 HTTP/2"));
    assert!(curl(&stack, &cert, &["--http2", "--tls-max", "1.2"]).ends_with("200 HTTP/2"));
    assert!(curl(&stack, Path::new("/etc/ssl/certs/ca-certificates.crt"), &[]).contains("\n000 "));
    let plain = format!("http://{}/health", stack.http);
    let plain = Command::new("curl").args(["-sS", "--max-time", "20", &plain]).output();
    assert!(!plain.expect("run curl").status.success(), "plaintext gets no reply");

    // Ambiguous requests are rejected over TLS, too.
    let twofold = "POST /api/videos HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\
                   Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let reply = raw(&stack, twofold).to_ascii_lowercase();
    assert!(reply.starts_with("http/1.1 400") && reply.contains("connection: close"), "{reply}");

    // gRPC with an independent client.
    let grpcurl = program::tool("grpcurl").expect("grpcurl: run tools/install test");
    let listed =
        Command::new(grpcurl).arg("-cacert").arg(&cert).args([&stack.grpc, "list"]).output();
    let listed = text(&listed.expect("run grpcurl"));
    assert!(listed.contains("streaming.v1.JobService"), "{listed}");

    // The service's command, which finds the service by the data folder; this also uses the workers
    // and the data plane.
    let clip = Numbered::seconds(2).file();
    cli(&stack, &["upload", &clip.to_string_lossy(), "--transcode", "--wait"]);
    assert!(cli(&stack, &["videos", "list"]).contains("ready"));

    renew(&stack).await;
    let mut end = [0; 16];
    assert_eq!(silent.read(&mut end).expect("the silent connection is closed"), 0);
    cli(&stack, &["videos", "list"]);
}

/// A new certificate takes effect without a restart.
async fn renew(stack: &Stack) {
    let old = fs::read(stack.beside().join("cert.pem")).expect("read certificate");
    let (cert, _) = certificate(stack.beside());
    stack.signal("streaming-dataplane", Signal::SIGHUP);
    stack.signal("streaming-control", Signal::SIGHUP);
    eventually("the new certificate is served", Duration::from_secs(10), async || {
        curl(stack, &cert, &[]).contains("\n200").then_some(())
    })
    .await;
    let former = stack.beside().join("former.pem");
    fs::write(&former, old).expect("write certificate");
    assert!(
        curl(stack, &former, &[]).contains("\n000 "),
        "the new certificate replaces the old one"
    );
}

fn assert_start_fails(stack: &Stack, program: &str, verb: &str, variable: &str) {
    let output = stack
        .command(program)
        .arg(verb)
        .env(variable, "0.0.0.0:0")
        .env("STREAMING_DATABASE_URL", "postgres://user@127.0.0.1:9/none")
        .env("STREAMING_STORES", format!("file://{}", stack.beside().display()))
        .env("STREAMING_ROOT_KEY_FILE", "/dev/null")
        .output()
        .expect("run");
    assert!(!output.status.success(), "{program} starts");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = text.lines().find(|line| line.contains("plaintext")).unwrap_or_default();
    for word in ["0.0.0.0:", "STREAMING_TLS_CERT_FILE", "STREAMING_INSECURE=true"] {
        assert!(line.contains(word), "{program}: {word} is missing from {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plaintext_beyond_loopback_requires_insecure() {
    let stack = Stack::new(&[]);
    assert_start_fails(&stack, "streaming-service", "up", "STREAMING_HTTP_ADDR");
    assert_start_fails(&stack, "streaming-dataplane", "serve", "STREAMING_HTTP_ADDR");
    assert_start_fails(&stack, "streaming-control", "serve", "STREAMING_GRPC_ADDR");

    let bound = stack.beside().join("meant.addr");
    let mut meant = stack
        .command("streaming-dataplane")
        .arg("serve")
        .env("STREAMING_HTTP_ADDR", "0.0.0.0:0")
        .env("STREAMING_INSECURE", "true")
        .env("STREAMING_STORES", format!("file://{}", stack.beside().display()))
        .env("STREAMING_ADDR_FILE", &bound)
        .stderr(Stdio::null())
        .spawn()
        .expect("start data plane");
    eventually("it listens", Duration::from_secs(20), async || bound.exists().then_some(())).await;
    meant.kill().expect("kill data plane");
    meant.wait().expect("reap data plane");
}
