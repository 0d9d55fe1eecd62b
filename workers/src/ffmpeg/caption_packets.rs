//! Reads the closed captions that FFmpeg copied out of a video ([`args::closed_captions`]), in the order
//! in which the pictures are shown.
//!
//! [`args::closed_captions`]: super::args::closed_captions

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::File,
    io::{self, BufRead, BufReader, Lines, Read},
    path::Path,
};

use media::captions::closed::carriage::Carriage;

use super::args::{CAPTION_DATA, CAPTION_LIST};

/// Pictures that are held until their order is known; more than any codec reorders.
const REORDERED_MAX: usize = 32;
/// Largest packet in bytes; real ones have a few hundred.
const PACKET_BYTES_MAX: u64 = 1 << 20;

/// The captions of one picture: its time in milliseconds of the source's clock, its place in the file,
/// and its `cc_data`.
type Picture = (i64, u64, Vec<[u8; 3]>);

/// The captions of a run.
pub struct CaptionPackets {
    carriage: Carriage,
    list: Lines<BufReader<File>>,
    data: BufReader<File>,
    /// Seconds per tick as numerator and denominator.
    tick: (i128, i128),
    held: BinaryHeap<Reverse<Picture>>,
    read: u64,
    time: i64,
}

impl std::fmt::Debug for CaptionPackets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaptionPackets").field("read", &self.read).finish_non_exhaustive()
    }
}

impl CaptionPackets {
    /// Opens the files of a run in `scratch`.
    ///
    /// # Errors
    /// When a file cannot be opened.
    pub fn open(scratch: &Path, carriage: Carriage) -> io::Result<Self> {
        let list = BufReader::new(File::open(scratch.join(CAPTION_LIST))?).lines();
        let data = BufReader::new(File::open(scratch.join(CAPTION_DATA))?);
        let (tick, held) = ((1, 1000), BinaryHeap::new());
        Ok(Self { carriage, list, data, tick, held, read: 0, time: 0 })
    }

    /// The next picture with captions: its time in milliseconds of the source's clock, and its
    /// `cc_data`.
    ///
    /// # Errors
    /// When a file cannot be read or is not what FFmpeg writes.
    pub fn next_picture(&mut self) -> io::Result<Option<(i64, Vec<[u8; 3]>)>> {
        while self.held.len() < REORDERED_MAX {
            let Some(line) = self.list.next().transpose()? else { break };
            if let Some(tick) = line.strip_prefix("#tb 0: ") {
                self.tick = ratio(tick).ok_or_else(|| invalid("time base"))?;
            } else if !line.starts_with('#') {
                self.packet(&line)?;
            }
        }
        Ok(self.held.pop().map(|Reverse((time, _, cc_data))| (time, cc_data)))
    }

    /// Reads the packet of a line "stream, dts, pts, duration, size, 0xsum".
    fn packet(&mut self, line: &str) -> io::Result<()> {
        let fields: Vec<&str> = line.split(',').map(str::trim).take(5).collect();
        let [_, dts, pts, _, size] = fields[..] else { return Err(invalid("line")) };
        let size: u64 = size.parse().map_err(|_| invalid("size"))?;
        if size > PACKET_BYTES_MAX {
            return Err(invalid("size"));
        }
        let mut bytes = Vec::new();
        self.data.by_ref().take(size).read_to_end(&mut bytes)?;
        // Some packets of AVI and of program streams have no presentation time.
        let ticks = pts.parse().or_else(|_| dts.parse::<i64>());
        if let Ok(ticks) = ticks {
            let (num, den) = self.tick;
            let time = i128::from(ticks) * 1000 * num / den;
            self.time = i64::try_from(time).unwrap_or(self.time);
        }
        let cc_data = self.carriage.cc_data(&bytes);
        self.read += 1;
        if !cc_data.is_empty() {
            self.held.push(Reverse((self.time, self.read, cc_data)));
        }
        Ok(())
    }
}

fn ratio(text: &str) -> Option<(i128, i128)> {
    let (num, den) = text.trim().split_once('/')?;
    let (num, den) = (num.parse::<u32>().ok()?, den.parse::<u32>().ok()?);
    (num > 0 && den > 0).then_some((num.into(), den.into()))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the {what} of a packet is invalid"))
}
