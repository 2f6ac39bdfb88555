//! A limit that a service keeps for all proxies: what it is asked of a request.
//!
//! The words are those of Envoy's rate limit service: a request counts as several descriptors, each of which is a list of
//! keys and values, and the service has a limit for each.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderName, Method};

use super::Limited;
use crate::Error;
use crate::path::normal;

/// A limit that a service keeps. `B` is what stands for a backend.
#[derive(Clone, Debug)]
pub struct GlobalLimit<B> {
    /// Where the service is.
    pub service: LimitService<B>,
    /// The service's name for what is limited.
    pub domain: Box<str>,
    /// What requests count as.
    pub descriptors: Descriptors,
    /// Time for its answer.
    pub timeout: Duration,
    /// Whether requests are refused of which it says nothing in time.
    pub fail_closed: bool,
}

/// Where a service is that keeps limits.
#[derive(Clone, Debug)]
pub enum LimitService<B> {
    /// In the mesh.
    Backend(B),
    /// Outside, at `host:port`.
    Address(std::sync::Arc<str>),
    /// The reference does not hold: why.
    Invalid(Box<str>),
}

/// What requests count as: lists of keys with where their values come from.
#[derive(Clone, Debug, Default)]
pub struct Descriptors(Box<[Box<[Entry]>]>);

/// A key, and where its value comes from.
#[derive(Clone, Debug)]
pub struct Entry {
    key: Box<str>,
    value: ValueSource,
}

/// Where the value of a key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueSource {
    /// This text.
    Text(Box<str>),
    /// The value of a header field.
    Header(HeaderName),
    /// The client's address.
    RemoteAddress,
    /// The caller's SPIFFE id.
    Identity,
    /// The normal form of the path, without the query: other spellings of it are not counted apart.
    Path,
    /// The method.
    Method,
}

/// A request of which a service is asked.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a> {
    /// Whose it is.
    pub limited: Limited<'a>,
    /// Its method.
    pub method: &'a Method,
    /// Its path, without the query.
    pub path: &'a str,
}

impl Entry {
    /// A key with its value; keys are not empty.
    pub fn new(key: &str, value: ValueSource) -> Result<Self, Error> {
        if key.is_empty() {
            return Err(Error::invalid("key of a rate limit descriptor", key, "write a name"));
        }
        Ok(Self { key: key.into(), value })
    }

    fn of<'a>(&'a self, request: &Counted<'a>) -> Option<(&'a str, Cow<'a, str>)> {
        let value = match &self.value {
            ValueSource::Text(text) => Cow::Borrowed(&**text),
            ValueSource::Header(name) => {
                Cow::Borrowed(std::str::from_utf8(request.limited.headers.get(name)?.as_bytes()).ok()?)
            }
            ValueSource::RemoteAddress => Cow::Owned(request.limited.source.to_canonical().to_string()),
            ValueSource::Identity => Cow::Borrowed(request.limited.identity?.as_str()),
            ValueSource::Path => normal(request.path),
            ValueSource::Method => Cow::Borrowed(request.method.as_str()),
        };
        Some((&self.key, value))
    }
}

impl Descriptors {
    /// Lists of entries.
    pub fn new(descriptors: impl IntoIterator<Item = Vec<Entry>>) -> Self {
        Self(descriptors.into_iter().map(Vec::into_boxed_slice).collect())
    }

    /// What a request counts as. A list of which the request lacks any value is left out; when all are, there is nothing
    /// to ask.
    pub fn of<'a>(&'a self, request: &Counted<'a>) -> Vec<Vec<(&'a str, Cow<'a, str>)>> {
        self.0.iter().filter_map(|entries| entries.iter().map(|entry| entry.of(request)).collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn a_request_counts_as_every_descriptor_of_which_it_has_all_values() {
        let entry = |key, value| Entry::new(key, value).unwrap();
        let user = || entry("user", ValueSource::Header(HeaderName::from_static("x-user")));
        let descriptors = Descriptors::new([
            vec![entry("generic_key", ValueSource::Text("all".into()))],
            vec![user(), entry("path", ValueSource::Path), entry("method", ValueSource::Method)],
            vec![user(), entry("identity", ValueSource::Identity)],
            vec![entry("remote_address", ValueSource::RemoteAddress)],
        ]);
        let identity = "spiffe://mesh.test/ns/shop/sa/web".parse().unwrap();
        let named = HeaderMap::from_iter([(HeaderName::from_static("x-user"), "ann".parse().unwrap())]);
        let counted = |headers, identity| {
            let source = "::ffff:10.0.0.1".parse().unwrap();
            let limited = Limited { identity, headers, source };
            descriptors
                .of(&Counted { limited, method: &Method::GET, path: "/a" })
                .into_iter()
                .map(|entries| {
                    entries.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()
                })
                .collect::<Vec<_>>()
        };
        let (all, address) = (vec!["generic_key=all"], vec!["remote_address=10.0.0.1"]);
        let path = vec!["user=ann", "path=/a", "method=GET"];
        let caller = vec!["user=ann", "identity=spiffe://mesh.test/ns/shop/sa/web"];
        assert_eq!(counted(&named, Some(&identity)), [all.clone(), path.clone(), caller, address.clone()]);
        assert_eq!(counted(&named, None), [all.clone(), path, address.clone()]);
        assert_eq!(counted(&HeaderMap::new(), Some(&identity)), [all, address]);
    }

    #[test]
    fn a_value_that_is_no_text_is_none() {
        let name = HeaderName::from_static("x-user");
        let entry = Entry::new("user", ValueSource::Header(name.clone())).unwrap();
        let headers = HeaderMap::from_iter([(name, http::HeaderValue::from_bytes(b"\xff").unwrap())]);
        let limited = Limited { identity: None, headers: &headers, source: [10, 0, 0, 1].into() };
        assert_eq!(entry.of(&Counted { limited, method: &Method::GET, path: "/" }), None);
        assert!(Entry::new("", ValueSource::Path).is_err());
    }
}
