//! Paths of matches (`HTTPPathMatch`).

use crate::Error;
use crate::path::normal;
use crate::pattern::Pattern;

/// How a path is matched: in its normal form ([`crate::path::normal`]), whose spelling the values are kept in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// The path is this one.
    Exact(Box<str>),
    /// The path begins with these elements: `/a` matches `/a`, `/a/` and `/a/b`, not `/ab`. Without a trailing slash;
    /// empty matches every path.
    Prefix(Box<str>),
    /// The last of exactly two elements is this one: a gRPC method of any service.
    GrpcMethod(Box<str>),
    /// The whole path matches.
    Regex(Pattern),
    /// Any path, after all others: a GRPCRoute's rule without matches.
    Any,
}

impl PathMatch {
    /// An exact path.
    pub fn exact(path: &str) -> Result<Self, Error> {
        check(path)?;
        Ok(Self::Exact(normal(path).into()))
    }

    /// A prefix of whole elements; a trailing slash does not matter.
    pub fn prefix(path: &str) -> Result<Self, Error> {
        check(path)?;
        let normal = normal(path);
        Ok(Self::Prefix(normal.strip_suffix('/').unwrap_or(&normal).into()))
    }

    /// A regular expression for the whole path.
    pub fn regex(source: &str) -> Result<Self, Error> {
        Pattern::new(source).map(Self::Regex)
    }

    /// Whether a path in its normal form matches.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *path,
            Self::Prefix(prefix) => is_prefix(prefix, path),
            Self::GrpcMethod(method) => grpc_method(path) == Some(method),
            Self::Regex(pattern) => pattern.matches(path.as_bytes()),
            Self::Any => true,
        }
    }

    /// Sorts by precedence: kind, then what the kind has to say.
    pub(super) fn rank(&self) -> (u8, std::cmp::Reverse<usize>) {
        let (kind, length) = match self {
            Self::Exact(_) => (0, 0),
            Self::Prefix(prefix) => (1, prefix.len()),
            Self::GrpcMethod(method) => (2, method.len()),
            Self::Regex(_) => (3, 0),
            Self::Any => (4, 0),
        };
        (kind, std::cmp::Reverse(length))
    }

    /// What every path that matches begins with, for the cookie of a session (GEP-1619, "Path"): of a regular
    /// expression the whole elements before its first special character.
    pub fn common(&self) -> &str {
        let common = match self {
            Self::Exact(path) | Self::Prefix(path) => path,
            Self::Regex(pattern) => literal_elements(pattern.as_str()),
            Self::GrpcMethod(_) | Self::Any => "",
        };
        // ';' ends an attribute of a cookie.
        let common = common.split_once(';').map_or(common, |(before, _)| parent(before));
        if common.is_empty() { "/" } else { common }
    }

    /// Whether some paths match and others don't.
    pub(super) fn is_selective(&self) -> bool {
        match self {
            Self::Prefix(prefix) => !prefix.is_empty(),
            Self::Exact(_) | Self::GrpcMethod(_) | Self::Regex(_) => true,
            Self::Any => false,
        }
    }

    /// Length of the prefix that a rewrite replaces.
    pub(super) fn prefix_length(&self) -> usize {
        match self {
            Self::Prefix(prefix) => prefix.len(),
            _ => 0,
        }
    }
}

/// The elements that every path which an expression matches begins with, without a trailing slash.
pub(super) fn literal_elements(source: &str) -> &str {
    if has_alternatives(source) {
        return "";
    }
    let special = |letter: char| !letter.is_ascii_alphanumeric() && !"/-_~%!&'=:@,".contains(letter);
    match source.find(special) {
        None => source,
        // What a special character follows may belong to it: `/ab?` matches `/a`.
        Some(at) => parent(source.get(..at).unwrap_or_default()),
    }
}

/// Whether an expression is one of several as a whole, as `/a|/b` is and `/(a|b)` is not.
fn has_alternatives(source: &str) -> bool {
    let (mut depth, mut in_class, mut escaped) = (0_usize, false, false);
    source.chars().any(|letter| {
        if std::mem::take(&mut escaped) {
            return false;
        }
        match letter {
            '\\' => escaped = true,
            '[' => in_class = true,
            ']' => in_class = false,
            '(' if !in_class => depth += 1,
            ')' if !in_class => depth = depth.saturating_sub(1),
            '|' => return depth == 0 && !in_class,
            _ => {}
        }
        false
    })
}

/// A path without its last element and the slash before it.
fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// Whether `prefix`, which has no trailing slash, ends where an element of `path` does.
pub(crate) fn is_prefix(prefix: &str, path: &str) -> bool {
    prefix.is_empty()
        || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The method of `/<service>/<method>` (gRPC over HTTP/2, "Path").
pub(super) fn grpc_method(path: &str) -> Option<&str> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    (!service.is_empty() && !method.contains('/')).then_some(method)
}

fn check(path: &str) -> Result<(), Error> {
    let refuse = |problem: &'static str| Err(Error::invalid("path", path, problem));
    if !path.starts_with('/') {
        return refuse("begin it with '/'");
    }
    if path.contains("//") {
        return refuse("don't repeat '/'");
    }
    if path.contains(['?', '#']) || path.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
        return refuse("leave out '?', '#', spaces and control characters");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_match_whole_elements() {
        for prefix in ["/abc", "/abc/"] {
            let prefix = PathMatch::prefix(prefix).unwrap();
            for (path, expected) in [
                ("/abc", true),
                ("/abc/", true),
                ("/abc/def", true),
                ("/abcd", false),
                ("/Abc", false),
                ("/", false),
            ] {
                assert_eq!(prefix.matches(path), expected, "{path}");
            }
        }
        let root = PathMatch::prefix("/").unwrap();
        assert!(["/", "/a", "*", ""].iter().all(|path| root.matches(path)));
    }

    #[test]
    fn exact_paths_match_only_themselves() {
        let exact = PathMatch::exact("/abc").unwrap();
        assert!(exact.matches("/abc"));
        assert!(!["/abc/", "/Abc", "/abcd"].iter().any(|path| exact.matches(path)));
    }

    #[test]
    fn what_all_paths_begin_with_is_known() {
        let exact = |path: &str| PathMatch::exact(path).unwrap();
        let prefix = |path: &str| PathMatch::prefix(path).unwrap();
        let regex = |source: &str| PathMatch::regex(source).unwrap();
        for (matching, common) in [
            (exact("/a/b"), "/a/b"),
            (prefix("/a/b/"), "/a/b"),
            (prefix("/"), "/"),
            (prefix("/a/b;v=1/c"), "/a"),
            (regex("/p1/p2/[^/]+/p3"), "/p1/p2"),
            (regex("/p1/p2"), "/p1/p2"),
            (regex("/ab?"), "/"),
            (regex("/a|/b"), "/"),
            (regex(".*"), "/"),
            (PathMatch::GrpcMethod("Get".into()), "/"),
            (PathMatch::Any, "/"),
        ] {
            assert_eq!(matching.common(), common, "{matching:?}");
        }
    }

    #[test]
    fn malformed_paths_are_refused() {
        for path in ["", "abc", "//", "/a//b", "/a?b", "/a#b", "/a b"] {
            assert!(PathMatch::exact(path).is_err() && PathMatch::prefix(path).is_err(), "{path}");
        }
    }
}
