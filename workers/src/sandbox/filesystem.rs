//! Landlock: restricts which files a sandboxed process can access, and limits TCP to one port at
//! most.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath,
    PathFd, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
};

use super::{Policy, SandboxError};

/// The kernel must be able to restrict everything up to truncation, otherwise the sandbox is
/// incomplete.
const REQUIRED: ABI = ABI::V3;
/// Used where the kernel supports it: TCP (seccomp denies sockets anyway), devices, signals.
const WANTED: ABI = ABI::V6;

/// Programs and libraries; these folders contain no secrets.
const SYSTEM_FOLDERS: [&str; 6] = ["/usr", "/lib", "/lib64", "/bin", "/opt", "/nix/store"];
/// The dynamic linker's cache.
const SYSTEM_FILES: [&str; 1] = ["/etc/ld.so.cache"];
/// Where drivers of hardware encoders read which device they have opened.
const DRIVER_FOLDERS: [&str; 5] =
    ["/sys/dev/char", "/sys/devices", "/sys/class/drm", "/sys/bus/pci", "/proc/driver/nvidia"];
const DEVICES: [(&str, bool); 2] = [("/dev/null", true), ("/dev/urandom", false)];

/// Whether this kernel can restrict file access as required.
pub fn available() -> bool {
    ruleset(false).is_ok()
}

/// Whether this kernel can limit a process to one TCP port (from 6.7 on).
pub fn can_restrict_to_one_port() -> bool {
    ruleset(true).is_ok()
}

/// `connecting`: the process needs TCP for one port, so the kernel must be able to block the
/// others.
fn ruleset(connecting: bool) -> Result<RulesetCreated, SandboxError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(REQUIRED))
        .map_err(landlock_error)?;
    if connecting {
        rules = rules.handle_access(AccessNet::ConnectTcp).map_err(landlock_error)?;
    }
    rules
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(WANTED))
        .map_err(landlock_error)?
        .handle_access(AccessNet::from_all(WANTED))
        .map_err(landlock_error)?
        .scope(Scope::from_all(WANTED))
        .map_err(landlock_error)?
        .create()
        .map_err(landlock_error)
}

pub(super) fn restrict(policy: &Policy) -> Result<(), SandboxError> {
    let file_read = AccessFs::ReadFile.into();
    let execute = AccessFs::from_read(WANTED);
    let mut rules = ruleset(policy.port.is_some())?;
    if let Some(port) = policy.port {
        let rule = NetPort::new(port, AccessNet::ConnectTcp);
        rules = rules.add_rule(rule).map_err(landlock_error)?;
    }
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
    for device in &policy.devices {
        // Landlock applies this right from Linux 6.10 on; before, it does not restrict devices.
        rules = allow(rules, device, file_read | AccessFs::WriteFile | AccessFs::IoctlDev)?;
    }
    if !policy.devices.is_empty() {
        for folder in DRIVER_FOLDERS {
            rules = allow_if_present(rules, Path::new(folder), file_read | AccessFs::ReadDir)?;
        }
    }
    if let Some(source) = &policy.source {
        rules = allow(rules, source, file_read)?;
    }
    rules = allow(rules, &policy.scratch, AccessFs::from_all(WANTED))?;
    rules.restrict_self().map_err(landlock_error)?;
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
    let file = PathFd::new(path).map_err(landlock_error)?;
    rules.add_rule(PathBeneath::new(file, access)).map_err(landlock_error)
}

fn landlock_error(error: impl std::fmt::Display) -> SandboxError {
    SandboxError::Landlock(error.to_string())
}
