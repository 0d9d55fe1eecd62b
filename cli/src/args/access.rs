//! `token` and `keys`, declared.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use authz::{Operation, Role};
use clap::{Args, Subcommand};
use media::VideoId;

use super::parse_ttl;
use crate::server::any_path;

/// `token …`
#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Mint a token, through the server or offline with a root key
    Mint(MintArgs),
    /// Take rights off a token, offline: what comes out does less, and nothing gives it back
    Narrow(NarrowArgs),
    /// Revoke a token
    Revoke {
        /// The token; `-` reads it from standard input
        token: String,
    },
    /// Mint a token that plays one video
    Playback {
        /// The video's id
        video: String,
        /// How long it is good for [default: the server's]
        #[arg(long, value_parser = parse_ttl)]
        ttl: Option<Duration>,
        /// Highest rung, in lines
        #[arg(long, default_value_t = 0)]
        max_height: u32,
        /// Only from this address
        #[arg(long)]
        address: Option<IpAddr>,
    },
}

/// Options of `token mint`.
#[derive(Args)]
pub(crate) struct MintArgs {
    /// Mint offline with this file's newest key, without a running service
    #[arg(long, env = "STREAMING_ROOT_KEY_FILE", value_parser = any_path())]
    pub(crate) root_key: Option<PathBuf>,
    /// admin, editor, viewer, worker or dataplane
    #[arg(long)]
    pub(crate) role: Role,
    /// Who it is for; shown in logs and used as owner
    #[arg(long, default_value = "cli")]
    pub(crate) subject: String,
    /// Whose videos it sees
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// How long it is good for: 90s, 30m, 1h, 7d
    #[arg(long, default_value = "1h", value_parser = parse_ttl)]
    pub(crate) ttl: Duration,
}

/// Options of `token narrow`. What is not given stays as it was.
#[derive(Args)]
pub(crate) struct NarrowArgs {
    /// The token; `-` reads it from standard input [default: the own one]
    pub(crate) from: Option<String>,
    /// Only these: read, write, delete, admin, work, serve, play
    #[arg(long = "operation", value_delimiter = ',')]
    pub(crate) operations: Vec<Operation>,
    /// Only requests about this video
    #[arg(long)]
    pub(crate) video: Option<VideoId>,
    /// No longer than this from now
    #[arg(long, value_parser = parse_ttl)]
    pub(crate) ttl: Option<Duration>,
    /// Only from this address
    #[arg(long)]
    pub(crate) address: Option<IpAddr>,
}

/// `keys …`
#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a root key file; existing files are never overwritten
    New {
        /// Where to write it (mode 0600)
        #[arg(long)]
        out: PathBuf,
    },
    /// Add a key, which signs from now on; tokens of the older ones stay good
    Rotate(KeyFile),
    /// Remove an old key: every token that it signed is refused from then on
    Remove {
        /// The key's id, as `keys list` shows it
        id: u32,
        #[command(flatten)]
        file: KeyFile,
    },
    /// List the ids of the keys; the last one signs
    List(KeyFile),
}

/// Names a root key file.
#[derive(Args)]
pub(crate) struct KeyFile {
    /// The root key file [default: DATA/root.keys]
    #[arg(long, env = "STREAMING_ROOT_KEY_FILE", value_parser = any_path())]
    pub(crate) root_key: Option<PathBuf>,
}
