//! Columns of text.

/// Space between columns.
const GAP: usize = 2;

/// Rows under a head, with columns as wide as their widest cell; nothing stands behind the last cell of a line. Without rows
/// it says so.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    if rows.is_empty() {
        return vec!["none".to_owned()];
    }
    let head = head.map(str::to_owned);
    let lines = || std::iter::once(&head).chain(rows);
    let width = |column: usize| {
        let cells = lines().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned()
    };
    lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "12".to_owned()], ["läng".to_owned(), String::new()]];
        assert_eq!(table(["NAME", "N"], &rows), ["NAME  N", "a     12", "läng"]);
        assert_eq!(table(["NAME"], &[]), ["none"]);
    }
}
