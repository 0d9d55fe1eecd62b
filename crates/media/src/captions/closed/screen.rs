//! A grid of characters, and its text with markup.

/// The style of a character.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Style {
    pub(super) italic: bool,
    pub(super) underline: bool,
}

/// Rows and columns of characters; a space is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rows {
    columns: usize,
    cells: Vec<(char, Style)>,
}

const EMPTY: (char, Style) = (' ', Style { italic: false, underline: false });

impl Rows {
    pub(super) fn new(rows: usize, columns: usize) -> Self {
        Self { columns, cells: vec![EMPTY; rows * columns] }
    }

    /// Writes a character; outside of the grid, nothing happens.
    pub(super) fn put(&mut self, row: usize, column: usize, c: char, style: Style) {
        let place = row * self.columns + column;
        if let Some(cell) = self.cells.get_mut(place).filter(|_| column < self.columns) {
            *cell = (c, style);
        }
    }

    pub(super) fn clear(&mut self) {
        self.cells.fill(EMPTY);
    }

    /// Clears a row from a column on.
    pub(super) fn clear_row(&mut self, row: usize, column: usize) {
        for column in column..self.columns {
            self.put(row, column, ' ', EMPTY.1);
        }
    }

    /// Moves the rows of `from` so that the first of them is at `to`; the others are cleared.
    pub(super) fn keep(&mut self, from: std::ops::Range<usize>, to: usize) {
        let mut moved = Self { columns: self.columns, cells: vec![EMPTY; self.cells.len()] };
        for (row, target) in from.zip(to..) {
            let (row, target) = (row * self.columns, target * self.columns);
            let source = self.cells.get(row..row + self.columns);
            let target = moved.cells.get_mut(target..target + self.columns);
            if let (Some(source), Some(target)) = (source, target) {
                target.copy_from_slice(source);
            }
        }
        *self = moved;
    }

    /// The first row with text.
    pub(super) fn first(&self) -> Option<usize> {
        self.cells.iter().position(|(c, _)| *c != ' ').map(|place| place / self.columns)
    }

    /// The last row with text.
    pub(super) fn last(&self) -> Option<usize> {
        self.cells.iter().rposition(|(c, _)| *c != ' ').map(|place| place / self.columns)
    }

    /// Appends the text of the rows in order, without empty ones, one per line.
    pub(super) fn write(&self, out: &mut String) {
        for row in self.cells.chunks(self.columns) {
            let Some(first) = row.iter().position(|(c, _)| *c != ' ') else { continue };
            let last = row.iter().rposition(|(c, _)| *c != ' ').unwrap_or(first);
            if !out.is_empty() {
                out.push('\n');
            }
            write_row(&row[first..=last], out);
        }
    }
}

fn write_row(row: &[(char, Style)], out: &mut String) {
    for run in row.chunk_by(|(_, one), (_, other)| one == other) {
        let style = run.first().map_or(EMPTY.1, |(_, style)| *style);
        let blank = run.iter().all(|(c, _)| *c == ' ');
        let tags = [(style.italic, "i"), (style.underline, "u")];
        let tags: Vec<&str> =
            tags.into_iter().filter(|(is, _)| *is && !blank).map(|(_, tag)| tag).collect();
        tags.iter().for_each(|tag| out.push_str(&format!("<{tag}>")));
        for (c, _) in run {
            match c {
                '&' => out.push_str("&amp;"),
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                c => out.push(*c),
            }
        }
        tags.iter().rev().for_each(|tag| out.push_str(&format!("</{tag}>")));
    }
}

#[cfg(test)]
mod tests {
    use super::{Rows, Style};

    #[test]
    fn rows_become_lines_with_markup() {
        let mut rows = Rows::new(3, 8);
        let italic = Style { italic: true, underline: false };
        for (column, c) in "a<b".chars().enumerate() {
            rows.put(2, column + 1, c, if c == 'b' { italic } else { Style::default() });
        }
        rows.put(0, 7, 'x', Style { italic: true, underline: true });
        rows.put(0, 8, 'y', italic);
        rows.put(9, 0, 'y', italic);
        let mut text = String::new();
        rows.write(&mut text);
        assert_eq!(text, "<i><u>x</u></i>\na&lt;<i>b</i>");
        assert_eq!((rows.first(), rows.last()), (Some(0), Some(2)));
        rows.keep(2..3, 1);
        let mut text = String::new();
        rows.write(&mut text);
        assert_eq!((text.as_str(), rows.first()), ("a&lt;<i>b</i>", Some(1)));
    }
}
