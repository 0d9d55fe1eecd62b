//! The worker: pulls leased tasks, runs FFmpeg behind a fence, writes objects, reports proof.
//!
//! **Invariant:** the worker holds no handle on a database, Redis or a store's keys or listing; it
//! knows the paths and presigned URLs that its leases name, and nothing else.

pub mod bucket;
pub mod config;
pub mod ffmpeg;
mod metrics;
pub mod output;
pub mod proof;
pub mod pull;
pub mod sandbox;
pub mod scratch;
pub mod source;
pub mod task;

use std::{env, io, path::Path, sync::Arc, time::Duration};

use runtime::{Shutdown, Telemetry};
use thiserror::Error;
use tokio::sync::Semaphore;

use crate::{
    bucket::Client,
    config::Config,
    ffmpeg::{Fault, Toolbox, args, find_program, run::ask},
    pull::Puller,
    sandbox::Sandbox,
    scratch::Scratch,
    source::Sources,
    task::Workshop,
};

const SELF_TEST_TIME_MAX: Duration = Duration::from_secs(20);
const ENCODER_LIST_BYTES_MAX: usize = 1 << 20;

/// Why a worker cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A program is not there.
    #[error("cannot find the program {0}")]
    Program(String),
    /// The kernel cannot fence FFmpeg in.
    #[error(
        "this kernel has no Landlock, so FFmpeg cannot be sandboxed; --unsandboxed runs it without"
    )]
    Unfenced,
    /// No place for temporary files.
    #[error("cannot use the scratch folder")]
    Scratch(#[source] io::Error),
    /// Our own executable, which becomes the sandbox's launcher.
    #[error("cannot find the worker's own executable")]
    Launcher(#[source] io::Error),
    /// The listener for metrics.
    #[error("cannot listen for metrics on {0}")]
    Metrics(std::net::SocketAddr, #[source] io::Error),
    /// The client of stores in S3.
    #[error("cannot open a client for stores")]
    Client(#[source] reqwest::Error),
    /// FFmpeg does not even list its encoders.
    #[error("cannot run ffmpeg in its sandbox: {0}")]
    SelfTest(#[source] Fault),
    /// FFmpeg lacks an encoder.
    #[error("ffmpeg has none of the encoders {0}")]
    Encoders(String),
}

/// Works until `shutdown`.
///
/// # Errors
/// When the machine lacks what a worker needs.
pub async fn run(
    config: Config,
    telemetry: Telemetry,
    shutdown: Shutdown,
) -> Result<(), StartError> {
    let launcher = env::current_exe().map_err(StartError::Launcher)?;
    let toolbox = toolbox(&config, Sandbox::new(launcher, !config.unsandboxed))?;
    let parent = config.scratch.clone().unwrap_or_else(env::temp_dir);
    let scratch = Scratch::open(&parent).map_err(StartError::Scratch)?;
    let encoders = self_test(&toolbox, &scratch).await?;
    metrics::announce(config.slots());
    if let Some(addr) = config.metrics_addr {
        let listener = tokio::net::TcpListener::bind(addr).await;
        let listener = listener.map_err(|error| StartError::Metrics(addr, error))?;
        let serve = runtime::admin::serve_on(listener, telemetry, shutdown.clone());
        shutdown.tracker.spawn(serve);
    }
    let client = Arc::new(Client::new().map_err(StartError::Client)?);
    let sources = Sources::new(Arc::clone(&client), config.source, !config.unsandboxed);
    let workshop = Workshop {
        toolbox,
        scratch,
        sources,
        client,
        threads: config.threads(),
        urgent_threads: config.urgent_threads(),
        slots: Arc::new(Semaphore::new(config.slots() + config.worker_express_slots)),
    };
    Puller::new(Arc::new(config), Arc::new(workshop), encoders, shutdown).run().await;
    Ok(())
}

/// The programs of `config` behind `sandbox`.
///
/// # Errors
/// When a program is missing, or the kernel cannot fence although it should.
pub fn toolbox(config: &Config, sandbox: Sandbox) -> Result<Toolbox, StartError> {
    if !config.unsandboxed && !sandbox::available() {
        return Err(StartError::Unfenced);
    }
    let find = |program: &Path| {
        find_program(program).ok_or_else(|| StartError::Program(program.display().to_string()))
    };
    Ok(Toolbox {
        sandbox,
        ffmpeg: find(&config.ffmpeg)?,
        ffprobe: find(&config.ffprobe)?,
        memory_bytes: config.memory_bytes(),
        stall: config.stall,
    })
}

/// Runs FFmpeg once behind the fence, so that a machine that cannot do it says so at its start and not
/// at its first task; returns the encoders that it has of ours.
async fn self_test(toolbox: &Toolbox, scratch: &Scratch) -> Result<Vec<String>, StartError> {
    let folder = scratch.task().map_err(StartError::Scratch)?;
    let (program, args) = (&toolbox.ffmpeg, args::encoders());
    let (time, bytes) = (SELF_TEST_TIME_MAX, ENCODER_LIST_BYTES_MAX);
    let answer = ask(toolbox, program, args, None, folder.path(), time, bytes).await;
    let list = String::from_utf8_lossy(&answer.map_err(StartError::SelfTest)?).into_owned();
    let listed = |encoder: &&str| list.split_whitespace().any(|word| word == *encoder);
    let ours = media::Codec::ALL.map(media::Codec::encoder);
    let encoders: Vec<String> =
        ours.iter().filter(|e| listed(e)).map(|e| (*e).to_owned()).collect();
    if encoders.is_empty() {
        return Err(StartError::Encoders(ours.join(", ")));
    }
    Ok(encoders)
}
