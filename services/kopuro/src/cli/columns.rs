//! What lists show people: columns, and what stands in their cells.

use kopuro_core::time::UnixMillis;

/// Stands for a fact that is not there.
pub(super) const NONE: &str = "-";

/// A time as RFC 3339 writes it.
pub(super) fn time(at: UnixMillis) -> String {
    at.to_proto().to_string()
}

/// A fact that may not be there.
pub(super) fn optional(value: Option<impl ToString>) -> String {
    value.map_or(NONE.to_owned(), |value| value.to_string())
}

/// The rows under their headings, each column as wide as its widest cell. The first one holds numbers, and stands to the
/// right.
pub(super) fn aligned<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let cells: Vec<[String; N]> =
        std::iter::once(headings.map(str::to_owned)).chain(rows.iter().cloned()).collect();
    let width = |at: usize| cells.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let padded = |(at, cell): (usize, &String)| {
        let width = widths[at];
        if at == 0 { format!("{cell:>width$}") } else { format!("{cell:width$}") }
    };
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row.iter().enumerate().map(padded).collect();
        cells.join("  ").trim_end().to_owned()
    };
    cells.iter().map(line).collect()
}
