//! `up`: the whole service on embedded defaults, as children of this process.
//!
//! Start: database, cache, control, data plane, workers; stop: the other way round. Nothing outlives this
//! process, however it ends: each child asks the kernel for a signal when its parent dies.

mod address;
mod child;
mod credentials;
mod folder;
mod log;
mod planes;
mod postgres;
mod profiles;
mod programs;
mod ready;
mod redis;
mod sample;
mod stack;

use std::{
    ffi::OsString,
    fs,
    io::Write,
    net::SocketAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, Result};
use runtime::{
    Shutdown,
    tls::{ListenArgs, Protocols},
};
use tokio::time::{Instant, sleep};

use self::{
    address::{Addresses, reachable},
    folder::Folder,
    planes::Planes,
    postgres::Postgres,
    programs::Programs,
    ready::Ready,
    redis::Redis,
    stack::Stack,
};
use crate::{
    args::UpArgs,
    rest,
    server::{self, Server, Target},
};

const HEALTH_INTERVAL: Duration = Duration::from_millis(50);

/// How everything that is said is written: one process runs one `up`.
static AS_JSON: AtomicBool = AtomicBool::new(false);

/// Starts everything and stays until it is told to stop.
pub(crate) fn run(options: &UpArgs, target: &Target, json: bool) -> Result<()> {
    AS_JSON.store(json, Ordering::Relaxed);
    let own_postgres = external(options.database_url.as_deref()).is_none();
    let own_redis = external(options.redis_url.as_deref()).is_none();
    let programs = Programs::find(own_postgres, own_redis, &target.data.join("postgres"))?;
    let profiles = profiles::check(options.profiles_file.as_deref())?;
    let folder = Folder::open(&target.data)?;
    let addresses = Addresses::check(target)?;
    // Refused here, in one line, and not by a child that dies again and again.
    options.listen.acceptor(addresses.http, Protocols::Http)?;
    options.listen.acceptor(addresses.grpc, Protocols::Grpc)?;
    // One thread, see `child`.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(live(&Setup { options, programs, profiles, folder, addresses, json }))
}

/// Everything that is decided before the first child starts.
struct Setup<'a> {
    options: &'a UpArgs,
    programs: Programs,
    /// Absolute; absent for the built-in ones.
    profiles: Option<PathBuf>,
    folder: Folder,
    addresses: Addresses,
    json: bool,
}

async fn live(setup: &Setup<'_>) -> Result<()> {
    let shutdown = Shutdown::install().context("listen to signals")?;
    withdraw(&setup.folder);
    let mut stack = Stack::new(shutdown.hard.clone());
    let started = tokio::select! {
        started = start(setup, &mut stack) => started,
        () = shutdown.soft.cancelled() => Ok(()),
    };
    if started.is_ok() {
        shutdown.soft.cancelled().await;
        say("stopping; once more to hurry");
    }
    withdraw(&setup.folder);
    stack.stop().await;
    Postgres::tidy(&setup.folder);
    if started.is_ok() {
        say("stopped");
    }
    started
}

