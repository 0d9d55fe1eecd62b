//! The sandbox itself: programs inside it attempt to reach files, processes and the network.

use std::{fs, net::TcpListener, path::Path, process::Command, time::Duration};

use nix::sys::signal::Signal;
use workers::{
    input::Input,
    sandbox::{Limits, Sandbox},
};

use crate::{
    clip::Clip,
    control::Control,
    worker::{Worker, processes, script},
};

/// Starts a worker whose ffprobe is a script with this text, and probes `source`; returns the
/// failure's message, which contains the script's output.
async fn attempt_in_sandbox(text: &str, source: &Path) -> String {
    let folder = tempfile::tempdir().unwrap();
    // The worker's own sample is probed well, so that the failure of `source` is reported.
    let text = format!(
        "[[ \" $* \" == *sample.mp4* ]] && exec ffprobe \"$@\"; \
         output=$({{ {text}; }} 2>&1 | tr '\\n' ' '); echo \"[fatal] $output\" >&2; exit 3"
    );
    let ffprobe = script(folder.path(), &text);
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &["--ffprobe", ffprobe.to_str().unwrap()]).await;
    control.work(worker.probe(source)).await.expect_err("the script fails").message
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_files_of_the_task_are_readable() {
    let clip = Clip::bytes("mine.mp4", b"mine");
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.mp4");
    fs::write(&other, "canary").unwrap();
    let (mine, other) = (clip.path().display().to_string(), other.display().to_string());
    let output =
        attempt_in_sandbox(&format!("read -r a < {mine}; echo got:$a"), &clip.path()).await;
    assert!(output.contains("got:mine"), "{output}");
    for attempt in [
        format!("read -r a < {other} && echo leaked:$a"),
        format!("cat {other} && echo leaked"),
        "head -c 4 /etc/hostname && echo leaked".to_owned(),
        "ls / && echo leaked".to_owned(),
        format!("echo x >> {mine} && echo leaked"),
        format!("echo x > {}/new && echo leaked", folder.path().display()),
        format!("ln {other} here && cat here && echo leaked"),
        "cat /proc/1/environ && echo leaked".to_owned(),
    ] {
        let output = attempt_in_sandbox(&attempt, &clip.path()).await;
        assert!(!output.contains("leaked") && !output.contains("canary"), "{attempt}: {output}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_network_is_unreachable_and_limits_cannot_be_raised() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let clip = Clip::bytes("mine.mp4", b"mine");
    for attempt in [
        format!("echo x > /dev/tcp/127.0.0.1/{port} && echo leaked"),
        format!("echo x > /dev/udp/127.0.0.1/{port} && echo leaked"),
        "ulimit -n 100000 && echo leaked".to_owned(),
        "unshare -U true && echo leaked".to_owned(),
        "setsid -f sleep 100; setsid true && echo leaked".to_owned(),
        "kill -0 $PPID && echo leaked".to_owned(),
        "head -c 100000000 /dev/zero > big && echo leaked".to_owned(),
    ] {
        let output = attempt_in_sandbox(&attempt, &clip.path()).await;
        assert!(!output.contains("leaked"), "{attempt}: {output}");
    }
    assert!(listener.accept().is_err(), "a connection arrived");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_process_outlives_a_killed_worker() {
    let mut control = Control::start().await;
    let folder = tempfile::tempdir().unwrap();
    let marker = format!("97{}", std::process::id());
    let ffprobe = script(folder.path(), &format!("exec sleep {marker}"));
    let worker = Worker::start(&mut control, &["--ffprobe", ffprobe.to_str().unwrap()]).await;
    let clip = Clip::bytes("a.mp4", b"x");
    let lease = worker.probe(&clip.path());
    control.send(api::v1::control_message::Message::Lease(lease));
    let sleeping = format!("sleep\0{marker}");
    worker.until(|| !processes(&sleeping).is_empty()).await;
    worker.signal(Signal::SIGKILL);
    tokio::time::timeout(Duration::from_secs(2), worker.until(|| processes(&sleeping).is_empty()))
        .await
        .expect("the sandboxed process is killed with its worker");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_group_is_killed_with_its_leader_and_after_a_lost_lease() {
    let mut control = Control::start().await;
    control.set_lease(Duration::from_secs(2));
    let folder = tempfile::tempdir().unwrap();
    let marker = format!("98{}", std::process::id());
    let text = format!("trap '' TERM; sleep {marker} & sleep {marker} & wait");
    let ffprobe = script(folder.path(), &text);
    let worker = Worker::start(&mut control, &["--ffprobe", ffprobe.to_str().unwrap()]).await;
    let clip = Clip::bytes("a.mp4", b"x");
    let lease = worker.probe(&clip.path());
    let task = lease.task_id.clone();
    control.send(api::v1::control_message::Message::Lease(lease));
    let sleeping = format!("sleep\0{marker}");
    worker.until(|| processes(&sleeping).len() == 2).await;
    control.lose(&task);
    worker.until(|| processes(&sleeping).is_empty() && worker.task_folders() == 0).await;

    let leaves = script(folder.path(), &format!("sleep {marker} >/dev/null 2>&1 & exit 0"));
    assert_eq!(leaves, ffprobe);
    control.work(worker.probe(&clip.path())).await.expect_err("the probe has no output");
    worker.until(|| processes(&sleeping).is_empty()).await;
}

/// A source in S3 is reached through one loopback port; this gives no access to the rest of the
/// network.
#[test]
fn only_the_given_port_is_reachable() {
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let launcher = Path::new(env!("CARGO_BIN_EXE_streaming-worker"));
    let scratch = tempfile::tempdir().unwrap();
    let limits = Limits { memory_bytes: 1 << 30, file_bytes: 1 << 20, cpu_seconds: 10 };
    let input = Input::Loopback { port: port(&open), path: "/secret".to_owned() };
    let ask = |program: &str, args: &[&str]| {
        let mut command = Command::new(launcher);
        command.args(args);
        let sandbox = Sandbox::new(launcher.to_owned(), true);
        let program = Path::new(program);
        sandbox.prepare(&mut command, program, Some(&input), scratch.path(), &[], limits).unwrap();
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let bash = |text: &str| ask("/bin/bash", &["-c", text]);
    let reach = |kind: &str, port: u16| {
        bash(&format!("exec 3<>/dev/{kind}/127.0.0.1/{port} && echo reached"))
    };
    assert_eq!(reach("tcp", port(&open)), "reached\n");
    assert_eq!(reach("tcp", port(&closed)), "");
    assert_eq!(reach("udp", port(&open)), "", "UDP is blocked");
    assert_eq!(bash("exec 3<>/dev/tcp/::1/1 && echo reached"), "");
    // Socket types that Landlock's rule does not cover, and a send that carries its own
    // destination.
    let python = Path::new("/usr/bin/python3");
    if !python.exists() {
        return;
    }
    for attempt in [
        format!(
            "s.socket(s.AF_INET, s.SOCK_STREAM, 262).connect(('127.0.0.1', {}))",
            port(&closed)
        ),
        format!(
            "s.socket(s.AF_INET, s.SOCK_STREAM).sendto(b'x', 0x20000000, ('127.0.0.1', {}))",
            port(&closed)
        ),
        format!("s.socket(s.AF_INET, s.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {}))", port(&closed)),
        "s.socket(s.AF_UNIX, s.SOCK_STREAM)".to_owned(),
        "s.socket(s.AF_NETLINK, s.SOCK_RAW)".to_owned(),
        "s.socket(s.AF_INET, s.SOCK_STREAM).bind(('127.0.0.1', 0))".to_owned(),
    ] {
        let text = format!("import socket as s\n{attempt}\nprint('leaked')");
        assert_eq!(ask("/usr/bin/python3", &["-c", &text]), "", "{attempt}");
    }
    let plain = "import socket as s\ns.socket(s.AF_INET, s.SOCK_STREAM)\nprint('fine')";
    assert_eq!(ask("/usr/bin/python3", &["-c", plain]), "fine\n");
}

/// Only an operator's wrapper scripts may start processes; FFmpeg itself may neither do that nor
/// change a file's mode.
#[test]
fn a_program_cannot_start_processes() {
    let launcher = Path::new(env!("CARGO_BIN_EXE_streaming-worker"));
    let scratch = tempfile::tempdir().unwrap();
    let limits = Limits { memory_bytes: 1 << 30, file_bytes: 1 << 20, cpu_seconds: 10 };
    let ask = |text: &str| {
        let mut command = Command::new(launcher);
        command.args(["-c", text]);
        let sandbox = Sandbox::new(launcher.to_owned(), true);
        let bash = Path::new("/bin/bash");
        sandbox.prepare(&mut command, bash, None, scratch.path(), &[], limits).unwrap();
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert_eq!(ask("echo x > file; read -r a < file; echo $a"), "x\n");
    for attempt in
        ["(true) && echo leaked", "true & echo leaked", "exec chmod 777 file && echo leaked"]
    {
        assert_eq!(ask(attempt), "", "{attempt}");
    }
}
