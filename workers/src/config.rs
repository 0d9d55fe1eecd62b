//! Command-line flags and environment variables (`STREAMING_*`).

use std::{net::SocketAddr, path::PathBuf, thread, time::Duration};

use api::v1;
use clap::{Args, Parser, Subcommand, builder::FalseyValueParser};

const SLOTS_MIN: usize = 2;
/// More threads only delay the first frame of an encoder.
const URGENT_THREADS_MAX: usize = 16;

/// Pulls tasks from control and runs FFmpeg.
#[derive(Debug, Parser)]
#[command(name = "streaming-worker", version)]
pub struct Program {
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run tasks until stopped: the first SIGTERM drains, the second stops immediately.
    Run(Box<Config>),
    /// Prints the table of flags and variables, as docs/configuration.md has it.
    #[command(hide = true)]
    ConfigDocs,
}

/// The flags of `run`.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// Control planes; another one is tried when a stream breaks.
    #[arg(long, env = "STREAMING_CONTROL_URLS", value_delimiter = ',', required = true,
          value_parser = runtime::addr::server_url)]
    pub control_urls: Vec<String>,
    /// File that contains the worker's token; read again for every connection.
    #[arg(long, env = "STREAMING_TOKEN_FILE")]
    pub token_file: PathBuf,
    /// Tasks at a time; default: one per core, at least 2.
    #[arg(long, env = "STREAMING_WORKER_SLOTS")]
    pub worker_slots: Option<usize>,
    /// Additional slots for tasks of at least express priority: probes, first chunks, audio.
    #[arg(long, env = "STREAMING_WORKER_EXPRESS_SLOTS", default_value_t = 2)]
    pub worker_express_slots: usize,
    /// Threads of each decoder and encoder; 0: cores divided by slots, and every core for urgent
    /// tasks.
    #[arg(long, env = "STREAMING_WORKER_THREADS", default_value_t = 0)]
    pub worker_threads: usize,
    /// The ffmpeg program.
    #[arg(long, env = "STREAMING_FFMPEG", default_value = "ffmpeg")]
    pub ffmpeg: PathBuf,
    /// The ffprobe program.
    #[arg(long, env = "STREAMING_FFPROBE", default_value = "ffprobe")]
    pub ffprobe: PathBuf,
    /// Folder for temporary files; default: the system's.
    #[arg(long, env = "STREAMING_SCRATCH")]
    pub scratch: Option<PathBuf>,
    /// Shown in job listings; default: the host's name and the process id.
    #[arg(long, env = "STREAMING_WORKER_NAME")]
    pub worker_name: Option<String>,
    /// Run FFmpeg without Landlock and seccomp, on kernels that lack them. Uploads can then read
    /// files.
    #[arg(long, env = "STREAMING_UNSANDBOXED", value_parser = FalseyValueParser::new())]
    pub unsandboxed: bool,
    /// How long running tasks may still take after the first SIGTERM.
    #[arg(long = "worker-drain", env = "STREAMING_WORKER_DRAIN", default_value = "20s", value_parser = runtime::duration::parse)]
    pub drain: Duration,
    /// Maximum time without progress of FFmpeg.
    #[arg(long = "worker-stall", env = "STREAMING_WORKER_STALL", default_value = "60s", value_parser = runtime::duration::parse)]
    pub stall: Duration,
    /// Pause before the worker probes its own sample again after a failure; meanwhile it takes no
    /// probes.
    #[arg(long = "worker-sample-retry", env = "STREAMING_WORKER_SAMPLE_RETRY", default_value = "30s", value_parser = runtime::duration::parse)]
    pub sample_retry: Duration,
    /// Address space of one FFmpeg, in MiB; 0: 6 GiB and 256 MiB per core.
    #[arg(long = "worker-memory", env = "STREAMING_WORKER_MEMORY", default_value_t = 0)]
    pub memory_mib: u64,
    /// How sources in S3 are read: by ranges, as a whole into the scratch folder, or by ranges
    /// where the kernel can restrict FFmpeg to one port (Linux 6.7 and later).
    #[arg(long = "worker-source", env = "STREAMING_WORKER_SOURCE", value_enum, default_value_t)]
    pub source: SourceMode,
    /// Device files that FFmpeg may open for hardware encoders, for example /dev/dri/renderD128 or
    /// /dev/nvidia0,/dev/nvidiactl,/dev/nvidia-uvm; unset: software encoders only.
    #[arg(long, env = "STREAMING_HARDWARE_DEVICES", value_delimiter = ',')]
    pub hardware_devices: Vec<PathBuf>,
    /// Serves /metrics; unset: not served.
    #[arg(long, env = "STREAMING_METRICS_ADDR")]
    pub metrics_addr: Option<SocketAddr>,
    /// TLS for connections to control.
    #[command(flatten)]
    pub dial: runtime::tls::DialArgs,
}

impl Config {
    /// Tasks at a time.
    pub fn slots(&self) -> usize {
        self.worker_slots.unwrap_or_else(|| cores().max(SLOTS_MIN)).max(1)
    }

    /// The free slots to report to control while `busy` tasks run.
    pub fn want(&self, busy: usize) -> v1::Want {
        let slots = self.slots().saturating_sub(busy);
        let all = (self.slots() + self.worker_express_slots).saturating_sub(busy);
        let (slots, express_slots) = (slots as u32, (all - slots) as u32);
        v1::Want { slots, express_slots, ..v1::Want::default() }
    }

    /// Threads of each decoder and encoder of a task that is not urgent.
    pub fn threads(&self) -> u32 {
        let threads = match self.worker_threads {
            0 => cores() / self.slots(),
            threads => threads,
        };
        threads.max(1) as u32
    }

    /// Threads of each decoder and encoder of an urgent task.
    pub fn urgent_threads(&self) -> u32 {
        match self.worker_threads {
            0 => cores().min(URGENT_THREADS_MAX) as u32,
            threads => threads as u32,
        }
    }

    /// Address space of one FFmpeg in bytes; every thread and allocator arena reserves some.
    pub fn memory_bytes(&self) -> u64 {
        let mib = match self.memory_mib {
            0 => 6 * 1024 + 256 * cores() as u64,
            mib => mib,
        };
        mib << 20
    }

    /// The worker's name in listings.
    pub fn name(&self) -> String {
        self.worker_name.clone().unwrap_or_else(|| {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            let host = if host.trim().is_empty() { "worker" } else { host.trim() };
            format!("{host}-{}", std::process::id())
        })
    }
}

/// How sources in S3 are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SourceMode {
    /// By ranges where the kernel can restrict FFmpeg to one port, else as a whole.
    #[default]
    Auto,
    /// By ranges, through the proxy.
    Ranges,
    /// Copies the whole source into the scratch folder.
    Download,
}

/// The machine's cores, as far as this process may use them.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
