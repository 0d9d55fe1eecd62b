//! Addresses: publishes the bound address of a listener for a parent process that requested port 0,
//! and parses URLs of servers.

use std::{io, net::SocketAddr, path::Path};

use http::Uri;

use crate::files;

/// Parses a flag's value that is the URL of a server. The scheme is required, because without it
/// neither plaintext nor TLS is chosen. An empty value is accepted, for lists that end in a comma.
///
/// # Errors
/// The text is not an `http` or `https` URL; the message shows an example.
pub fn server_url(text: &str) -> Result<String, String> {
    let text = text.trim();
    let uri = text.parse::<Uri>().ok();
    let is_whole = |uri: Uri| matches!(uri.scheme_str(), Some("http" | "https"));
    if text.is_empty() || uri.is_some_and(is_whole) {
        return Ok(text.to_owned());
    }
    Err("must be an http or https URL, for example http://127.0.0.1:50051".to_owned())
}

/// Writes a bare `host:port` to `path`. Readers never see a partial file, because the complete file
/// is renamed into place.
///
/// # Errors
/// The folder is not writable.
pub fn publish(path: &Path, addr: SocketAddr) -> io::Result<()> {
    files::replace(path, addr.to_string().as_bytes(), 0o666)
}

/// Converts a Redis URL into the form that the client library reads; `redis-unix:///path` is a
/// socket. Other schemes are rejected, because the client would treat them as plaintext Redis.
///
/// # Errors
/// The scheme is not a Redis scheme. The message never contains the URL, which may contain a
/// password.
pub fn redis_url(text: &str) -> Result<String, &'static str> {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme).unwrap_or_default();
    match scheme {
        "redis-unix" => Ok(text.replacen("redis-unix://", "redis+unix://", 1)),
        "redis" | "redis+unix" | "redis-cluster" | "redis-sentinel" => Ok(text.to_owned()),
        "rediss" | "rediss-cluster" | "rediss-sentinel" => Ok(text.to_owned()),
        _ => Err("must be a Redis URL, for example redis://127.0.0.1:6379"),
    }
}

#[cfg(test)]
mod tests {
    use super::{publish, redis_url, server_url};

    #[test]
    fn redis_urls_have_a_redis_scheme() {
        assert_eq!(redis_url("redis-unix:///r/s").as_deref(), Ok("redis+unix:///r/s"));
        assert_eq!(redis_url("rediss://:p@h:1").as_deref(), Ok("rediss://:p@h:1"));
        for bad in ["http://:p@h:1", "h:6379", "postgres://h"] {
            assert!(redis_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn servers_have_a_scheme_and_a_host() {
        for good in ["http://127.0.0.1:50051", "https://control.example.com/", " http://c:1 ", ""] {
            assert_eq!(server_url(good).as_deref(), Ok(good.trim()));
        }
        for bad in ["nonsense", "control:50051", "127.0.0.1:1", "ftp://c", "http://", "a b"] {
            assert!(server_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn address_file_contains_only_the_address() {
        let folder = std::env::temp_dir().join(format!("runtime-addr-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("http.addr");
        publish(&path, "127.0.0.1:8080".parse().unwrap()).unwrap();
        publish(&path, "127.0.0.1:8081".parse().unwrap()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "127.0.0.1:8081");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
