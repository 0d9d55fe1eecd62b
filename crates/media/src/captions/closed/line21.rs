//! CEA-608: the screen of one of the four channels of line 21.

use super::{
    Change,
    characters::{basic, extended, special},
    screen::{Rows, Style},
};

const ROWS: usize = 15;
const COLUMNS: usize = 32;
/// The rows from the top that count as the upper half: text that ends there is kept there.
const UPPER_ROWS: usize = 7;
/// The rows of preamble address codes, by three bits of the first byte and one of the second.
const ADDRESSED: [usize; 16] = [10, 10, 0, 1, 2, 3, 11, 12, 13, 14, 4, 5, 6, 7, 8, 9];

/// How text gets onto the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// No mode has been chosen since the start, or text of the text service follows.
    Off,
    /// It is written out of sight and shown at once.
    PopOn,
    /// This number of rows moves up with each new one.
    RollUp(usize),
    /// It is written on the screen.
    PaintOn,
}

/// The decoder of one channel.
#[derive(Debug)]
pub(super) struct Line21 {
    /// 1 to 4.
    number: u8,
    mode: Mode,
    shown: Rows,
    hidden: Rows,
    row: usize,
    column: usize,
    style: Style,
    /// The last control code of the field, which is sent twice.
    repeated: Option<[u8; 2]>,
    /// The channel of the field to which text belongs; `None` before the first control code and
    /// during extended data services.
    addressed: Option<u8>,
    has_text: bool,
}

impl Line21 {
    /// The decoder of channel `number`, 1 to 4.
    pub(super) fn new(number: u8) -> Self {
        let rows = || Rows::new(ROWS, COLUMNS);
        Self {
            number,
            mode: Mode::Off,
            shown: rows(),
            hidden: rows(),
            row: ROWS - 1,
            column: 0,
            style: Style::default(),
            repeated: None,
            addressed: None,
            has_text: false,
        }
    }

    /// The channel's number.
    pub(super) fn number(&self) -> u8 {
        self.number
    }

    /// Whether text for the screen has come so far.
    pub(super) fn has_text(&self) -> bool {
        self.has_text
    }

    /// Starts again; what [`Line21::has_text`] returns stays.
    pub(super) fn restart(&mut self) {
        *self = Self { has_text: self.has_text, ..Self::new(self.number) };
    }

    pub(super) fn erase(&mut self) {
        self.shown.clear();
    }

    /// The text of the screen and, if it is in the upper half, its position in percent.
    pub(super) fn text(&self) -> (String, Option<u32>) {
        let mut text = String::new();
        self.shown.write(&mut text);
        let upper = self.shown.last().is_some_and(|row| row < UPPER_ROWS);
        let line = self.shown.first().filter(|_| upper).map(|row| (row * 100 / ROWS) as u32);
        (text, line)
    }

    /// Reads a triplet; `None` if it does not concern the channel.
    pub(super) fn read(&mut self, [head, first, second]: [u8; 3]) -> Option<Change> {
        let field = (self.number - 1) / 2;
        // The marker bits, "valid", and the field.
        if head & 0x07 != 0x04 | field {
            return None;
        }
        let odd = |byte: u8| byte.count_ones() % 2 == 1;
        if !odd(first) {
            return None;
        }
        let pair = [first & 0x7f, if odd(second) { second & 0x7f } else { 0 }];
        match pair {
            [0x10..=0x1f, 0x20..=0x7f] => self.control(pair),
            [0x20..=0x7f, _] => {
                self.repeated = None;
                self.characters(pair)
            }
            // Extended data services, up to the next control code.
            [0x01..=0x0f, _] if field == 1 => {
                self.addressed = None;
                None
            }
            _ => {
                self.repeated = None;
                None
            }
        }
    }

    fn control(&mut self, pair: [u8; 2]) -> Option<Change> {
        if self.repeated.take() == Some(pair) {
            return self.is_addressed().then_some(Change::None);
        }
        self.repeated = Some(pair);
        let [first, second] = pair;
        self.addressed = Some((first >> 3) & 1);
        if !self.is_addressed() {
            return None;
        }
        Some(match (first & 0x17, second) {
            (_, 0x40..) => self.address(first, second),
            (0x11, 0x20..=0x2f) => self.mid_row(second),
            (0x11, 0x30..=0x3f) => special(second).map_or(Change::None, |c| self.put(c)),
            (set @ (0x12 | 0x13), 0x20..=0x3f) => {
                // It replaces a similar character of the basic set, for old decoders.
                self.column = self.column.saturating_sub(1);
                let c = extended(usize::from(set - 0x12), second);
                c.map_or(Change::None, |c| self.put(c))
            }
            (0x14 | 0x15, 0x20..=0x2f) => self.command(second),
            (0x17, 0x21..=0x23) => {
                self.column = (self.column + usize::from(second - 0x20)).min(COLUMNS - 1);
                Change::None
            }
            _ => Change::None,
        })
    }

