//! Landlock: which files a fenced process sees, and that TCP is closed to it.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
};

use super::{Policy, SandboxError};

/// Everything up to truncation must be handled by the kernel, or the fence has holes.
const REQUIRED: ABI = ABI::V3;
/// Handled where the kernel knows it: TCP (seccomp denies sockets anyway), devices, signals.
const WANTED: ABI = ABI::V6;

/// Programs and libraries; nothing in there is anybody's secret.
const SYSTEM_FOLDERS: [&str; 6] = ["/usr", "/lib", "/lib64", "/bin", "/opt", "/nix/store"];
/// The dynamic linker's cache.
const SYSTEM_FILES: [&str; 1] = ["/etc/ld.so.cache"];
const DEVICES: [(&str, bool); 2] = [("/dev/null", true), ("/dev/urandom", false)];

/// Whether this kernel can restrict the file system as we need.
pub fn available() -> bool {
    ruleset().is_ok()
}

fn ruleset() -> Result<RulesetCreated, SandboxError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(REQUIRED))
        .map_err(refused)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(WANTED))
        .map_err(refused)?
        .handle_access(AccessNet::from_all(WANTED))
        .map_err(refused)?
        .scope(Scope::from_all(WANTED))
        .map_err(refused)?
        .create()
        .map_err(refused)
}

pub(super) fn restrict(policy: &Policy) -> Result<(), SandboxError> {
    let file_read = AccessFs::ReadFile.into();
    let execute = AccessFs::from_read(WANTED);
    let mut rules = ruleset()?;
    for folder in SYSTEM_FOLDERS {
        rules = allow_if_present(rules, Path::new(folder), execute)?;
    }
    if let Some(folder) = policy.program.parent() {
        rules = allow_if_present(rules, folder, execute)?;
    }
    for file in SYSTEM_FILES {
        rules = allow_if_present(rules, Path::new(file), file_read)?;
    }
    for (device, writable) in DEVICES {
        let write: BitFlags<AccessFs> = AccessFs::WriteFile.into();
        let access = if writable { file_read | write } else { file_read };
        rules = allow_if_present(rules, Path::new(device), access)?;
    }
    if let Some(source) = &policy.source {
        rules = allow(rules, source, file_read)?;
    }
    rules = allow(rules, &policy.scratch, AccessFs::from_all(WANTED))?;
    rules.restrict_self().map_err(refused)?;
    Ok(())
}

fn allow_if_present(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, SandboxError> {
    if path.exists() { allow(rules, path, access) } else { Ok(rules) }
}

fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, SandboxError> {
    let file = PathFd::new(path).map_err(refused)?;
    rules.add_rule(PathBeneath::new(file, access)).map_err(refused)
}

fn refused(error: impl std::fmt::Display) -> SandboxError {
    SandboxError::Landlock(error.to_string())
}
