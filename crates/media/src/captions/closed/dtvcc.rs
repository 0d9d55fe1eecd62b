//! CEA-708: the packets of DTVCC, and the screen of one of their services.

use super::{
    Change,
    characters::{basic_708, extended_708},
    screen::{Rows, Style},
};

/// The largest packet in bytes, with its header.
const PACKET_BYTES_MAX: usize = 128;
const WINDOWS: usize = 8;
const ROWS: usize = 15;
const COLUMNS: usize = 42;
/// The longest command in bytes, except those of variable length.
const COMMAND_BYTES_MAX: usize = 34;

/// Assembles packets from triplets.
#[derive(Debug, Default)]
pub(super) struct Packets {
    packet: Vec<u8>,
}

impl Packets {
    /// Reads a triplet and returns the packet that it completes.
    pub(super) fn read(&mut self, [head, first, second]: [u8; 3]) -> Option<Vec<u8>> {
        match head & 0x07 {
            0x07 => self.packet.clear(),
            0x06 if !self.packet.is_empty() => {}
            _ => return None,
        }
        self.packet.extend([first, second]);
        let size = match self.packet.first()? & 0x3f {
            0 => PACKET_BYTES_MAX,
            code => usize::from(code) * 2,
        };
        if self.packet.len() < size {
            return None;
        }
        Some(std::mem::take(&mut self.packet))
    }
}

/// The blocks of a packet: the number of the service, and its data.
pub(super) fn blocks(packet: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = packet.get(1..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (&head, after) = rest.split_first()?;
        let (number, size) = (head >> 5, usize::from(head & 0x1f));
        let (number, after) = match number {
            // An empty block ends the packet.
            0 => return None,
            7 if size > 0 => after.split_first().map(|(byte, after)| (byte & 0x3f, after))?,
            number => (number, after),
        };
        let (block, after) = after.split_at_checked(size)?;
        rest = after;
        Some((number, block))
    })
}

/// A window of a service.
#[derive(Clone, Debug)]
struct Pane {
    visible: bool,
    rows: usize,
    columns: usize,
    /// The vertical position by which visible windows are ordered.
    anchor: u8,
    row: usize,
    column: usize,
    style: Style,
    text: Rows,
}

/// The decoder of one service.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) number: u8,
    panes: [Option<Pane>; WINDOWS],
    current: usize,
    /// The start of a command whose end has not come.
    pending: Vec<u8>,
    has_text: bool,
}

impl Service {
    pub(super) fn new(number: u8) -> Self {
        let panes = std::array::from_fn(|_| None);
        Self { number, panes, current: 0, pending: Vec::new(), has_text: false }
    }

    /// Whether text has come so far.
    pub(super) fn has_text(&self) -> bool {
        self.has_text
    }

    /// Removes all windows.
    pub(super) fn erase(&mut self) {
        self.panes = std::array::from_fn(|_| None);
        self.pending.clear();
    }

    /// The text of the visible windows, from the top.
    pub(super) fn text(&self) -> String {
        let mut panes: Vec<&Pane> =
            self.panes.iter().flatten().filter(|pane| pane.visible).collect();
        panes.sort_by_key(|pane| pane.anchor);
        let mut text = String::new();
        for pane in panes {
            pane.text.write(&mut text);
        }
        text
    }

    /// Reads a block of the service.
    pub(super) fn read(&mut self, block: &[u8]) -> Change {
        let mut bytes = std::mem::take(&mut self.pending);
        bytes.extend_from_slice(block);
        let (mut rest, mut change) = (&bytes[..], Change::None);
        while let Some(length) = length(rest) {
            let Some((command, after)) = rest.split_at_checked(length) else { break };
            change = change.max(self.command(command));
            rest = after;
        }
        if rest.len() < COMMAND_BYTES_MAX {
            self.pending = rest.to_vec();
        }
        change
    }

    fn command(&mut self, command: &[u8]) -> Change {
        match *command {
            [code @ (0x08 | 0x0c..=0x0e)] => self.control(code),
            [0x10, code @ (0x20..=0x7f | 0xa0..)] => self.put(extended_708(code)),
            [0x18, high, low] => {
                let c = char::from_u32(u32::from(u16::from_be_bytes([high, low])));
                self.put(c.unwrap_or('_'))
            }
            [code @ (0x20..=0x7f | 0xa0..)] => self.put(basic_708(code)),
            [code @ 0x80..=0x87] => {
                self.current = usize::from(code & 7);
                Change::None
            }
            [code @ 0x88..=0x8c, windows] => self.windows(code, windows),
            [0x8f] => {
                self.erase();
                Change::Screen
            }
            [0x90, _, attributes] => {
                if let Some(pane) = self.pane() {
                    let (italic, underline) = (attributes & 0x80 != 0, attributes & 0x40 != 0);
                    pane.style = Style { italic, underline };
                }
                Change::None
            }
            [0x92, row, column] => {
                if let Some(pane) = self.pane() {
                    (pane.row, pane.column) = (usize::from(row & 0x0f), usize::from(column & 0x3f));
                }
                Change::None
            }
            [code @ 0x98..=0x9f, a, b, _, d, e, _] => {
                self.define(usize::from(code & 7), [a, b, d, e])
            }
            _ => Change::None,
        }
    }

