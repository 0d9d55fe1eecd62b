//! Rejection of plaintext, and which certificates are trusted.

use std::{net::SocketAddr, path::Path, process::Command};

use http::Uri;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{Acceptor, Connector, ListenArgs, Protocols, TlsError};

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A typical self-signed certificate, and its key.
fn certificate(folder: &Path, name: &str) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=tests", "-addext", "subjectAltName=DNS:localhost"])
        .arg("-keyout")
        .arg(folder.join(format!("{name}.key")))
        .arg("-out")
        .arg(folder.join(format!("{name}.pem")))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[test]
fn plaintext_beyond_loopback_requires_the_insecure_flag() {
    let mut args = ListenArgs::default();
    for here in ["127.0.0.1:80", "127.8.0.1:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
        args.check(addr(here)).unwrap();
    }
    for there in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:8080"] {
        let error = args.check(addr(there)).unwrap_err().to_string();
        for word in [there, "STREAMING_TLS_CERT_FILE", "STREAMING_INSECURE=true", "--insecure"] {
            assert!(error.contains(word), "{error}");
        }
        assert!(!error.contains('\n'), "{error}");
    }
    args.insecure = true;
    args.check(addr("0.0.0.0:8080")).unwrap();
    args.tls_cert_file = Some("cert.pem".into());
    assert!(matches!(args.check(addr("127.0.0.1:80")), Err(TlsError::Half)));
    // An empty variable counts as unset.
    args.tls_cert_file = Some("".into());
    args.check(addr("127.0.0.1:80")).unwrap();
}

async fn echo(listener: TcpListener, acceptor: Acceptor) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = acceptor.accept(tcp).await else { continue };
        let mut bytes = [0; 4];
        if stream.read_exact(&mut bytes).await.is_ok() {
            let _gone = stream.write_all(&bytes).await;
            let _gone = stream.shutdown().await;
        }
    }
}

async fn ask(connector: &Connector, uri: &Uri) -> std::io::Result<[u8; 4]> {
    let mut stream = connector.connect(uri).await?;
    stream.write_all(b"ping").await?;
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

#[tokio::test]
async fn certificates_are_trusted_by_their_file_alone_and_replaced_while_serving() {
    let folder = std::env::temp_dir().join(format!("runtime-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    certificate(&folder, "one");
    certificate(&folder, "two");
    let (served, key) = (folder.join("served.pem"), folder.join("served.key"));
    let serve = |name: &str| {
        std::fs::copy(folder.join(format!("{name}.pem")), &served).unwrap();
        std::fs::copy(folder.join(format!("{name}.key")), &key).unwrap();
    };
    serve("one");
    let acceptor = Acceptor::tls(&served, &key, Protocols::Http).unwrap();
    let identity = acceptor.0.as_ref().unwrap().identity.clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut server = tokio::task::JoinSet::new();
    server.spawn(echo(listener, acceptor));
    // The certificate is for localhost; because the file contains it, it is accepted for any name.
    let uri: Uri = format!("https://127.0.0.1:{port}/").parse().unwrap();
    let trusting = |name: &str| Connector::http(Some(&folder.join(format!("{name}.pem"))));
    assert_eq!(ask(&trusting("one"), &uri).await.unwrap(), *b"ping");
    assert!(ask(&trusting("two"), &uri).await.is_err());
    assert!(ask(&Connector::http(None), &uri).await.is_err());

    assert!(!identity.reload().unwrap());
    std::fs::write(&served, "half a certifi").unwrap();
    assert!(identity.reload().is_err());
    assert_eq!(ask(&trusting("one"), &uri).await.unwrap(), *b"ping");
    serve("two");
    assert!(identity.reload().unwrap());
    assert_eq!(ask(&trusting("two"), &uri).await.unwrap(), *b"ping");
    assert!(ask(&trusting("one"), &uri).await.is_err());
    std::fs::remove_dir_all(&folder).unwrap();
}
