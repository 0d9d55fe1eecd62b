//! Tests of the crate as its users see it. One binary, so that it links once.

mod ffmpeg;
mod rewriting;
