//! The conditions of a match (`HTTPRouteMatch`).

use std::cmp::Reverse;

use http::Method;
use http::header::{self, HeaderName};
use smallvec::SmallVec;

use super::{PathMatch, RequestParts};
use crate::Error;
use crate::pattern::Pattern;

/// Conditions that must all hold.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpMatch {
    /// The path.
    pub path: PathMatch,
    /// The method, if it matters.
    pub method: Option<Method>,
    headers: Vec<HeaderMatch>,
    query: Vec<QueryMatch>,
}

/// A value, or an expression that the whole value matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueMatch {
    /// The value is this one.
    Exact(Box<[u8]>),
    /// The value matches.
    Regex(Pattern),
}

/// A condition on a header field. A field that is repeated counts as one with its values joined by commas (RFC 9110,
/// section 5.3). `host` is what the request asks for, also where HTTP/2 has it in `:authority` (RFC 9113, section 8.3.1):
/// Gateway API matches hosts of a Service's routes by this field (GEP-1294).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    name: HeaderName,
    value: ValueMatch,
}

/// A condition on a query parameter: on the first of that name, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryMatch {
    name: Box<str>,
    value: ValueMatch,
}

/// Precedence: path, method, number of header matches, number of query matches; the least comes first.
pub(super) type Rank = ((u8, Reverse<usize>), bool, Reverse<usize>, Reverse<usize>);

/// The first condition that a request does not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The path.
    Path,
    /// The method.
    Method,
    /// This header field.
    Header(HeaderName),
    /// This query parameter.
    Query(Box<str>),
}

impl Default for HttpMatch {
    /// Every request: the prefix `/`.
    fn default() -> Self {
        Self::path(PathMatch::Prefix("".into()))
    }
}

impl HttpMatch {
    /// A match on nothing but the path.
    pub fn path(path: PathMatch) -> Self {
        Self { path, method: None, headers: Vec::new(), query: Vec::new() }
    }

    /// The header fields and query parameters that it asks for.
    pub fn named(&self) -> impl Iterator<Item = String> {
        let headers = self.headers.iter().map(|header| format!("the header {}", header.name));
        headers.chain(self.query.iter().map(|query| format!("the query parameter {}", query.name)))
    }

    /// Adds a condition on the method.
    pub fn method(mut self, method: &str) -> Result<Self, Error> {
        let parsed = Method::from_bytes(method.as_bytes());
        self.method =
            Some(parsed.map_err(|_| Error::invalid("method", method, "write a method such as GET"))?);
        Ok(self)
    }

    /// Adds a condition on a header field. Of several on one field only the first counts, as Gateway API says.
    pub fn header(mut self, name: &str, value: ValueMatch) -> Result<Self, Error> {
        let name: HeaderName = name.parse().map_err(|_| {
            Error::invalid("header name", name, "use letters, digits and any of !#$%&'*+-.^_`|~")
        })?;
        if !self.headers.iter().any(|earlier| earlier.name == name) {
            self.headers.push(HeaderMatch { name, value });
        }
        Ok(self)
    }

    /// Adds a condition on a query parameter. Of several on one parameter only the first counts.
    #[must_use]
    pub fn query(mut self, name: &str, value: ValueMatch) -> Self {
        if !self.query.iter().any(|earlier| *earlier.name == *name) {
            self.query.push(QueryMatch { name: name.into(), value });
        }
        self
    }

    /// Checks all the conditions.
    pub fn check(&self, request: &RequestParts<'_>) -> Result<(), Mismatch> {
        if !self.path.matches(request.path) {
            return Err(Mismatch::Path);
        }
        self.check_method(request).and_then(|()| self.check_fields(request))
    }

    /// Checks all but the path, for those who found the match by the path.
    pub(super) fn rest_matches(&self, request: &RequestParts<'_>) -> bool {
        self.check_method(request).is_ok() && self.check_fields(request).is_ok()
    }

    fn check_method(&self, request: &RequestParts<'_>) -> Result<(), Mismatch> {
        if self.method.as_ref().is_none_or(|method| method == request.method) {
            Ok(())
        } else {
            Err(Mismatch::Method)
        }
    }

    fn check_fields(&self, request: &RequestParts<'_>) -> Result<(), Mismatch> {
        if let Some(missed) = self.headers.iter().find(|header| !header.matches(request)) {
            return Err(Mismatch::Header(missed.name.clone()));
        }
        if let Some(missed) = self.query.iter().find(|query| !query.matches(request.query)) {
            return Err(Mismatch::Query(missed.name.clone()));
        }
        Ok(())
    }

    /// Whether every condition on a field or parameter is one of `other`, too.
    pub(super) fn asks_for_no_more_than(&self, other: &Self) -> bool {
        self.headers.iter().all(|header| other.headers.contains(header))
            && self.query.iter().all(|query| other.query.contains(query))
    }

    /// Sorts by precedence, without hostname and order.
    pub(super) fn rank(&self) -> Rank {
        (self.path.rank(), self.method.is_none(), Reverse(self.headers.len()), Reverse(self.query.len()))
    }
}

impl ValueMatch {
    /// An exact value.
    pub fn exact(value: &str) -> Self {
        Self::Exact(value.as_bytes().into())
    }

    /// A regular expression for the whole value.
    pub fn regex(source: &str) -> Result<Self, Error> {
        Pattern::new(source).map(Self::Regex)
    }

    fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => **exact == *value,
            Self::Regex(pattern) => pattern.matches(value),
        }
    }
}

