//! What ties requests of one client together: keys of sticky choices, and session tokens (GEP-1619).

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::Error;
use crate::hash::{combine, stable_hash};

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
    life: Life,
    /// Hash of what tells the sessions of one rule from those of others.
    scope: u64,
}

/// How long sessions last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// From a session's first request on, however often it is used; `None`: as long as the client keeps it.
    pub absolute: Option<Duration>,
    /// From its latest request on; `None`: no limit.
    pub idle: Option<Duration>,
}

impl Life {
    fn is_over(self, session: Session, seconds_now: u64) -> bool {
        // Tokens count seconds, so that less than one would be no time at all.
        let past =
            |since: u64, life: Duration| since > seconds_now || seconds_now - since >= life.as_secs().max(1);
        self.absolute.is_some_and(|life| past(session.began, life))
            || self.idle.is_some_and(|life| past(session.used, life))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Cookie { name: Box<str>, permanent: bool },
    Header(HeaderName),
}

/// What a session is bound to. Both parts are hashes of names, so that a client learns nothing about the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// [`SessionPersistence::backend_key`] of the backend's name.
    pub backend: u64,
    /// [`Endpoint::key`](crate::balance::Endpoint::key) of the endpoint.
    pub endpoint: u64,
    /// When it began, in seconds since 1970.
    pub began: u64,
    /// When it was used last, in seconds since 1970; told only where there is an idle time.
    pub used: u64,
}

impl SessionPersistence {
    /// Sessions in a cookie. A permanent one outlives the client's own session and so needs an absolute timeout.
    pub fn cookie(name: &str, life: Life, permanent: bool) -> Result<Self, Error> {
        // RFC 6265, section 4.1.1: a cookie's name is a token, as a header's name is.
        if name.parse::<HeaderName>().is_err() {
            return Err(Error::invalid(
                "session cookie name",
                name,
                "use letters, digits and any of !#$%&'*+-.^_`|~",
            ));
        }
        if permanent && life.absolute.is_none() {
            return Err(Error::invalid(
                "session cookie name",
                name,
                "a permanent cookie needs an absoluteTimeout",
            ));
        }
        Ok(Self { place: Place::Cookie { name: name.into(), permanent }, life, scope: 0 })
    }

    /// Sessions in a header field that the client sends back.
    pub fn header(name: &str, life: Life) -> Result<Self, Error> {
        let name = name.parse().map_err(|_| {
            Error::invalid("session header name", name, "use letters, digits and any of !#$%&'*+-.^_`|~")
        })?;
        Ok(Self { place: Place::Header(name), life, scope: 0 })
    }

    /// Makes them the sessions of one rule, named here: those of another one mean nothing to it, even if both have the
    /// same name (GEP-1619, "Route rules referencing the same service MUST NOT share persistent sessions").
    #[must_use]
    pub fn of_rule(mut self, rule: &str) -> Self {
        self.scope = stable_hash(rule.as_bytes());
        self
    }

    /// What stands for a backend, by its name, in sessions of this rule.
    pub fn backend_key(&self, name: &str) -> u64 {
        combine(self.scope, stable_hash(name.as_bytes()))
    }

    /// The session that a request belongs to, unless it is over.
    pub fn read(&self, headers: &HeaderMap, seconds_now: u64) -> Option<Session> {
        let token = match &self.place {
            Place::Cookie { name, .. } => cookie(headers, name)?,
            Place::Header(name) => headers.get(name)?.as_bytes(),
        };
        Session::parse(token).filter(|session| !self.life.is_over(*session, seconds_now))
    }

    /// Whether the client has to hear of a session again that it has told itself: where the time since its last use
    /// matters, and it has grown.
    pub fn is_news(&self, told: Session, seconds_now: u64) -> bool {
        self.life.idle.is_some() && told.used != seconds_now
    }

    /// The field that tells the client its session. `path` is what its requests have to begin with for the cookie to
    /// be sent along (RFC 6265, section 5.2.4).
    pub fn write(&self, session: Session, path: &str, seconds_now: u64) -> Option<(HeaderName, HeaderValue)> {
        let token = session.to_token(self.life.idle.is_some());
        let (name, value) = match &self.place {
            Place::Header(name) => (name.clone(), token),
            Place::Cookie { name, permanent } => {
                let used = seconds_now.saturating_sub(session.began);
                let life = self.life.absolute.filter(|_| *permanent).map_or_else(String::new, |life| {
                    format!("; Max-Age={}", life.as_secs().max(1).saturating_sub(used))
                });
                (header::SET_COOKIE, format!("{name}={token}; Path={path}; HttpOnly; SameSite=Lax{life}"))
            }
        };
        HeaderValue::try_from(value).ok().map(|value| (name, value))
    }
}

