//! `docs/differential.md`: which differences are known, and why they are right.

use std::path::PathBuf;

use anyhow::Context;

use weft_harness::host;

/// The kinds of differences that are explained.
pub(crate) struct Table(Vec<Row>);

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Row {
    /// The points at which it shows; may hold `*`.
    point: String,
    /// What differs; may hold `*`.
    difference: String,
    /// The subjects that it is expected of.
    subjects: Vec<String>,
}

impl Table {
    /// Reads the document.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let path = path();
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let lines = text.lines().filter(|line| line.starts_with("| `"));
        let rows = lines.map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [points, difference, subjects, why, _] = cells.as_slice() else {
                anyhow::bail!("a row has {} cells instead of 5: {line}", cells.len());
            };
            anyhow::ensure!(!why.is_empty(), "a row says no reason: {line}");
            let plain = |text: &str| text.replace('`', "");
            let subjects = subjects.split(',').map(|subject| subject.trim().to_owned()).collect();
            Ok(Row { point: plain(points), difference: plain(difference), subjects })
        });
        Ok(Self(rows.collect::<anyhow::Result<_>>()?))
    }

    /// The row that explains a difference of a subject: its number.
    pub(crate) fn explains(&self, point: &str, difference: &str, subject: &str) -> Option<usize> {
        let explains = |row: &Row| {
            row.subjects.iter().any(|own| own == subject)
                && matches(&row.point, point)
                && matches(&row.difference, difference)
        };
        self.0.iter().position(explains)
    }

    /// Rows by their numbers, as they stand in the document.
    pub(crate) fn names(&self) -> impl Iterator<Item = (usize, String)> {
        self.0.iter().enumerate().map(|(index, row)| {
            (index, format!("{}: {} ({})", row.point, row.difference, row.subjects.join(", ")))
        })
    }
}

fn path() -> PathBuf {
    host::verify_folder().join("../docs/differential.md")
}

/// Whether `text` is as `pattern` says, where `*` stands for anything and ` / ` stands between several patterns.
fn matches(pattern: &str, text: &str) -> bool {
    pattern.split(" / ").any(|pattern| matches_one(pattern, text))
}

fn matches_one(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    let mut ends = rest.char_indices().map(|(index, _)| index).chain([rest.len()]);
    ends.any(|end| matches_one(after, rest.get(end..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, text, expected) in [
            ("*", "anything", true),
            ("answer: *, closed", "answer: 400, closed", true),
            ("answer: *, closed", "answer: 400, open", false),
            ("a*b*c", "abbc", true),
            ("a*b*c", "acb", false),
            ("one / t*", "two", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_table_of_the_repository_is_well_formed() {
        assert!(!Table::read().unwrap().0.is_empty());
    }

    #[test]
    fn a_row_explains_the_subjects_that_it_names() {
        let table = Table::parse("| `a*` | `with x` | weft, envoy | because | RFC |\n").unwrap();
        assert_eq!(table.explains("ab", "with x", "envoy"), Some(0));
        assert_eq!(table.explains("ab", "with x", "weft-single"), None);
        assert_eq!(table.explains("b", "with x", "weft"), None);
        assert!(Table::parse("| `a` | `b` | weft |  | |\n").is_err());
    }
}
