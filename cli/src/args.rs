//! The command line, declared. Flags and `STREAMING_*` variables are twins.

mod access;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use runtime::tls::ListenArgs;

pub(crate) use self::access::{KeyFile, KeysCommand, MintArgs, NarrowArgs, TokenCommand};
use crate::{
    failure::EXIT_CODES,
    paging::PageArgs,
    server::{Target, any_path},
};

/// More than that on one machine is a slip of the finger.
const WORKERS_MAX: usize = 256;

const EXAMPLES: &str = "\
Examples:
  streaming-service up
  streaming-service upload film.mp4 --title 'My film' --transcode --wait
  streaming-service jobs watch JOB
  streaming-service token mint --role viewer --subject ana --ttl 24h

Clients find their server by STREAMING_HTTP_ADDR, STREAMING_GRPC_ADDR and STREAMING_TOKEN or
STREAMING_TOKEN_FILE; what is not set is looked up in the data folder (STREAMING_DATA).

With --json, answers are JSON in the shapes of the REST API; so are failures, on standard error.";

/// Video on demand: uploads go in, HLS and DASH come out.
#[derive(Parser)]
#[command(name = "streaming-service", version, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Start the whole service here: database, cache, control, data plane and workers
    Up(UpArgs),
    /// Send a film to the service
    Upload(UploadArgs),
    /// Encode a video for streaming
    Transcode(TranscodeArgs),
    /// Show a job's live progress, rung by rung
    Watch(JobArg),
    /// List, show and delete videos
    #[command(subcommand)]
    Videos(VideosCommand),
    /// List, show, cancel, retry and watch jobs
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// List and drain workers
    #[command(subcommand)]
    Workers(WorkersCommand),
    /// Mint and revoke tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Make root keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Print a shell's completion script
    Completions {
        /// The shell to complete in
        shell: Shell,
    },
    /// Prints the table of flags and variables, as docs/configuration.md has it
    #[command(hide = true)]
    ConfigDocs,
    /// Prepares this process for one of `up`'s children, then becomes it
    #[command(hide = true)]
    ExecChild(ExecChildArgs),
}

/// Options of `up`. The addresses are the global `--http-addr` and `--grpc-addr`.
#[derive(Args)]
pub(crate) struct UpArgs {
    /// How many workers to start
    #[arg(long, env = "STREAMING_WORKERS", default_value_t = 1, value_parser = parse_workers)]
    pub(crate) workers: usize,
    /// Use this Postgres instead of starting a private one
    #[arg(long, env = "STREAMING_DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: Option<String>,
    /// Use this Redis instead of starting a private one
    #[arg(long, env = "STREAMING_REDIS_URL", hide_env_values = true)]
    pub(crate) redis_url: Option<String>,
    /// Where objects lie: comma-separated `file:///dir` or `s3://bucket` [default: DATA/store]
    #[arg(long, env = "STREAMING_STORES")]
    pub(crate) stores: Option<String>,
    /// Control's private keys [default: DATA/root.keys, made at the first start]
    #[arg(long, env = "STREAMING_ROOT_KEY_FILE", value_parser = any_path())]
    pub(crate) root_key_file: Option<PathBuf>,
    /// TOML file of the profiles [default: the five built-in ones]
    #[arg(long, env = "STREAMING_PROFILES_FILE", value_parser = any_path())]
    pub(crate) profiles_file: Option<PathBuf>,
    /// TLS on both addresses, or plaintext
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
}

/// Options of `upload`.
#[derive(Args)]
pub(crate) struct UploadArgs {
    /// The film
    pub(crate) file: PathBuf,
    /// Shown to viewers [default: the file's name]
    #[arg(long)]
    pub(crate) title: Option<String>,
    /// Shown to viewers
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// Who may play it [default: the server's]
    #[arg(long)]
    pub(crate) visibility: Option<Visibility>,
    /// Send it in one request that cannot be resumed
    #[arg(long)]
    pub(crate) form: bool,
    /// Encode it for streaming afterwards
    #[arg(long)]
    pub(crate) transcode: bool,
    /// Stay until everything asked for is done
    #[arg(long)]
    pub(crate) wait: bool,
}

/// Who may play a video.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Visibility {
    /// Everybody
    Public,
    /// Whoever has a playback token
    Private,
}

impl Visibility {
    /// The form field's text.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
    }
}

