//! Names: trust domains, workload identities, services and their ports.
//!
//! Every name is checked when it is made, is one reference-counted string, and costs one counter to clone.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::Error;

/// Longest trust domain (SPIFFE ID, section 2.1).
const TRUST_DOMAIN_MAX: usize = 255;
/// Longest RFC 1123 label, and so the longest Kubernetes namespace.
const LABEL_MAX: usize = 63;
/// Longest RFC 1123 subdomain, and so the longest Kubernetes object name.
const SUBDOMAIN_MAX: usize = 253;
const SCHEME: &str = "spiffe://";
const NAMESPACE_SEGMENT: &str = "/ns/";
const ACCOUNT_SEGMENT: &str = "/sa/";

/// A SPIFFE trust domain: lower-case letters, digits, `.`, `-` and `_` (SPIFFE ID, section 2.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// Checks and takes a trust domain, such as `cluster.local`.
    pub fn new(value: &str) -> Result<Self, Error> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        if value.is_empty() || value.len() > TRUST_DOMAIN_MAX || !value.bytes().all(allowed) {
            return Err(Error::invalid(
                "trust domain",
                value,
                "use 1 to 255 lower-case letters, digits, '.', '-' and '_'",
            ));
        }
        Ok(Self(value.into()))
    }

    /// The trust domain as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = Error;

    fn from_str(value: &str) -> Result<Self, Error> {
        Self::new(value)
    }
}

/// A workload's identity: `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    uri: Arc<str>,
    trust_domain_end: u16,
    namespace_end: u16,
}

impl Identity {
    /// Makes the identity of a service account.
    pub fn new(trust_domain: &TrustDomain, namespace: &str, service_account: &str) -> Result<Self, Error> {
        check_namespace(namespace)?;
        check_account(service_account)?;
        let uri =
            format!("{SCHEME}{trust_domain}{NAMESPACE_SEGMENT}{namespace}{ACCOUNT_SEGMENT}{service_account}");
        let trust_domain_end = SCHEME.len() + trust_domain.as_str().len();
        let namespace_end = trust_domain_end + NAMESPACE_SEGMENT.len() + namespace.len();
        Ok(Self {
            uri: uri.into(),
            trust_domain_end: trust_domain_end as u16,
            namespace_end: namespace_end as u16,
        })
    }

    /// The whole SPIFFE id.
    pub fn as_str(&self) -> &str {
        &self.uri
    }

    /// The trust domain that vouches for this identity.
    pub fn trust_domain(&self) -> TrustDomain {
        TrustDomain(self.trust_domain_str().into())
    }

    /// The trust domain as text, without an allocation.
    pub fn trust_domain_str(&self) -> &str {
        self.slice(SCHEME.len(), usize::from(self.trust_domain_end))
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        self.slice(
            usize::from(self.trust_domain_end) + NAMESPACE_SEGMENT.len(),
            usize::from(self.namespace_end),
        )
    }

    /// The service account.
    pub fn service_account(&self) -> &str {
        self.slice(usize::from(self.namespace_end) + ACCOUNT_SEGMENT.len(), self.uri.len())
    }

    /// A part of the URI; the offsets were computed when it was made, so it is always there.
    fn slice(&self, start: usize, end: usize) -> &str {
        self.uri.get(start..end).unwrap_or_default()
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.uri)
    }
}

impl AsRef<str> for Identity {
    fn as_ref(&self) -> &str {
        &self.uri
    }
}

impl FromStr for Identity {
    type Err = Error;

    fn from_str(value: &str) -> Result<Self, Error> {
        let malformed = || {
            Error::invalid(
                "identity",
                value,
                "write spiffe://<trust domain>/ns/<namespace>/sa/<service account>",
            )
        };
        let rest = value.strip_prefix(SCHEME).ok_or_else(malformed)?;
        let mut segments = rest.split('/');
        let (Some(trust_domain), Some("ns"), Some(namespace), Some("sa"), Some(service_account), None) = (
            segments.next(),
            segments.next(),
            segments.next(),
            segments.next(),
            segments.next(),
            segments.next(),
        ) else {
            return Err(malformed());
        };
        Self::new(&TrustDomain::new(trust_domain)?, namespace, service_account)
    }
}

/// A service: a name within a namespace.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName {
    full: Arc<str>,
    namespace_end: u16,
}

impl ServiceName {
    /// Checks and takes a service's name: an RFC 1123 label and an RFC 1123 subdomain.
    pub fn new(namespace: &str, name: &str) -> Result<Self, Error> {
        check_namespace(namespace)?;
        if name.len() > SUBDOMAIN_MAX || !name.split('.').all(is_label) {
            return Err(Error::invalid(
                "service name",
                name,
                "use at most 253 characters: lower-case letters, digits and '-', in parts joined by '.'",
            ));
        }
        Ok(Self { full: format!("{namespace}/{name}").into(), namespace_end: namespace.len() as u16 })
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        self.full.get(..usize::from(self.namespace_end)).unwrap_or_default()
    }

