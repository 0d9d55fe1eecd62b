//! Finds the programs under test and the tools that tests drive.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

/// The folder of the programs under test: `STREAMING_TEST_BIN_DIR`, otherwise the folder where
/// cargo put this test.
pub(crate) fn bin_dir() -> PathBuf {
    if let Some(dir) = env::var_os("STREAMING_TEST_BIN_DIR") {
        return PathBuf::from(dir);
    }
    let exe = env::current_exe().expect("path of the test program");
    exe.ancestors().nth(2).expect("target/PROFILE/deps/e2e").to_owned()
}

/// A program under test.
pub(crate) fn ours(name: &str) -> PathBuf {
    let path = bin_dir().join(name);
    assert!(path.exists(), "{} is not built: run `cargo build --workspace` first", path.display());
    path
}

/// The target folder, which also contains caches of generated files.
pub(crate) fn target_dir() -> PathBuf {
    let exe = env::current_exe().expect("path of the test program");
    exe.ancestors().nth(3).expect("target/PROFILE/deps/e2e").to_owned()
}

/// The root of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `.tools/bin/NAME` of the repository, otherwise `NAME` on the path.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let local = repository().join(".tools/bin").join(name);
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|dir| dir.join(name));
    std::iter::once(local).chain(on_path).find(|file| file.is_file())
}

/// Runs a tool and returns its standard output; panics if it fails.
pub(crate) fn output<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Vec<u8> {
    let output = Command::new(program).args(args).output().expect("start program");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} failed: {errors}");
    output.stdout
}

/// True where a missing tool must fail the test instead of skipping it.
pub(crate) fn continuous_integration() -> bool {
    env::var_os("CI").is_some()
}
