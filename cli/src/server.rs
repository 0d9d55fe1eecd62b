//! Finds the service's address and token: first in flags and variables, then in the data folder.

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
/// In the run folder: the certificate of a service that was started with TLS.
pub(crate) const CERTIFICATE: &str = "tls.pem";

/// Flags and variables of every client command; `up` listens on the same addresses.
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
    /// The bearer token; a token file is safer
    #[arg(long, global = true, env = "STREAMING_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// File with the bearer token [default: DATA/admin.token]
    #[arg(long, global = true, env = "STREAMING_TOKEN_FILE", value_parser = any_path())]
    pub(crate) token_file: Option<PathBuf>,
    /// CA bundle (PEM) for verifying https:// servers [default: the system's authorities,
    /// DATA/run/tls.pem]
    #[arg(long, global = true, env = "STREAMING_TLS_CA_FILE", value_parser = any_path())]
    pub(crate) tls_ca_file: Option<PathBuf>,
}

/// A server's URL and the CA bundle that verifies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// Scheme, host and port, for example "https://localhost:8443".
    pub(crate) url: String,
    /// `None` to use the system's authorities.
    pub(crate) ca_file: Option<PathBuf>,
}

/// Errors while looking for a server or token.
#[derive(Debug, Error)]
pub(crate) enum DiscoveryError {
    /// No address is configured and no service is running.
    #[error("no running service in {} (set {variable}, or start one with `streaming-service up`)", data.display())]
    NotRunning {
        /// The variable that would set the address.
        variable: &'static str,
        /// The data folder that was searched.
        data: PathBuf,
    },
    /// No token is configured or found.
    #[error("no token in {} (set STREAMING_TOKEN or STREAMING_TOKEN_FILE)", path.display())]
    NoToken {
        /// The file that was tried.
        path: PathBuf,
    },
    /// A file exists but cannot be read.
    #[error("read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// An address is not a valid `host:port`.
    #[error("{variable}: {text:?} must be host:port")]
    BadAddress {
        /// The variable that contains the address.
        variable: &'static str,
        /// The invalid text.
        text: String,
    },
}

impl Target {
    /// The data plane.
    pub(crate) fn http(&self) -> Result<Server, DiscoveryError> {
        self.address(self.http_addr.as_deref(), "STREAMING_HTTP_ADDR", "http.addr")
    }

    /// Control.
    pub(crate) fn grpc(&self) -> Result<Server, DiscoveryError> {
        self.address(self.grpc_addr.as_deref(), "STREAMING_GRPC_ADDR", "grpc.addr")
    }

    /// The bearer token to send.
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
    ) -> Result<Server, DiscoveryError> {
        let run = self.data.join("run");
        let running = read(&run.join(file)).map(|text| text.filter(|text| !text.is_empty()));
        // With port 0, `up` picks a free port and writes it to the run folder.
        let given = given.map(str::trim).filter(|text| !text.is_empty() && !text.ends_with(":0"));
        let (text, running) = match given {
            Some(text) => {
                (text.to_owned(), running.is_ok_and(|found| found.as_deref() == Some(text)))
            }
            None => match running? {
                Some(text) => (text, true),
                None => {
                    return Err(DiscoveryError::NotRunning { variable, data: self.data.clone() });
                }
            },
        };
        let (scheme, authority) = split(&text, variable)?;
        let own = Some(run.join(CERTIFICATE)).filter(|path| running && path.exists());
        let ca_file = self.tls_ca_file.clone().filter(|path| !path.as_os_str().is_empty()).or(own);
        // A bare address uses TLS if the local service does, or if a CA bundle is configured.
        let scheme = scheme.unwrap_or(if ca_file.is_some() { "https" } else { "http" });
        Ok(Server { url: format!("{scheme}://{authority}"), ca_file })
    }
}

/// Accepts an empty path, because an empty variable counts as unset.
pub(crate) fn any_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

fn data() -> impl TypedValueParser<Value = PathBuf> {
    any_path().map(|path| if path.as_os_str().is_empty() { PathBuf::from(DATA) } else { path })
}

