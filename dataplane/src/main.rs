//! `streaming-dataplane serve`: the steps of the start, in order.

use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use dataplane::Config;
use runtime::{Shutdown, addr, command_line, telemetry};
use tokio::net::TcpListener;

/// Serves playback, uploads and the REST API.
#[derive(Parser)]
#[command(name = "streaming-dataplane", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves HTTP.
    Serve(Box<Config>),
    /// Prints the table of flags and variables, as docs/configuration.md has it.
    #[command(hide = true)]
    ConfigDocs,
}

#[tokio::main]
async fn main() -> ExitCode {
    let config = match command_line::parse::<Cli>().map(|cli| cli.command) {
        Ok(Command::Serve(config)) => config,
        Err(problem) => return problem.report("streaming-dataplane"),
        Ok(Command::ConfigDocs) => return runtime::flags::print_document(&Cli::command()),
    };
    match serve(*config).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("streaming-dataplane: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: Config) -> anyhow::Result<ExitCode> {
    dataplane::check(&config).context("read the configuration")?;
    let telemetry = telemetry::init("streaming-dataplane");
    let shutdown = Shutdown::install().context("install signal handlers")?;
    dataplane::stores_ready(&config, &shutdown).await.context("open the stores")?;
    let listener = TcpListener::bind(&config.http_addr)
        .await
        .with_context(|| format!("listen on {}", config.http_addr))?;
    let address = listener.local_addr().context("read the listener's address")?;
    config.listen.check(address)?;
    if let Some(path) = &config.addr_file {
        addr::publish(path, address).with_context(|| format!("write {}", path.display()))?;
    }
    tracing::info!(http.addr = %address, "listening");
    let drain = config.drain;
    let plane = dataplane::serve(config, listener, telemetry.clone(), shutdown.clone());
    shutdown.spawn_critical("dataplane", plane);
    shutdown.soft.cancelled().await;
    shutdown.drain(drain).await;
    telemetry.close().await;
    Ok(shutdown.exit_code())
}
