//! The worker: leases tasks, runs FFmpeg in a sandbox, writes objects and reports them to control.
//!
//! **Invariant:** the worker has no access to a database, to Redis, or to a store's credentials or
//! listing; it knows only the paths and presigned URLs that its leases contain.

pub mod bucket;
pub mod config;
pub mod control;
pub mod control_handles;
pub mod ffmpeg;
pub mod input;
mod metrics;
pub mod outcome;
pub mod output;
pub mod packet_check;
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
    control::ControlClient,
    ffmpeg::{Toolbox, args, find_program, hardware, query::query},
    outcome::TaskFailure,
    sandbox::Sandbox,
    scratch::Scratch,
    source::Sources,
    task::WorkerContext,
};

const SELF_TEST_TIME_MAX: Duration = Duration::from_secs(20);
const ENCODER_LIST_BYTES_MAX: usize = 1 << 20;

/// Why a worker cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A program was not found.
    #[error("cannot find the program {0}")]
    Program(String),
    /// The kernel cannot sandbox FFmpeg.
    #[error(
        "this kernel has no Landlock, so FFmpeg cannot be sandboxed; --unsandboxed runs it without"
    )]
    NoLandlock,
    /// The scratch folder cannot be created or used.
    #[error("cannot use the scratch folder")]
    Scratch(#[source] io::Error),
    /// The worker's own executable, which is also the sandbox launcher, was not found.
    #[error("cannot find the worker's own executable")]
    Launcher(#[source] io::Error),
    /// The metrics listener cannot be opened.
    #[error("cannot listen for metrics on {0}")]
    Metrics(std::net::SocketAddr, #[source] io::Error),
    /// The client for S3 stores cannot be created.
    #[error("cannot open a client for stores")]
    Client(#[source] reqwest::Error),
    /// FFmpeg cannot even list its encoders.
    #[error("cannot run ffmpeg in its sandbox: {0}")]
    SelfTest(#[source] TaskFailure),
    /// FFmpeg has none of the encoders that the service uses.
    #[error("ffmpeg has none of the encoders {0}")]
    Encoders(String),
}

/// Runs the worker until `shutdown`.
///
/// # Errors
/// When the machine lacks a program, a kernel feature, a folder, a port or an encoder that the
/// worker needs.
pub async fn run(
    config: Config,
    telemetry: Telemetry,
    shutdown: Shutdown,
) -> Result<(), StartError> {
    let launcher = env::current_exe().map_err(StartError::Launcher)?;
    let toolbox = toolbox(&config, Sandbox::new(launcher, !config.unsandboxed))?;
    let parent = config.scratch.clone().unwrap_or_else(env::temp_dir);
    let scratch = Scratch::open(&parent).map_err(StartError::Scratch)?;
    let mut encoders = self_test(&toolbox, &scratch).await?;
    let devices = config.hardware_devices.clone();
    encoders.extend(hardware::working(&toolbox, &devices, &scratch).await);
    metrics::announce(config.slots());
    if let Some(addr) = config.metrics_addr {
        let listener = tokio::net::TcpListener::bind(addr).await;
        let listener = listener.map_err(|error| StartError::Metrics(addr, error))?;
        let serve = runtime::admin::serve_on(listener, telemetry, shutdown.clone());
        shutdown.tracker.spawn(serve);
    }
    let client = Arc::new(Client::new().map_err(StartError::Client)?);
    let sources = Sources::new(Arc::clone(&client), config.source, !config.unsandboxed);
    let context = WorkerContext {
        toolbox,
        devices,
        scratch,
        sources,
        client,
        threads: config.threads(),
        urgent_threads: config.urgent_threads(),
        slots: Arc::new(Semaphore::new(config.slots() + config.worker_express_slots)),
    };
    ControlClient::new(Arc::new(config), Arc::new(context), encoders, shutdown).run().await;
    Ok(())
}

/// Finds the programs of `config`, to be run in `sandbox`.
///
/// # Errors
/// When a program is missing, or the sandbox is required but the kernel does not support it.
pub fn toolbox(config: &Config, sandbox: Sandbox) -> Result<Toolbox, StartError> {
    if !config.unsandboxed && !sandbox::available() {
        return Err(StartError::NoLandlock);
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
        devices: Vec::new(),
    })
}

/// Runs FFmpeg once in the sandbox, so that a machine where that fails reports it at startup
/// instead of in its first task. Returns the encoders of this service that FFmpeg has.
async fn self_test(toolbox: &Toolbox, scratch: &Scratch) -> Result<Vec<String>, StartError> {
    let folder = scratch.task().map_err(StartError::Scratch)?;
    let (program, args) = (&toolbox.ffmpeg, args::encoders());
    let (time, bytes) = (SELF_TEST_TIME_MAX, ENCODER_LIST_BYTES_MAX);
    let output = query(toolbox, program, args, None, folder.path(), time, bytes).await;
    let list = String::from_utf8_lossy(&output.map_err(StartError::SelfTest)?).into_owned();
    let listed = |encoder: &&str| list.split_whitespace().any(|word| word == *encoder);
    let known = media::Codec::ALL.map(media::Codec::encoder);
    let encoders: Vec<String> =
        known.iter().filter(|e| listed(e)).map(|e| (*e).to_owned()).collect();
    if encoders.is_empty() {
        return Err(StartError::Encoders(known.join(", ")));
    }
    Ok(encoders)
}
