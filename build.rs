//! Compiles `proto/` without protoc and keeps the descriptors for gRPC reflection.

use std::{env, error::Error, fs, path::PathBuf};

const PROTOS: [&str; 8] = [
    "streaming/v1/auth.proto",
    "streaming/v1/events.proto",
    "streaming/v1/jobs.proto",
    "streaming/v1/playback.proto",
    "streaming/v1/system.proto",
    "streaming/v1/uploads.proto",
    "streaming/v1/videos.proto",
    "streaming/v1/workers.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(PROTOS)?;
    fs::write(out.join("streaming_v1.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .bytes(".streaming.v1")
        // These messages contain presigned URLs; src/redacted.rs prints their other fields.
        .skip_debug([".streaming.v1.Lease", ".streaming.v1.AccessReply"])
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
