//! A real MinIO for one test: private folder, free loopback port, any number of buckets.
//!
//! This file depends on no other part of the harness, so that other test programs can include it
//! too.

#![allow(dead_code, reason = "each test program that includes it uses a part")]

use std::{
    env,
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Credentials of a server that lives for one test.
const KEY: &str = "test-key";
const SECRET: &str = "very-secret-store-key";
const READY_DEADLINE: Duration = Duration::from_secs(30);
/// The metadata file that MinIO keeps for each object.
const METADATA: &str = "xl.meta";

/// A running (or stopped) MinIO. Killed and deleted when dropped.
pub(crate) struct Minio {
    dir: TempDir,
    buckets: Vec<String>,
    child: Option<Child>,
    /// `127.0.0.1:port`; the same after a restart.
    pub(crate) address: String,
}

impl Minio {
    /// Starts a server with these buckets and waits until it responds.
    pub(crate) fn start(buckets: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("minio-").tempdir().expect("make minio folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
        let address = port.expect("find a free port").to_string();
        let mut minio = Self { dir, buckets: Vec::new(), child: None, address };
        for bucket in buckets {
            minio.add_bucket(bucket);
        }
        minio.start_again();
        minio
    }

    /// Adds a bucket, even while the server runs: a bucket is a folder in its drive.
    pub(crate) fn add_bucket(&mut self, name: &str) {
        fs::create_dir_all(self.drive().join(name)).expect("make bucket");
        self.buckets.push(name.to_owned());
    }

    /// Starts the stopped server again with the same port and data.
    pub(crate) fn start_again(&mut self) {
        assert!(self.child.is_none(), "minio is already running");
        let log = File::create(self.dir.path().join("log")).expect("create minio log");
        let child = Command::new(program())
            .args(["server", "--quiet", "--address", &self.address])
            .arg(self.drive())
            // Ignore the AWS settings of the machine.
            .env_clear()
            .env("HOME", self.dir.path())
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("MINIO_ROOT_USER", KEY)
            .env("MINIO_ROOT_PASSWORD", SECRET)
            .env("MINIO_BROWSER", "off")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("clone log"))
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("start minio"));
        let start = Instant::now();
        while !self.is_ready() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().expect("wait"));
            assert!(
                ended.is_none() && start.elapsed() < READY_DEADLINE,
                "minio is not ready ({ended:?}): {}",
                fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills the server; acknowledged data stays on its disk.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("kill minio");
            child.wait().expect("reap minio");
        }
    }

    fn is_ready(&self) -> bool {
        let request = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(&self.address)?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            let host = &self.address;
            let request = format!(
                "GET /minio/health/ready HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(request.as_bytes())?;
            let mut reply = String::new();
            stream.read_to_string(&mut reply)?;
            Ok(reply)
        };
        request().is_ok_and(|reply| reply.starts_with("HTTP/1.1 200"))
    }

    /// The value of `STREAMING_STORES` with all its buckets.
    pub(crate) fn stores(&self) -> String {
        let urls: Vec<String> = self.buckets.iter().map(|name| format!("s3://{name}")).collect();
        urls.join(",")
    }

    /// The `AWS_*` variables for this server.
    pub(crate) fn vars(&self) -> Vec<(&'static str, String)> {
        self.vars_through(&self.address)
    }

    /// The same, for a proxy at `address` (`host:port`).
    pub(crate) fn vars_through(&self, address: &str) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", format!("http://{address}")),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ]
    }

    /// The secret key, which must only be visible to control and data planes.
    pub(crate) fn secret(&self) -> &'static str {
        SECRET
    }

    /// The keys of a bucket's objects, read from its disk.
    pub(crate) fn objects(&self, bucket: &str) -> Vec<String> {
        let root = self.drive().join(bucket);
        let mut keys = Vec::new();
        find_objects(&root, &root, &mut keys);
        keys.sort();
        keys
    }

    /// The number of multipart uploads that were neither completed nor aborted.
    pub(crate) fn multiparts(&self) -> usize {
        let below = |path: &Path| {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect::<Vec<_>>()
        };
        let root = self.drive().join(".minio.sys/multipart");
        below(&root).iter().map(|object| below(object).len()).sum()
    }

    fn drive(&self) -> PathBuf {
        self.dir.path().join("drive")
    }
}

impl Drop for Minio {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A folder that contains the metadata file is an object.
fn find_objects(root: &Path, folder: &Path, keys: &mut Vec<String>) {
    if folder.join(METADATA).is_file() {
        let key = folder.strip_prefix(root).expect("below the bucket");
        keys.push(key.to_string_lossy().into_owned());
        return;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            find_objects(root, &entry.path(), keys);
        }
    }
}

/// `.tools/bin/minio` of the repository, else `minio` on the path.
fn program() -> PathBuf {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let local = manifest_dir.ancestors().map(|folder| folder.join(".tools/bin/minio"));
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = env::split_paths(&path).map(|dir| dir.join("minio")).collect();
    let found = local.chain(on_path).find(|file| file.is_file());
    found.expect("no minio: run `tools/install test`, or put one into .tools/bin")
}
