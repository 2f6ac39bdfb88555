//! Hostnames of routes.

use std::fmt;

use smallvec::SmallVec;

use crate::Error;

/// Longest DNS name as text (RFC 1035, section 2.3.4).
const NAME_MAX: usize = 253;

/// A hostname, or a wildcard such as `*.example.com` that stands for one label or more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPattern {
    /// Lower case; of a wildcard, what follows `*.`.
    pub(super) name: Box<str>,
    pub(super) wildcard: bool,
}

impl HostPattern {
    /// Checks a hostname: no port, no IP address needed but allowed in tables of addresses, `*` only as the first
    /// label.
    pub fn new(value: &str) -> Result<Self, Error> {
        let (wildcard, name) = value.strip_prefix("*.").map_or((false, value), |name| (true, name));
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let labels = name.split('.').all(|label| !label.is_empty() && label.len() <= 63);
        if name.len() > NAME_MAX || !labels || !name.bytes().all(allowed) {
            return Err(Error::invalid(
                "hostname",
                value,
                "write a DNS name without a port; only its first label may be '*'",
            ));
        }
        Ok(Self { name: name.to_ascii_lowercase().into(), wildcard })
    }

    /// Whether it stands for this host, which is normalised.
    pub(super) fn matches(&self, host: &str) -> bool {
        if !self.wildcard {
            return *self.name == *host;
        }
        host.strip_suffix(&*self.name).is_some_and(|start| start.len() > 1 && start.ends_with('.'))
    }

    /// Sorts by precedence: exact before wildcard, long before short.
    pub(super) fn rank(&self) -> (bool, std::cmp::Reverse<usize>) {
        (self.wildcard, std::cmp::Reverse(self.name.len()))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.wildcard { "*." } else { "" }, self.name)
    }
}

/// A host without port and final dot, in lower case; usually without an allocation.
pub(super) struct Host(SmallVec<[u8; 64]>);

impl Host {
    pub(super) fn new(authority: &str) -> Self {
        let host = match authority.rsplit_once(':') {
            // An IPv6 address without a port ends with its bracket.
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        Self(host.bytes().map(|byte| byte.to_ascii_lowercase()).collect())
    }

    pub(super) fn as_str(&self) -> &str {
        // Lowering ASCII letters leaves UTF-8 valid.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_one_label_or_more() {
        let wildcard = HostPattern::new("*.Example.com").unwrap();
        for (host, expected) in [
            ("a.example.com", true),
            ("a.b.example.com", true),
            ("example.com", false),
            (".example.com", false),
            ("aexample.com", false),
        ] {
            assert_eq!(wildcard.matches(host), expected, "{host}");
        }
    }

    #[test]
    fn hosts_lose_port_case_and_final_dot() {
        for (authority, host) in [
            ("A.b:80", "a.b"),
            ("a.b.", "a.b"),
            ("a.b.:8080", "a.b"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(Host::new(authority).as_str(), host);
        }
    }

    #[test]
    fn what_is_no_hostname_is_refused() {
        for value in ["", "*", "*.", "a.*.b", "a*.b", "a..b", "a:80", "a/b", "a b"] {
            assert!(HostPattern::new(value).is_err(), "{value}");
        }
    }
}
