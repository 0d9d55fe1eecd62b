//! Finds the programs that `up` needs before anything is started.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use nix::unistd::{AccessFlags, access};

/// Where Debian and Ubuntu install each major version's programs, outside of `PATH`.
const POSTGRES_ROOT: &str = "/usr/lib/postgresql";

/// The paths of the programs.
pub(crate) struct Programs {
    /// A folder with `postgres` and `initdb`; `None` if an external Postgres is used.
    pub(crate) postgres: Option<PathBuf>,
    /// `None` if an external Redis is used.
    pub(crate) redis: Option<PathBuf>,
    pub(crate) ffmpeg: PathBuf,
    pub(crate) control: PathBuf,
    pub(crate) dataplane: PathBuf,
    pub(crate) worker: PathBuf,
}

/// Missing programs, each with the Debian package that contains it.
type Missing = Vec<(String, Option<&'static str>)>;

impl Programs {
    /// Finds all programs, or names every one that is missing.
    ///
    /// `cluster` is the folder of the Postgres cluster; an existing one fixes the major version.
    pub(crate) fn find(own_postgres: bool, own_redis: bool, cluster: &Path) -> Result<Self> {
        let mut missing = Missing::new();
        let postgres = own_postgres.then(|| postgres(cluster, &mut missing)).flatten();
        let redis = own_redis
            .then(|| tool("redis-server", "redis-server", "redis-server", &mut missing))
            .flatten();
        let ffmpeg = tool(&named("STREAMING_FFMPEG", "ffmpeg"), "ffmpeg", "ffmpeg", &mut missing);
        let ffprobe = named("STREAMING_FFPROBE", "ffprobe");
        tool(&ffprobe, "ffprobe", "ffmpeg", &mut missing);
        let control = plane("streaming-control", &mut missing);
        let dataplane = plane("streaming-dataplane", &mut missing);
        let worker = plane("streaming-worker", &mut missing);
        match (ffmpeg, control, dataplane, worker) {
            (Some(ffmpeg), Some(control), Some(dataplane), Some(worker)) if missing.is_empty() => {
                Ok(Self { postgres, redis, ffmpeg, control, dataplane, worker })
            }
            _ => bail!(missing_programs(&missing)),
        }
    }
}

/// One line that names the missing programs and the commands that install or build them.
fn missing_programs(missing: &Missing) -> String {
    let names = missing.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
    let mut packages = missing.iter().filter_map(|(_, package)| *package).collect::<Vec<_>>();
    packages.sort_unstable();
    packages.dedup();
    let mut text = format!("missing: {}", names.join(", "));
    if !packages.is_empty() {
        text.push_str(&format!("; try: apt-get install {}", packages.join(" ")));
    }
    if packages.len() < missing.len() && names.iter().any(|name| name.starts_with("streaming-")) {
        text.push_str("; build the planes with: make build");
    }
    text
}

fn named(variable: &str, default: &str) -> String {
    env::var(variable).ok().filter(|name| !name.is_empty()).unwrap_or_else(|| default.to_owned())
}

fn tool(name: &str, shown: &str, package: &'static str, missing: &mut Missing) -> Option<PathBuf> {
    let found = on_path(name);
    if found.is_none() {
        let shown = if name == shown { name.to_owned() } else { format!("{shown} ({name})") };
        missing.push((shown, Some(package)));
    }
    found
}

/// A plane's program: next to this executable, or else on `PATH`.
fn plane(name: &str, missing: &mut Missing) -> Option<PathBuf> {
    let beside = env::current_exe().ok().and_then(|own| Some(own.parent()?.join(name)));
    let found = beside.filter(|path| is_program(path)).or_else(|| on_path(name));
    if found.is_none() {
        missing.push((name.to_owned(), None));
    }
    found
}

/// The newest Postgres, or the version with which an existing cluster was created.
fn postgres(cluster: &Path, missing: &mut Missing) -> Option<PathBuf> {
    let wanted = fs::read_to_string(cluster.join("PG_VERSION")).ok();
    let wanted = wanted.as_deref().and_then(|text| text.trim().parse::<u32>().ok());
    let mut found = installed_postgres();
    found.sort();
    let newest = match wanted {
        Some(version) => found.into_iter().find(|(major, _)| *major == version),
        None => found.pop(),
    };
    // A version that is found only on `PATH`; Postgres itself checks that it fits the cluster.
    let on_path = || Some(on_path("initdb")?.canonicalize().ok()?.parent()?.to_owned());
    let folder = newest.map(|(_, folder)| folder).or_else(on_path);
    let folder = folder.filter(|folder| is_program(&folder.join("postgres")));
    if folder.is_none() {
        let name = wanted.map_or("postgres".to_owned(), |version| format!("postgres {version}"));
        missing.push((name, Some("postgresql")));
    }
    folder
}

fn installed_postgres() -> Vec<(u32, PathBuf)> {
    let Ok(entries) = fs::read_dir(POSTGRES_ROOT) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let folder = entry.path().join("bin");
        let version = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(version) = version
            && is_program(&folder.join("postgres"))
            && is_program(&folder.join("initdb"))
        {
            found.push((version, folder));
        }
    }
    found
}

/// Finds a program by path or by name, like a shell.
fn on_path(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| is_program(path));
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, AccessFlags::X_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_all_programs_on_one_line() {
        let missing = vec![
            ("ffmpeg".to_owned(), Some("ffmpeg")),
            ("ffprobe".to_owned(), Some("ffmpeg")),
            ("streaming-control".to_owned(), None),
        ];
        assert_eq!(
            missing_programs(&missing),
            "missing: ffmpeg, ffprobe, streaming-control; try: apt-get install ffmpeg; \
             build the planes with: make build"
        );
    }

    #[test]
    fn programs_are_found_by_name_and_by_path() {
        assert!(on_path("sh").is_some());
        assert!(on_path("/bin/sh").is_some());
        assert_eq!(on_path("no-such-program-anywhere"), None);
        assert_eq!(on_path("/etc/passwd"), None);
    }
}
