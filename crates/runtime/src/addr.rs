//! Addresses: publishes the one that a listener was bound to, for whoever started us with port 0, and reads
//! those of servers.

use std::{fs, io, net::SocketAddr, path::Path};

use http::Uri;

/// A server's URL, as a flag's value: with its scheme, because what has none is neither plaintext nor TLS. One
/// that is empty is passed on, for lists that end in a comma.
///
/// # Errors
/// What is wrong, and how to write it.
pub fn server_url(text: &str) -> Result<String, String> {
    let text = text.trim();
    let uri = text.parse::<Uri>().ok();
    let is_whole = |uri: Uri| matches!(uri.scheme_str(), Some("http" | "https"));
    if text.is_empty() || uri.is_some_and(is_whole) {
        return Ok(text.to_owned());
    }
    Err("it is no http or https URL; write for example http://127.0.0.1:50051".to_owned())
}

/// Writes a bare `host:port` to `path`. Readers never see half of it, because the file is renamed into
/// place.
///
/// # Errors
/// When the folder cannot be written.
pub fn publish(path: &Path, addr: SocketAddr) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    fs::write(&temporary, addr.to_string())?;
    fs::rename(&temporary, path)
}

/// A Redis' URL as our client reads it; `redis-unix:///path` is a socket. The client takes any other scheme
/// for Redis', and what its owner meant for plaintext.
///
/// # Errors
/// What is wrong; never the URL, which may hold a password.
pub fn redis_url(text: &str) -> Result<String, &'static str> {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme).unwrap_or_default();
    match scheme {
        "redis-unix" => Ok(text.replacen("redis-unix://", "redis+unix://", 1)),
        "redis" | "redis+unix" | "redis-cluster" | "redis-sentinel" => Ok(text.to_owned()),
        "rediss" | "rediss-cluster" | "rediss-sentinel" => Ok(text.to_owned()),
        _ => Err("it is no Redis URL; write for example redis://127.0.0.1:6379"),
    }
}

#[cfg(test)]
mod tests {
    use super::{publish, redis_url, server_url};

    #[test]
    fn redis_is_named_as_such() {
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
    fn address_file_holds_the_bare_address() {
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
