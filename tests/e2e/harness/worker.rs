//! Workers beside those of `up`.

use std::{
    fs::{self, File},
    process::{Child, Stdio},
};

use super::stack::Stack;

/// A worker started outside of `up`; killed on drop.
pub(crate) struct Worker(Child);

impl Worker {
    /// Starts a worker of this name that connects to `control`.
    pub(crate) async fn start(stack: &Stack, control: &str, name: &str) -> Self {
        let file = stack.beside().join(format!("{name}.token"));
        fs::write(&file, stack.rpc().mint("worker").await).expect("write token");
        let log = File::create(stack.beside().join(format!("{name}.log"))).expect("create log");
        let child = stack
            .command("streaming-worker")
            .arg("run")
            .env("STREAMING_CONTROL_URLS", format!("http://{control}"))
            .env("STREAMING_TOKEN_FILE", file)
            .env("STREAMING_WORKER_NAME", name)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Self(child.expect("start worker"))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        self.0.id() as i32
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
