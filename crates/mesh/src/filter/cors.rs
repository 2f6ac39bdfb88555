//! Cross-origin resource sharing (`HTTPCORSFilter`; Fetch standard, "CORS protocol").

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use crate::Error;

/// An origin, or a host with a wildcard: `https://shop.example`, `https://*.example`, `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern {
    scheme: Option<Box<str>>,
    /// What the host ends with; the whole host unless `wildcard`.
    host: Box<str>,
    wildcard: bool,
    port: Option<u16>,
}

impl OriginPattern {
    /// Reads an allowed origin as Gateway API writes it: `*`, or `<scheme>://<host>(:<port>)` whose host may begin
    /// with `*.` or be `*`.
    pub fn new(value: &str) -> Result<Self, Error> {
        if value == "*" {
            return Ok(Self { scheme: None, host: "".into(), wildcard: true, port: None });
        }
        let refuse = || {
            Error::invalid(
                "origin",
                value,
                "write '*' or <http or https>://<host, may begin with '*.'>(:<port>)",
            )
        };
        let (scheme, host, port) = split_origin(value).ok_or_else(refuse)?;
        let (wildcard, host) = host.strip_prefix('*').map_or((false, host), |rest| (true, rest));
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        let whole_labels = !wildcard || host.is_empty() || host.starts_with('.');
        if (host.is_empty() && !wildcard) || !whole_labels || !host.bytes().all(allowed) {
            return Err(refuse());
        }
        Ok(Self {
            scheme: Some(scheme.to_ascii_lowercase().into()),
            host: host.to_ascii_lowercase().into(),
            wildcard,
            port: Some(port),
        })
    }

    /// Whether this allows every origin.
    fn is_any(&self) -> bool {
        self.scheme.is_none()
    }

    fn matches(&self, origin: &str) -> bool {
        let Some(expected) = &self.scheme else { return true };
        let Some((scheme, host, port)) = split_origin(origin) else { return false };
        let host_matches = if self.wildcard {
            let start = host.len().checked_sub(self.host.len());
            start.is_some_and(|start| {
                start > 0 && host.get(start..).is_some_and(|end| end.eq_ignore_ascii_case(&self.host))
            })
        } else {
            host.eq_ignore_ascii_case(&self.host)
        };
        scheme.eq_ignore_ascii_case(expected) && self.port == Some(port) && host_matches
    }
}

/// Scheme, host and port of an origin; a port left out is the scheme's own.
fn split_origin(origin: &str) -> Option<(&str, &str, u16)> {
    let (scheme, rest) = origin.split_once("://")?;
    let default = if scheme.eq_ignore_ascii_case("https") {
        443
    } else if scheme.eq_ignore_ascii_case("http") {
        80
    } else {
        return None;
    };
    // The last ':' starts a port unless it stands inside of an IPv6 address's brackets.
    match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            Some((scheme, host, port.parse().ok().filter(|port| *port > 0)?))
        }
        _ => Some((scheme, rest, default)),
    }
}

/// Which other origins' scripts may use the answers of a rule.
#[derive(Clone, Debug)]
pub struct Cors {
    origins: Box<[OriginPattern]>,
    credentials: bool,
    methods: List,
    headers: List,
    expose: List,
    max_age: HeaderValue,
}

/// A list of names as a header value, or all.
#[derive(Clone, Debug)]
enum List {
    Empty,
    All,
    Names(HeaderValue),
}

impl List {
    fn new(what: &'static str, names: &[&str]) -> Result<Self, Error> {
        if names.is_empty() {
            return Ok(Self::Empty);
        }
        if names.contains(&"*") {
            return Ok(Self::All);
        }
        if let Some(wrong) = names.iter().find(|name| name.parse::<HeaderName>().is_err()) {
            return Err(Error::invalid(what, *wrong, "write a name, or '*' for all"));
        }
        HeaderValue::try_from(names.join(", "))
            .map(Self::Names)
            .map_err(|_| Error::invalid(what, names.join(", "), "use ASCII"))
    }
}

impl Cors {
    /// A policy. `methods`, `headers` and `expose` hold names or `*`; `max_age` is in seconds (Gateway API's default
    /// is 5).
    pub fn new(
        origins: Vec<OriginPattern>,
        credentials: bool,
        methods: &[&str],
        headers: &[&str],
        expose: &[&str],
        max_age: u32,
    ) -> Result<Self, Error> {
        Ok(Self {
            origins: origins.into(),
            credentials,
            methods: List::new("allowed method", methods)?,
            headers: List::new("allowed header", headers)?,
            expose: List::new("exposed header", expose)?,
            max_age: HeaderValue::from(max_age),
        })
    }

