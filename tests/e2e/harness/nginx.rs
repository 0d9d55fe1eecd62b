//! nginx in front of the service, from Debian's package, in a private folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::program;

/// A running nginx; dropping it stops it.
pub(crate) struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

impl Nginx {
    /// Starts nginx with `config` inside its `http` block. Its files are kept in `folder`.
    pub(crate) fn start(folder: &Path, config: &str) -> Self {
        let shown = folder.display().to_string();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {shown}/{name};\n"))
            .concat();
        let whole = format!(
            "daemon off;\nmaster_process off;\npid {shown}/nginx.pid;\nerror_log stderr;\n\
             events {{}}\nhttp {{\naccess_log off;\n{temporary}{config}\n}}\n"
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, whole).expect("write nginx.conf");
        let log = fs::File::create(folder.join("nginx.log")).expect("create log");
        let binary = program::tool("nginx").unwrap_or_else(|| PathBuf::from("/usr/sbin/nginx"));
        let mut command = Command::new(binary);
        command.arg("-c").arg(file).arg("-p").arg(folder).stdin(Stdio::null()).stderr(log);
        Self(command.spawn().expect("start nginx"))
    }
}
