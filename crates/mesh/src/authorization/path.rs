//! Paths as servers may read them.

use std::borrow::Cow;

use crate::Error;

/// How often an encoding is undone; servers behind other proxies may undo it twice.
const DECODINGS: usize = 3;

/// A condition on a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PathRule {
    Any,
    Exact(Box<str>),
    Prefix(Box<str>),
    Suffix(Box<str>),
}

impl PathRule {
    pub(super) fn new(value: &str) -> Result<Self, Error> {
        let (leading, trailing) = (value.strip_prefix('*'), value.strip_suffix('*'));
        let (rule, text) = match (leading, trailing) {
            _ if value == "*" => return Ok(Self::Any),
            (None, None) => (Self::Exact(value.into()), value),
            (None, Some(prefix)) => (Self::Prefix(prefix.into()), prefix),
            (Some(suffix), None) => (Self::Suffix(suffix.into()), suffix),
            (Some(_), Some(_)) => (Self::Any, "*"),
        };
        let rooted = leading.is_some() || text.starts_with('/');
        if text.contains('*') || !rooted {
            return Err(Error::invalid("path", value, "begin it with '/', and use '*' only at one end"));
        }
        Ok(rule)
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => **exact == *path,
            Self::Prefix(prefix) => path.starts_with(&**prefix),
            Self::Suffix(suffix) => path.ends_with(&**suffix),
        }
    }
}

/// A path as it was sent and as a server may read it: decoded, with dot segments, empty segments and parameters of
/// segments removed and backslashes as slashes. RFC 3986 (section 6) lets a server do some of this, and servers do all of it.
pub(super) struct CallPath<'a> {
    sent: &'a str,
    /// `None` if there is only one reading.
    other: Option<String>,
}

impl<'a> CallPath<'a> {
    pub(super) fn new(sent: &'a str) -> Self {
        let plain =
            !sent.bytes().any(|byte| b"%\\;".contains(&byte)) && !sent.contains("//") && !sent.contains("/.");
        if plain {
            return Self { sent, other: None };
        }
        let mut decoded = Cow::Borrowed(sent);
        for _ in 0..DECODINGS {
            match decode(&decoded) {
                Some(once_more) => decoded = Cow::Owned(once_more),
                None => break,
            }
        }
        let other = normalise(&decoded);
        Self { sent, other: (other != sent).then_some(other) }
    }

    /// Whether some reading matches.
    pub(super) fn possibly_matches(&self, rule: &PathRule) -> bool {
        rule.matches(self.sent) || self.other.as_ref().is_some_and(|other| rule.matches(other))
    }

    /// Whether every reading matches.
    pub(super) fn surely_matches(&self, rule: &PathRule) -> bool {
        rule.matches(self.sent) && self.other.as_ref().is_none_or(|other| rule.matches(other))
    }
}

/// Undoes percent-encoding once; `None` if there is none. What is then no UTF-8 is replaced: no rule holds it anyway.
fn decode(path: &str) -> Option<String> {
    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
        if let (b'%', Some(high), Some(low)) = (first, digit(0), digit(1)) {
            decoded.push((high * 16 + low) as u8);
            rest = after.get(2..).unwrap_or_default();
        } else {
            decoded.push(*first);
            rest = after;
        }
    }
    (decoded.len() < bytes.len()).then(|| String::from_utf8_lossy(&decoded).into_owned())
}

fn normalise(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let mut ends_open = false;
    for segment in path.split(['/', '\\']) {
        let segment = segment.split_once(';').map_or(segment, |(name, _)| name);
        ends_open = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => _ = segments.pop(),
            name => segments.push(name),
        }
    }
    let mut normal = String::with_capacity(path.len());
    for segment in &segments {
        normal.push('/');
        normal.push_str(segment);
    }
    if ends_open || normal.is_empty() {
        normal.push('/');
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn other_readings_are_found() {
        for (sent, other) in [
            ("/public/../admin", "/admin"),
            ("/public/%2e%2e/admin", "/admin"),
            ("/public/%252e%252e/admin", "/admin"),
            ("/%61dmin", "/admin"),
            ("//admin", "/admin"),
            ("/public\\..\\admin", "/admin"),
            ("/admin;x=1/users", "/admin/users"),
            ("/a/./b/", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/../..", "/"),
            ("/a%2Fb", "/a/b"),
        ] {
            assert_eq!(CallPath::new(sent).other.as_deref(), Some(other), "{sent}");
        }
        for sent in ["/", "/a/b", "/a.b/c", "/shop.v1.Cart/Add", "/a/", "/100%"] {
            assert_eq!(CallPath::new(sent).other, None, "{sent}");
        }
    }

    #[test]
    fn rules_are_exact_or_open_at_one_end() {
        for (rule, path, expected) in [
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a", false),
            ("/a*", "/ab", true),
            ("*.html", "/x.html", true),
            ("*", "/x", true),
        ] {
            assert_eq!(PathRule::new(rule).unwrap().matches(path), expected, "{rule} {path}");
        }
        for rule in ["", "a", "/a*b", "*a*", "/*/a", "a*"] {
            assert!(PathRule::new(rule).is_err(), "{rule}");
        }
    }

    proptest! {
        #[test]
        fn the_other_reading_has_only_one_reading(sent in "/[a-c./%25e;\\\\]{0,20}") {
            // What a third decoding leaves encoded is read as it is.
            let Some(other) = CallPath::new(&sent).other else { return Ok(()) };
            if !other.contains('%') {
                prop_assert_eq!(CallPath::new(&other).other, None, "{}", sent);
            }
        }
    }
}
