//! Filter chains: what is done to decoded pictures, in one place for chunks and pictures alike.
//!
//! FFmpeg turns rotated pictures upright by itself, before any of these.

use media::{ladder::Rung, source::VideoTrack};

use super::ChunkEncode;

/// Transfer characteristics that need tone mapping.
const HDR_TRANSFERS: [&str; 2] = ["smpte2084", "arib-std-b67"];

/// Makes progressive frames of an interlaced track; none for others.
pub fn deinterlace(track: &VideoTrack) -> Option<String> {
    track.interlaced.then(|| "bwdif=mode=send_frame:deint=interlaced".to_owned())
}

/// HDR to SDR, none for SDR; at `width` x `height`, the largest that is wanted, because tone mapping
/// costs per pixel.
pub fn tone_map(track: &VideoTrack, (width, height): (u32, u32)) -> Option<String> {
    let transfer = track.transfer.as_str();
    HDR_TRANSFERS.contains(&transfer).then(|| {
        format!(
            "scale={width}:{height}:flags=bicubic,\
             zscale=tin={transfer}:min=bt2020nc:pin=bt2020:rin=tv:t=linear:npl=100,format=gbrpf32le,\
             zscale=p=bt709,tonemap=tonemap=hable:desat=0,zscale=t=bt709:m=bt709:r=tv,format=yuv420p"
        )
    })
}

/// Pictures of a size with square pixels, in the one pixel format that is served.
pub fn fit(width: u32, height: u32) -> String {
    format!("scale={width}:{height}:flags=bicubic,setsar=1,format=yuv420p")
}

/// Frames are put on the grid by their absolute time, so that it does not matter where decoding
/// started, and then cut by their number on the grid.
pub(super) fn chunk(encode: &ChunkEncode<'_>) -> String {
    let (num, den) = (encode.grid.rate().num(), encode.grid.rate().den());
    let frames = encode.grid.chunk_frames(encode.chunk);
    let track = encode.track;
    let mut steps = vec![format!("setpts=PTS-({})", track.first_pts)];
    steps.extend(deinterlace(track));
    // Where the first frames cannot be decoded, the first one that can stands in for them.
    let from_zero = if frames.start == 0 { ":start_time=0" } else { "" };
    steps.push(format!("fps={num}/{den}:round=near{from_zero}"));
    if frames.end == encode.grid.frames() {
        // Damaged last frames are covered by the one before.
        steps.push("tpad=stop=2:stop_mode=clone".to_owned());
    }
    steps.push(format!("trim=start_pts={}:end_pts={}", frames.start, frames.end));
    steps.push(format!("setpts=PTS-{}", frames.start));
    let largest = encode.rungs.iter().max_by_key(|rung| rung.width * rung.height);
    steps.extend(largest.and_then(|rung| tone_map(track, (rung.width, rung.height))));
    let mut graph = format!("[0:{}]{}", track.index, steps.join(","));
    let count = encode.rungs.len();
    graph.push_str(&format!(",split={count}"));
    for place in 0..count {
        graph.push_str(&format!("[s{place}]"));
    }
    for (place, rung) in encode.rungs.iter().enumerate() {
        let Rung { width, height, .. } = rung;
        graph.push_str(&format!(";[s{place}]{}[v{place}]", fit(*width, *height)));
    }
    graph
}
