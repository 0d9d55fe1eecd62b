//! `streaming-worker run`. When started with a sandbox policy, the process becomes a sandboxed
//! FFmpeg instead.

use std::process::ExitCode;

use clap::CommandFactory;
use runtime::{Shutdown, command_line};
use workers::{
    config::{Command, Program},
    sandbox,
};

fn main() -> ExitCode {
    // Must run before any code that could start a thread.
    if sandbox::requested() {
        let error = sandbox::launch();
        eprintln!("[fatal] {:#}", anyhow::Error::from(error));
        return ExitCode::from(sandbox::EXIT_SANDBOX_FAILED);
    }
    let config = match command_line::parse::<Program>().map(|program| program.command) {
        Ok(Command::Run(config)) => config,
        Err(error) => return error.report("streaming-worker"),
        Ok(Command::ConfigDocs) => return runtime::flags::print_document(&Program::command()),
    };
    match start(*config) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("streaming-worker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn start(config: workers::config::Config) -> anyhow::Result<ExitCode> {
    let telemetry = runtime::telemetry::init("streaming-worker");
    let shutdown = Shutdown::install()?;
    let worked = workers::run(config, telemetry.clone(), shutdown.clone()).await;
    telemetry.close().await;
    worked?;
    Ok(shutdown.exit_code())
}
