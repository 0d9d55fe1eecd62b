//! Dispatches client commands to their modules.

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::{
    args::{Cli, Command, TokenCommand},
    captions, console, jobs, keys, output,
    server::Target,
    session::Session,
    token, upload, videos, watch, workers,
};

/// Runs a client command.
pub(crate) fn run(command: Command, target: &Target, json: bool) -> Result<()> {
    match command {
        // These need no server.
        Command::Completions { shell } => return completions(shell),
        Command::ConfigDocs => {
            return Ok(output::line(runtime::flags::document(&Cli::command()).trim_end())?);
        }
        Command::Keys(command) => return keys::run(command, target, json),
        Command::Token(TokenCommand::Narrow(args)) => return token::narrow(&args, target, json),
        Command::Token(TokenCommand::Mint(args)) if token::root_key(&args).is_some() => {
            return token::mint_offline(&args, json);
        }
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run_command(command, &Session { target, json }))
}

async fn run_command(command: Command, session: &Session<'_>) -> Result<()> {
    match command {
        Command::Upload(args) => upload::run(session, &args).await,
        Command::Transcode(args) => jobs::transcode(session, &args).await,
        Command::Watch(args) => watch::run(session, &args.job).await,
        Command::Videos(command) => videos::run(session, command).await,
        Command::Captions(command) => captions::run(session, command).await,
        Command::Jobs(command) => jobs::run(session, command).await,
        Command::Workers(command) => workers::run(session, command).await,
        Command::Token(command) => token::run(session, command).await,
        Command::Console(args) => console::run(session, &args).await,
        // Handled by `main` and `run`.
        Command::Up(_)
        | Command::ExecChild(_)
        | Command::Completions { .. }
        | Command::ConfigDocs
        | Command::Keys(_) => Ok(()),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "streaming-service", &mut script);
    let script = String::from_utf8(script).context("write the script")?;
    Ok(output::line(script.trim_end())?)
}
