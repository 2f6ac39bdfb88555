//! URL rewrites (`HTTPURLRewriteFilter`).

use http::HeaderValue;
use http::uri::Authority;

use super::PathChange;
use crate::Error;

/// A change to the host and path that a backend sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    hostname: Option<HeaderValue>,
    path: Option<PathChange>,
}

impl Rewrite {
    /// A rewrite; what is `None` stays.
    pub fn new(hostname: Option<&str>, path: Option<PathChange>) -> Result<Self, Error> {
        let check = |name: &str| {
            let refuse =
                || Error::invalid("rewrite hostname", name, "write a DNS name, with or without a port");
            Authority::try_from(name).ok().filter(|_| !name.contains('@')).ok_or_else(refuse)?;
            HeaderValue::from_str(name).map_err(|_| refuse())
        };
        Ok(Self { hostname: hostname.map(check).transpose()?, path })
    }

    /// The new value of `host` or `:authority`.
    pub fn hostname(&self) -> Option<&HeaderValue> {
        self.hostname.as_ref()
    }

    /// The new path with the request's own query, for a rule that matched a prefix of `matched_prefix` bytes.
    pub fn path_and_query(&self, path: &str, query: Option<&str>, matched_prefix: usize) -> Option<String> {
        let mut changed = self.path.as_ref()?.apply(path, matched_prefix);
        if let Some(query) = query {
            changed.push('?');
            changed.push_str(query);
        }
        Some(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_path_change_and_the_query_stays() {
        let rewrite = Rewrite::new(Some("b.example:81"), Some(PathChange::prefix("/x").unwrap())).unwrap();
        assert_eq!(rewrite.hostname().unwrap(), "b.example:81");
        assert_eq!(rewrite.path_and_query("/a/b", Some("q=?"), 2).unwrap(), "/x/b?q=?");
        assert_eq!(Rewrite::default().path_and_query("/a", None, 0), None);
        assert!(Rewrite::new(Some("user@a"), None).is_err());
    }
}
