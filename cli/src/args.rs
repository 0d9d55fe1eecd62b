//! Declares the command line. Every flag has a `STREAMING_*` variable of the same meaning.

mod access;

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use runtime::tls::ListenArgs;

pub(crate) use self::access::{
    ConsoleArgs, KeyFile, KeysCommand, MintArgs, NarrowArgs, TokenCommand,
};
use crate::{
    failure::EXIT_CODES,
    paging::PageArgs,
    server::{Target, any_path},
};

/// More workers on one machine are most likely a typing error.
const WORKERS_MAX: usize = 256;

const EXAMPLES: &str = "\
Examples:
  streaming-service up
  streaming-service console
  streaming-service upload video.mp4 --title 'My video' --transcode --wait
  streaming-service jobs watch JOB
  streaming-service token mint --role viewer --subject ana --ttl 24h

Clients find their server by STREAMING_HTTP_ADDR, STREAMING_GRPC_ADDR and STREAMING_TOKEN or
STREAMING_TOKEN_FILE; the data folder (STREAMING_DATA) provides those that are not set.

With --json, replies are JSON in the shapes of the REST API; so are failures, on standard error.";

/// Video on demand: uploads videos, serves HLS and DASH.
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

/// The command to run.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Start the whole service on this machine: database, cache, control, data plane and workers
    Up(UpArgs),
    /// Print a link that signs a browser in to the web console, once and within 10 minutes
    Console(ConsoleArgs),
    /// Upload a video
    Upload(UploadArgs),
    /// Encode a video for streaming
    Transcode(TranscodeArgs),
    /// Show the live progress of a job's renditions
    Watch(JobArg),
    /// List, show and delete videos
    #[command(subcommand)]
    Videos(VideosCommand),
    /// Add, list and delete a video's text tracks
    #[command(subcommand)]
    Captions(CaptionsCommand),
    /// List, show, cancel, retry and watch jobs
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// List and drain workers
    #[command(subcommand)]
    Workers(WorkersCommand),
    /// Mint and revoke tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Create, rotate and list root keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Print a shell's completion script
    Completions {
        /// The shell to complete in
        shell: Shell,
    },
    /// Prints the tables of flags and variables for docs/configuration.md
    #[command(hide = true)]
    ConfigDocs,
    /// Prepares a child process of `up`, then executes its program
    #[command(hide = true)]
    ExecChild(ExecChildArgs),
}

/// Options of `up`. The addresses are the global `--http-addr` and `--grpc-addr`.
#[derive(Args)]
pub(crate) struct UpArgs {
    /// Number of workers to start
    #[arg(long, env = "STREAMING_WORKERS", default_value_t = 1, value_parser = parse_workers)]
    pub(crate) workers: usize,
    /// Use this Postgres instead of starting a private one
    #[arg(long, env = "STREAMING_DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: Option<String>,
    /// Use this Redis instead of starting a private one
    #[arg(long, env = "STREAMING_REDIS_URL", hide_env_values = true)]
    pub(crate) redis_url: Option<String>,
    /// Object stores, comma-separated: `file:///dir` or `s3://bucket` [default: DATA/store]
    #[arg(long, env = "STREAMING_STORES")]
    pub(crate) stores: Option<String>,
    /// Control's private keys [default: DATA/root.keys, generated at the first start]
    #[arg(long, env = "STREAMING_ROOT_KEY_FILE", value_parser = any_path())]
    pub(crate) root_key_file: Option<PathBuf>,
    /// TOML file of the profiles [default: the five built-in ones]
    #[arg(long, env = "STREAMING_PROFILES_FILE", value_parser = any_path())]
    pub(crate) profiles_file: Option<PathBuf>,
    /// The web console
    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
    /// TLS on both addresses, or plaintext
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
}

/// Options of `upload`.
#[derive(Args)]
pub(crate) struct UploadArgs {
    /// The file to upload
    pub(crate) file: PathBuf,
    /// Title shown to viewers [default: the file's name]
    #[arg(long)]
    pub(crate) title: Option<String>,
    /// Description shown to viewers
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// Visibility to viewers [default: the server's]
    #[arg(long)]
    pub(crate) visibility: Option<Visibility>,
    /// Upload in one request that cannot be resumed
    #[arg(long)]
    pub(crate) form: bool,
    /// Encode it for streaming afterwards
    #[arg(long)]
    pub(crate) transcode: bool,
    /// Wait until the upload, and the transcode if requested, is complete
    #[arg(long)]
    pub(crate) wait: bool,
}