impl Session {
    fn to_token(self, with_use: bool) -> String {
        let mut token = format!("{:016x}{:016x}{:x}", self.backend, self.endpoint, self.began);
        if with_use {
            // Writing to a `String` cannot fail.
            let _ = write!(token, "-{:x}", self.used);
        }
        token
    }

    fn parse(token: &[u8]) -> Option<Self> {
        let token = std::str::from_utf8(token).ok()?;
        let (bound, used) = token.split_once('-').map_or((token, None), |(bound, used)| (bound, Some(used)));
        let hex = |digits: Option<&str>| {
            let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
            u64::from_str_radix(digits, 16).ok()
        };
        let began = hex(bound.get(32..))?;
        Some(Self {
            backend: hex(bound.get(..16))?,
            endpoint: hex(bound.get(16..32))?,
            began,
            used: if used.is_some() { hex(used)? } else { began },
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

    const MINUTE: Life = Life { absolute: Some(Duration::from_mins(1)), idle: None };

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
        let persistence = SessionPersistence::header("x-session", MINUTE).unwrap();
        let session = Session { backend: 1, endpoint: u64::MAX, began: 1000, used: 1000 };
        let (name, value) = persistence.write(session, "/", 1010).unwrap();
        let request: HeaderMap = [(name, value)].into_iter().collect();
        assert_eq!(persistence.read(&request, 1059), Some(session));
        assert_eq!(persistence.read(&request, 1060), None);
        assert_eq!(persistence.read(&request, 999), None);
        assert!(!persistence.is_news(session, 1059), "its end does not depend on its use");
    }

    #[test]
    fn a_session_ends_when_it_is_not_used_for_long_enough() {
        let life = Life { idle: Some(Duration::from_secs(30)), ..MINUTE };
        let persistence = SessionPersistence::header("x-session", life).unwrap();
        let told = |session: Session, now: u64| -> HeaderMap {
            persistence.write(session, "/", now).into_iter().collect()
        };
        let session = Session { backend: 1, endpoint: 2, began: 1000, used: 1000 };
        assert_eq!(persistence.read(&told(session, 1000), 1029), Some(session));
        assert_eq!(persistence.read(&told(session, 1000), 1030), None);
        assert!(persistence.is_news(session, 1029) && !persistence.is_news(session, 1000));
        let used = Session { used: 1029, ..session };
        assert_eq!(persistence.read(&told(used, 1029), 1058), Some(used));
        assert_eq!(persistence.read(&told(used, 1029), 1060), None, "its absolute end stays");
    }

    #[test]
    fn a_permanent_cookie_ends_with_its_session_and_another_one_does_not_say_when() {
        let write = |permanent| {
            let persistence = SessionPersistence::cookie("sid", MINUTE, permanent).unwrap();
            let session = Session { backend: 0, endpoint: 0, began: 10, used: 10 };
            persistence.write(session, "/cart", 20).unwrap()
        };
        let (name, value) = write(true);
        assert_eq!(name, "set-cookie");
        let value = value.to_str().unwrap();
        assert!(value.ends_with("; Path=/cart; HttpOnly; SameSite=Lax; Max-Age=50"), "{value}");
        assert!(write(false).1.to_str().unwrap().ends_with("; SameSite=Lax"));
        assert!(SessionPersistence::cookie("sid", Life::default(), true).is_err());
        assert!(SessionPersistence::cookie("a b", Life::default(), false).is_err());
    }

    #[test]
    fn a_rule_does_not_know_the_backends_of_another_rules_sessions() {
        let rule = |name| SessionPersistence::cookie("sid", Life::default(), false).unwrap().of_rule(name);
        assert_eq!(rule("a").backend_key("shop/cart:80"), rule("a").backend_key("shop/cart:80"));
        assert_ne!(rule("a").backend_key("shop/cart:80"), rule("b").backend_key("shop/cart:80"));
    }

    proptest! {
        #[test]
        fn tokens_read_back_and_others_are_ignored(
            backend: u64,
            endpoint: u64,
            began: u64,
            used: u64,
            other in "[0-9a-fx-]{0,50}",
        ) {
            let session = Session { backend, endpoint, began, used };
            prop_assert_eq!(Session::parse(session.to_token(true).as_bytes()), Some(session));
            let unused = Session { used: began, ..session };
            prop_assert_eq!(Session::parse(session.to_token(false).as_bytes()), Some(unused));
            let _ = Session::parse(other.as_bytes());
        }
    }
}
