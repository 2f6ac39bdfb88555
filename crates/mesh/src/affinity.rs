//! What ties requests of one client together: keys of sticky choices, and session tokens (GEP-1619).

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::Error;

/// Where the key of a sticky or consistent choice is taken from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// A header field's value.
    Header(HeaderName),
    /// A cookie's value.
    Cookie(Box<str>),
    /// The client's IP address.
    SourceAddress,
}

impl KeySource {
    /// The key of a request; `None` if the request does not have it.
    pub fn key<'a>(&self, headers: &'a HeaderMap, source: Option<IpAddr>) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::Header(name) => headers.get(name).map(|value| Cow::Borrowed(value.as_bytes())),
            Self::Cookie(name) => cookie(headers, name).map(Cow::Borrowed),
            Self::SourceAddress => source.map(|address| match address.to_canonical() {
                IpAddr::V4(address) => Cow::Owned(address.octets().to_vec()),
                IpAddr::V6(address) => Cow::Owned(address.octets().to_vec()),
            }),
        }
    }
}

/// The value of the first cookie with this name (RFC 6265, section 5.4).
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let pairs =
        headers.get_all(header::COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// Keeps a client on the endpoint that it got first (`SessionPersistence`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPersistence {
    place: Place,
    /// The life of a session from its start, however often it is used.
    absolute_timeout: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Cookie { name: Box<str>, permanent: bool },
    Header(HeaderName),
}

/// What a session is bound to. Both parts are hashes of names, so that a client learns nothing about the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// [`stable_hash`](crate::hash::stable_hash) of the backend's name.
    pub backend: u64,
    /// [`Endpoint::key`](crate::balance::Endpoint::key) of the endpoint.
    pub endpoint: u64,
    /// When it began, in seconds since 1970.
    pub began: u64,
}

impl SessionPersistence {
    /// Sessions in a cookie. A permanent one outlives the browser's session and so needs an absolute timeout.
    pub fn cookie(name: &str, absolute_timeout: Option<Duration>, permanent: bool) -> Result<Self, Error> {
        // RFC 6265, section 4.1.1: a cookie's name is a token, as a header's name is.
        if name.parse::<HeaderName>().is_err() {
            return Err(Error::invalid(
                "session cookie name",
                name,
                "use letters, digits and any of !#$%&'*+-.^_`|~",
            ));
        }
        if permanent && absolute_timeout.is_none() {
            return Err(Error::invalid(
                "session cookie name",
                name,
                "a permanent cookie needs an absoluteTimeout",
            ));
        }
        Ok(Self { place: Place::Cookie { name: name.into(), permanent }, absolute_timeout })
    }

    /// Sessions in a header field that the client sends back.
    pub fn header(name: &str, absolute_timeout: Option<Duration>) -> Result<Self, Error> {
        let name = name.parse().map_err(|_| {
            Error::invalid("session header name", name, "use letters, digits and any of !#$%&'*+-.^_`|~")
        })?;
        Ok(Self { place: Place::Header(name), absolute_timeout })
    }

    /// The session that a request belongs to, unless it is over.
    pub fn read(&self, headers: &HeaderMap, seconds_now: u64) -> Option<Session> {
        let token = match &self.place {
            Place::Cookie { name, .. } => cookie(headers, name)?,
            Place::Header(name) => headers.get(name)?.as_bytes(),
        };
        let session = Session::parse(token)?;
        let over = self.absolute_timeout.is_some_and(|life| {
            session.began > seconds_now || seconds_now - session.began >= life.as_secs().max(1)
        });
        (!over).then_some(session)
    }

    /// The field that tells the client its session.
    pub fn write(&self, session: Session, seconds_now: u64) -> Option<(HeaderName, HeaderValue)> {
        let token = session.to_token();
        let (name, value) = match &self.place {
            Place::Header(name) => (name.clone(), token),
            Place::Cookie { name, permanent } => {
                let used = seconds_now.saturating_sub(session.began);
                let life = self.absolute_timeout.filter(|_| *permanent).map_or_else(String::new, |life| {
                    format!("; Max-Age={}", life.as_secs().max(1).saturating_sub(used))
                });
                (header::SET_COOKIE, format!("{name}={token}; Path=/; HttpOnly; SameSite=Lax{life}"))
            }
        };
        HeaderValue::try_from(value).ok().map(|value| (name, value))
    }
}

impl Session {
    fn to_token(self) -> String {
        format!("{:016x}{:016x}{:x}", self.backend, self.endpoint, self.began)
    }

    fn parse(token: &[u8]) -> Option<Self> {
        let token = std::str::from_utf8(token)
            .ok()
            .filter(|token| token.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        let hex = |digits: Option<&str>| u64::from_str_radix(digits?, 16).ok();
        Some(Self {
            backend: hex(token.get(..16))?,
            endpoint: hex(token.get(16..32))?,
            began: hex(token.get(32..))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn keys_come_from_header_cookie_or_address() {
        let headers = headers(&[("x-user", "u1"), ("cookie", "a=1; sid=x=y"), ("cookie", "b=2;sid=z")]);
        let key =
            |source: KeySource| source.key(&headers, "::ffff:10.0.0.1".parse().ok()).map(Cow::into_owned);
        assert_eq!(key(KeySource::Header(HeaderName::from_static("x-user"))), Some(b"u1".to_vec()));
        assert_eq!(key(KeySource::Cookie("sid".into())), Some(b"x=y".to_vec()));
        assert_eq!(key(KeySource::Cookie("b".into())), Some(b"2".to_vec()));
        assert_eq!(key(KeySource::Cookie("si".into())), None);
        assert_eq!(key(KeySource::SourceAddress), Some(vec![10, 0, 0, 1]));
    }

    #[test]
    fn a_session_ends_with_its_absolute_timeout() {
        let persistence = SessionPersistence::header("x-session", Some(Duration::from_mins(1))).unwrap();
        let session = Session { backend: 1, endpoint: u64::MAX, began: 1000 };
        let (name, value) = persistence.write(session, 1010).unwrap();
        let request: HeaderMap = [(name, value)].into_iter().collect();
        assert_eq!(persistence.read(&request, 1059), Some(session));
        assert_eq!(persistence.read(&request, 1060), None);
        assert_eq!(persistence.read(&request, 999), None);
    }

    #[test]
    fn a_permanent_cookie_ends_with_its_session() {
        let persistence = SessionPersistence::cookie("sid", Some(Duration::from_mins(1)), true).unwrap();
        let (name, value) = persistence.write(Session { backend: 0, endpoint: 0, began: 10 }, 20).unwrap();
        assert_eq!(name, "set-cookie");
        assert!(
            value.to_str().unwrap().ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=50"),
            "{value:?}"
        );
        assert!(SessionPersistence::cookie("sid", None, true).is_err());
        assert!(SessionPersistence::cookie("a b", None, false).is_err());
    }

    proptest! {
        #[test]
        fn tokens_read_back_and_others_are_ignored(backend: u64, endpoint: u64, began: u64, other in "[0-9a-fx]{0,50}") {
            let session = Session { backend, endpoint, began };
            prop_assert_eq!(Session::parse(session.to_token().as_bytes()), Some(session));
            let _ = Session::parse(other.as_bytes());
        }
    }
}