/// Visibility of a video to viewers.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Visibility {
    /// Every viewer
    Public,
    /// Viewers with a playback token
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
    /// Profiles, for example 360p,720p [default: all that fit the source]
    #[arg(long, value_delimiter = ',')]
    pub(crate) profiles: Vec<String>,
    /// Without HLS playlists
    #[arg(long)]
    pub(crate) no_hls: bool,
    /// Without a DASH manifest
    #[arg(long)]
    pub(crate) no_dash: bool,
    /// Create a poster, thumbnails and a storyboard
    #[arg(long)]
    pub(crate) thumbnails: bool,
    /// Create a preview clip
    #[arg(long)]
    pub(crate) preview: bool,
    /// Wait until the job ends
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
    /// Delete a video with its source and all renditions
    Delete(VideoArg),
    /// Probe a kept source again, after a failed probe or a rejection
    Probe(VideoArg),
}

/// `captions …`
#[derive(Subcommand)]
pub(crate) enum CaptionsCommand {
    /// Add a text track from a WebVTT or SubRip file
    Add(AddCaptionArgs),
    /// List the text tracks of a video, from its source and uploaded
    List(VideoArg),
    /// Delete a text track
    Delete {
        /// The video's id
        video: String,
        /// The text track's id, as `captions list` shows it
        caption: String,
    },
}

/// Options of `captions add`.
#[derive(Args)]
pub(crate) struct AddCaptionArgs {
    /// The video's id
    pub(crate) video: String,
    /// The WebVTT or SubRip file; `-` reads standard input
    pub(crate) file: PathBuf,
    /// Language of the text, a BCP 47 tag such as pt-BR; `und` if unknown
    #[arg(long)]
    pub(crate) language: String,
    /// Name shown to viewers [default: the language's own name]
    #[arg(long)]
    pub(crate) label: Option<String>,
    /// Purpose of the track
    #[arg(long, value_enum, default_value_t = CaptionKindArg::Subtitles)]
    pub(crate) kind: CaptionKindArg,
    /// Show it unless the viewer chooses another
    #[arg(long)]
    pub(crate) default: bool,
}

/// Purpose of a text track.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum CaptionKindArg {
    /// For viewers who do not understand the language
    Subtitles,
    /// For viewers who are deaf or hard of hearing
    Captions,
}

impl CaptionKindArg {
    /// The request's text.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Subtitles => "subtitles",
            Self::Captions => "captions",
        }
    }
}

/// `jobs …`
#[derive(Subcommand)]
pub(crate) enum JobsCommand {
    /// List jobs, newest first
    List {
        /// Only jobs of this video
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
    /// Show the live progress of a job's renditions
    Watch(JobArg),
}

/// `workers …`
#[derive(Subcommand)]
pub(crate) enum WorkersCommand {
    /// List workers
    List {
        /// Include disconnected workers
        #[arg(long)]
        all: bool,
    },
    /// Make a worker finish its tasks, take no new ones, and exit
    ///
    /// `up` replaces its own workers by new ones.
    Drain {
        /// The worker's id or name, as `workers list` shows it
        worker: String,
        /// Wait until it has disconnected
        #[arg(long)]
        wait: bool,
    },
}

/// Settings that `exec-child` applies before it executes PROGRAM.
#[derive(Args)]
pub(crate) struct ExecChildArgs {
    /// The process that must still be the parent
    #[arg(long)]
    pub(crate) parent: i32,
    /// The signal to receive when the parent exits
    #[arg(long)]
    pub(crate) death_signal: String,
    /// Map the current user to this one in a new user namespace
    #[arg(long, conflicts_with = "user")]
    pub(crate) namespace_user: Option<u32>,
    /// Switch to this user
    #[arg(long)]
    pub(crate) user: Option<u32>,
    /// Give that user the capability to pass folder permissions
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn declaration_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn number_of_workers_is_bounded() {
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
