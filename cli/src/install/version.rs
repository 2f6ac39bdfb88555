//! Versions, and how far apart they may be: a control plane works with proxies of its own minor version and of the one
//! before it.

use std::fmt;
use std::str::FromStr;

/// A version of Weft (Semantic Versioning 2.0.0); what follows the numbers is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u64,
    minor: u64,
    patch: u64,
}

/// How many minor versions a control plane may be ahead of proxies.
const AHEAD: u64 = 1;

impl Version {
    /// This program's.
    pub(crate) fn own() -> Self {
        super::VERSION.parse().expect("the version of a package is one")
    }

    /// Whether a control plane of this version works with proxies of another.
    pub(crate) fn works_with_proxy(self, proxy: Self) -> bool {
        self.major == proxy.major && proxy.minor <= self.minor && self.minor - proxy.minor <= AHEAD
    }

    /// The version to go by on the way from an older one to this, where it is too far.
    pub(crate) fn by_way_of(self, from: Self) -> Option<String> {
        let near = self.major == from.major && self.minor.saturating_sub(from.minor) <= AHEAD;
        (!near).then(|| format!("{}.{}", from.major, from.minor + AHEAD))
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.strip_prefix('v').unwrap_or(text);
        let numbers = numbers.split(['-', '+']).next().unwrap_or_default();
        let mut numbers = numbers.split('.').map(str::parse::<u64>);
        match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch)), None) => Ok(Self { major, minor, patch }),
            _ => Err(format!("{text:?} is no version such as 0.1.0")),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn a_control_plane_may_be_one_minor_version_ahead() {
        let plane = version("1.4.2");
        for (proxy, works) in [
            ("1.4.0", true),
            ("1.4.9", true),
            ("v1.3.7-rc1", true),
            ("1.2.9", false),
            ("1.5.0", false),
            ("0.4.2", false),
        ] {
            assert_eq!(plane.works_with_proxy(version(proxy)), works, "{proxy}");
        }
    }

    #[test]
    fn who_is_too_far_behind_goes_by_what_is_between() {
        assert_eq!(version("1.4.0").by_way_of(version("1.3.5")), None);
        assert_eq!(version("1.4.0").by_way_of(version("1.4.5")), None);
        assert_eq!(version("1.4.0").by_way_of(version("1.1.0")), Some("1.2".to_owned()));
        assert!("1.4".parse::<Version>().is_err() && "latest".parse::<Version>().is_err());
    }
}