/// Options of `transcode`.
#[derive(Args)]
pub(crate) struct TranscodeArgs {
    /// The video's id
    pub(crate) video: String,
    /// Rungs, for example 360p,720p [default: all that fit the source]
    #[arg(long, value_delimiter = ',')]
    pub(crate) profiles: Vec<String>,
    /// Make no HLS playlists
    #[arg(long)]
    pub(crate) no_hls: bool,
    /// Make no DASH manifest
    #[arg(long)]
    pub(crate) no_dash: bool,
    /// Make a poster, thumbnails and a storyboard
    #[arg(long)]
    pub(crate) thumbnails: bool,
    /// Make a preview clip
    #[arg(long)]
    pub(crate) preview: bool,
    /// Stay until the job ends
    #[arg(long)]
    pub(crate) wait: bool,
}

/// Names a job.
#[derive(Args)]
pub(crate) struct JobArg {
    /// The job's id
    pub(crate) job: String,
}

/// Names a video.
#[derive(Args)]
pub(crate) struct VideoArg {
    /// The video's id
    pub(crate) video: String,
}

/// `videos …`
#[derive(Subcommand)]
pub(crate) enum VideosCommand {
    /// List videos, newest first
    List(PageArgs),
    /// Show one video
    Get(VideoArg),
    /// Delete a video and everything made of it
    Delete(VideoArg),
    /// Probe a kept source again, after a failed probe or a refusal
    Probe(VideoArg),
}

/// `jobs …`
#[derive(Subcommand)]
pub(crate) enum JobsCommand {
    /// List jobs, newest first
    List {
        /// Only this video's
        #[arg(long)]
        video: Option<String>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Show one job with its tasks
    Get(JobArg),
    /// Stop a job
    Cancel(JobArg),
    /// Queue a failed or cancelled job's unfinished tasks again
    Retry(JobArg),
    /// Show a job's live progress, rung by rung
    Watch(JobArg),
}

/// `workers …`
#[derive(Subcommand)]
pub(crate) enum WorkersCommand {
    /// List workers
    List {
        /// Also those that are gone
        #[arg(long)]
        all: bool,
    },
    /// Let a worker finish what it holds, take nothing more and end
    ///
    /// A worker that `up` started is replaced by a fresh one.
    Drain {
        /// The worker's id or name, as `workers list` shows it
        worker: String,
        /// Stay until it has gone
        #[arg(long)]
        wait: bool,
    },
}

/// What `up` asks of a new child before it becomes PROGRAM.
#[derive(Args)]
pub(crate) struct ExecChildArgs {
    /// The process that must still be our parent
    #[arg(long)]
    pub(crate) parent: i32,
    /// The signal to get when the parent dies
    #[arg(long)]
    pub(crate) death_signal: String,
    /// Appear as this user, in a namespace of its own, without being it
    #[arg(long, conflicts_with = "user")]
    pub(crate) namespace_user: Option<u32>,
    /// Become this user
    #[arg(long)]
    pub(crate) user: Option<u32>,
    /// Let that user pass folders that are closed to it
    #[arg(long, requires = "user")]
    pub(crate) reach: bool,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

/// A count; an empty variable counts as unset.
fn parse_workers(text: &str) -> Result<usize, String> {
    match text.trim() {
        "" => Ok(1),
        text => text
            .parse()
            .ok()
            .filter(|count| *count <= WORKERS_MAX)
            .ok_or_else(|| format!("must be a number from 0 to {WORKERS_MAX}")),
    }
}

/// A token's life: `90s`, `30m`, `24h`, `7d`.
pub(crate) fn parse_ttl(text: &str) -> Result<Duration, String> {
    let ttl = runtime::duration::parse(text).map_err(|error| error.to_string())?;
    if ttl.as_secs() == 0 { Err("must be at least one second".to_owned()) } else { Ok(ttl) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn declaration_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn ttl_reads_units_and_refuses_nonsense() {
        assert_eq!(parse_ttl("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_ttl("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_ttl("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(parse_ttl("7d"), Ok(Duration::from_secs(604_800)));
        for bad in ["", "h", "0h", "-1h", "500ms", "é", "1.5h"] {
            assert!(parse_ttl(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn workers_are_counted_within_reason() {
        assert_eq!(parse_workers(""), Ok(1));
        assert_eq!(parse_workers("0"), Ok(0));
        assert!(parse_workers("257").is_err() && parse_workers("-1").is_err());
    }

    #[test]
    fn flags_may_follow_the_command() {
        let cli = Cli::try_parse_from(["s", "videos", "list", "--json", "--limit", "3"]).unwrap();
        assert!(cli.json);
    }
}
