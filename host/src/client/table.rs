//! Tables with headings, whose columns are as wide as their widest cell.

use anstyle::Style;

use crate::output::{HEADING, outln, styled};

/// The space between two columns.
const GAP: &str = "  ";

/// A column's heading, and the side on which its cells begin.
#[derive(Clone, Copy)]
pub(super) enum Column {
    Text(&'static str),
    Number(&'static str),
}

/// A text in a style.
pub(super) struct Cell {
    text: String,
    style: Style,
}

/// Rows under a heading.
pub(super) struct Table<const COLUMNS: usize> {
    columns: [Column; COLUMNS],
    rows: Vec<[Cell; COLUMNS]>,
}

impl Column {
    fn heading(self) -> &'static str {
        match self {
            Self::Text(heading) | Self::Number(heading) => heading,
        }
    }

    fn pad(self, text: &str, width: usize) -> String {
        match self {
            Self::Text(_) => format!("{text:<width$}"),
            Self::Number(_) => format!("{text:>width$}"),
        }
    }
}

impl Cell {
    pub(super) fn styled(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, Style::new())
    }
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub(super) fn new(columns: [Column; COLUMNS]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: [Cell; COLUMNS]) {
        self.rows.push(cells);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Prints the heading and all rows.
    pub(super) fn print(&self) {
        self.lines().iter().for_each(|line| outln!("{line}"));
    }

    fn lines(&self) -> Vec<String> {
        let widths: [usize; COLUMNS] = std::array::from_fn(|column| {
            let cells = self.rows.iter().map(|row| &*row[column].text);
            cells.chain([self.columns[column].heading()]).map(|text| text.chars().count()).max().unwrap_or_default()
        });
        let heading = self.columns.map(|column| Cell::styled(column.heading(), HEADING));
        let line = |row: &[Cell; COLUMNS]| {
            let last = row.iter().rposition(|cell| !cell.text.is_empty()).map_or(0, |last| last + 1);
            let cells = (0..last).map(|column| {
                let Cell { text, style } = &row[column];
                // Nothing follows the last cell.
                let is_open = column + 1 == last && matches!(self.columns[column], Column::Text(_));
                styled(*style, if is_open { text.clone() } else { self.columns[column].pad(text, widths[column]) })
            });
            cells.collect::<Vec<_>>().join(GAP)
        };
        [line(&heading)].into_iter().chain(self.rows.iter().map(line)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_no_line_ends_with_spaces() {
        let mut table = Table::new([Column::Text("NAME"), Column::Number("REQUESTS"), Column::Text("WHY")]);
        table.row(["größer".into(), "7".into(), "".into()]);
        table.row(["a".into(), "1234".into(), "because".into()]);
        let plain = |line: &String| anstream::adapter::strip_str(line).to_string();
        let lines: Vec<String> = table.lines().iter().map(plain).collect();
        assert_eq!(lines, ["NAME    REQUESTS  WHY", "größer         7", "a           1234  because"]);
    }
}
