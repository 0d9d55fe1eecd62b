//! The files for operators are correct: the configuration page matches the programs' own help, and
//! the deployment files are valid (`tools/check-deploy`).

use std::{
    collections::BTreeSet,
    fs,
    process::{Command, Output},
};

use crate::harness::program;

fn tool(name: &str, args: &[&str]) -> Output {
    let path = program::repository().join("tools").join(name);
    Command::new(path).args(args).current_dir(program::repository()).output().expect("run tool")
}

fn page(name: &str) -> String {
    fs::read_to_string(program::repository().join(name)).expect("read page")
}

#[test]
fn configuration_page_equals_the_output_of_the_programs() {
    let bin = program::bin_dir();
    let made = tool("config-docs", &[bin.to_str().expect("UTF-8")]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let made = String::from_utf8(made.stdout).expect("UTF-8");
    let kept = page("docs/configuration.md");
    let (made, kept): (BTreeSet<&str>, BTreeSet<&str>) =
        (made.lines().collect(), kept.lines().collect());
    let differing: Vec<&&str> = made.symmetric_difference(&kept).collect();
    assert!(differing.is_empty(), "run `make docs`; these lines differ: {differing:#?}");
}

#[test]
fn deployment_files_pass_their_check() {
    if !program::repository().join(".tools/venv").exists() && !program::continuous_integration() {
        eprintln!("skip: tools/install test makes .tools/venv");
        return;
    }
    let checked = tool("check-deploy", &[]);
    let text = [checked.stdout, checked.stderr].concat();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&text));
}

/// Runs `tools/images --check` on a copy of all files that name images, in which `file` contains
/// `after` instead of `before`.
fn check_images_with(file: &str, before: &str, after: &str) -> Output {
    let (root, copy) = (program::repository(), tempfile::tempdir().expect("make folder"));
    let mut files: Vec<String> =
        ["compose.yaml", "Dockerfile", "deploy/images.env", "tools/images"]
            .map(str::to_owned)
            .to_vec();
    for entry in fs::read_dir(root.join("k8s")).expect("k8s").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        files.extend(name.ends_with(".yaml").then(|| format!("k8s/{name}")));
    }
    for name in &files {
        let place = copy.path().join(name);
        fs::create_dir_all(place.parent().expect("folder")).expect("make folder");
        fs::copy(root.join(name), &place).expect("copy file");
    }
    let changed = copy.path().join(file);
    let text = fs::read_to_string(&changed).expect("read file");
    assert!(text.contains(before), "{file} does not contain {before}");
    fs::write(&changed, text.replace(before, after)).expect("write file");
    let mut command = Command::new(copy.path().join("tools/images"));
    command.arg("--check").current_dir(copy.path()).output().expect("run tools/images")
}

#[test]
fn images_that_the_list_does_not_name_are_found_in_every_file() {
    assert!(check_images_with("compose.yaml", "redis:7", "redis:7").status.success());
    for (file, before, after, expected) in [
        ("compose.yaml", "image: redis:7", "image: redis:8", "compose.yaml: names another image"),
        (
            "compose.yaml",
            "image: redis:7",
            "image: valkey:8",
            "valkey:8 is not in deploy/images.env",
        ),
        ("compose.yaml", "quay.io/", "", "compose.yaml: names another image"),
        ("k8s/22-minio.yaml", "quay.io/", "", "k8s/22-minio.yaml: names another"),
        ("Dockerfile", "FROM debian:bookworm-slim", "FROM debian:12", "Dockerfile: names another"),
        (
            "deploy/images.env",
            "NGINX=nginx:1.28",
            "NGINX=nginx:1.29",
            "compose.yaml: names another",
        ),
    ] {
        let checked = check_images_with(file, before, after);
        let text = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(!checked.status.success() && text.contains(expected), "{file}: {text}");
    }
}

/// Every page is listed in the index, and no link is broken.
#[test]
fn links_between_pages_have_targets() {
    let root = program::repository();
    let index = page("docs/README.md");
    for entry in fs::read_dir(root.join("docs")).expect("docs").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let listed = name == "README.md" || index.contains(&format!("({name})"));
        assert!(listed || !name.ends_with(".md"), "docs/README.md does not list {name}");
    }
    let docs = fs::read_dir(root.join("docs")).expect("docs").flatten().map(|entry| entry.path());
    let top = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|name| root.join(name));
    for path in docs.chain(top).filter(|path| path.extension().is_some_and(|kind| kind == "md")) {
        let text = fs::read_to_string(&path).expect("read page");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let there = path.parent().expect("folder").join(file);
            assert!(there.exists(), "{} links to {file}, which does not exist", path.display());
        }
    }
}
