//! Redirects (`HTTPRequestRedirectFilter`).

use http::uri::Authority;
use http::{HeaderValue, StatusCode};

use super::PathChange;
use crate::Error;

/// A URL's scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `http`, port 80.
    Http,
    /// `https`, port 443.
    Https,
}

impl Scheme {
    /// The port that goes without saying.
    pub const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// The scheme as text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// An answer that sends the client elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    scheme: Option<Scheme>,
    hostname: Option<Box<str>>,
    path: Option<PathChange>,
    port: Option<u16>,
    status: StatusCode,
}

/// The request that is redirected.
#[derive(Clone, Copy, Debug)]
pub struct RedirectFrom<'a> {
    /// How the request came.
    pub scheme: Scheme,
    /// The host asked for, without a port.
    pub host: &'a str,
    /// The port that was dialled: what Gateway API calls the listener's port.
    pub port: u16,
    /// The path asked for.
    pub path: &'a str,
    /// The query asked for, without `?`.
    pub query: Option<&'a str>,
    /// Length of the prefix that the rule matched.
    pub matched_prefix: usize,
}

impl Redirect {
    /// A redirect; what is `None` stays as it was asked for. `status` is 301, 302, 303, 307 or 308.
    pub fn new(
        scheme: Option<Scheme>,
        hostname: Option<&str>,
        path: Option<PathChange>,
        port: Option<u16>,
        status: u16,
    ) -> Result<Self, Error> {
        let allowed = [301, 302, 303, 307, 308].contains(&status);
        let status = StatusCode::from_u16(status).ok().filter(|_| allowed).ok_or_else(|| {
            Error::invalid("redirect status", status.to_string(), "use 301, 302, 303, 307 or 308")
        })?;
        if let Some(name) = hostname
            && (name.contains([':', '@']) || Authority::try_from(name).is_err())
        {
            return Err(Error::invalid("redirect hostname", name, "write a DNS name without a port"));
        }
        Ok(Self { scheme, hostname: hostname.map(Into::into), path, port, status })
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The value of `location`. `None` if the request's own host, path or query can't be put into a header.
    pub fn location(&self, from: RedirectFrom<'_>) -> Option<HeaderValue> {
        let scheme = self.scheme.unwrap_or(from.scheme);
        let port = self.port.unwrap_or_else(|| self.scheme.map_or(from.port, Scheme::port));
        let mut location = format!("{}://{}", scheme.as_str(), self.hostname.as_deref().unwrap_or(from.host));
        if port != scheme.port() {
            location.push(':');
            location.push_str(&port.to_string());
        }
        match &self.path {
            Some(change) => location.push_str(&change.apply(from.path, from.matched_prefix)),
            None => location.push_str(from.path),
        }
        if let Some(query) = from.query {
            location.push('?');
            location.push_str(query);
        }
        HeaderValue::try_from(location).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: RedirectFrom<'static> = RedirectFrom {
        scheme: Scheme::Http,
        host: "shop.example",
        port: 8080,
        path: "/foo/bar",
        query: Some("q=1"),
        matched_prefix: 4,
    };

    fn location(
        scheme: Option<Scheme>,
        host: Option<&str>,
        path: Option<PathChange>,
        port: Option<u16>,
    ) -> String {
        let redirect = Redirect::new(scheme, host, path, port, 302).unwrap();
        redirect.location(FROM).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn the_port_is_derived_as_gateway_api_says() {
        assert_eq!(location(None, None, None, None), "http://shop.example:8080/foo/bar?q=1");
        assert_eq!(location(Some(Scheme::Https), None, None, None), "https://shop.example/foo/bar?q=1");
        assert_eq!(location(Some(Scheme::Http), None, None, None), "http://shop.example/foo/bar?q=1");
        assert_eq!(
            location(Some(Scheme::Https), None, None, Some(8443)),
            "https://shop.example:8443/foo/bar?q=1"
        );
        assert_eq!(location(Some(Scheme::Https), None, None, Some(443)), "https://shop.example/foo/bar?q=1");
        assert_eq!(location(None, None, None, Some(80)), "http://shop.example/foo/bar?q=1");
    }

    #[test]
    fn host_and_path_are_replaced() {
        let prefix = PathChange::prefix("/new").unwrap();
        assert_eq!(location(None, Some("b.example"), Some(prefix), Some(80)), "http://b.example/new/bar?q=1");
        let full = PathChange::full("/").unwrap();
        assert_eq!(location(None, None, Some(full), Some(80)), "http://shop.example/?q=1");
    }

    #[test]
    fn other_statuses_and_hosts_are_refused() {
        assert!(Redirect::new(None, None, None, None, 300).is_err());
        for host in ["a b", "a:1", "user@a", "a/b", ""] {
            assert!(Redirect::new(None, Some(host), None, None, 301).is_err(), "{host}");
        }
    }
}