    /// The name within the namespace.
    pub fn name(&self) -> &str {
        self.full.get(usize::from(self.namespace_end) + 1..).unwrap_or_default()
    }

    /// `namespace/name`.
    pub fn as_str(&self) -> &str {
        &self.full
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceName({})", self.full)
    }
}

impl FromStr for ServiceName {
    type Err = Error;

    fn from_str(value: &str) -> Result<Self, Error> {
        let (namespace, name) = value
            .split_once('/')
            .ok_or_else(|| Error::invalid("service", value, "write <namespace>/<name>"))?;
        Self::new(namespace, name)
    }
}

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServicePort {
    /// The service.
    pub service: ServiceName,
    /// The service's port, not the endpoint's.
    pub port: u16,
}

impl ServicePort {
    /// A port of a service.
    pub fn new(service: ServiceName, port: u16) -> Self {
        Self { service, port }
    }
}

impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service, self.port)
    }
}

impl FromStr for ServicePort {
    type Err = Error;

    fn from_str(value: &str) -> Result<Self, Error> {
        let malformed = || Error::invalid("service port", value, "write <namespace>/<name>:<port 1-65535>");
        let (service, port) = value.rsplit_once(':').ok_or_else(malformed)?;
        // `u16::from_str` takes a leading '+', which is no port.
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(malformed());
        }
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(malformed)?;
        Ok(Self { service: service.parse()?, port })
    }
}

fn is_label(value: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !value.is_empty()
        && value.len() <= LABEL_MAX
        && value.bytes().all(inner)
        && !value.starts_with('-')
        && !value.ends_with('-')
}

fn check_namespace(value: &str) -> Result<(), Error> {
    if is_label(value) {
        return Ok(());
    }
    Err(Error::invalid(
        "namespace",
        value,
        "use 1 to 63 lower-case letters, digits and '-', not '-' at either end",
    ))
}

/// A SPIFFE path segment (SPIFFE ID, section 2.2): wider than a Kubernetes name, so that identities given to
/// machines outside of a cluster may keep their own names.
fn check_account(value: &str) -> Result<(), Error> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let relative = value == "." || value == "..";
    if value.is_empty() || value.len() > SUBDOMAIN_MAX || relative || !value.bytes().all(allowed) {
        return Err(Error::invalid(
            "service account",
            value,
            "use 1 to 253 letters, digits, '.', '-' and '_', but not '.' or '..' alone",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn identity_parts_are_those_of_its_uri() {
        let identity: Identity = "spiffe://cluster.local/ns/shop/sa/cart.v1".parse().unwrap();
        assert_eq!(identity.trust_domain().as_str(), "cluster.local");
        assert_eq!(identity.namespace(), "shop");
        assert_eq!(identity.service_account(), "cart.v1");
        assert_eq!(identity.to_string(), "spiffe://cluster.local/ns/shop/sa/cart.v1");
    }

    #[test]
    fn malformed_identities_are_refused() {
        for value in [
            "",
            "spiffe://",
            "https://a/ns/b/sa/c",
            "spiffe:///ns/b/sa/c",
            "spiffe://a/ns//sa/c",
            "spiffe://a/ns/b/sa/",
            "spiffe://a/ns/b/sa/..",
            "spiffe://a/ns/b/sa/c/d",
            "spiffe://a/ns/b",
            "spiffe://A/ns/b/sa/c",
            "spiffe://a:1/ns/b/sa/c",
            "spiffe://user@a/ns/b/sa/c",
            "spiffe://a/ns/b/sa/c?x",
            "spiffe://a/ns/b/sa/c%2f",
        ] {
            assert!(value.parse::<Identity>().is_err(), "{value}");
        }
    }

    #[test]
    fn errors_name_the_value_and_the_rule() {
        let error = TrustDomain::new("Example").unwrap_err();
        assert_eq!(
            error.to_string(),
            "trust domain \"Example\": use 1 to 255 lower-case letters, digits, '.', '-' and '_'"
        );
    }

    #[test]
    fn service_port_reads_back_what_it_writes() {
        let port: ServicePort = "shop/cart:8080".parse().unwrap();
        assert_eq!((port.service.namespace(), port.service.name(), port.port), ("shop", "cart", 8080));
        assert_eq!(port.to_string(), "shop/cart:8080");
        for value in [
            "shop/cart",
            "cart:80",
            "shop/cart:0",
            "shop/cart:65536",
            "shop/cart:+80",
            "shop/-a:80",
            "a/b/c:1",
        ] {
            assert!(value.parse::<ServicePort>().is_err(), "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused_without_a_panic(value in "(spiffe://)?[a-zA-Z0-9/._:é-]{0,40}") {
            if let Ok(identity) = value.parse::<Identity>() {
                prop_assert_eq!(identity.to_string(), value.clone());
            }
            if let Ok(port) = value.parse::<ServicePort>() {
                prop_assert_eq!(port.to_string().parse::<ServicePort>().unwrap(), port);
            }
        }
    }
}
