//! Publishes the address a listener was bound to, for whoever started us with port 0.

use std::{fs, io, net::SocketAddr, path::Path};

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

#[cfg(test)]
mod tests {
    use super::publish;

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
