//! The names of a head's fields as they are written, for hops on which they would be written otherwise.

/// Octets of names that are kept of one head; those of fields beyond that are in lower case where it matters.
const MOST: usize = 8 * 1024;
/// Octets that the names of most heads take.
const USUAL: usize = 160;
/// Octets of a status line up to the end of the status (RFC 9112 section 4).
const STATUS_END: usize = 12;

/// Names of fields in the order of the head, repetitions included.
///
/// ```
/// # use weft_mesh::http_validation::Names;
/// let mut names = Names::default();
/// names.add(b"Host");
/// names.add(b"X-UPPER");
/// assert_eq!(names.iter().collect::<Vec<_>>(), [b"Host", &b"X-UPPER"[..]]);
/// assert!(names.have_case());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Each with a line feed behind it.
    octets: Vec<u8>,
    have_case: bool,
}

impl Names {
    /// Adds the next one.
    pub fn add(&mut self, name: &[u8]) {
        self.extend(name);
        self.end();
    }

    /// Adds octets to the next one.
    fn extend(&mut self, octets: &[u8]) {
        if self.octets.len() + octets.len() < MOST {
            if self.octets.capacity() == 0 {
                self.octets.reserve(USUAL);
            }
            self.octets.extend_from_slice(octets);
            self.have_case =
                octets.iter().fold(self.have_case, |so_far, octet| so_far | octet.is_ascii_uppercase());
        }
    }

    fn end(&mut self) {
        if self.octets.len() < MOST {
            self.octets.push(b'\n');
        }
    }

    /// Whether any has a letter in upper case.
    pub fn have_case(&self) -> bool {
        self.have_case
    }

    /// The names, as they were written.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.octets
            .split_inclusive(|octet| *octet == b'\n')
            .map(|name| name.strip_suffix(b"\n").unwrap_or(name))
    }

    /// Takes them out if any has a letter in upper case, and begins anew.
    pub(super) fn take(&mut self) -> Option<Self> {
        if self.have_case {
            return Some(std::mem::take(self));
        }
        self.octets.clear();
        None
    }
}

/// Reads the names of the head of one answer of HTTP/1 while its octets pass by: that of the final one, after those of
/// interim ones. What is wrong with it is for others to find.
///
/// ```
/// # use weft_mesh::http_validation::AnswerNames;
/// let mut names = AnswerNames::default();
/// names.await_head();
/// names.pass(b"HTTP/1.1 200 OK\r\nContent-");
/// names.pass(b"Type: text/plain\r\nx-b: C\r\n\r\nBody: no name\r\n");
/// let names = names.take().expect("there is a letter in upper case");
/// assert_eq!(names.iter().collect::<Vec<_>>(), [b"Content-Type", &b"x-b"[..]]);
/// ```
#[derive(Debug, Default)]
pub struct AnswerNames {
    at: At,
    status: Status,
    names: Names,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Nothing is awaited.
    #[default]
    Over,
    StatusLine,
    LineStart,
    Name,
    Value,
}

/// The first octets of a status line.
#[derive(Debug, Default)]
struct Status {
    octets: [u8; STATUS_END],
    length: usize,
}

impl Status {
    fn add(&mut self, octets: &[u8]) {
        for (to, from) in self.octets.iter_mut().skip(self.length).zip(octets) {
            *to = *from;
        }
        self.length = (self.length + octets.len()).min(STATUS_END);
    }

    /// Whether another head follows: 101 is final for who did ask for it (RFC 9110 section 15.2).
    fn is_interim(&self) -> bool {
        matches!(self.octets, [.., b'1', a, b] if (a, b) != (b'0', b'1'))
    }
}

impl AnswerNames {
    /// What passes next is the head of an answer.
    pub fn await_head(&mut self) {
        *self = Self { at: At::StatusLine, ..Self::default() };
    }

    /// The names of the head, if any has a letter in upper case.
    pub fn take(&mut self) -> Option<Names> {
        self.at = At::Over;
        self.names.take()
    }

    /// Looks at octets that pass by.
    pub fn pass(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while self.at != At::Over && !rest.is_empty() {
            rest = match self.at {
                At::Over => return,
                At::StatusLine => self.status_line(rest),
                At::LineStart => self.line_start(rest),
                At::Name => self.name(rest),
                At::Value => self.value(rest),
            };
        }
    }

    fn status_line<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        let (line, rest) = until(rest, b'\n');
        self.status.add(line);
        self.go_on(rest, At::LineStart)
    }

    fn line_start<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        match rest.split_first() {
            Some((b'\r', rest)) => rest,
            Some((b'\n', rest)) => {
                if self.status.is_interim() {
                    self.await_head();
                } else {
                    self.at = At::Over;
                }
                rest
            }
            _ => {
                self.at = At::Name;
                rest
            }
        }
    }

    fn name<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        let (name, rest) = until(rest, b':');
        self.names.extend(name);
        if rest.is_some() {
            self.names.end();
        }
        self.go_on(rest, At::Value)
    }

    fn value<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        let (_, rest) = until(rest, b'\n');
        self.go_on(rest, At::LineStart)
    }

    /// Goes on with `next` if what ends this part has come, which is so if there is a rest, however short.
    fn go_on<'a>(&mut self, rest: Option<&'a [u8]>, next: At) -> &'a [u8] {
        if rest.is_some() {
            self.at = next;
        }
        rest.unwrap_or_default()
    }
}

/// What stands before `end`, and what behind it if it is there.
fn until(octets: &[u8], end: u8) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(end, octets) {
        Some(at) => (octets.get(..at).unwrap_or_default(), octets.get(at + 1..)),
        None => (octets, None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names_of(pieces: &[&[u8]]) -> Option<Vec<String>> {
        let mut names = AnswerNames::default();
        names.await_head();
        for piece in pieces {
            names.pass(piece);
        }
        let names = names.take()?;
        Some(names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect())
    }

    const ANSWER: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nX-A: b: C\r\n\
        x-b:\r\nX-A: d\r\nSet-COOKIE: e\r\n\r\nHost: none\r\n";

    #[test]
    fn names_of_the_final_head_are_read_and_of_nothing_else() {
        assert_eq!(names_of(&[ANSWER]).unwrap(), ["X-A", "x-b", "X-A", "Set-COOKIE"]);
        let switches =
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\n";
        assert_eq!(names_of(&[switches]).unwrap(), ["Upgrade"]);
    }

    #[test]
    fn names_in_lower_case_alone_are_none_to_remember() {
        assert_eq!(names_of(&[b"HTTP/1.1 200 OK\r\nx-a: B\r\n\r\n"]), None);
        let mut names = AnswerNames::default();
        names.pass(b"HTTP/1.1 200 OK\r\nX-Unawaited: 1\r\n\r\n");
        assert_eq!(names.take(), None);
    }

    #[test]
    fn a_head_without_end_is_not_kept_without_end() {
        let mut names = AnswerNames::default();
        names.await_head();
        names.pass(b"HTTP/1.1 200 OK\r\n");
        for _ in 0..100_000 {
            names.pass(b"X-Long: v\r\n");
            names.pass(b"Y");
        }
        assert!(names.take().unwrap().octets.len() <= MOST);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_octets_are_cut(cuts in prop::collection::vec(0..ANSWER.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.extend([0, ANSWER.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &ANSWER[cut[0]..cut[1]]).collect();
            prop_assert_eq!(names_of(&pieces), names_of(&[ANSWER]));
        }

        #[test]
        fn any_octets_can_pass(octets: Vec<u8>) {
            let _ = names_of(&[b"HTTP/1.1 ", &octets]);
        }
    }
}
