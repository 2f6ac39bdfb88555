//! Changes to a path (`HTTPPathModifier`).

use http::uri::PathAndQuery;

use crate::Error;
use crate::path::normal;

/// A change to the path of a request; its query stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathChange(Change);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Full(Box<str>),
    /// Without trailing slashes.
    Prefix(Box<str>),
}

impl PathChange {
    /// The whole path becomes this (`ReplaceFullPath`).
    pub fn full(path: &str) -> Result<Self, Error> {
        check(path)?;
        Ok(Self(Change::Full(path.into())))
    }

    /// The matched prefix becomes this (`ReplacePrefixMatch`); may be empty.
    pub fn prefix(replacement: &str) -> Result<Self, Error> {
        if !replacement.is_empty() {
            check(replacement)?;
        }
        Ok(Self(Change::Prefix(replacement.trim_end_matches('/').into())))
    }

    /// The changed path. `matched_prefix` is the length of the prefix that the rule matched, without its trailing
    /// slash, as [`RuleRef::matched_prefix`](crate::route::RuleRef::matched_prefix) has it: of the path's normal form,
    /// which is what is changed.
    pub fn apply(&self, path: &str, matched_prefix: usize) -> String {
        match &self.0 {
            Change::Full(full) => full.to_string(),
            Change::Prefix(replacement) => {
                let path = normal(path);
                let rest = path.get(matched_prefix..).unwrap_or_default();
                let slash = if rest.is_empty() && replacement.is_empty() { "/" } else { "" };
                format!("{replacement}{rest}{slash}")
            }
        }
    }
}

fn check(path: &str) -> Result<(), Error> {
    let refuse = |problem: &'static str| Err(Error::invalid("replacement path", path, problem));
    if !path.starts_with('/') {
        return refuse("begin it with '/'");
    }
    if path.contains(['?', '#']) || PathAndQuery::try_from(path).is_err() {
        return refuse("use only characters of a URL's path, others as %XX");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prefixes_are_replaced_as_gateway_api_tabulates() {
        for (path, prefix, replacement, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/a/b", "/", "/x", "/x/a/b"),
            ("/", "/", "/x", "/x/"),
        ] {
            let change = PathChange::prefix(replacement).unwrap();
            assert_eq!(
                change.apply(path, prefix.trim_end_matches('/').len()),
                expected,
                "{path} {prefix} {replacement}"
            );
        }
    }

    #[test]
    fn the_full_path_is_replaced_whatever_was_matched() {
        assert_eq!(PathChange::full("/x").unwrap().apply("/a/b", 2), "/x");
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for path in ["x", "/a b", "/a?b", "/a#b", "/a\r\nb", "http://a/"] {
            assert!(PathChange::full(path).is_err() && PathChange::prefix(path).is_err(), "{path}");
        }
        assert!(PathChange::full("").is_err());
    }

    proptest! {
        #[test]
        fn replacing_agrees_with_joining_elements(
            prefix in prop::collection::vec("[a-z]{1,3}", 0..3),
            rest in prop::collection::vec("[a-z]{1,3}", 0..3),
            replacement in prop::collection::vec("[a-z]{1,3}", 0..3),
        ) {
            let join = |parts: &[&String]| parts.iter().flat_map(|part| ["/", part.as_str()]).collect::<String>();
            let path = join(&prefix.iter().chain(&rest).collect::<Vec<_>>());
            let naive = join(&replacement.iter().chain(&rest).collect::<Vec<_>>());
            let change = PathChange::prefix(&join(&replacement.iter().collect::<Vec<_>>())).unwrap();
            let changed = change.apply(&path, join(&prefix.iter().collect::<Vec<_>>()).len());
            prop_assert_eq!(changed, if naive.is_empty() { "/".to_owned() } else { naive });
        }
    }
}
