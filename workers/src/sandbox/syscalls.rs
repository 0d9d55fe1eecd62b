//! seccomp: the system calls that are denied to a sandboxed process.
//!
//! A deny list, not an allow list: FFmpeg's libraries use several hundred calls that differ between
//! distributions, and Landlock covers files. The list covers what Landlock does not: sockets, other
//! processes, file metadata, and large attack surfaces of the kernel.

use std::collections::BTreeMap;

use nix::libc::{self, c_long};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use super::SandboxError;

/// Denied to every process in the sandbox.
const DENIED: [c_long; 51] = [
    // Sockets; io_uring could open them without passing this filter.
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
    // Other processes. No child can leave the process group and so escape when the group is killed.
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
    // Namespaces, mounts, and control of the whole machine.
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
    // Large kernel interfaces that no encoder needs.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
];

/// Also denied if no port is open; [`allow_only_tcp`] applies otherwise.
const DENIED_WITHOUT_PORT: [c_long; 3] = [libc::SYS_socket, libc::SYS_connect, libc::SYS_sendto];

/// Denied to FFmpeg itself, but not to an operator's wrapper script, which may copy files and wait
/// for children. Landlock does not cover a file's owner, mode, times and attributes.
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

/// Old variants of these calls that exist only on this architecture.
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
        allow_only_tcp(&mut rules)?;
    } else {
        rules.extend(DENIED_WITHOUT_PORT.map(|call| (call, Vec::new())));
    }
    if !script {
        let programs = DENIED_TO_PROGRAMS.iter().chain(&DENIED_TO_PROGRAMS_OLD);
        rules.extend(programs.map(|call| (*call, Vec::new())));
        deny_processes(&mut rules)?;
        deny_unless(&mut rules, libc::SYS_tgkill, 0, u64::from(std::process::id()))?;
        // Starting a thread reads the process's own limits; setting limits is not needed.
        deny_unless(&mut rules, libc::SYS_prlimit64, 2, 0)?;
        // The C library creates threads with clone3, whose flags a filter cannot read. If the
        // kernel reports that the call does not exist, it falls back to clone.
        install(Rules::from([(libc::SYS_clone3, Vec::new())]), libc::ENOSYS)?;
    }
    install(rules, libc::EPERM)
}

/// Allows only plain TCP sockets over IPv4: Landlock's port rule does not apply to other kinds
/// (MPTCP and UDP would bypass it). Data may be sent only over connections made with `connect`,
/// which Landlock checks.
fn allow_only_tcp(rules: &mut Rules) -> Result<(), SandboxError> {
    const KINDS: u64 = 0xf;
    let eq = |argument, mask: u64, value: u64| {
        let operator = SeccompCmpOp::MaskedEq(mask);
        rule(argument, operator, value)
    };
    let mut sockets = vec![rule(0, SeccompCmpOp::Ne, libc::AF_INET as u64)?];
    // The mask excludes the flags that share the argument with the socket type.
    for kind in (0..=KINDS).filter(|kind| *kind != libc::SOCK_STREAM as u64) {
        sockets.push(eq(1, KINDS, kind)?);
    }
    let protocol = |value| {
        SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value)
            .map_err(seccomp_error)
    };
    let other = vec![protocol(0)?, protocol(libc::IPPROTO_TCP as u64)?];
    sockets.push(SeccompRule::new(other).map_err(seccomp_error)?);
    rules.insert(libc::SYS_socket, sockets);
    let addressed = rule(4, SeccompCmpOp::Ne, 0)?;
    let fast_open = eq(3, libc::MSG_FASTOPEN as u64, libc::MSG_FASTOPEN as u64)?;
    rules.insert(libc::SYS_sendto, vec![addressed, fast_open]);
    Ok(())
}

/// Matches one argument of a call.
fn rule(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, SandboxError> {
    // The upper half of the register is undefined for 32-bit arguments; for addresses it is needed.
    let length = if argument == 4 { SeccompCmpArgLen::Qword } else { SeccompCmpArgLen::Dword };
    SeccompCondition::new(argument, length, operator, value)
        .and_then(|condition| SeccompRule::new(vec![condition]))
        .map_err(seccomp_error)
}

/// A clone with CLONE_THREAD creates a thread; any other creates a process.
fn deny_processes(rules: &mut Rules) -> Result<(), SandboxError> {
    let thread = libc::CLONE_THREAD as u64;
    let operator = SeccompCmpOp::MaskedEq(thread);
    let condition = SeccompCondition::new(0, SeccompCmpArgLen::Qword, operator, 0)
        .and_then(|condition| SeccompRule::new(vec![condition]))
        .map_err(seccomp_error)?;
    rules.insert(libc::SYS_clone, vec![condition]);
    Ok(())
}

/// Denies `call` unless its argument number `argument` is `value`. For example, `abort` sends a
/// signal to a thread of its own process, and no other target is allowed.
fn deny_unless(
    rules: &mut Rules,
    call: c_long,
    argument: u8,
    value: u64,
) -> Result<(), SandboxError> {
    let length = SeccompCmpArgLen::Qword;
    let rule = SeccompCondition::new(argument, length, SeccompCmpOp::Ne, value)
        .and_then(|condition| SeccompRule::new(vec![condition]))
        .map_err(seccomp_error)?;
    rules.insert(call, vec![rule]);
    Ok(())
}

fn install(rules: Rules, errno: i32) -> Result<(), SandboxError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(seccomp_error)?;
    let denied = SeccompAction::Errno(errno as u32);
    let filter =
        SeccompFilter::new(rules, SeccompAction::Allow, denied, arch).map_err(seccomp_error)?;
    let program: seccompiler::BpfProgram = filter.try_into().map_err(seccomp_error)?;
    seccompiler::apply_filter(&program).map_err(seccomp_error)
}

fn seccomp_error(error: impl std::fmt::Display) -> SandboxError {
    SandboxError::Seccomp(error.to_string())
}