async fn start(setup: &Setup<'_>, stack: &mut Stack) -> Result<()> {
    let Setup { options, programs, profiles, folder, addresses, json } = setup;
    let begun = Instant::now();
    say(&format!("starting in {}", folder.root.display()));
    folder.clear_scratch().context("clear the scratch folder")?;
    let root_keys = credentials::prepare(folder, options.root_key_file.as_deref())?;
    let database_url = database(setup, stack).await?;
    let redis_url = cache(setup, stack).await?;
    let stores = match external(options.stores.as_deref()) {
        Some(stores) => OsString::from(stores),
        None => OsString::from(planes::file_url(&folder.store())),
    };
    let profiles = profiles.as_deref();
    let listen = &options.listen;
    let planes =
        Planes { programs, profiles, folder, database_url, redis_url, stores, root_keys, listen };
    stack.start(planes.control(&addresses.grpc.to_string()));
    let grpc = stack.wait(address::bound(&planes.control_bound())).await??;
    say(&format!("control listens on {grpc}"));
    let certificate = certificate(listen)?;
    let control_url = served(grpc, certificate.as_deref()).url;
    stack.start(planes.dataplane(&addresses.http.to_string(), &control_url));
    let http = stack.wait(address::bound(&planes.dataplane_bound())).await??;
    say(&format!("data plane listens on {http}"));
    let server = served(http, certificate.as_deref());
    stack.start_group(planes.workers(options.workers, &control_url));
    // The service as a whole is not ready without workers; nor was it asked to be.
    let sign = if options.workers == 0 { "/health/playback" } else { "/health" };
    stack.wait(healthy(&server, sign)).await?;
    if let Some(certificate) = &certificate {
        symlink(certificate, folder.run().join(server::CERTIFICATE))?;
    }
    runtime::addr::publish(&folder.run().join("grpc.addr"), grpc)?;
    runtime::addr::publish(&folder.run().join("http.addr"), http)?;
    let seconds = begun.elapsed().as_secs_f64();
    // Only now: encoding would slow the start of everything else down on a small machine.
    let sample = sample::make(&programs.ffmpeg, &folder.root).await;
    let grpc = reachable(grpc);
    Ready { folder, http: &server, grpc, sample: sample.as_deref(), seconds }.print(*json);
    Ok(())
}

/// Starts the private Postgres unless another is named.
async fn database(setup: &Setup<'_>, stack: &mut Stack) -> Result<String> {
    let Some(programs) = &setup.programs.postgres else {
        return Ok(setup.options.database_url.clone().unwrap_or_default());
    };
    let postgres = Postgres::prepare(programs, &setup.folder).await?;
    stack.start(postgres.spec());
    stack.wait(postgres.ready()).await?;
    say("postgres is ready");
    Ok(postgres.url())
}

/// Starts the private Redis unless another is named.
async fn cache(setup: &Setup<'_>, stack: &mut Stack) -> Result<String> {
    let Some(program) = &setup.programs.redis else {
        return Ok(setup.options.redis_url.clone().unwrap_or_default());
    };
    let redis = Redis::prepare(program.clone(), &setup.folder)?;
    stack.start(redis.spec());
    stack.wait(redis.ready()).await?;
    say("redis is ready");
    Ok(redis.url())
}

async fn healthy(server: &Server, path: &str) {
    while !rest::is_healthy(server, path).await {
        sleep(HEALTH_INTERVAL).await;
    }
}

/// The certificate that is served. The parts on this machine trust it as it is, whatever its names.
fn certificate(listen: &ListenArgs) -> Result<Option<PathBuf>> {
    let files = listen.files()?;
    files.map(|(certificate, _)| std::path::absolute(certificate)).transpose().map_err(Into::into)
}

/// What somebody on this machine connects to.
fn served(addr: SocketAddr, certificate: Option<&Path>) -> Server {
    let scheme = if certificate.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}", reachable(addr));
    Server { url, ca_file: certificate.map(Path::to_owned) }
}

/// Takes the addresses back: who finds them may connect.
fn withdraw(folder: &Folder) {
    let files = ["http.addr", "grpc.addr", "control.bound", "dataplane.bound", server::CERTIFICATE];
    for name in files {
        // Mostly there is none.
        let _ = fs::remove_file(folder.run().join(name));
    }
}

/// What an empty variable names is nothing.
fn external(value: Option<&str>) -> Option<&str> {
    value.map(str::trim).filter(|text| !text.is_empty())
}

/// Tells the person, or with `--json` the program, what happens. A reader that has gone away must not end
/// the service.
fn say(text: &str) {
    let mut out = std::io::stdout();
    let _ = if AS_JSON.load(Ordering::Relaxed) {
        writeln!(out, "{}", serde_json::json!({"ready": false, "message": text}))
    } else {
        writeln!(out, "streaming-service: {text}")
    };
}
