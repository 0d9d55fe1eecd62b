//! Video frames that show their own number: 16 blocks, eight per row, black for 0 and white for 1,
//! as a Gray code. The number survives scaling and encoding, and a blend of two neighbouring frames
//! shows as one grey block.

use std::{path::Path, process::Command};

/// Blocks per row.
pub(crate) const COLUMNS: usize = 8;
/// Rows of blocks.
pub(crate) const ROWS: usize = 2;
/// Pixels per block edge in the decoded frame.
const BLOCK: usize = 4;
/// A block closer to mid-grey than this is neither black nor white.
const LEVEL_MIN: i32 = 50;

/// Draws a frame with one grey pixel per block.
pub(crate) fn draw(number: u16) -> [u8; COLUMNS * ROWS] {
    let gray = number ^ (number >> 1);
    std::array::from_fn(|bit| if gray >> bit & 1 == 1 { 255 } else { 0 })
}

/// The numbers of all frames of a file in presentation order; `None` for an unreadable number.
pub(crate) fn numbers(file: &Path) -> Vec<Option<u16>> {
    let picture = COLUMNS * ROWS * BLOCK * BLOCK;
    decode(file, COLUMNS * BLOCK, ROWS * BLOCK).chunks_exact(picture).map(number).collect()
}

/// The mean brightness of each frame of a file.
pub(crate) fn brightness(file: &Path) -> Vec<u8> {
    decode(file, 1, 1)
}

fn decode(file: &Path, width: usize, height: usize) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-xerror", "-i"])
        .arg(file)
        .args(["-map", "0:v:0", "-fps_mode", "passthrough"])
        .args(["-vf", &format!("scale={width}:{height}:flags=area,format=gray")])
        .args(["-f", "rawvideo", "-"])
        .output()
        .expect("start ffmpeg");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "decode {}: {errors}", file.display());
    output.stdout
}

fn number(picture: &[u8]) -> Option<u16> {
    let mut gray = 0_u16;
    for bit in 0..COLUMNS * ROWS {
        let (x, y) = (bit % COLUMNS * BLOCK, bit / COLUMNS * BLOCK);
        // Use only the inner pixels, because neighbouring blocks bleed into the edges.
        let inner = [(1, 1), (1, 2), (2, 1), (2, 2)];
        let sum: i32 = inner
            .iter()
            .map(|(dx, dy)| i32::from(picture[(y + dy) * COLUMNS * BLOCK + x + dx]))
            .sum();
        let level = sum / 4 - 128;
        if level.abs() < LEVEL_MIN {
            return None;
        }
        gray |= u16::from(level > 0) << bit;
    }
    let mut number = gray;
    for shift in [8, 4, 2, 1] {
        number ^= number >> shift;
    }
    Some(number)
}
