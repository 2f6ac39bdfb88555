//! The names of fields as they were sent.

use bytes::{BufMut, BytesMut};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::table;

/// An extension of a head: the names of its fields, in the order, with the repetitions and in the
/// case in which they were sent.
///
/// The values stay in the `HeaderMap`: the n-th mention of a name here belongs to the n-th value
/// there. So a proxy can remove, change and add fields in the map and need not keep the two in step:
/// mentions without a value are left out, values without a mention come last.
///
/// ```
/// # use http::{HeaderMap, HeaderName, HeaderValue};
/// # use weft_hop::OriginalNames;
/// let mut names = OriginalNames::new();
/// names.push(b"Host");
/// names.push(b"X-Strange-CASE");
/// let mut fields = HeaderMap::new();
/// fields.insert("x-strange-case", HeaderValue::from_static("1"));
/// fields.insert("host", HeaderValue::from_static("cart"));
/// let mut lines = Vec::new();
/// names.for_each_line(&fields, |name, value| lines.push((name.to_vec(), value.clone())));
/// assert_eq!(lines[0], (b"Host".to_vec(), HeaderValue::from_static("cart")));
/// assert_eq!(lines[1], (b"X-Strange-CASE".to_vec(), HeaderValue::from_static("1")));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct OriginalNames {
    /// For each name its code, or 0, a length of two octets and the name.
    encoded: SmallVec<[u8; 32]>,
}

/// A name among [`OriginalNames`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Original<'a> {
    /// One of the table, with or without [`table::WRITTEN`].
    Code(u8),
    Literal(&'a [u8]),
}

impl OriginalNames {
    /// No names yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next name, at most 65,535 octets, as it was sent.
    pub fn push(&mut self, name: &[u8]) {
        match table::exact_code_of(name) {
            Some(code) => self.push_code(code),
            None => self.push_literal(name),
        }
    }

    pub(super) fn push_code(&mut self, code: u8) {
        self.encoded.push(code);
    }

    pub(super) fn push_literal(&mut self, name: &[u8]) {
        // `http` knows no longer names, so there is never a value for what is cut off.
        let length = u16::try_from(name.len()).unwrap_or(u16::MAX);
        self.encoded.push(0);
        self.encoded.extend_from_slice(&length.to_be_bytes());
        self.encoded.extend_from_slice(name.get(..usize::from(length)).unwrap_or(name));
    }

    /// The names in the order in which they were sent.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.originals().map(Original::octets)
    }

    pub(super) fn originals(&self) -> Originals<'_> {
        Originals { rest: &self.encoded }
    }

    /// Calls `line` with each field of `fields`: first those that were sent, as and where they were,
    /// then those that have been added since.
    pub fn for_each_line<'a>(
        &'a self,
        fields: &'a HeaderMap,
        mut line: impl FnMut(&'a [u8], &'a HeaderValue),
    ) {
        self.for_each_original(fields, |original, value| line(original.octets(), value));
    }

    /// Whether each field has one value and the fields stand in the order of their mentions, with those behind that are
    /// not mentioned, as in most heads: then the two can be gone through side by side.
    fn go_along_with(&self, fields: &HeaderMap) -> bool {
        if fields.keys_len() != fields.len() {
            return false;
        }
        let mut originals = self.originals();
        fields.keys().all(|name| {
            // Fields that were taken out are passed over. One that is not mentioned has to be behind all that are.
            let mut ahead = originals.clone();
            if ahead.any(|original| original.is(name.as_str())) {
                originals = ahead;
                return true;
            }
            originals.rest = &[];
            !self.originals().any(|original| original.is(name.as_str()))
        })
    }

    pub(super) fn for_each_original<'a>(
        &'a self,
        fields: &'a HeaderMap,
        mut line: impl FnMut(Original<'a>, &'a HeaderValue),
    ) {
        if self.go_along_with(fields) {
            let mut originals = self.originals();
            for (name, value) in fields {
                let original = originals.find(|original| original.is(name.as_str()));
                line(original.unwrap_or_else(|| Original::lower(name)), value);
            }
            return;
        }
        let mut mentions = Mentions::default();
        for original in self.originals() {
            let earlier = mentions.add(original);
            if let Some(value) = original.value(fields, earlier) {
                line(original, value);
            }
        }
        for name in fields.keys() {
            let original = Original::lower(name);
            for value in fields.get_all(name).iter().skip(mentions.of(original)) {
                line(original, value);
            }
        }
    }
}

