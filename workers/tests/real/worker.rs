//! A worker process with its folders, and the leases for it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use api::v1;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::control::Control;

const WORKER: &str = env!("CARGO_BIN_EXE_streaming-worker");
static TASKS: AtomicU64 = AtomicU64::new(1);

const DEADLINE: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// Polls a condition until it is true, within a deadline.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    let reached = tokio::time::timeout(DEADLINE, waiting).await;
    reached.unwrap_or_else(|_| panic!("timed out waiting: {what}"));
}

/// A running worker. Killed when dropped.
pub(crate) struct Worker {
    pub(crate) child: Child,
    folder: TempDir,
}

impl Worker {
    /// Starts a worker that connects to `control` and waits until it requests tasks.
    pub(crate) async fn start(control: &mut Control, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::launch(control, folder, Command::new(WORKER), flags).await
    }

    /// Whether [`Self::start_on_small_disk`] can work on this machine.
    pub(crate) fn may_mount() -> bool {
        let tried = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"])
            .output();
        tried.is_ok_and(|output| output.status.success())
    }

    /// Starts a worker whose scratch folder is a separate disk with room for a task's folder, but
    /// for no file in it.
    pub(crate) async fn start_on_small_disk(control: &mut Control) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scratch = folder.path().join("scratch");
        fs::create_dir(&scratch).unwrap();
        let mut command = Command::new("unshare");
        // Four inodes: the root, the worker's folder, its lock, and a task's folder.
        let disk = r#"mount -t tmpfs -o size=512m,nr_inodes=4 none "$0" && exec "$@""#;
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", disk]);
        command.arg(scratch).arg(WORKER);
        Self::launch(control, folder, command, &[]).await
    }

    async fn launch(
        control: &mut Control,
        folder: TempDir,
        mut command: Command,
        flags: &[&str],
    ) -> Self {
        fs::create_dir(folder.path().join("store")).unwrap();
        fs::write(folder.path().join("token"), "very-secret\n").unwrap();
        let child = command
            .arg("run")
            .arg("--control-urls")
            .arg(format!("http://{}", control.addr))
            .arg("--token-file")
            .arg(folder.path().join("token"))
            .arg("--scratch")
            .arg(folder.path().join("scratch"))
            .args(["--worker-slots", "2"])
            .args(flags)
            .env("LOG_LEVEL", "warn")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        control.ready().await;
        Self { child, folder }
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// The scratch folder as the worker sees it.
    pub(crate) fn scratch(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.child.id()));
        root.join(self.folder.path().join("scratch").strip_prefix("/").unwrap())
    }

    /// The number of folders of running tasks.
    pub(crate) fn task_folders(&self) -> usize {
        let workers = fs::read_dir(self.scratch()).unwrap();
        let workers = workers.filter(|worker| worker.as_ref().unwrap().path().is_dir());
        let count = |worker: fs::DirEntry| {
            fs::read_dir(worker.path())
                .unwrap()
                .filter(|e| e.as_ref().unwrap().path().is_dir())
                .count()
        };
        workers.map(|worker| count(worker.unwrap())).sum()
    }

    /// Waits until `condition` is true.
    pub(crate) async fn until(&self, condition: impl Fn() -> bool) {
        eventually("the condition is met", async || condition()).await;
    }

    /// Waits until the process has exited by itself, successfully.
    pub(crate) async fn until_exit(&mut self) {
        eventually("the worker exits", async || {
            let status = self.child.try_wait().unwrap();
            status.inspect(|status| assert!(status.success(), "{status}")).is_some()
        })
        .await;
    }

    /// The number of entries that remain in the scratch folder.
    pub(crate) fn leftovers(&self) -> usize {
        fs::read_dir(self.folder.path().join("scratch")).unwrap().count()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// A lease of `work` on `source`.
    pub(crate) fn lease(&self, source: &Path, work: v1::lease::Work) -> v1::Lease {
        let number = TASKS.fetch_add(1, Ordering::SeqCst);
        v1::Lease {
            task_id: format!("00000000-0000-7000-8000-{number:012}"),
            job_id: "00000000-0000-7000-8000-00000000000a".to_owned(),
            video_id: "00000000-0000-7000-8000-00000000000b".to_owned(),
            token: number,
            attempt: 1,
            source_path: source.display().to_string(),
            output_root: self.store().display().to_string(),
            output_prefix: "videos/b/a/".to_owned(),
            traceparent: String::new(),
            work: Some(work),
            ..v1::Lease::default()
        }
    }

    pub(crate) fn probe(&self, source: &Path) -> v1::Lease {
        self.lease(source, v1::lease::Work::Probe(v1::ProbeWork { filename: "a.mp4".to_owned() }))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processes whose command line contains `text`.
pub(crate) fn processes(text: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path();
        let Ok(pid) = path.file_name().unwrap().to_str().unwrap().parse() else { continue };
        let line = fs::read(path.join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(text) {
            found.push(pid);
        }
    }
    found
}

/// Creates an executable bash script in `folder` as a replacement for ffmpeg.
pub(crate) fn script(folder: &Path, text: &str) -> PathBuf {
    let (path, draft) = (folder.join("stand-in"), folder.join("stand-in.new"));
    fs::write(&draft, format!("#!/bin/bash\n{text}\n")).unwrap();
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
    // The kernel rejects writes to a file that it is executing, so a former script is replaced.
    fs::rename(&draft, &path).unwrap();
    path
}
