//! `exec-child`: prepares a child process of `up`, then executes Postgres, Redis or a plane in it.
//!
//! The order matters. Changing credentials clears the parent-death signal, so it is set last. If
//! the parent died before that, the signal never arrives; checking the parent's id afterwards
//! detects this.

use std::{ffi::OsStr, fs, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result, bail};
use nix::{
    sched::{CloneFlags, unshare},
    sys::{prctl, signal::Signal},
    unistd::{Uid, User, getegid, geteuid, getppid, initgroups, setgid, setuid},
};

use crate::args::ExecChildArgs;

/// Executes the program; returns only on failure.
pub(crate) fn run(args: &ExecChildArgs) -> Result<()> {
    if let Some(uid) = args.namespace_user {
        appear_as(uid).context("enter a user namespace")?;
    }
    let user = args.user.map(user).transpose().context("drop privileges")?;
    if let Some(user) = user.as_ref().filter(|_| !args.reach) {
        become_user(user).context("drop privileges")?;
    }
    let signal: Signal = args.death_signal.parse().context("read --death-signal")?;
    prctl::set_pdeathsig(signal).context("request the parent-death signal")?;
    if getppid().as_raw() != args.parent {
        bail!("the parent process has exited");
    }
    let Some((program, rest)) = args.command.split_first() else { bail!("no program given") };
    let mut command = match user.filter(|_| args.reach) {
        Some(user) => command_as(&user, signal, program),
        None => Command::new(program),
    };
    let error = command.args(rest).exec();
    Err(error).with_context(|| format!("run {}", program.display()))
}

/// A command that runs `program` as `user` with the right to access other users' files
/// (`CAP_DAC_OVERRIDE`). So Postgres can use a folder inside one that only root may enter, where
/// user namespaces are disabled, as in most containers. `setpriv` sets the parent-death signal
/// again, because changing credentials clears it.
fn command_as(user: &User, signal: Signal, program: &OsStr) -> Command {
    const REACH: &str = "+dac_override";
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={}", user.uid)).arg(format!("--regid={}", user.gid));
    command.arg("--init-groups");
    command.arg(format!("--inh-caps={REACH}")).arg(format!("--ambient-caps={REACH}"));
    command.arg(format!("--pdeathsig={}", signal.as_str())).arg("--").arg(program);
    command
}

/// Maps this process's user, and the owner of its files, to `uid` inside a new user namespace;
/// outside, the user stays the same. So Postgres, which does not run as root, can use a folder that
/// only root can access.
fn appear_as(uid: u32) -> Result<()> {
    let (outer_uid, outer_gid) = (geteuid(), getegid());
    let gid = User::from_uid(Uid::from_raw(uid))?.map_or(uid, |user| user.gid.as_raw());
    unshare(CloneFlags::CLONE_NEWUSER)?;
    // The kernel requires this before an unprivileged process may map its group.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/gid_map", format!("{gid} {outer_gid} 1"))?;
    fs::write("/proc/self/uid_map", format!("{uid} {outer_uid} 1"))?;
    Ok(())
}

fn user(uid: u32) -> Result<User> {
    User::from_uid(Uid::from_raw(uid))?.context("no such user")
}

fn become_user(user: &User) -> Result<()> {
    let name = std::ffi::CString::new(user.name.as_str())?;
    initgroups(&name, user.gid)?;
    setgid(user.gid)?;
    setuid(user.uid)?;
    Ok(())
}