/// Parses `host:port`, optionally with a scheme before and a slash after it. With a scheme, the
/// port may be omitted.
fn split(
    text: &str,
    variable: &'static str,
) -> Result<(Option<&'static str>, String), DiscoveryError> {
    let (scheme, bare) = match text.split_once("://") {
        Some(("https", bare)) => (Some("https"), bare),
        Some(("http", bare)) => (Some("http"), bare),
        _ => (None, text),
    };
    let bare = bare.trim_end_matches('/');
    let whole = bare.parse::<http::uri::Authority>().ok().filter(|_| !bare.contains('@'));
    let sound = |authority: &http::uri::Authority| match (authority.port_u16(), scheme) {
        (None, Some(_)) => !bare.contains("://") && !bare.ends_with(':'),
        (port, _) => port.is_some(),
    };
    match whole.filter(sound) {
        Some(authority) => Ok((scheme, authority.to_string())),
        None => Err(DiscoveryError::BadAddress { variable, text: text.to_owned() }),
    }
}

/// The trimmed text of a file, or `None` if it does not exist.
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
                tls_ca_file: None,
            }
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn variables_take_precedence_over_the_data_folder() {
        let folder = Folder::new("wins");
        fs::write(folder.0.join("run/http.addr"), "127.0.0.1:1\n").unwrap();
        fs::write(folder.0.join("admin.token"), "from-file\n").unwrap();
        let mut target = folder.target();
        assert_eq!(target.http().unwrap().url, "http://127.0.0.1:1");
        assert_eq!(target.bearer().unwrap(), "from-file");
        target.http_addr = Some("http://example.org:2/".into());
        target.token = Some(" from-variable ".into());
        assert_eq!(target.http().unwrap().url, "http://example.org:2");
        assert_eq!(target.bearer().unwrap(), "from-variable");
    }

    #[test]
    fn empty_and_port_zero_variables_count_as_unset() {
        let folder = Folder::new("unset");
        fs::write(folder.0.join("run/grpc.addr"), "127.0.0.1:3").unwrap();
        let mut target = folder.target();
        target.grpc_addr = Some(String::new());
        assert_eq!(target.grpc().unwrap().url, "http://127.0.0.1:3");
        target.grpc_addr = Some("127.0.0.1:0".into());
        assert_eq!(target.grpc().unwrap().url, "http://127.0.0.1:3");
    }

    #[test]
    fn missing_settings_are_named() {
        let folder = Folder::new("missing");
        let mut target = folder.target();
        assert!(target.http().unwrap_err().to_string().contains("STREAMING_HTTP_ADDR"));
        assert!(target.bearer().unwrap_err().to_string().contains("admin.token"));
        target.token_file = Some(folder.0.join("other"));
        assert!(target.bearer().unwrap_err().to_string().contains("other"));
    }

    #[test]
    fn invalid_addresses_are_rejected() {
        for bad in ["nonsense", "a:b", "u:p@h:1", "h:1/x"] {
            assert!(split(bad, "V").is_err(), "{bad}");
        }
        for bad in ["ftp://h:1", "https://", "https://h:1/x", "http://u@h"] {
            assert!(split(bad, "V").is_err(), "{bad}");
        }
        assert_eq!(split("[::1]:80", "V").unwrap(), (None, "[::1]:80".to_owned()));
        assert_eq!(split("https://h/", "V").unwrap(), (Some("https"), "h".to_owned()));
    }

    #[test]
    fn a_service_started_with_tls_is_found_by_its_certificate() {
        let folder = Folder::new("tls");
        let certificate = folder.0.join("run").join(CERTIFICATE);
        fs::write(folder.0.join("run/http.addr"), "127.0.0.1:8").unwrap();
        fs::write(&certificate, "").unwrap();
        let mut target = folder.target();
        let own = Server { url: "https://127.0.0.1:8".into(), ca_file: Some(certificate) };
        assert_eq!(target.http().unwrap(), own);
        target.http_addr = Some("127.0.0.1:8".into());
        assert_eq!(target.http().unwrap(), own);
        // The local certificate does not apply to another server.
        target.http_addr = Some("127.0.0.1:9".into());
        assert_eq!(target.http().unwrap().url, "http://127.0.0.1:9");
        target.http_addr = Some("https://video.example.org".into());
        let other = Server { url: "https://video.example.org".into(), ca_file: None };
        assert_eq!(target.http().unwrap(), other);
        target.tls_ca_file = Some("ca.pem".into());
        target.http_addr = Some("127.0.0.1:9".into());
        assert_eq!(target.http().unwrap().url, "https://127.0.0.1:9");
    }
}
