//! Tests of the crate's public interface, in one binary that links once.

#![cfg(test)] // helpers fail by panicking, as tests do

mod admission;
mod assembling;
mod bandwidths;
mod captions;
mod closed_captions;
mod codecs;
mod ffmpeg;
mod fixture;
mod grid;
mod growing;
mod index;
mod joints;
mod ladder;
mod listed;
mod manifests;
mod multiplexes;
mod pictures;
mod playing;
mod profiles;
mod purposes;
mod range;
mod rewriting;
mod short_recordings;
mod sound_variant;
mod surround;
mod thumbnails;
