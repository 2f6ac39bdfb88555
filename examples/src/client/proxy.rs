//! Which requests go through a proxy.

use http::uri::Authority;

use crate::Error;
use weft_values::BaseUrl;

/// The proxy and what goes past it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Proxy {
    through: Option<Authority>,
    past: Past,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Past {
    /// Everything goes through.
    #[default]
    Nothing,
    /// Loopback addresses, and hosts with one of these names or below it; `*` is every host.
    Hosts(Vec<String>),
}

impl Proxy {
    /// Everything through this one, because it was asked for by name.
    pub(super) fn always(proxy: &BaseUrl) -> Self {
        Self { through: Some(proxy.authority().clone()), past: Past::Nothing }
    }

    /// As `http_proxy` (or `HTTP_PROXY`) and `no_proxy` (or `NO_PROXY`) say. A loopback address is never meant for a
    /// proxy: it would be another machine's there.
    pub(super) fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let Some((name, value)) =
            ["http_proxy", "HTTP_PROXY"].into_iter().find_map(|name| Some((name, set(name)?)))
        else {
            return Ok(Self::default());
        };
        // curl and others accept a proxy without a scheme.
        let url = if value.contains("://") { value.clone() } else { format!("http://{value}") };
        let proxy: BaseUrl =
            url.parse().map_err(|reason| Error::Environment { variable: name, value, reason })?;
        let past = set("no_proxy").or_else(|| set("NO_PROXY")).unwrap_or_default();
        let past = past.split(',').map(|host| host.trim().trim_start_matches('.').to_ascii_lowercase());
        let past = Past::Hosts(past.filter(|host| !host.is_empty()).collect());
        Ok(Self { through: Some(proxy.authority().clone()), past })
    }

    /// The proxy for a host (as a URL has it, an IPv6 address in brackets), if it goes through one.
    pub(super) fn for_host(&self, host: &str) -> Option<&Authority> {
        let through = self.through.as_ref()?;
        let Past::Hosts(past) = &self.past else { return Some(through) };
        let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
        let loopback = host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        let named = past.iter().any(|name| {
            name == "*"
                || host.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        });
        if loopback || named { None } else { Some(through) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(variables: &[(&str, &str)]) -> Result<Proxy, Error> {
        Proxy::from_environment(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn without_a_proxy_everything_goes_directly() {
        assert_eq!(proxy(&[]).unwrap().for_host("reviews"), None);
        assert_eq!(proxy(&[("http_proxy", "")]).unwrap().for_host("reviews"), None);
    }

    #[test]
    fn lower_case_wins_and_a_scheme_is_optional() {
        let both = proxy(&[("HTTP_PROXY", "http://b:2"), ("http_proxy", "a:1")]).unwrap();
        assert_eq!(both.for_host("reviews").unwrap(), "a:1");
    }

    #[test]
    fn loopback_and_no_proxy_hosts_go_directly() {
        let some = proxy(&[("HTTP_PROXY", "http://p:1"), ("NO_PROXY", "ratings, .example.com")]).unwrap();
        for direct in
            ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "ratings", "example.com", "A.Example.com"]
        {
            assert_eq!(some.for_host(direct), None, "{direct}");
        }
        for through in ["reviews", "myratings", "badexample.com", "10.0.0.1"] {
            assert!(some.for_host(through).is_some(), "{through}");
        }
        assert_eq!(proxy(&[("http_proxy", "p:1"), ("no_proxy", "*")]).unwrap().for_host("a"), None);
    }

    #[test]
    fn a_proxy_asked_for_by_name_takes_everything() {
        let always = Proxy::always(&"http://127.0.0.1:1".parse().unwrap());
        assert!(always.for_host("127.0.0.1").is_some());
    }

    #[test]
    fn a_wrong_proxy_is_named_with_its_variable() {
        let error = proxy(&[("HTTP_PROXY", "socks5://p:1")]).unwrap_err().to_string();
        assert!(error.starts_with("HTTP_PROXY=socks5://p:1: "), "{error}");
    }
}
