//! A real Redis on a socket in a private folder; dies with the test, whatever becomes of it.

use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use runtime::Secret;

/// Runs its arguments until our end of the pipe closes.
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
        let socket = folder.join("redis").display().to_string();
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "guard", "redis-server", "--port", "0", "--save", ""]);
        command.args(["--unixsocket", &socket]);
        Self { child: command.stdin(Stdio::piped()).spawn().unwrap(), socket }
    }

    pub(crate) fn url(&self) -> Option<Secret> {
        Some(Secret::new(format!("redis-unix://{}", self.socket)))
    }

    /// One command by redis-cli; its lines.
    pub(crate) fn ask(&self, args: &[&str]) -> Vec<String> {
        let answer = self.cli(args);
        assert!(answer.status.success(), "{answer:?}");
        String::from_utf8(answer.stdout).unwrap().lines().map(str::to_owned).collect()
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
