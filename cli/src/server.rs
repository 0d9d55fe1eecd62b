//! Where the service is and what token to show it: flags and variables first, then the data folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser},
};
use thiserror::Error;

const DATA: &str = "./data";

/// The twins that every client command understands; `up` listens on the same addresses.
#[derive(Args, Clone, Debug)]
pub(crate) struct Target {
    /// The data folder
    #[arg(long, global = true, env = "STREAMING_DATA", default_value = DATA, value_parser = data())]
    pub(crate) data: PathBuf,
    /// The data plane's address [up: 127.0.0.1:8080; clients: DATA/run/http.addr]
    #[arg(long, global = true, env = "STREAMING_HTTP_ADDR")]
    pub(crate) http_addr: Option<String>,
    /// Control's address [up: 127.0.0.1:50051; clients: DATA/run/grpc.addr]
    #[arg(long, global = true, env = "STREAMING_GRPC_ADDR")]
    pub(crate) grpc_addr: Option<String>,
    /// A token's text; the file is safer
    #[arg(long, global = true, env = "STREAMING_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// A file that holds a token [default: DATA/admin.token]
    #[arg(long, global = true, env = "STREAMING_TOKEN_FILE", value_parser = any_path())]
    pub(crate) token_file: Option<PathBuf>,
}

/// Why no server or token was found.
#[derive(Debug, Error)]
pub(crate) enum DiscoveryError {
    /// Neither set nor running.
    #[error("no running service in {} (set {variable}, or start one with `streaming-service up`)", data.display())]
    NotRunning {
        /// What would name it.
        variable: &'static str,
        /// Where we looked.
        data: PathBuf,
    },
    /// No token to show.
    #[error("no token in {} (set STREAMING_TOKEN or STREAMING_TOKEN_FILE)", path.display())]
    NoToken {
        /// Where we looked.
        path: PathBuf,
    },
    /// A file is there but cannot be read.
    #[error("read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// We speak plain HTTP only.
    #[error("{variable}: https is not supported here; use http:// or a bare host:port")]
    Https {
        /// What held it.
        variable: &'static str,
    },
    /// An address that cannot be one.
    #[error("{variable}: {text:?} is no host:port")]
    BadAddress {
        /// What held it.
        variable: &'static str,
        /// What stood there.
        text: String,
    },
}

impl Target {
    /// `host:port` of the data plane.
    pub(crate) fn http(&self) -> Result<String, DiscoveryError> {
        self.address(self.http_addr.as_deref(), "STREAMING_HTTP_ADDR", "http.addr")
    }

    /// `host:port` of control.
    pub(crate) fn grpc(&self) -> Result<String, DiscoveryError> {
        self.address(self.grpc_addr.as_deref(), "STREAMING_GRPC_ADDR", "grpc.addr")
    }

    /// The token to show.
    pub(crate) fn bearer(&self) -> Result<String, DiscoveryError> {
        if let Some(token) = self.token.as_deref().map(str::trim).filter(|t| !t.is_empty()) {
            return Ok(token.to_owned());
        }
        let named = self.token_file.clone().filter(|path| !path.as_os_str().is_empty());
        let path = named.unwrap_or_else(|| self.data.join("admin.token"));
        match read(&path)? {
            Some(token) if !token.is_empty() => Ok(token),
            _ => Err(DiscoveryError::NoToken { path }),
        }
    }

    fn address(
        &self,
        given: Option<&str>,
        variable: &'static str,
        file: &str,
    ) -> Result<String, DiscoveryError> {
        // Port 0 asks `up` for any free port; which one it took stands in the run folder.
        let given = given.map(str::trim).filter(|text| !text.is_empty() && !text.ends_with(":0"));
        if let Some(text) = given {
            return host_and_port(text, variable);
        }
        match read(&self.data.join("run").join(file))? {
            Some(text) if !text.is_empty() => host_and_port(&text, variable),
            _ => Err(DiscoveryError::NotRunning { variable, data: self.data.clone() }),
        }
    }
}

/// A path that may be empty, because an empty variable counts as unset.
pub(crate) fn any_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

fn data() -> impl TypedValueParser<Value = PathBuf> {
    any_path().map(|path| if path.as_os_str().is_empty() { PathBuf::from(DATA) } else { path })
}

/// Takes `host:port`, also with `http://` before and a slash behind it.
fn host_and_port(text: &str, variable: &'static str) -> Result<String, DiscoveryError> {
    if text.starts_with("https://") {
        return Err(DiscoveryError::Https { variable });
    }
    let bare = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let whole = bare.parse::<http::uri::Authority>().ok();
    match whole.filter(|authority| authority.port_u16().is_some() && !bare.contains('@')) {
        Some(authority) => Ok(authority.to_string()),
        None => Err(DiscoveryError::BadAddress { variable, text: text.to_owned() }),
    }
}

/// The trimmed text of a file, or nothing when there is none.
fn read(path: &Path) -> Result<Option<String>, DiscoveryError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DiscoveryError::Unreadable { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("streaming-discovery-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(path.join("run")).unwrap();
            Self(path)
        }

        fn target(&self) -> Target {
            Target {
                data: self.0.clone(),
                http_addr: None,
                grpc_addr: None,
                token: None,
                token_file: None,
            }
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn variables_win_over_the_data_folder() {
        let folder = Folder::new("wins");
        fs::write(folder.0.join("run/http.addr"), "127.0.0.1:1\n").unwrap();
        fs::write(folder.0.join("admin.token"), "from-file\n").unwrap();
        let mut target = folder.target();
        assert_eq!(target.http().unwrap(), "127.0.0.1:1");
        assert_eq!(target.bearer().unwrap(), "from-file");
        target.http_addr = Some("http://example.org:2/".into());
        target.token = Some(" from-variable ".into());
        assert_eq!(target.http().unwrap(), "example.org:2");
        assert_eq!(target.bearer().unwrap(), "from-variable");
    }

    #[test]
    fn empty_and_port_zero_variables_count_as_unset() {
        let folder = Folder::new("unset");
        fs::write(folder.0.join("run/grpc.addr"), "127.0.0.1:3").unwrap();
        let mut target = folder.target();
        target.grpc_addr = Some(String::new());
        assert_eq!(target.grpc().unwrap(), "127.0.0.1:3");
        target.grpc_addr = Some("127.0.0.1:0".into());
        assert_eq!(target.grpc().unwrap(), "127.0.0.1:3");
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = Folder::new("missing");
        let mut target = folder.target();
        assert!(target.http().unwrap_err().to_string().contains("STREAMING_HTTP_ADDR"));
        assert!(target.bearer().unwrap_err().to_string().contains("admin.token"));
        target.token_file = Some(folder.0.join("other"));
        assert!(target.bearer().unwrap_err().to_string().contains("other"));
    }

    #[test]
    fn addresses_that_cannot_be_are_refused() {
        for bad in ["nonsense", "a:b", "u:p@h:1", "h:1/x"] {
            assert!(host_and_port(bad, "V").is_err(), "{bad}");
        }
        assert!(matches!(host_and_port("https://h:1", "V"), Err(DiscoveryError::Https { .. })));
        assert_eq!(host_and_port("[::1]:80", "V").unwrap(), "[::1]:80");
    }
}
