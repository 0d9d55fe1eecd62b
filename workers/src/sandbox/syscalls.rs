//! seccomp: system calls that a fenced process is denied.
//!
//! A list of denials, not of permissions: FFmpeg's libraries use several hundred calls that differ
//! between distributions, and files are Landlock's business. What stands here is what Landlock does not
//! see: sockets, other processes, metadata of files, and the kernel's larger attack surfaces.

use std::collections::BTreeMap;

use nix::libc::{self, c_long};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use super::SandboxError;

/// Denied to everything.
const DENIED: [c_long; 51] = [
    // Sockets; io_uring could open them behind the filter's back.
    libc::SYS_socketpair,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Other processes. Without a session or group of its own nothing escapes the kill of the group.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    libc::SYS_setsid,
    libc::SYS_setpgid,
    libc::SYS_execveat,
    libc::SYS_memfd_create,
    // Namespaces, mounts, the machine itself.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fsconfig,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_sethostname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    // Wide interfaces of the kernel that no encoder needs.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
];

/// Denied where no port is open either; see [`hold_to_tcp`] for where one is.
const DENIED_WITHOUT_PORT: [c_long; 3] = [libc::SYS_socket, libc::SYS_connect, libc::SYS_sendto];

/// Denied to FFmpeg itself, but not to an operator's wrapper script, which may copy files and wait for
/// children. Landlock does not cover a file's owner, mode, times and attributes.
const DENIED_TO_PROGRAMS: [c_long; 15] = [
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_utimensat,
    libc::SYS_setpriority,
];

/// Calls that only this architecture still has under their old names.
#[cfg(target_arch = "x86_64")]
const DENIED_TO_PROGRAMS_OLD: [c_long; 8] = [
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_TO_PROGRAMS_OLD: [c_long; 0] = [];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// `connecting`: Landlock lets the process connect to one port, so it needs a TCP socket.
pub(super) fn restrict(script: bool, connecting: bool) -> Result<(), SandboxError> {
    let mut rules: Rules = DENIED.iter().map(|call| (*call, Vec::new())).collect();
    if connecting {
        hold_to_tcp(&mut rules)?;
    } else {
        rules.extend(DENIED_WITHOUT_PORT.map(|call| (call, Vec::new())));
    }
    if !script {
        let programs = DENIED_TO_PROGRAMS.iter().chain(&DENIED_TO_PROGRAMS_OLD);
        rules.extend(programs.map(|call| (*call, Vec::new())));
        deny_processes(&mut rules)?;
        deny_unless(&mut rules, libc::SYS_tgkill, 0, u64::from(std::process::id()))?;
        // Reading one's limits is part of starting a thread; setting them is not.
        deny_unless(&mut rules, libc::SYS_prlimit64, 2, 0)?;
        // The C library asks for threads by clone3, whose flags no filter can see, and falls back to
        // clone when the kernel says that it has no such call.
        install(Rules::from([(libc::SYS_clone3, Vec::new())]), libc::ENOSYS)?;
    }
    install(rules, libc::EPERM)
}

/// Sockets, but only plain TCP over IPv4: Landlock's rule for ports knows no other kind (MPTCP and UDP
/// would pass it by), and data may go only where `connect` went, which it watches.
fn hold_to_tcp(rules: &mut Rules) -> Result<(), SandboxError> {
    const KINDS: u64 = 0xf;
    let eq = |argument, mask: u64, value: u64| {
        let operator = SeccompCmpOp::MaskedEq(mask);
        rule(argument, operator, value)
    };
    let mut sockets = vec![rule(0, SeccompCmpOp::Ne, libc::AF_INET as u64)?];
    // Without the flags that share the argument with the kind.
    for kind in (0..=KINDS).filter(|kind| *kind != libc::SOCK_STREAM as u64) {
        sockets.push(eq(1, KINDS, kind)?);
    }
    let protocol = |value| {
        SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value).map_err(refused)
    };
    let other = vec![protocol(0)?, protocol(libc::IPPROTO_TCP as u64)?];
    sockets.push(SeccompRule::new(other).map_err(refused)?);
    rules.insert(libc::SYS_socket, sockets);
    let addressed = rule(4, SeccompCmpOp::Ne, 0)?;
    let fast_open = eq(3, libc::MSG_FASTOPEN as u64, libc::MSG_FASTOPEN as u64)?;
    rules.insert(libc::SYS_sendto, vec![addressed, fast_open]);
    Ok(())
}

/// Matches one argument of a call.
fn rule(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, SandboxError> {
    // Numbers of 32 bits leave the upper half of their register to chance; addresses need it.
    let length = if argument == 4 { SeccompCmpArgLen::Qword } else { SeccompCmpArgLen::Dword };
    SeccompCondition::new(argument, length, operator, value)
        .and_then(|condition| SeccompRule::new(vec![condition]))
        .map_err(refused)
}

/// A thread is a clone with CLONE_THREAD; everything else would be a process.
fn deny_processes(rules: &mut Rules) -> Result<(), SandboxError> {
    let thread = libc::CLONE_THREAD as u64;
    let operator = SeccompCmpOp::MaskedEq(thread);
    let condition = SeccompCondition::new(0, SeccompCmpArgLen::Qword, operator, 0)
        .and_then(|condition| SeccompRule::new(vec![condition]))
        .map_err(refused)?;
    rules.insert(libc::SYS_clone, vec![condition]);
    Ok(())
}

/// Denies `call` unless its argument number `argument` is `value`: `abort` signals a thread of its own
/// process, every other target is none of its business.
fn deny_unless(
    rules: &mut Rules,
    call: c_long,
    argument: u8,
    value: u64,
) -> Result<(), SandboxError> {
    let length = SeccompCmpArgLen::Qword;
    let rule = SeccompCondition::new(argument, length, SeccompCmpOp::Ne, value)
        .and_then(|condition| SeccompRule::new(vec![condition]))
        .map_err(refused)?;
    rules.insert(call, vec![rule]);
    Ok(())
}

fn install(rules: Rules, errno: i32) -> Result<(), SandboxError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(refused)?;
    let denied = SeccompAction::Errno(errno as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, denied, arch).map_err(refused)?;
    let program: seccompiler::BpfProgram = filter.try_into().map_err(refused)?;
    seccompiler::apply_filter(&program).map_err(refused)
}

fn refused(error: impl std::fmt::Display) -> SandboxError {
    SandboxError::Seccomp(error.to_string())
}
