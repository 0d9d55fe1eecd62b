//! Simulates power cuts for one folder: afterwards it contains only the bytes and names that were
//! synced. `powercut.c` records them.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, UNIX_EPOCH},
};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::{process, program, stack::Stack};

/// A store that can lose power.
pub(crate) struct PowerCut {
    dir: TempDir,
    root: PathBuf,
}

impl PowerCut {
    /// Watches the embedded store of a stack that has not been started yet.
    pub(crate) fn of(stack: &mut Stack) -> Self {
        let dir = tempfile::Builder::new().prefix("power-").tempdir().expect("make folder");
        let data = stack.beside().canonicalize().expect("data folder");
        let root = data.join(stack.store().strip_prefix(stack.beside()).expect("inside"));
        let source = program::repository().join("tests/e2e/harness/powercut.c");
        let library = dir.path().join("powercut.so");
        let mut compile = Command::new("cc");
        compile.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(source);
        assert!(compile.status().expect("run cc").success(), "powercut.c does not compile");
        let cut = Self { dir, root };
        fs::create_dir(cut.mirror()).expect("make mirror");
        stack.set("LD_PRELOAD", library.to_str().expect("UTF-8"));
        stack.set("POWERCUT_ROOT", cut.root.to_str().expect("UTF-8"));
        stack.set("POWERCUT_MIRROR", cut.mirror().to_str().expect("UTF-8"));
        cut
    }

    fn mirror(&self) -> PathBuf {
        self.dir.path().join("mirror")
    }

    /// Marks the current content as durable.
    pub(crate) fn settle(&self) {
        mirror_objects(&self.root, &self.mirror());
    }

    /// Cuts the power of a running stack: data that its processes had not synced is lost. Its
    /// database keeps committed transactions; its durability is not under test.
    pub(crate) fn cut(&self, stack: &mut Stack) {
        // Stop `up` first, so that it neither cleans up nor restarts the planes.
        process::send(stack.up_pid(), Signal::SIGSTOP);
        for plane in ["streaming-dataplane", "streaming-control", "streaming-worker"] {
            stack.signal(plane, Signal::SIGKILL);
        }
        stack.kill_up();
        let (before, after) = (self.root.with_extension("lost"), self.root.with_extension("kept"));
        self.build(&self.root, &key(&self.root), &after);
        fs::rename(&self.root, &before).expect("put the old folder away");
        fs::rename(&after, &self.root).expect("put the new folder in its place");
        fs::remove_dir_all(before).expect("remove the old folder");
        // The rebuilt folder has new inodes.
        fs::remove_dir_all(self.mirror()).expect("empty the mirror");
        fs::create_dir(self.mirror()).expect("make mirror");
        self.settle();
    }

    fn build(&self, folder: &Path, inode: &str, target: &Path) {
        fs::create_dir(target).expect("make folder");
        let entries = fs::read_to_string(self.mirror().join(inode)).unwrap_or_default();
        for entry in entries.lines() {
            let mut fields = entry.splitn(3, ' ');
            let mut field = || fields.next().expect("kind, inode, name");
            let (kind, inode, name) = (field(), field(), field());
            if kind == "d" {
                self.build(&folder.join(name), inode, &target.join(name));
                continue;
            }
            // A file that was never synced may have a name but no content.
            let bytes = fs::read(self.mirror().join(inode)).unwrap_or_default();
            fs::write(target.join(name), bytes).expect("write file");
        }
    }
}

/// The name of an inode in the mirror, as in `powercut.c`.
fn key(path: &Path) -> String {
    let it = fs::symlink_metadata(path).expect("look at an inode");
    let born = it.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    let born = born.unwrap_or(Duration::ZERO);
    format!("{}-{}-{}", it.ino(), born.as_secs(), born.subsec_nanos())
}

fn mirror_objects(folder: &Path, mirror: &Path) {
    let mut entries = String::new();
    for entry in fs::read_dir(folder).expect("read folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name().into_string().expect("UTF-8"));
        let kind = if path.is_dir() { 'd' } else { 'f' };
        entries += &format!("{kind} {} {name}\n", key(&path));
        if path.is_dir() {
            mirror_objects(&path, mirror);
        } else {
            fs::copy(&path, mirror.join(key(&path))).expect("copy file");
        }
    }
    fs::write(mirror.join(key(folder)), entries).expect("write entries");
}