impl HeaderMatch {
    fn matches(&self, request: &RequestParts<'_>) -> bool {
        if self.name == header::HOST {
            return !request.host.is_empty() && self.value.matches(request.host.as_bytes());
        }
        let mut values = request.headers.get_all(&self.name).iter();
        let Some(first) = values.next() else { return false };
        let mut rest = values.peekable();
        if rest.peek().is_none() {
            return self.value.matches(first.as_bytes());
        }
        let mut joined: SmallVec<[u8; 256]> = SmallVec::from_slice(first.as_bytes());
        for value in rest {
            joined.push(b',');
            joined.extend_from_slice(value.as_bytes());
        }
        self.value.matches(&joined)
    }
}

impl QueryMatch {
    fn matches(&self, query: Option<&str>) -> bool {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let mut split = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let Some((_, value)) = split.find(|(name, _)| decoded(name).eq(self.name.bytes())) else {
            return false;
        };
        match &self.value {
            ValueMatch::Exact(exact) => decoded(value).eq(exact.iter().copied()),
            ValueMatch::Regex(pattern) => pattern.matches(&decoded(value).collect::<SmallVec<[u8; 256]>>()),
        }
    }
}

/// The bytes of a query's name or value (URL standard, `application/x-www-form-urlencoded`): `+` is a space, `%XX` a
/// byte, and a `%` without two digits itself.
fn decoded(text: &str) -> impl Iterator<Item = u8> + '_ {
    let mut bytes = text.as_bytes();
    std::iter::from_fn(move || {
        let (first, rest) = bytes.split_first()?;
        bytes = rest;
        let digit = |at: usize| char::from(*rest.get(at)?).to_digit(16);
        match first {
            b'+' => Some(b' '),
            b'%' => match (digit(0), digit(1)) {
                (Some(high), Some(low)) => {
                    bytes = rest.get(2..).unwrap_or_default();
                    Some((high * 16 + low) as u8)
                }
                _ => Some(b'%'),
            },
            other => Some(*other),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderValue};

    fn query(name: &str, value: &str, query: Option<&str>) -> bool {
        QueryMatch { name: name.into(), value: ValueMatch::exact(value) }.matches(query)
    }

    #[test]
    fn query_parameters_are_decoded_and_the_first_counts() {
        assert!(query("a", "1", Some("a=1")));
        assert!(query("a", "1", Some("b=2&&a=1&a=2")));
        assert!(!query("a", "2", Some("a=1&a=2")));
        assert!(query("a b", "c&d", Some("a+b=c%26d")));
        assert!(query("a", "", Some("a")));
        assert!(query("a", "100%", Some("a=100%")));
        assert!(query("a", "%zz", Some("a=%zz")));
        assert!(query("a", "b=c", Some("a=b=c")));
        assert!(!query("a", "", None) && !query("a", "", Some("")));
        assert!(!query("", "", Some("&")));
    }

    #[test]
    fn repeated_header_fields_count_as_one() {
        let matching = HeaderMatch { name: HeaderName::from_static("a"), value: ValueMatch::exact("1,2") };
        let matches = |headers: &HeaderMap| {
            let request = RequestParts { method: &Method::GET, host: "", path: "/", query: None, headers };
            matching.matches(&request)
        };
        let mut headers = HeaderMap::new();
        assert!(!matches(&headers));
        headers.append("a", HeaderValue::from_static("1"));
        assert!(!matches(&headers));
        headers.append("a", HeaderValue::from_static("2"));
        assert!(matches(&headers));
    }

    #[test]
    fn the_host_is_matched_in_every_version_of_http() {
        let matching =
            HttpMatch::default().header("Host", ValueMatch::regex("a\\.b(:80)?").unwrap()).unwrap();
        let none = HeaderMap::new();
        let named: HeaderMap = [(header::HOST, HeaderValue::from_static("a.b"))].into_iter().collect();
        for (uri, headers, expected) in [
            ("http://a.b:80/", &none, true),
            ("/", &named, true),
            ("http://c.b/", &named, false),
            ("/", &none, false),
        ] {
            let uri: http::Uri = uri.parse().unwrap();
            let met = matching.check(&RequestParts::new(&Method::GET, &uri, headers)).is_ok();
            assert_eq!(met, expected, "{uri} {headers:?}");
        }
    }

    #[test]
    fn of_several_conditions_on_one_name_the_first_counts() {
        let matching = HttpMatch::default()
            .header("Env", ValueMatch::exact("a"))
            .and_then(|matching| matching.header("env", ValueMatch::exact("b")))
            .unwrap()
            .query("q", ValueMatch::exact("a"))
            .query("q", ValueMatch::exact("b"));
        assert_eq!((matching.headers.len(), matching.query.len()), (1, 1));
        assert_eq!(matching.headers[0].value, ValueMatch::exact("a"));
    }

    #[test]
    fn the_first_condition_missed_is_named() {
        let matching = HttpMatch::path(PathMatch::exact("/a").unwrap())
            .method("GET")
            .and_then(|matching| matching.header("x-a", ValueMatch::regex("[0-9]+")?))
            .unwrap()
            .query("q", ValueMatch::exact("1"));
        let mut headers = HeaderMap::new();
        let check = |method: &Method, path: &str, query: Option<&str>, headers: &HeaderMap| {
            matching.check(&RequestParts { method, host: "", path, query, headers })
        };
        assert_eq!(check(&Method::GET, "/b", None, &headers), Err(Mismatch::Path));
        assert_eq!(check(&Method::PUT, "/a", None, &headers), Err(Mismatch::Method));
        assert_eq!(
            check(&Method::GET, "/a", None, &headers),
            Err(Mismatch::Header(HeaderName::from_static("x-a")))
        );
        headers.insert("x-a", HeaderValue::from_static("12"));
        assert_eq!(check(&Method::GET, "/a", None, &headers), Err(Mismatch::Query("q".into())));
        assert_eq!(check(&Method::GET, "/a", Some("q=1"), &headers), Ok(()));
    }
}
