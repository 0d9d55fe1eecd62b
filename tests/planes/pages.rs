//! The pages that list files, rules and versions agree with the code.

use std::process::Command;

use crate::repository;

#[test]
fn pages_agree_with_the_code() {
    let output = Command::new(repository().join("tools/check-docs"))
        .output()
        .expect("tools/check-docs needs python3");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}