impl<'a> Original<'a> {
    /// A name that is written in lower case, as `http` has all.
    fn lower(name: &'a HeaderName) -> Self {
        let name = name.as_str().as_bytes();
        table::code_of(name).map_or(Self::Literal(name), Self::Code)
    }

    /// Whether it is this name, which is in lower case.
    fn is(self, name: &str) -> bool {
        match self {
            Self::Code(code) => table::name_of(code).is_some_and(|known| known.as_str() == name),
            Self::Literal(literal) => literal.eq_ignore_ascii_case(name.as_bytes()),
        }
    }

    fn octets(self) -> &'a [u8] {
        match self {
            Self::Code(code) => table::octets_of(code).map_or(&[], str::as_bytes),
            Self::Literal(name) => name,
        }
    }

    /// The value that belongs to this mention when there were `earlier` ones of the same name.
    fn value(self, fields: &HeaderMap, earlier: usize) -> Option<&HeaderValue> {
        let nth = |name: &HeaderName| fields.get_all(name).iter().nth(earlier);
        match self {
            Self::Code(code) => nth(table::name_of(code)?),
            Self::Literal(name) => {
                let name = std::str::from_utf8(name).ok()?;
                if earlier == 0 { fields.get(name) } else { fields.get_all(name).iter().nth(earlier) }
            }
        }
    }
}

/// Walks [`OriginalNames`].
#[derive(Clone)]
pub(super) struct Originals<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Originals<'a> {
    type Item = Original<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&code, rest) = self.rest.split_first()?;
        if code != 0 {
            self.rest = rest;
            return Some(Original::Code(code));
        }
        let (length, rest) = rest.split_first_chunk()?;
        let (name, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        self.rest = rest;
        Some(Original::Literal(name))
    }
}

/// How often each name was mentioned so far.
struct Mentions<'a> {
    /// By code: at most 32,767 values fit into a `HeaderMap`.
    codes: [u16; table::WRITTEN as usize],
    literals: SmallVec<[(&'a [u8], usize); 8]>,
}

impl Default for Mentions<'_> {
    fn default() -> Self {
        Self { codes: [0; table::WRITTEN as usize], literals: SmallVec::new() }
    }
}

impl<'a> Mentions<'a> {
    /// Counts a mention; returns how many there were before.
    fn add(&mut self, original: Original<'a>) -> usize {
        match original {
            Original::Code(code) => {
                let Some(count) = self.codes.get_mut(usize::from(code & !table::WRITTEN)) else { return 0 };
                let earlier = *count;
                *count = count.saturating_add(1);
                usize::from(earlier)
            }
            Original::Literal(name) => {
                if let Some(code) = table::code_of(name) {
                    return self.add(Original::Code(code));
                }
                for (seen, count) in &mut self.literals {
                    if seen.eq_ignore_ascii_case(name) {
                        *count += 1;
                        return *count - 1;
                    }
                }
                self.literals.push((name, 1));
                0
            }
        }
    }

    fn of(&self, original: Original<'_>) -> usize {
        match original {
            Original::Code(code) => {
                self.codes.get(usize::from(code & !table::WRITTEN)).map_or(0, |count| usize::from(*count))
            }
            Original::Literal(name) => {
                let mut literals = self.literals.iter();
                literals.find(|(seen, _)| seen.eq_ignore_ascii_case(name)).map_or(0, |(_, count)| *count)
            }
        }
    }
}

/// Writes a name that has a code.
pub(super) fn put_code(out: &mut BytesMut, code: u8) {
    out.put_u8(code);
}

/// Writes a name that has none.
pub(super) fn put_literal(out: &mut BytesMut, name: &[u8]) {
    out.put_u8(0);
    crate::wire::put_string(out, name);
}
