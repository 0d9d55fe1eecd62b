//! Reads the list of a track's packets, as ffprobe writes it: where the track ends, and when its
//! pictures are due. The memory that it needs does not grow with the list.

use super::{
    ends::Last,
    fields::{field, value},
};

/// Maximum number of presentation times that are kept: 4.8 h at 60 per second, 8 MiB.
const TIMES_MAX: usize = 1 << 20;
/// Maximum length of a line.
const LINE_BYTES_MAX: usize = 4096;

/// The packets of one track.
#[derive(Debug, Default)]
pub(super) struct Packets {
    index: u32,
    last: Last,
    times: Vec<i64>,
    /// The incomplete last line.
    rest: Vec<u8>,
}

impl Packets {
    /// No packets yet, of stream `index`.
    pub(super) fn new(index: u32) -> Self {
        Self { index, ..Self::default() }
    }

    /// Reads the next piece of the list, which may end within a line.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
        for piece in &mut lines {
            let room = LINE_BYTES_MAX - self.rest.len();
            self.rest.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.rest);
                self.line(&String::from_utf8_lossy(&line));
            }
        }
    }

    fn line(&mut self, line: &str) {
        if field(line, "stream_index") != Some(i64::from(self.index)) {
            return;
        }
        // Packets that an edit list cuts off are read but never shown.
        if value(line, "flags").is_some_and(|flags| flags.contains('D')) {
            return;
        }
        let (last, pts) = (&mut self.last, field(line, "pts"));
        last.packets += 1;
        // The duration of the packet that is shown last, which need not be the last in the file.
        if pts >= last.pts {
            last.pts = pts;
            last.duration = field(line, "duration").unwrap_or(0);
        }
        last.untimed |= pts.is_none();
        last.dts = last.dts.max(field(line, "dts"));
        self.times.extend(pts.filter(|_| self.times.len() < TIMES_MAX));
    }

    /// The end of the track, and the distinct presentation times of its packets in their order;
    /// `None` if no packet belongs to the track.
    pub(super) fn finish(mut self) -> Option<(Last, Vec<i64>)> {
        let rest = std::mem::take(&mut self.rest);
        self.line(&String::from_utf8_lossy(&rest));
        let Self { mut last, mut times, .. } = self;
        times.sort_unstable();
        times.dedup();
        let mut steps: Vec<i64> =
            times.windows(2).map(|pair| pair[1].abs_diff(pair[0]) as i64).collect();
        let middle = steps.len() / 2;
        last.step = (middle < steps.len()).then(|| *steps.select_nth_unstable(middle).1);
        (last.packets > 0 && (last.pts.is_some() || last.dts.is_some())).then_some((last, times))
    }
}

#[cfg(test)]
mod tests {
    use super::{LINE_BYTES_MAX, Packets, TIMES_MAX};

    const LIST: &str = "stream_index=1|pts=80|dts=0|duration=40|flags=K_\n\
                        stream_index=0|pts=999|dts=999|duration=1|flags=K_\n\
                        stream_index=1|pts=40|dts=40|duration=40|flags=__\n\
                        stream_index=1|pts=200|dts=80|duration=50|flags=_D\n\
                        stream_index=1|pts=120|dts=120|duration=41|flags=__";

    #[test]
    fn a_list_is_read_wherever_its_pieces_end() {
        for size in 1..LIST.len() {
            let mut packets = Packets::new(1);
            LIST.as_bytes().chunks(size).for_each(|piece| packets.push(piece));
            let (last, times) = packets.finish().unwrap();
            assert_eq!((last.pts, last.dts, last.duration), (Some(120), Some(120), 41));
            assert_eq!((last.packets, last.step, last.untimed), (3, Some(40), false));
            assert_eq!(times, [40, 80, 120]);
        }
        assert!(Packets::new(2).finish().is_none());
    }

    #[test]
    fn memory_does_not_grow_with_the_list() {
        let mut packets = Packets::new(0);
        packets.times = vec![0; TIMES_MAX - 1];
        packets.push("stream_index=0|pts=1|flags=K_\n".repeat(1000).as_bytes());
        packets.push(&vec![b'x'; 3 * LINE_BYTES_MAX]);
        assert!(packets.times.len() == TIMES_MAX && packets.rest.len() == LINE_BYTES_MAX);
    }
}
