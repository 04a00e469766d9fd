//! Tables of plain text: columns as wide as what is in them, two spaces apart.

use console::measure_text_width;

/// To which side a column leans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lean {
    Left,
    Right,
}

/// Rows under a head.
#[derive(Clone, Debug)]
pub(super) struct Table {
    leans: Vec<Lean>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub(super) fn new(columns: &[(&str, Lean)]) -> Self {
        Self {
            leans: columns.iter().map(|column| column.1).collect(),
            rows: vec![columns.iter().map(|column| column.0.to_owned()).collect()],
        }
    }

    /// Adds a row; what it lacks stays empty.
    pub(super) fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The lines, the head first, without trailing spaces.
    pub(super) fn lines(&self) -> Vec<String> {
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| measure_text_width(cell)).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.leans.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).zip(&self.leans).map(|((cell, width), lean)| {
                let fill = " ".repeat(width - measure_text_width(cell));
                match lean {
                    Lean::Left => format!("{cell}{fill}"),
                    Lean::Right => format!("{fill}{cell}"),
                }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&[("NAME", Lean::Left), ("BYTES", Lean::Right)]);
        table.row(["µs", "1"]);
        table.row(["md.trades", "123456"]);
        assert_eq!(table.lines(), ["NAME        BYTES", "µs              1", "md.trades  123456"]);
    }
}
