//! Tests of the crate as its users see it. One binary, so that it links once.

mod ffmpeg;
mod film;
mod grid;
mod index;
mod ladder;
mod manifests;
mod playing;
mod range;
mod refusal;
mod rewriting;
