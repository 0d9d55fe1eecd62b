//! `up`: runs the whole service with built-in defaults, as child processes of this one.
//!
//! It starts the database, the cache, control, the data plane and the workers in this order, and
//! stops them in reverse order. No child outlives this process, even after SIGKILL: each one
//! requests a signal from the kernel when its parent exits.

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
mod report;
mod sample;
mod stack;

use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
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
    credentials::Credentials,
    folder::Folder,
    planes::Planes,
    postgres::Postgres,
    programs::Programs,
    ready::Ready,
    redis::Redis,
    report::print_status,
    stack::Stack,
};
use crate::{
    args::UpArgs,
    console::Link,
    rest,
    server::{self, Server, Target},
    session::Session,
};

const HEALTH_INTERVAL: Duration = Duration::from_millis(50);

/// Starts the whole service and runs until a signal stops it.
pub(crate) fn run(options: &UpArgs, target: &Target, json: bool) -> Result<()> {
    report::set_json(json);
    let own_postgres = external(options.database_url.as_deref()).is_none();
    let own_redis = external(options.redis_url.as_deref()).is_none();
    let programs = Programs::find(own_postgres, own_redis, &target.data.join("postgres"))?;
    let profiles = profiles::check(options.profiles_file.as_deref())?;
    let folder = Folder::open(&target.data)?;
    let addresses = Addresses::check(target)?;
    // Check the TLS options here, which gives one error message, instead of in a child that exits
    // again and again.
    options.listen.acceptor(addresses.http, Protocols::Http)?;
    options.listen.acceptor(addresses.grpc, Protocols::Grpc)?;
    // A single thread; see `child`.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(live(&Setup { options, programs, profiles, folder, addresses, json }))
}

/// The settings that are fixed before the first child starts.
struct Setup<'a> {
    options: &'a UpArgs,
    programs: Programs,
    /// Absolute path; `None` for the built-in profiles.
    profiles: Option<PathBuf>,
    folder: Folder,
    addresses: Addresses,
    json: bool,
}

async fn live(setup: &Setup<'_>) -> Result<()> {
    let shutdown = Shutdown::install().context("install signal handlers")?;
    remove_addresses(&setup.folder);
    let mut stack = Stack::new(shutdown.hard.clone());
    let started = tokio::select! {
        started = start(setup, &mut stack) => started,
        () = shutdown.soft.cancelled() => Ok(()),
    };
    if started.is_ok() {
        shutdown.soft.cancelled().await;
        print_status("stopping; signal again to stop immediately");
    }
    remove_addresses(&setup.folder);
    stack.stop().await;
    Postgres::remove_links(&setup.folder);
    if started.is_ok() {
        print_status("stopped");
    }
    started
}

async fn start(setup: &Setup<'_>, stack: &mut Stack) -> Result<()> {
    let Setup { options, programs, profiles, folder, addresses, json } = setup;
    let begun = Instant::now();
    print_status(&format!("starting in {}", folder.root.display()));
    folder.clear_scratch().context("clear the scratch folder")?;
    let credentials = Credentials::prepare(folder, options.root_key_file.as_deref())?;
    let database_url = database(setup, stack).await?;
    let redis_url = cache(setup, stack).await?;
    let stores = match external(options.stores.as_deref()) {
        Some(stores) => OsString::from(stores),
        None => OsString::from(planes::file_url(&folder.store())),
    };
    let profiles = profiles.as_deref();
    let (listen, console) = (&options.listen, options.console.console.as_str());
    let planes = Planes {
        programs,
        profiles,
        folder,
        database_url,
        redis_url,
        stores,
        root_keys: credentials.path.clone(),
        console,
        listen,
    };
    stack.start(planes.control(&addresses.grpc.to_string()));
    let grpc = stack.wait(address::bound(&planes.control_bound())).await??;
    print_status(&format!("control listens on {grpc}"));
    let certificate = certificate(listen)?;
    credentials.replace_rejected(folder, reachable(grpc), certificate.as_deref()).await?;
    let control_url = served(grpc, certificate.as_deref()).url;
    stack.start(planes.dataplane(&addresses.http.to_string(), &control_url));
    let http = stack.wait(address::bound(&planes.dataplane_bound())).await??;
    print_status(&format!("data plane listens on {http}"));
    let server = served(http, certificate.as_deref());
    stack.start_group(planes.workers(options.workers, &control_url));
    // Without workers the service as a whole is never ready, so wait for playback only.
    let sign = if options.workers == 0 { "/health/playback" } else { "/health" };
    stack.wait(healthy(&server, sign)).await?;
    if let Some(certificate) = &certificate {
        symlink(certificate, folder.run().join(server::CERTIFICATE))?;
    }
    runtime::addr::publish(&folder.run().join("grpc.addr"), grpc)?;
    runtime::addr::publish(&folder.run().join("http.addr"), http)?;
    let seconds = begun.elapsed().as_secs_f64();
    // Last, because on a small machine encoding would slow down the start of everything else.
    let sample = sample::make(&programs.ffmpeg, &folder.root).await;
    let grpc = reachable(grpc);
    let link = if options.console.is_on() { console_link(folder).await } else { None };
    let (sample, console) = (sample.as_deref(), link.as_deref());
    Ready { folder, http: &server, grpc, sample, console, seconds }.print(*json);
    Ok(())
}