    fn is_addressed(&self) -> bool {
        self.addressed == Some((self.number - 1) % 2)
    }

    fn characters(&mut self, pair: [u8; 2]) -> Option<Change> {
        if !self.is_addressed() {
            return None;
        }
        let changes =
            pair.into_iter().filter(|code| *code >= 0x20).map(|code| self.put(basic(code)));
        changes.max()
    }

    /// The rows that are written, and the change when they are.
    fn target(&mut self) -> Option<(&mut Rows, Change)> {
        match self.mode {
            Mode::Off => None,
            Mode::PopOn => Some((&mut self.hidden, Change::None)),
            Mode::RollUp(_) | Mode::PaintOn => Some((&mut self.shown, Change::Text)),
        }
    }

    fn put(&mut self, c: char) -> Change {
        let (row, column, style) = (self.row, self.column, self.style);
        let Some((rows, change)) = self.target() else { return Change::None };
        rows.put(row, column, c, style);
        self.column = (column + 1).min(COLUMNS - 1);
        self.has_text |= c != ' ';
        change
    }

    /// A preamble address code: row, indent and style.
    fn address(&mut self, first: u8, second: u8) -> Change {
        let place = usize::from((first & 7) << 1 | (second >> 5) & 1);
        let row = ADDRESSED.get(place).copied().unwrap_or(ROWS - 1);
        let attribute = (second >> 1) & 0x0f;
        self.style = Style { italic: attribute == 7, underline: second & 1 == 1 };
        self.column = usize::from(attribute.saturating_sub(8)) * 4;
        let Mode::RollUp(count) = self.mode else {
            self.row = row;
            return Change::None;
        };
        let base = row.max(count - 1);
        if base == self.row {
            return Change::None;
        }
        let from = (self.row + 1).saturating_sub(count)..self.row + 1;
        self.shown.keep(from, base + 1 - count);
        self.row = base;
        Change::Text
    }

    /// A code within a row, which takes the place of a space.
    fn mid_row(&mut self, second: u8) -> Change {
        self.style = Style::default();
        let change = self.put(' ');
        self.style = Style { italic: (second >> 1) & 7 == 7, underline: second & 1 == 1 };
        change
    }

    fn command(&mut self, second: u8) -> Change {
        match second {
            0x20 => self.mode = Mode::PopOn,
            0x21 => {
                self.column = self.column.saturating_sub(1);
                let (row, column) = (self.row, self.column);
                let Some((rows, change)) = self.target() else { return Change::None };
                rows.put(row, column, ' ', Style::default());
                return change;
            }
            0x24 => {
                let (row, column) = (self.row, self.column);
                let Some((rows, change)) = self.target() else { return Change::None };
                rows.clear_row(row, column);
                return change;
            }
            0x25..=0x27 => return self.roll_up(usize::from(second - 0x25) + 2),
            0x29 => self.mode = Mode::PaintOn,
            0x2a | 0x2b => self.mode = Mode::Off,
            0x2c => {
                self.shown.clear();
                return Change::Screen;
            }
            0x2d => return self.carriage_return(),
            0x2e => self.hidden.clear(),
            0x2f => {
                self.mode = Mode::PopOn;
                std::mem::swap(&mut self.shown, &mut self.hidden);
                return Change::Screen;
            }
            _ => {}
        }
        Change::None
    }

    fn roll_up(&mut self, count: usize) -> Change {
        let before = std::mem::replace(&mut self.mode, Mode::RollUp(count));
        (self.column, self.style) = (0, Style::default());
        if let Mode::RollUp(previous) = before {
            let first = (self.row + 1).saturating_sub(count);
            if count < previous {
                self.shown.keep(first..self.row + 1, first);
            }
            self.row = self.row.max(count - 1);
            return Change::Text;
        }
        self.row = ROWS - 1;
        self.shown.clear();
        self.hidden.clear();
        Change::Screen
    }

    fn carriage_return(&mut self) -> Change {
        let Mode::RollUp(count) = self.mode else { return Change::None };
        self.column = 0;
        self.style = Style::default();
        let first = (self.row + 1).saturating_sub(count);
        self.shown.keep(first + 1..self.row + 1, first);
        Change::Screen
    }
}
