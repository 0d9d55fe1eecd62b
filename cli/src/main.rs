//! The person's command: `up` starts a whole service on embedded defaults, the rest is a thin client.
//!
//! `main` itself stays synchronous: `exec-child` must run before any thread exists, because a user
//! namespace can only be created by a process with one thread.

mod args;
mod client;
mod exec_child;
mod jobs;
mod multipart;
mod output;
mod rest;
mod server;
mod session;
mod token;
mod up;
mod upload;
mod videos;
mod view;
mod watch;
mod workers;

use std::{io, process::ExitCode};

use clap::Parser;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::ExecChild(child) => exec_child::run(&child),
        Command::Up(options) => up::run(&options, &cli.target, cli.json),
        command => client::run(command, &cli.target, cli.json),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of our output went away, as in `streaming-service videos list | head -1`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("streaming-service: {}", output::one_line(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
