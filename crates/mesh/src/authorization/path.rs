//! Conditions on paths.

use std::fmt;

use crate::Error;
use crate::path::{normal, normal_prefix, normal_suffix};

/// A condition on a path, in the normal form.
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
            (None, None) => (Self::Exact(normal(value).into()), value),
            (None, Some(prefix)) => (Self::Prefix(normal_prefix(prefix).into()), prefix),
            (Some(suffix), None) => (Self::Suffix(normal_suffix(suffix).into()), suffix),
            (Some(_), Some(_)) => (Self::Any, "*"),
        };
        let rooted = leading.is_some() || text.starts_with('/');
        if text.contains('*') || !rooted {
            return Err(Error::invalid("path", value, "begin it with '/', and use '*' only at one end"));
        }
        Ok(rule)
    }

    /// Whether a reading of a path matches; `None` stands for a path of which nothing is known. What is not to `widen`
    /// matches only for sure. Otherwise a slash at the end does not matter either, as to many servers.
    pub(super) fn matches(&self, reading: Option<&str>, widen: bool) -> bool {
        let Some(path) = reading else { return widen || *self == Self::Any };
        let path_without = path.trim_end_matches('/');
        match self {
            Self::Any => true,
            Self::Exact(exact) => **exact == *path || widen && exact.trim_end_matches('/') == path_without,
            Self::Prefix(prefix) => {
                path.starts_with(&**prefix) || widen && prefix.strip_suffix('/') == Some(path_without)
            }
            Self::Suffix(suffix) => path.ends_with(&**suffix) || widen && path_without.ends_with(&**suffix),
        }
    }
}

impl fmt::Display for PathRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(path) => f.write_str(path),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_exact_or_open_at_one_end() {
        for (rule, path, surely, possibly) in [
            ("/a", "/a", true, true),
            ("/a", "/a/", false, true),
            ("/a/", "/a", false, true),
            ("/a/*", "/a/b", true, true),
            ("/a/*", "/a", false, true),
            ("/a/*", "/ab", false, false),
            ("/a*", "/ab", true, true),
            ("/a*", "/b", false, false),
            ("/*", "/", true, true),
            ("*.html", "/x.html", true, true),
            ("*.html", "/x.html/", false, true),
            ("*", "/x", true, true),
        ] {
            let compiled = PathRule::new(rule).unwrap();
            assert_eq!(compiled.matches(Some(path), false), surely, "{rule} {path}");
            assert_eq!(compiled.matches(Some(path), true), possibly, "{rule} {path}");
            assert_eq!((compiled.matches(None, false), compiled.matches(None, true)), (rule == "*", true));
        }
        for rule in ["", "a", "/a*b", "*a*", "/*/a", "a*"] {
            assert!(PathRule::new(rule).is_err(), "{rule}");
        }
    }

    #[test]
    fn rules_are_written_in_any_spelling() {
        for (rule, path) in [
            ("/a b", "/a%20b"),
            ("/%61dmin", "/admin"),
            ("/x/../a//b", "/a/b"),
            ("/x/../a/.w*", "/a/.well-known"),
            ("/a%2fb", "/a%2Fb"),
            ("*/sch\u{f6}n", "/sch%C3%B6n"),
        ] {
            assert!(PathRule::new(rule).unwrap().matches(Some(path), false), "{rule} {path}");
        }
    }
}
