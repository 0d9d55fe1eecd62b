//! A real Redis on a socket in a private folder; it always ends with the test.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use runtime::Secret;

/// Runs its arguments until this process's end of the pipe closes.
const GUARD: &str = r#"
    "$@" </dev/null >/dev/null 2>&1 & pid=$!
    cat >/dev/null
    kill -KILL $pid; wait $pid 2>/dev/null
"#;

pub(crate) struct RedisServer {
    child: Child,
    socket: String,
}

impl RedisServer {
    pub(crate) fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[])
    }

    /// Starts a Redis that also serves TLS with a self-signed certificate, `folder/redis.pem`;
    /// returns its port.
    pub(crate) fn start_tls(folder: &Path) -> (Self, u16) {
        let file = |name: &str| folder.join(name).display().to_string();
        let (pem, key) = (file("redis.pem"), file("redis.key"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-nodes", "-days", "2", "-subj", "/CN=tests"])
            .args(["-keyout", &key, "-out", &pem])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let args = ["--tls-port", &free.to_string(), "--bind", "127.0.0.1"];
        let args = [&args[..], &["--tls-cert-file", &pem, "--tls-key-file", &key]].concat();
        let args = [&args[..], &["--tls-ca-cert-file", &pem, "--tls-auth-clients", "no"]].concat();
        (Self::start_with(folder, &args), free)
    }

    fn start_with(folder: &Path, more: &[&str]) -> Self {
        let socket = folder.join("redis").display().to_string();
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "guard", "redis-server", "--port", "0", "--save", ""]);
        command.args(["--unixsocket", &socket]).args(more);
        Self { child: command.stdin(Stdio::piped()).spawn().unwrap(), socket }
    }

    pub(crate) fn url(&self) -> Option<Secret> {
        Some(Secret::new(format!("redis-unix://{}", self.socket)))
    }

    /// Runs one command with redis-cli and returns its lines; none for an empty list.
    pub(crate) fn ask(&self, args: &[&str]) -> Vec<String> {
        let answer = self.cli(args);
        assert!(answer.status.success(), "{answer:?}");
        let text = String::from_utf8(answer.stdout).unwrap();
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    pub(crate) fn answers(&self) -> bool {
        self.cli(&["PING"]).stdout == b"PONG\n"
    }

    fn cli(&self, args: &[&str]) -> Output {
        Command::new("redis-cli").args(["-s", &self.socket]).args(args).output().unwrap()
    }

    pub(crate) fn stop(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}