    fn pane(&mut self) -> Option<&mut Pane> {
        self.panes.get_mut(self.current)?.as_mut()
    }

    fn put(&mut self, c: char) -> Change {
        let Some(pane) = self.pane() else { return Change::None };
        if pane.row < pane.rows && pane.column < pane.columns {
            pane.text.put(pane.row, pane.column, c, pane.style);
            pane.column += 1;
        }
        let change = if pane.visible { Change::Text } else { Change::None };
        self.has_text |= c != ' ';
        change
    }

    /// Backspace, form feed, carriage return and horizontal carriage return.
    fn control(&mut self, code: u8) -> Change {
        let Some(pane) = self.pane() else { return Change::None };
        let visible = |change| if pane.visible { change } else { Change::None };
        let change = visible(if code == 0x08 { Change::Text } else { Change::Screen });
        match code {
            0x08 => {
                pane.column = pane.column.saturating_sub(1);
                pane.text.put(pane.row, pane.column, ' ', Style::default());
            }
            0x0c => {
                pane.text.clear();
                (pane.row, pane.column) = (0, 0);
            }
            0x0d => {
                pane.column = 0;
                if pane.row + 1 < pane.rows {
                    pane.row += 1;
                } else {
                    pane.text.keep(1..pane.rows, 0);
                }
            }
            _ => {
                pane.text.clear_row(pane.row, 0);
                pane.column = 0;
            }
        }
        change
    }

    /// Clears, shows, hides, toggles or deletes the windows whose bits are set.
    fn windows(&mut self, code: u8, windows: u8) -> Change {
        let mut change = Change::None;
        for (number, slot) in self.panes.iter_mut().enumerate() {
            let Some(pane) = slot.as_mut().filter(|_| windows >> number & 1 == 1) else { continue };
            let before = pane.visible;
            match code {
                0x88 => pane.text.clear(),
                0x89 => pane.visible = true,
                0x8a => pane.visible = false,
                0x8b => pane.visible = !pane.visible,
                _ => {}
            }
            if before || pane.visible {
                change = Change::Screen;
            }
            if code == 0x8c {
                *slot = None;
            }
        }
        change
    }

    /// Defines a window, of which the bytes with flags, vertical anchor, rows and columns are given. One
    /// that exists keeps its text.
    fn define(&mut self, number: usize, [flags, anchor, rows, columns]: [u8; 4]) -> Change {
        self.current = number;
        let Some(slot) = self.panes.get_mut(number) else { return Change::None };
        let before = slot.as_ref().is_some_and(|pane| pane.visible);
        let pane = slot.get_or_insert_with(|| Pane {
            visible: false,
            rows: 1,
            columns: 1,
            anchor: 0,
            row: 0,
            column: 0,
            style: Style::default(),
            text: Rows::new(ROWS, COLUMNS),
        });
        pane.visible = flags & 0x20 != 0;
        pane.anchor = anchor & 0x7f;
        pane.rows = (usize::from(rows & 0x0f) + 1).min(ROWS);
        pane.columns = (usize::from(columns & 0x3f) + 1).min(COLUMNS);
        if before == pane.visible { Change::None } else { Change::Screen }
    }
}

/// The length of the command at the start of `bytes`; `None` if it is not there yet.
fn length(bytes: &[u8]) -> Option<usize> {
    let two = |first: usize| bytes.get(1).map(|_| first);
    Some(match *bytes.first()? {
        0x10 => match *bytes.get(1)? {
            0x08..=0x0f => 3,
            0x10..=0x17 => 4,
            0x18..=0x1f => 5,
            0x80..=0x87 => 6,
            0x88..=0x8f => 7,
            0x90..=0x9f => 3 + usize::from(*bytes.get(2)? & 0x1f),
            _ => 2,
        },
        0x11..=0x17 => two(2)?,
        0x18..=0x1f => 3,
        0x88..=0x8d => 2,
        0x90..=0x92 if bytes[0] != 0x91 => 3,
        0x91 => 4,
        0x97 => 5,
        0x98..=0x9f => 7,
        _ => 1,
    })
}
