//! `exec-child`: what happens in a child of `up` before it becomes Postgres, Redis or a plane.
//!
//! The order matters. Changing credentials clears the parent-death signal, so that signal is asked for
//! last; and a parent that died before it was asked for is noticed by looking who the parent is now.

use std::{fs, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result, bail};
use nix::{
    sched::{CloneFlags, unshare},
    sys::{prctl, signal::Signal},
    unistd::{Uid, User, getegid, geteuid, getppid, initgroups, setgid, setuid},
};

use crate::args::ExecChildArgs;

/// Becomes the program, or returns why not.
pub(crate) fn run(args: &ExecChildArgs) -> Result<()> {
    if let Some(uid) = args.namespace_user {
        appear_as(uid).context("enter a user namespace")?;
    }
    let user = args.user.map(user).transpose().context("drop privileges")?;
    if let Some(user) = user.as_ref().filter(|_| !args.reach) {
        become_user(user).context("drop privileges")?;
    }
    let signal: Signal = args.death_signal.parse().context("read --death-signal")?;
    prctl::set_pdeathsig(signal).context("ask for the parent-death signal")?;
    if getppid().as_raw() != args.parent {
        bail!("the parent process is gone");
    }
    let Some((program, rest)) = args.command.split_first() else { bail!("no program given") };
    let mut command = match user.filter(|_| args.reach) {
        Some(user) => reaching(&user, signal, program),
        None => Command::new(program),
    };
    let error = command.args(rest).exec();
    Err(error).with_context(|| format!("run {program}"))
}

/// A command that becomes `program` as `user`, who may read and write what belongs to others: so Postgres
/// can use a folder below one that only root may enter, where namespaces are off, as in most containers.
/// The parent-death signal is asked for again, because it does not survive the change.
fn reaching(user: &User, signal: Signal, program: &str) -> Command {
    const REACH: &str = "+dac_override";
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={}", user.uid)).arg(format!("--regid={}", user.gid));
    command.arg("--init-groups");
    command.arg(format!("--inh-caps={REACH}")).arg(format!("--ambient-caps={REACH}"));
    command.arg(format!("--pdeathsig={}", signal.as_str())).arg("--").arg(program);
    command
}

/// Shows this process (and its files) to itself as `uid`, while to everybody else it stays who it is.
/// So Postgres, which refuses root, can use a folder that only root can reach.
fn appear_as(uid: u32) -> Result<()> {
    let (outer_uid, outer_gid) = (geteuid(), getegid());
    let gid = User::from_uid(Uid::from_raw(uid))?.map_or(uid, |user| user.gid.as_raw());
    unshare(CloneFlags::CLONE_NEWUSER)?;
    // Required before an unprivileged process may map its group.
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
