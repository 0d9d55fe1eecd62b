//! Several instances of each plane as plain processes, with the database and Redis of a stack,
//! behind the nginx configuration of compose.yaml: the setup of containers and Kubernetes, without
//! either.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{sys::signal::Signal, unistd::geteuid};

use super::{eventually, port::free_address, process, program, stack::Stack};

const START_DEADLINE: Duration = Duration::from_secs(30);

/// One process of the fleet; killed when dropped.
pub(crate) struct Member {
    command: Command,
    child: Child,
    /// Its listening address, if it has one; stays the same after a restart.
    pub(crate) address: String,
}

impl Member {
    fn start(mut command: Command, address: String) -> Self {
        let child = command.spawn().expect("start member");
        Self { command, child, address }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("kill member");
        self.child.wait().expect("reap member");
    }

    /// Restarts a killed process, as an orchestrator does.
    pub(crate) fn start_again(&mut self) {
        self.child = self.command.spawn().expect("start member again");
    }

    /// Sends SIGTERM and returns the exit status.
    pub(crate) async fn drain(&mut self, deadline: Duration) -> std::process::ExitStatus {
        process::send(self.pid(), Signal::SIGTERM);
        eventually("the member ends", deadline, async || self.child.try_wait().expect("wait")).await
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two controls, two data planes, workers, and nginx in front.
pub(crate) struct Fleet {
    /// Provides the database and Redis; its own planes are suspended.
    pub(crate) base: Stack,
    pub(crate) controls: Vec<Member>,
    pub(crate) dataplanes: Vec<Member>,
    pub(crate) workers: Vec<Member>,
    pub(crate) balancer: Member,
}

impl Fleet {
    /// Starts all of them; `env` applies to every plane.
    pub(crate) async fn start(env: &[(&str, &str)], workers: usize) -> Self {
        let mut base = Stack::new(env);
        base.set("STREAMING_WORKERS", "0");
        base.launch();
        base.wait_addresses().await;
        let parts = parts(&base);
        // From here on only its database and Redis take part.
        for plane in ["streaming-control", "streaming-dataplane"] {
            base.signal(plane, Signal::SIGSTOP);
        }
        let controls: Vec<Member> = (1..=2).map(|n| control(&base, &parts, n)).collect();
        let urls: Vec<String> = controls.iter().map(|c| format!("http://{}", c.address)).collect();
        let urls = urls.join(",");
        let dataplanes: Vec<Member> = (1..=2).map(|n| dataplane(&base, &parts, &urls, n)).collect();
        let workers = (1..=workers).map(|n| worker(&base, &urls, n)).collect();
        let (balancer, grpc) = nginx(&base, &controls, &dataplanes);
        base.http = balancer.address.clone();
        base.grpc = grpc;
        let viewer = base.anonymous();
        let fleet = Self { base, controls, dataplanes, workers, balancer };
        eventually("the fleet is healthy", START_DEADLINE, async || {
            viewer.try_get("/health").await.is_ok_and(|reply| reply.status == 200).then_some(())
        })
        .await;
        fleet
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // Resume the planes, so that they receive the signals when the stack is stopped.
        for plane in ["streaming-control", "streaming-dataplane"] {
            for process in self.base.running(plane) {
                process::send(process.pid, Signal::SIGCONT);
            }
        }
        self.workers.clear();
        self.dataplanes.clear();
        self.controls.clear();
        // nginx's child processes end on SIGTERM to their parent, but not when it is killed.
        process::send(self.balancer.pid(), Signal::SIGTERM);
        process::wait_gone(&[self.balancer.pid()], Duration::from_secs(5));
    }
}

/// The environment variables of the stack's own control for database, Redis, stores and keys.
fn parts(base: &Stack) -> BTreeMap<String, String> {
    let control = base.running("streaming-control")[0].pid;
    let raw = fs::read(format!("/proc/{control}/environ")).expect("read environment");
    let text = String::from_utf8(raw).expect("UTF-8");
    let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
    let shared = ["STREAMING_DATABASE_URL", "STREAMING_REDIS_URL", "STREAMING_STORES"];
    let wanted = |key: &str| {
        shared.contains(&key) || key == "STREAMING_ROOT_KEY_FILE" || key.starts_with("AWS_")
    };
    let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    pairs.filter(|(key, _)| wanted(key)).map(own).collect()
}

fn command(base: &Stack, program: &str, verb: &str, name: &str) -> Command {
    let mut command = base.command(program);
    let log = File::create(base.beside().join(format!("{name}.log"))).expect("create log");
    command.arg(verb).stdout(Stdio::null()).stderr(log);
    command.env("STREAMING_LEASE", "8s").env("STREAMING_HEARTBEAT", "1s");
    command
}

fn control(base: &Stack, parts: &BTreeMap<String, String>, number: usize) -> Member {
    let address = free_address();
    let mut command = command(base, "streaming-control", "serve", &format!("control-{number}"));
    command.envs(parts).env("STREAMING_GRPC_ADDR", &address);
    Member::start(command, address)
}

fn dataplane(base: &Stack, parts: &BTreeMap<String, String>, urls: &str, number: usize) -> Member {
    let address = free_address();
    let mut command = command(base, "streaming-dataplane", "serve", &format!("dataplane-{number}"));
    command.envs(parts).env_remove("STREAMING_DATABASE_URL").env_remove("STREAMING_ROOT_KEY_FILE");
    command
        .env("STREAMING_HTTP_ADDR", &address)
        .env("STREAMING_CONTROL_URLS", urls)
        .env("STREAMING_TRUSTED_PROXIES", "127.0.0.1/32")
        .env("STREAMING_TOKEN_FILE", base.data().join("run/dataplane.token"));
    Member::start(command, address)
}

fn worker(base: &Stack, urls: &str, number: usize) -> Member {
    let name = format!("worker-{number}");
    let mut command = command(base, "streaming-worker", "run", &name);
    // Workers have no access to the stores.
    for key in ["AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        command.env_remove(key);
    }
    command
        .env_remove("STREAMING_STORES")
        .env("STREAMING_CONTROL_URLS", urls)
        .env("STREAMING_WORKER_NAME", name)
        .env("STREAMING_TOKEN_FILE", base.data().join("run/worker.token"));
    Member::start(command, String::new())
}

/// Starts nginx with the configuration of compose.yaml; returns it and its gRPC address. Only
/// names, ports and folders are replaced.
fn nginx(base: &Stack, controls: &[Member], dataplanes: &[Member]) -> (Member, String) {
    let file = program::repository().join("deploy/nginx.conf");
    let mut text = fs::read_to_string(file).expect("read nginx.conf");
    let (http, grpc) = (free_address(), free_address());
    let folder = base.beside().join("nginx");
    fs::create_dir(&folder).expect("make folder");
    let own = |text: &str, from: &str, to: &str| {
        assert!(text.contains(from), "deploy/nginx.conf does not contain {from:?}");
        text.replace(from, to)
    };
    for (number, member) in controls.iter().enumerate() {
        text = own(&text, &format!("control-{}:50051", number + 1), &member.address);
    }
    for (number, member) in dataplanes.iter().enumerate() {
        text = own(&text, &format!("dataplane-{}:8080", number + 1), &member.address);
    }
    text = own(&text, "listen 8080", &format!("listen {http}"));
    text = own(&text, "listen 50051", &format!("listen {grpc}"));
    text = own(&text, "/tmp/", &format!("{}/", folder.display()));
    // Docker's resolver is not available here, and Debian's nginx is older than the image's.
    text = own(&text, "resolver 127.0.0.11 valid=5s ipv6=off;", "");
    text = own(&text, " resolve ", " ");
    text = own(&text, "worker_processes auto;", "worker_processes 1;");
    if geteuid().is_root() {
        text = format!("user root;\n{text}");
    }
    let config = folder.join("nginx.conf");
    fs::write(&config, text).expect("write nginx.conf");
    let sbin = PathBuf::from("/usr/sbin/nginx");
    let nginx = program::tool("nginx").unwrap_or(sbin);
    let log = File::create(base.beside().join("nginx.log")).expect("create log");
    let mut command = Command::new(nginx);
    command.arg("-p").arg(&folder).arg("-c").arg(&config).args(["-g", "daemon off;"]);
    // By this mark the stack finds processes that were left running.
    command.env("STREAMING_DATA", base.data());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    (Member::start(command, http), grpc)
}
