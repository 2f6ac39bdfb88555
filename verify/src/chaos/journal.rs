//! What an application writes down about requests, in a file that outlives it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use super::clock;

/// Writes each line by one call of the system, so that what was begun is known also of a process that was killed.
#[derive(Debug)]
pub(super) struct Journal(File);

/// A request that an application has begun to process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    /// When its head had been read.
    pub(super) at: Duration,
    /// When the answer was begun; `None` if it never was.
    pub(super) answering: Option<Duration>,
}

/// By the number of the request: who has begun it, and when.
pub(super) type Records = BTreeMap<u64, Vec<(usize, Begun)>>;

impl Journal {
    pub(super) fn open(folder: &Path, name: &str) -> anyhow::Result<Self> {
        let path = path(folder, name);
        let file = File::options().create(true).append(true).open(&path);
        Ok(Self(file.with_context(|| format!("opening {}", path.display()))?))
    }

    pub(super) fn begun(&self, number: u64) {
        self.write('b', number);
    }

    pub(super) fn answering(&self, number: u64) {
        self.write('a', number);
    }

    fn write(&self, what: char, number: u64) {
        let line = format!("{what} {number} {}\n", clock::now().as_nanos());
        // What can't be written down must not be answered either: the run would count it as lost.
        (&self.0).write_all(line.as_bytes()).expect("the folder of the run takes files");
    }
}

/// Adds what the application of this name, the `instance`th, has written.
pub(super) fn read(folder: &Path, name: &str, instance: usize, into: &mut Records) -> anyhow::Result<()> {
    let path = path(folder, name);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    parse(&text, instance, into).with_context(|| format!("{} is not a journal", path.display()))
}

fn parse(text: &str, instance: usize, into: &mut Records) -> Option<()> {
    for line in text.lines() {
        let mut fields = line.split(' ');
        let (what, number, at) = (fields.next()?, fields.next()?.parse().ok()?, fields.next()?);
        let at = Duration::from_nanos(at.parse().ok()?);
        let of_request = into.entry(number).or_default();
        if what == "b" {
            of_request.push((instance, Begun { at, answering: None }));
        } else {
            // The same instance may have begun it twice, after a restart; the answer is the latest one's.
            let (_, begun) = of_request.iter_mut().rfind(|(by, _)| *by == instance)?;
            begun.answering = Some(at);
        }
    }
    Some(())
}

fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.journal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attempt_at_a_request_is_read_back() {
        let mut records = Records::new();
        parse("b 7 100\nb 8 150\na 7 200\n", 0, &mut records).unwrap();
        parse("b 7 300\n", 1, &mut records).unwrap();
        let nanos = Duration::from_nanos;
        let first = Begun { at: nanos(100), answering: Some(nanos(200)) };
        assert_eq!(records[&7], [(0, first), (1, Begun { at: nanos(300), answering: None })]);
        assert_eq!(records[&8].len(), 1);
        assert!(parse("a 9 1\n", 0, &mut records).is_none());
    }
}
