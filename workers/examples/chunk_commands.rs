//! Prints how a worker encodes a source: the ladder, and FFmpeg's arguments for every chunk, as
//! JSON. `bench/quality` runs these commands, so that it measures the settings that are shipped.
//!
//! ```sh
//! cargo run -p streaming-worker --example chunk_commands -- SOURCE [PROFILES_FILE]
//! ```

#![expect(clippy::print_stdout, reason = "the JSON is the program's output")]

use std::{env, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use media::{
    Codec,
    ladder::{self, Rung},
    profiles,
};
use serde_json::{Value, json};
use workers::{
    ffmpeg::{
        Toolbox,
        args::{self, ChunkEncode, Preroll},
        find_program, probe,
    },
    sandbox::{self, Sandbox},
    source::OpenedSource,
};

/// Threads of the decoder and of each encoder, as for a worker on a machine with two cores.
const THREADS: u32 = 2;

fn main() -> anyhow::Result<ExitCode> {
    // The sandbox starts its launcher, which is this program, again.
    if sandbox::requested() {
        return Err(sandbox::launch().into());
    }
    let mut words = env::args_os().skip(1).map(PathBuf::from);
    let Some(source) = words.next() else { bail!("usage: chunk_commands SOURCE [PROFILES_FILE]") };
    let source = source.canonicalize().with_context(|| format!("open {}", source.display()))?;
    let profiles = match words.next() {
        None => ladder::default_profiles(),
        Some(file) => {
            let text = std::fs::read_to_string(&file);
            let text = text.with_context(|| format!("read {}", file.display()))?;
            profiles::parse(&text).map_err(|problems| anyhow::anyhow!(problems.join("\n")))?
        }
    };
    println!("{}", describe(&source, &profiles)?);
    Ok(ExitCode::SUCCESS)
}

fn describe(source: &std::path::Path, profiles: &[ladder::Profile]) -> anyhow::Result<Value> {
    let opened = OpenedSource::local(source).map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
    let scratch = env::temp_dir();
    let runtime = tokio::runtime::Runtime::new().context("start runtime")?;
    let probed = runtime.block_on(probe::probe(&toolbox()?, &opened, &scratch));
    let probed = probed.map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
    let grid = probed.grid()?;
    let track = probed.video.context("the source has no video track")?;
    let rungs = ladder::select(&track, profiles, &[])?;
    let command = |chunk: u32, rungs: &[Rung]| {
        let encode = ChunkEncode {
            source: opened.input(),
            track: &track,
            grid: &grid,
            chunk,
            rungs,
            preset: rungs.first().map_or("", |rung| &rung.preset),
            threads: THREADS,
            preroll: Preroll::Short,
            untimed: false,
            device: None,
        };
        let words = args::chunk(&encode);
        words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<String>>()
    };
    let chunks = (0..grid.chunks()).map(|chunk| grid.chunk_frames(chunk));
    // A rung that is encoded alone shows its own bytes and processor time.
    let alone = rungs.iter().map(|rung| {
        let one = std::slice::from_ref(rung);
        let commands: Vec<_> = (0..grid.chunks()).map(|chunk| command(chunk, one)).collect();
        json!({"rung": rung, "movie": args::movie_name(rung), "commands": commands})
    });
    // The tasks of a job: the first chunk of the lowest rung is one of its own.
    let mut tasks = Vec::new();
    for (chunk, codec) in (0..grid.chunks()).flat_map(|c| Codec::ALL.map(|codec| (c, codec))) {
        let of_codec: Vec<Rung> = rungs.iter().filter(|r| r.codec == codec).cloned().collect();
        let first = chunk == 0 && rungs.first().is_some_and(|r| r.codec == codec);
        let (lowest, others) = of_codec.split_at(usize::from(first));
        let parts = [lowest, others].into_iter().filter(|rungs| !rungs.is_empty());
        tasks.extend(parts.map(|rungs| command(chunk, rungs)));
    }
    Ok(json!({
        "frames": grid.frames(),
        "rate": [grid.rate().num(), grid.rate().den()],
        "size": [track.width, track.height],
        "borders": chunks.map(|frames| frames.start).skip(1).collect::<Vec<u64>>(),
        "rungs": alone.collect::<Vec<Value>>(),
        "tasks": tasks,
    }))
}

fn toolbox() -> anyhow::Result<Toolbox> {
    let find = |program: &str| {
        find_program(program.as_ref()).with_context(|| format!("cannot find the program {program}"))
    };
    Ok(Toolbox {
        sandbox: Sandbox::new(env::current_exe().context("find this program")?, false),
        ffmpeg: find("ffmpeg")?,
        ffprobe: find("ffprobe")?,
        memory_bytes: 2 << 30,
        stall: Duration::from_secs(60),
        devices: Vec::new(),
    })
}
