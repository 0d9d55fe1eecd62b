//! The planes as children: the settings that each one receives and those that are kept from it.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::signal::Signal;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use runtime::tls::ListenArgs;

use super::{
    child::{RunAs, Spec},
    folder::Folder,
    programs::Programs,
};

/// A plane drains first; a second SIGTERM makes it drop the requests or tasks that still run.
const STOP: &[(Signal, Duration)] =
    &[(Signal::SIGTERM, Duration::from_secs(5)), (Signal::SIGTERM, Duration::from_secs(3))];

/// Control serves its metrics through the data plane, and two processes cannot listen on one
/// address.
const CONTROL_UNSET: &[&str] =
    &["STREAMING_TOKEN", "STREAMING_TOKEN_FILE", "STREAMING_METRICS_ADDR"];
const DATAPLANE_UNSET: &[&str] = &[
    "STREAMING_TOKEN",
    "STREAMING_DATABASE_URL",
    "STREAMING_ROOT_KEY_FILE",
    "STREAMING_JWT_HS256_SECRET_FILE",
    "STREAMING_PURGE_URL",
];
const WORKER_UNSET: &[&str] = &[
    "STREAMING_TOKEN",
    "STREAMING_DATABASE_URL",
    "STREAMING_REDIS_URL",
    "STREAMING_STORES",
    "STREAMING_ROOT_KEY_FILE",
    "STREAMING_JWT_HS256_SECRET_FILE",
    "STREAMING_PURGE_URL",
    "STREAMING_ADDR_FILE",
    "STREAMING_METRICS_ADDR",
    // Only control and the data plane have credentials for the stores.
    "AWS_*",
];

/// Settings that the planes share.
pub(crate) struct Planes<'a> {
    pub(crate) programs: &'a Programs,
    /// Absolute path; `None` for the built-in profiles.
    pub(crate) profiles: Option<&'a Path>,
    pub(crate) folder: &'a Folder,
    pub(crate) database_url: String,
    pub(crate) redis_url: String,
    pub(crate) stores: OsString,
    pub(crate) root_keys: PathBuf,
    /// "on" or "off".
    pub(crate) console: &'a str,
    pub(crate) listen: &'a ListenArgs,
}

impl Planes<'_> {
    /// The file into which control writes the address that it listens on.
    pub(crate) fn control_bound(&self) -> PathBuf {
        self.folder.run().join("control.bound")
    }

    /// The file into which the data plane writes the address that it listens on.
    pub(crate) fn dataplane_bound(&self) -> PathBuf {
        self.folder.run().join("dataplane.bound")
    }

    /// The control plane.
    pub(crate) fn control(&self, grpc_addr: &str) -> Spec {
        let mut env = vec![
            ("STREAMING_GRPC_ADDR", grpc_addr.into()),
            ("STREAMING_ADDR_FILE", self.control_bound().into_os_string()),
            ("STREAMING_DATABASE_URL", self.database_url.clone().into()),
            ("STREAMING_REDIS_URL", self.redis_url.clone().into()),
            ("STREAMING_STORES", self.stores.clone()),
            ("STREAMING_ROOT_KEY_FILE", self.root_keys.clone().into_os_string()),
        ];
        if let Some(profiles) = self.profiles {
            env.push(("STREAMING_PROFILES_FILE", profiles.into()));
        }
        let env = [env, self.tls()].concat();
        let pinned = Some(("STREAMING_GRPC_ADDR", self.control_bound()));
        let program = self.programs.control.clone();
        Spec { pinned, ..self.plane("control", program, "serve", env, CONTROL_UNSET) }
    }

    /// The data plane.
    pub(crate) fn dataplane(&self, http_addr: &str, control: &str) -> Spec {
        let env = vec![
            ("STREAMING_HTTP_ADDR", http_addr.into()),
            ("STREAMING_ADDR_FILE", self.dataplane_bound().into_os_string()),
            ("STREAMING_CONTROL_URLS", control.into()),
            ("STREAMING_TOKEN_FILE", self.folder.run().join("dataplane.token").into_os_string()),
            ("STREAMING_REDIS_URL", self.redis_url.clone().into()),
            ("STREAMING_STORES", self.stores.clone()),
            ("STREAMING_METRICS_INCLUDE_CONTROL", "true".into()),
            ("STREAMING_CONSOLE", self.console.into()),
        ];
        let env = [env, self.tls(), self.trust()].concat();
        let pinned = Some(("STREAMING_HTTP_ADDR", self.dataplane_bound()));
        let program = self.programs.dataplane.clone();
        Spec { pinned, ..self.plane("dataplane", program, "serve", env, DATAPLANE_UNSET) }
    }

    /// The workers, numbered from 1.
    pub(crate) fn workers(&self, count: usize, control: &str) -> Vec<Spec> {
        (1..=count).map(|number| self.worker(number, control)).collect()
    }

    fn worker(&self, number: usize, control: &str) -> Spec {
        let name = format!("worker-{number}");
        let mut env = vec![
            ("STREAMING_CONTROL_URLS", control.into()),
            ("STREAMING_TOKEN_FILE", self.folder.run().join("worker.token").into_os_string()),
            ("STREAMING_WORKER_NAME", name.clone().into()),
        ];
        if std::env::var_os("STREAMING_SCRATCH").is_none_or(|folder| folder.is_empty()) {
            env.push(("STREAMING_SCRATCH", self.folder.scratch().into_os_string()));
        }
        let env = [env, self.trust()].concat();
        self.plane(&name, self.programs.worker.clone(), "run", env, WORKER_UNSET)
    }

    /// The TLS settings of a listener, as variables even if they were given as flags.
    fn tls(&self) -> Vec<(&'static str, OsString)> {
        let mut env = Vec::new();
        if let Ok(Some((cert, key))) = self.listen.files() {
            env.push(("STREAMING_TLS_CERT_FILE", cert.into()));
            env.push(("STREAMING_TLS_KEY_FILE", key.into()));
        }
        if self.listen.insecure {
            env.push(("STREAMING_INSECURE", "true".into()));
        }
        env
    }

    /// Makes control's clients trust its certificate directly.
    fn trust(&self) -> Vec<(&'static str, OsString)> {
        match self.listen.files() {
            Ok(Some((cert, _))) => vec![("STREAMING_TLS_CA_FILE", cert.into())],
            _ => Vec::new(),
        }
    }

    fn plane(
        &self,
        name: &str,
        program: PathBuf,
        verb: &str,
        env: Vec<(&'static str, OsString)>,
        unset: &'static [&'static str],
    ) -> Spec {
        Spec {
            name: name.to_owned(),
            program,
            args: vec![verb.into()],
            input: None,
            clear_env: false,
            env,
            unset,
            run_as: RunAs::Same,
            death_signal: Signal::SIGKILL,
            stop: STOP,
            immediate_stop: Signal::SIGKILL,
            log: self.folder.log(name),
            pinned: None,
            prepare: None,
        }
    }
}

/// Bytes that are escaped in a path. A comma would end the URL in the list of stores.
const NOT_IN_PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'_').remove(b'-').remove(b'~');

/// The URL of a local folder as a store.
pub(crate) fn file_url(path: &Path) -> String {
    format!("file://{}", percent_encode(path.as_os_str().as_bytes(), NOT_IN_PATH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_with_special_characters_become_urls() {
        assert_eq!(file_url(Path::new("/a/b-1")), "file:///a/b-1");
        assert_eq!(file_url(Path::new("/a b,c%#?")), "file:///a%20b%2Cc%25%23%3F");
    }
}
