//! The block of text that `up` prints once everything is ready, with the next steps.

use std::{env, io::Write, net::SocketAddr, path::Path};

use serde_json::json;

use super::folder::Folder;
use crate::{output::shell_path, server::Server};

/// The values in the block.
pub(crate) struct Ready<'a> {
    pub(crate) folder: &'a Folder,
    pub(crate) http: &'a Server,
    pub(crate) grpc: SocketAddr,
    pub(crate) sample: Option<&'a Path>,
    /// Signs a browser in to the console; `None` if the console is off.
    pub(crate) console: Option<&'a str>,
    pub(crate) seconds: f64,
}

impl Ready<'_> {
    /// Prints the block in one piece.
    pub(crate) fn print(&self, json: bool) {
        let text = if json { self.json() } else { self.text() };
        let mut out = std::io::stdout().lock();
        // A closed terminal must not stop the service.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    fn json(&self) -> String {
        let value = json!({
            "ready": true,
            "console": self.console,
            "http": self.http.url,
            "grpc": self.grpc.to_string(),
            "data": self.folder.root.to_string_lossy(),
            "tokenFile": self.folder.admin_token().to_string_lossy(),
        });
        format!("{value}\n")
    }

    fn text(&self) -> String {
        let (http, grpc) = (&self.http.url, self.grpc);
        // With TLS, clients need the certificate as an argument.
        let tls =
            self.http.ca_file.as_deref().map(shell_path).filter(|_| http.starts_with("https"));
        let curl = tls.as_ref().map(|file| format!(" --cacert {file}")).unwrap_or_default();
        let grpcurl = tls.map_or_else(|| "-plaintext".to_owned(), |file| format!("-cacert {file}"));
        let token = self.folder.admin_token();
        let file = self.sample.map_or_else(|| "FILE".to_owned(), shell_path);
        let own = env::current_exe().unwrap_or_else(|_| "streaming-service".into());
        let (own, data) = (shell_path(&own), shell_path(&self.folder.root));
        let quoted = shell_path(&token);
        let console = self.console.map_or_else(String::new, |link| {
            format!(
                "  Open the console (works once, within 10 minutes):
  {link}
  another link: {own} --data {data} console

"
            )
        });
        format!(
            "
streaming-service is ready ({seconds:.1} s)

{console}  HTTP         {http}   (/health, /metrics)
  gRPC         {grpc}   (grpcurl {grpcurl} {grpc} list)
  admin token  {token}
  logs         {logs}

Upload a video from another terminal:
  {own} --data {data} upload {file} --transcode --wait
or with curl:
  curl{curl} -H \"Authorization: Bearer $(cat {quoted})\" -F video=@{file} {http}/api/videos/upload

Ctrl-C stops everything.

",
            seconds = self.seconds,
            token = token.display(),
            logs = self.folder.root.join("logs").display(),
        )
    }
}
