//! Matches that no request can meet, since others take all that they would.

use super::{HttpMatch, PathMatch};
use crate::route::path::{is_prefix, literal_elements};

impl HttpMatch {
    /// Whether no request meets `other` because it meets this match, which is asked before it: for its precedence, or
    /// among equals because it is `earlier`. Both are for the same hosts.
    pub fn shadows(&self, other: &Self, earlier: bool) -> bool {
        let before = self.rank() < other.rank() || earlier && self.rank() == other.rank();
        before
            && self.path.covers(&other.path)
            && (self.method.is_none() || self.method == other.method)
            && self.asks_for_no_more_than(other)
    }
}

impl PathMatch {
    /// Whether every path that `other` matches matches this. Of regular expressions only what is plain to see is seen.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Prefix(prefix), Self::Exact(path) | Self::Prefix(path)) => is_prefix(prefix, path),
            (Self::Prefix(prefix), Self::Regex(pattern)) => {
                is_prefix(prefix, literal_elements(pattern.as_str()))
            }
            (Self::Prefix(prefix), Self::GrpcMethod(_) | Self::Any) => prefix.is_empty(),
            (one, other) => one == other,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::route::{RequestParts, ValueMatch};

    fn matching(path: &PathMatch, method: Option<&str>, header: Option<&str>) -> HttpMatch {
        let mut made = HttpMatch::path(path.clone());
        if let Some(method) = method {
            made = made.method(method).unwrap();
        }
        if let Some(name) = header {
            made = made.header(name, ValueMatch::exact("1")).unwrap();
        }
        made
    }

    fn paths() -> Vec<PathMatch> {
        let regex = |source: &str| PathMatch::regex(source).unwrap();
        let prefix = |path: &str| PathMatch::prefix(path).unwrap();
        vec![
            prefix("/"),
            prefix("/a"),
            prefix("/a/b"),
            PathMatch::exact("/a/b").unwrap(),
            regex("/a/[0-9]+"),
            regex("/a/b|/c"),
            regex(".*"),
            PathMatch::GrpcMethod("b".into()),
            PathMatch::Any,
        ]
    }

    #[test]
    fn a_regular_expression_beside_a_prefix_that_takes_all_its_paths_never_matches() {
        let regex = matching(&PathMatch::regex("/a/v[0-9]+").unwrap(), None, Some("x"));
        for (prefix, expected) in [("/", true), ("/a", true), ("/a/v", false), ("/b", false)] {
            let prefix = matching(&PathMatch::prefix(prefix).unwrap(), None, None);
            assert_eq!(prefix.shadows(&regex, false), expected, "{prefix:?}");
            assert!(!regex.shadows(&prefix, true));
        }
        let only_posts = matching(&PathMatch::prefix("/").unwrap(), Some("POST"), None);
        assert!(!only_posts.shadows(&regex, true));
        let twice = matching(&PathMatch::prefix("/x").unwrap(), None, None);
        assert!(twice.shadows(&twice.clone(), true) && !twice.shadows(&twice.clone(), false));
    }

    proptest! {
        #[test]
        fn what_is_shadowed_is_met_by_no_request(
            one in (select(paths()), select(&[None, Some("GET")][..]), select(&[None, Some("x")][..])),
            other in (select(paths()), select(&[None, Some("GET")][..]), select(&[None, Some("x")][..])),
            path in select(&["/", "/a", "/a/b", "/a/7", "/c", "/a/b/c"][..]),
            method in select(&["GET", "PUT"][..]),
            with_header: bool,
        ) {
            let (one, other) = (matching(&one.0, one.1, one.2), matching(&other.0, other.1, other.2));
            let mut headers = HeaderMap::new();
            if with_header {
                headers.insert("x", "1".parse().unwrap());
            }
            let method: Method = method.parse().unwrap();
            let request = RequestParts { method: &method, host: "", path, query: None, headers: &headers };
            if one.shadows(&other, true) && other.check(&request).is_ok() {
                prop_assert!(one.check(&request).is_ok(), "{:?} {:?} {}", one, other, path);
            }
        }
    }
}