/// A link that signs a browser in with the admin's rights, found like a client of this service.
async fn console_link(folder: &Folder) -> Option<String> {
    let target = Target {
        data: folder.root.clone(),
        http_addr: None,
        grpc_addr: None,
        token: None,
        token_file: Some(folder.admin_token()),
        tls_ca_file: None,
    };
    match Link::create(&Session { target: &target, json: false }).await {
        Ok(link) => Some(link.url),
        Err(error) => {
            print_status(&format!("failed to create a link to the console: {error:#}"));
            None
        }
    }
}

/// Starts the private Postgres unless a database URL is configured.
async fn database(setup: &Setup<'_>, stack: &mut Stack) -> Result<String> {
    let Some(programs) = &setup.programs.postgres else {
        return Ok(setup.options.database_url.clone().unwrap_or_default());
    };
    let postgres = Postgres::prepare(programs, &setup.folder).await?;
    stack.start(postgres.spec());
    stack.wait(postgres.ready()).await?;
    print_status("postgres is ready");
    Ok(postgres.url())
}

/// Starts the private Redis unless a Redis URL is configured.
async fn cache(setup: &Setup<'_>, stack: &mut Stack) -> Result<String> {
    let Some(program) = &setup.programs.redis else {
        return Ok(setup.options.redis_url.clone().unwrap_or_default());
    };
    let redis = Redis::prepare(program.clone(), &setup.folder)?;
    stack.start(redis.spec());
    stack.wait(redis.ready()).await?;
    print_status("redis is ready");
    Ok(redis.url())
}

async fn healthy(server: &Server, path: &str) {
    while !rest::is_healthy(server, path).await {
        sleep(HEALTH_INTERVAL).await;
    }
}

/// The certificate that is served. Processes on this machine trust it directly, without checking
/// its names.
fn certificate(listen: &ListenArgs) -> Result<Option<PathBuf>> {
    let files = listen.files()?;
    files.map(|(certificate, _)| std::path::absolute(certificate)).transpose().map_err(Into::into)
}

/// The URL at which clients on this machine reach `addr`.
fn served(addr: SocketAddr, certificate: Option<&Path>) -> Server {
    let scheme = if certificate.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}", reachable(addr));
    Server { url, ca_file: certificate.map(Path::to_owned) }
}

/// Removes the address files, because clients that find one may connect.
fn remove_addresses(folder: &Folder) {
    let files = ["http.addr", "grpc.addr", "control.bound", "dataplane.bound", server::CERTIFICATE];
    for name in files {
        // Usually the file does not exist.
        let _ = fs::remove_file(folder.run().join(name));
    }
}

/// An empty variable counts as unset.
fn external(value: Option<&str>) -> Option<&str> {
    value.map(str::trim).filter(|text| !text.is_empty())
}