    /// The answer to a preflight request; `None` if this is none. An origin that is not allowed gets an answer
    /// without any of the fields that would allow it.
    pub fn preflight(&self, method: &Method, request: &HeaderMap) -> Option<(StatusCode, HeaderMap)> {
        let wanted_method = request.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
        if method != Method::OPTIONS || !request.contains_key(header::ORIGIN) {
            return None;
        }
        let mut answer = HeaderMap::new();
        if self.allow(request, &mut answer) {
            let wanted_headers = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
            self.put(&mut answer, header::ACCESS_CONTROL_ALLOW_METHODS, &self.methods, Some(wanted_method));
            self.put(&mut answer, header::ACCESS_CONTROL_ALLOW_HEADERS, &self.headers, wanted_headers);
            answer.insert(header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        }
        Some((StatusCode::NO_CONTENT, answer))
    }

    /// Adds what allows the request's origin to use the response. What the backend itself said about it is replaced,
    /// so that a browser never sees two answers.
    pub fn apply(&self, request: &HeaderMap, response: &mut HeaderMap) {
        if !request.contains_key(header::ORIGIN) {
            return;
        }
        for name in [header::ACCESS_CONTROL_ALLOW_ORIGIN, header::ACCESS_CONTROL_ALLOW_CREDENTIALS] {
            response.remove(name);
        }
        if self.allow(request, response) {
            self.put(response, header::ACCESS_CONTROL_EXPOSE_HEADERS, &self.expose, None);
        }
    }

    fn allow(&self, request: &HeaderMap, response: &mut HeaderMap) -> bool {
        let Some(origin) = request.get(header::ORIGIN) else { return false };
        let text = origin.to_str().unwrap_or_default();
        if !self.origins.iter().any(|allowed| allowed.matches(text)) {
            return false;
        }
        let any = !self.credentials && self.origins.iter().any(OriginPattern::is_any);
        let value = if any { HeaderValue::from_static("*") } else { origin.clone() };
        response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, value);
        if !any {
            response.append(header::VARY, HeaderValue::from_static("origin"));
        }
        if self.credentials {
            response.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        true
    }

    /// Writes a list. `*` has no meaning beside credentials (Fetch standard), so what was asked for is echoed then.
    fn put(&self, answer: &mut HeaderMap, name: HeaderName, list: &List, asked: Option<&HeaderValue>) {
        let value = match list {
            List::Empty => None,
            List::Names(names) => Some(names.clone()),
            List::All if self.credentials => asked.cloned(),
            List::All => Some(HeaderValue::from_static("*")),
        };
        if let Some(value) = value {
            answer.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn cors(origins: &[&str], credentials: bool, names: &[&str]) -> Cors {
        let origins = origins.iter().map(|origin| OriginPattern::new(origin).unwrap()).collect();
        Cors::new(origins, credentials, names, names, names, 5).unwrap()
    }

    const PREFLIGHT: &[(&str, &str)] = &[
        ("origin", "https://shop.example"),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "x-a"),
    ];

    #[test]
    fn origins_match_with_wildcards_and_default_ports() {
        for (pattern, origin, expected) in [
            ("*", "https://a", true),
            ("https://a.example", "https://a.example", true),
            ("https://a.example", "https://a.example:443", true),
            ("https://a.example", "https://A.example", true),
            ("https://a.example", "http://a.example", false),
            ("https://a.example", "https://a.example:444", false),
            ("https://*.example", "https://a.b.example", true),
            ("https://*.example", "https://.example", false),
            ("https://*.example", "https://example", false),
            ("https://*.example", "https://evilexample", false),
            ("http://*:8080", "http://a:8080", true),
            ("http://[::1]:81", "http://[::1]:81", true),
            ("https://a.example", "null", false),
        ] {
            assert_eq!(OriginPattern::new(pattern).unwrap().matches(origin), expected, "{pattern} {origin}");
        }
        for pattern in [
            "",
            "a.example",
            "ftp://a",
            "https://",
            "https://a:0",
            "https://a/b",
            "https://a*b",
            "https://*b",
        ] {
            assert!(OriginPattern::new(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn a_preflight_is_answered_and_other_requests_are_not() {
        let cors = cors(&["https://shop.example"], false, &["*"]);
        let (status, answer) = cors.preflight(&Method::OPTIONS, &request(PREFLIGHT)).unwrap();
        assert_eq!(status, StatusCode::NO_CONTENT);
        assert_eq!(answer["access-control-allow-origin"], "https://shop.example");
        assert_eq!(answer["access-control-allow-methods"], "*");
        assert_eq!(answer["access-control-max-age"], "5");
        assert!(!answer.contains_key("access-control-allow-credentials"));
        assert!(cors.preflight(&Method::PUT, &request(PREFLIGHT)).is_none());
        assert!(cors.preflight(&Method::OPTIONS, &request(&PREFLIGHT[..1])).is_none());
    }

    #[test]
    fn wildcards_are_echoed_beside_credentials() {
        let (_, answer) =
            cors(&["*"], true, &["*"]).preflight(&Method::OPTIONS, &request(PREFLIGHT)).unwrap();
        assert_eq!(answer["access-control-allow-origin"], "https://shop.example");
        assert_eq!(answer["access-control-allow-methods"], "PUT");
        assert_eq!(answer["access-control-allow-headers"], "x-a");
        assert_eq!(answer["access-control-allow-credentials"], "true");
    }

    #[test]
    fn other_origins_are_told_nothing() {
        let cors = cors(&["https://other.example"], true, &["GET"]);
        let (_, answer) = cors.preflight(&Method::OPTIONS, &request(PREFLIGHT)).unwrap();
        assert!(answer.is_empty());
        let mut response = request(&[("access-control-allow-origin", "*")]);
        cors.apply(&request(PREFLIGHT), &mut response);
        assert!(response.is_empty());
    }

    #[test]
    fn responses_name_what_scripts_may_read() {
        let mut response = HeaderMap::new();
        cors(&["*"], false, &["x-a", "x-b"]).apply(&request(PREFLIGHT), &mut response);
        assert_eq!(response["access-control-allow-origin"], "*");
        assert_eq!(response["access-control-expose-headers"], "x-a, x-b");
        assert!(!response.contains_key("vary"));
    }
}
