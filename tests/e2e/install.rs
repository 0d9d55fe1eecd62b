//! `tools/install` and `tools/build-web`, with stand-ins for the programs that they call.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use crate::harness::program;

/// A program that prints this text.
fn stand_in(folder: &Path, name: &str, prints: &str) {
    fs::create_dir_all(folder).expect("make folder");
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\necho '{prints}'\n")).expect("write program");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("make executable");
}

/// Copies the tools into a folder of their own, with an empty folder for programs.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("make folder");
    fs::create_dir_all(folder.path().join("tools")).expect("make folder");
    fs::create_dir_all(folder.path().join("programs")).expect("make folder");
    for tool in ["install", "build-web"] {
        let from = program::repository().join("tools").join(tool);
        fs::copy(from, folder.path().join("tools").join(tool)).expect("copy tool");
    }
    folder
}

/// Runs a script of bash after `tools/install`; the programs of the folder come first on PATH.
fn run(folder: &Path, script: &str) -> (bool, String) {
    let path = format!("{}/programs:/usr/bin:/bin", folder.display());
    let script = format!("source tools/install; {script}");
    let mut bash = Command::new("bash");
    bash.args(["-c", &script]).current_dir(folder).env("PATH", path);
    let output = bash.output().expect("run bash");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).trim().to_owned())
}

#[test]
fn web_is_built_with_the_installed_node_only_if_it_is_new_enough() {
    for (version, suitable) in
        [("v18.20.4", false), ("v22.16.0", false), ("v22.17.0", true), ("v24.1.0", true)]
    {
        let folder = folder();
        let programs = folder.path().join("programs");
        stand_in(&programs, "node", version);
        stand_in(&programs, "npm", "npm");
        let (found, text) = run(folder.path(), "find_web_node && type -P node");
        assert_eq!(found, suitable, "{version}: {text}");
        // A newer one in .tools is used only where the installed one is too old.
        let own = folder.path().join(".tools/node/bin");
        stand_in(&own, "node", "v24.19.0");
        stand_in(&own, "npm", "npm");
        let (found, text) = run(folder.path(), "find_web_node && type -P node");
        let expected = if suitable { &programs } else { &own };
        assert!(found && Path::new(&text) == expected.join("node"), "{version}: {text}");
    }
}

#[test]
fn web_is_built_again_only_after_a_change_of_its_sources() {
    let folder = folder();
    let (root, programs) = (folder.path(), folder.path().join("programs"));
    stand_in(&programs, "node", "v24.19.0");
    // Counts the builds, and writes the files of one.
    let npm = "x' >>calls; mkdir -p web/node_modules web/dist/console; \
        touch web/node_modules/.package-lock.json web/dist/console/index.html; echo '";
    stand_in(&programs, "npm", npm);
    for file in ["web/package-lock.json", "web/src/a.ts", "dataplane/src/rest/openapi.json"] {
        fs::create_dir_all(root.join(file).parent().expect("a folder")).expect("make folder");
        fs::write(root.join(file), "1").expect("write file");
    }
    let build = || {
        let path = format!("{}:/usr/bin:/bin", programs.display());
        let status =
            Command::new(root.join("tools/build-web")).current_dir(root).env("PATH", path).status();
        assert!(status.expect("run tools/build-web").success());
        fs::read_to_string(root.join("calls")).expect("calls").lines().count()
    };
    // `npm ci` and `npm run build`.
    assert_eq!((build(), build()), (2, 2));
    for (file, calls) in [("web/src/a.ts", 3), ("dataplane/src/rest/openapi.json", 4)] {
        fs::write(root.join(file), "2").expect("change file");
        assert_eq!((build(), build()), (calls, calls), "{file}");
    }
    fs::write(root.join("web/node_modules/x.js"), "2").expect("write file");
    assert_eq!(build(), 4);
    fs::remove_dir_all(root.join("web/dist")).expect("remove files");
    assert_eq!(build(), 5);
}
