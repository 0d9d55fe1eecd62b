//! The command-line program: `up` starts a whole service with embedded defaults; all other commands
//! are a thin client.
//!
//! `main` itself stays synchronous: `exec-child` must run before any thread exists, because only a
//! single-threaded process can create a user namespace.

mod args;
mod captions;
mod client;
mod console;
mod exec_child;
mod failure;
mod jobs;
mod key_file;
mod keys;
mod multipart;
mod output;
mod paging;
mod rest;
mod resume;
mod server;
mod session;
mod token;
mod tus;
mod up;
mod upload;
mod videos;
mod view;
mod watch;
mod workers;

use std::process::ExitCode;

use runtime::command_line;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let cli = match command_line::parse::<Cli>() {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error),
    };
    let json = cli.json;
    let result = match cli.command {
        Command::ExecChild(child) => exec_child::run(&child),
        Command::Up(options) => up::run(&options, &cli.target, json),
        command => client::run(command, &cli.target, json),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error, json),
    }
}
