//! Declares the commands `token` and `keys`.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use authz::{Operation, Role};
use clap::{Args, Subcommand};
use media::VideoId;

use crate::server::any_path;

/// Whether there is a web console.
#[derive(Args, Clone)]
pub(crate) struct ConsoleArgs {
    /// Whether the web console and the pages of videos are served: on or off
    #[arg(long, env = "STREAMING_CONSOLE", default_value = "on")]
    pub(crate) console: String,
}

impl ConsoleArgs {
    /// Whether links to the console work. The data plane checks the value.
    pub(crate) fn is_on(&self) -> bool {
        !self.console.trim().eq_ignore_ascii_case("off")
    }
}

/// `token …`
#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Mint a token, through the server or offline with a root key
    Mint(MintArgs),
    /// Restrict a token, offline; the restriction cannot be removed from the result
    Narrow(NarrowArgs),
    /// Revoke a token
    Revoke {
        /// The token; `-` reads it from standard input
        token: String,
    },
    /// Renew a playback token in the last third of its life
    Renew {
        /// The token; `-` reads it from standard input
        token: String,
    },
    /// Mint a token that plays one video
    Playback {
        /// The video's id
        video: String,
        /// How long it is valid [default: the server's]
        #[arg(long, value_parser = parse_ttl)]
        ttl: Option<Duration>,
        /// Maximum height of renditions, in lines; 0 for all
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
    /// The caller; shown in logs and used as owner
    #[arg(long, default_value = "cli")]
    pub(crate) subject: String,
    /// The tenant whose videos it can access
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// How long it is valid: 90s, 30m, 1h, 7d
    #[arg(long, default_value = "1h", value_parser = parse_ttl)]
    pub(crate) ttl: Duration,
}

/// Options of `token narrow`. Omitted options leave the token's limits unchanged.
#[derive(Args)]
pub(crate) struct NarrowArgs {
    /// The token; `-` reads it from standard input [default: the token of this command]
    pub(crate) from: Option<String>,
    /// Allowed operations: read, write, delete, admin, work, serve, play
    #[arg(long = "operation", value_delimiter = ',')]
    pub(crate) operations: Vec<Operation>,
    /// Only requests about this video
    #[arg(long)]
    pub(crate) video: Option<VideoId>,
    /// Longest validity from now
    #[arg(long, value_parser = parse_ttl)]
    pub(crate) ttl: Option<Duration>,
    /// Only from this address
    #[arg(long)]
    pub(crate) address: Option<IpAddr>,
}

/// `keys …`
#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Generate a root key file; existing files are never overwritten
    New {
        /// Where to write it (mode 0600)
        #[arg(long)]
        out: PathBuf,
    },
    /// Add a key, which signs from now on; tokens signed with older keys remain valid
    Rotate(KeyFile),
    /// Remove an old key: every token that it signed is rejected from then on
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

/// A token's life: `90s`, `30m`, `24h`, `7d`.
fn parse_ttl(text: &str) -> Result<Duration, String> {
    let ttl = runtime::duration::parse(text).map_err(|error| error.to_string())?;
    if ttl.as_secs() == 0 { Err("must be at least one second".to_owned()) } else { Ok(ttl) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_console_is_on_unless_it_is_turned_off() {
        for (text, on) in [("on", true), ("off", false), (" OFF ", false)] {
            assert_eq!(ConsoleArgs { console: text.to_owned() }.is_on(), on, "{text}");
        }
    }

    #[test]
    fn ttl_parses_units_and_rejects_other_text() {
        assert_eq!(parse_ttl("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_ttl("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_ttl("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(parse_ttl("7d"), Ok(Duration::from_secs(604_800)));
        for bad in ["", "h", "0h", "-1h", "500ms", "é", "1.5h"] {
            assert!(parse_ttl(bad).is_err(), "{bad}");
        }
    }
}
