//! All readings of a path.

use std::borrow::Cow;

use super::is_plain;
use super::steps::{ALL, Text, spelled};

/// Most texts that steps lead to. Paths that people mean have a handful.
const TEXTS_MAX: usize = 64;
/// Most octets in all of them: what a hostile path costs is bounded by it.
const OCTETS_MAX: usize = 64 * 1024;

/// Every reading that a server may have of a path, each in the spelling of the normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readings<'a> {
    /// All servers read this.
    One(Cow<'a, str>),
    /// Servers may read any of these; there are at least two.
    Several(Vec<String>),
    /// There are more than are looked at: servers may read anything.
    TooMany,
}

impl<'a> Readings<'a> {
    /// The readings of a path. At no cost worth mentioning for one that [`is_plain`].
    pub fn of(path: &'a str) -> Self {
        if is_plain(path) {
            return Self::One(Cow::Borrowed(path));
        }
        if !path.starts_with('/') {
            return Self::TooMany;
        }
        let Some(texts) = reachable(path) else { return Self::TooMany };
        let mut readings: Vec<String> = Vec::new();
        for text in texts {
            let reading = spelled(&text.octets, text.decoded);
            if !readings.contains(&reading) {
                readings.push(reading);
            }
        }
        match readings.len() {
            1 => Self::One(Cow::Owned(readings.remove(0))),
            _ => Self::Several(readings),
        }
    }

    /// The one reading of a path that is taken as it was sent.
    pub fn as_sent(path: &'a str) -> Self {
        if is_plain(path) {
            return Self::One(Cow::Borrowed(path));
        }
        Self::One(Cow::Owned(spelled(path.as_bytes(), false)))
    }

    /// Each reading; `None` stands for anything.
    pub fn iter(&self) -> impl Iterator<Item = Option<&str>> {
        let (one, several): (Option<Option<&str>>, &[String]) = match self {
            Self::One(reading) => (Some(Some(reading)), &[]),
            Self::Several(readings) => (None, readings),
            Self::TooMany => (Some(None), &[]),
        };
        one.into_iter().chain(several.iter().map(|reading| Some(reading.as_str())))
    }
}

/// All that the steps lead to, the path itself first; `None` if that is too much.
fn reachable(path: &str) -> Option<Vec<Text>> {
    let mut texts = vec![Text { octets: path.as_bytes().to_vec(), decoded: false }];
    let mut octets = path.len();
    let mut next = 0;
    while let Some(text) = texts.get(next).cloned() {
        for made in ALL.iter().filter_map(|step| step(&text)) {
            if texts.contains(&made) {
                continue;
            }
            octets += made.octets.len();
            if texts.len() == TEXTS_MAX || octets > OCTETS_MAX {
                return None;
            }
            texts.push(made);
        }
        next += 1;
    }
    Some(texts)
}
