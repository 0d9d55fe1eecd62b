//! `streaming-control serve|migrate`.

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use control::{
    config::{Config, DatabaseArgs},
    db::{Db, migrate},
};
use runtime::{Shutdown, command_line, telemetry};
use tokio::net::TcpListener;

/// How long workers and watchers have to end their streams.
const DRAIN_MAX: Duration = Duration::from_secs(25);

#[derive(Parser)]
#[command(
    name = "streaming-control",
    version,
    about = "The gRPC control plane of streaming-service"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Applies migrations, then serves gRPC.
    Serve(Box<Config>),
    /// Applies migrations and exits.
    Migrate(DatabaseArgs),
    /// Prints the table of flags and variables, as docs/configuration.md has it.
    #[command(hide = true)]
    ConfigDocs,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match command_line::parse::<Cli>() {
        Ok(cli) => cli,
        Err(error) => return error.report("streaming-control"),
    };
    match run(cli).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("streaming-control: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    if matches!(cli.command, Command::ConfigDocs) {
        return Ok(runtime::flags::print_document(&Cli::command()));
    }
    let telemetry = telemetry::init("streaming-control");
    let config = match cli.command {
        Command::Serve(config) => config,
        Command::Migrate(database) => {
            let db = Db::new(database.database_url.expose(), database.database_pool)?;
            migrate::run(&db).await.context("apply migrations")?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::ConfigDocs => return Ok(ExitCode::SUCCESS),
    };
    let shutdown = Shutdown::install().context("install signal handlers")?;
    let listener = TcpListener::bind(config.grpc_addr)
        .await
        .with_context(|| format!("listen on {}", config.grpc_addr))?;
    config.listen.check(listener.local_addr().context("read the listener's address")?)?;
    if let Some(addr) = config.metrics_addr {
        let listener = TcpListener::bind(addr)
            .await
            .with_context(|| format!("listen for metrics on {addr}"))?;
        let served = runtime::admin::serve_on(listener, telemetry.clone(), shutdown.clone());
        shutdown.tracker.spawn(served);
    }
    let served = control::serve(*config, listener, telemetry.clone(), shutdown.clone()).await;
    shutdown.drain(DRAIN_MAX).await;
    telemetry.close().await;
    served?;
    Ok(shutdown.exit_code())
}
