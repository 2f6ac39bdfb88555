//! What a client dialled: `host:port`.

use std::net::{IpAddr, SocketAddr};

/// A dialled name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DialledName<'a> {
    /// An address.
    Address(SocketAddr),
    /// A host name.
    Host {
        /// In lower case, without a dot at the end.
        host: std::borrow::Cow<'a, str>,
        /// The port.
        port: u16,
    },
}

/// Takes `host:port` apart; `None` if it is not of that form.
pub(crate) fn parse(name: &str) -> Option<DialledName<'_>> {
    let (host, port) = name.rsplit_once(':')?;
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Some(DialledName::Address(SocketAddr::new(ip.to_canonical(), port)));
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() || host.len() > 253 || host.contains([':', '/']) {
        return None;
    }
    let host = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        host.to_ascii_lowercase().into()
    } else {
        host.into()
    };
    Some(DialledName::Host { host, port })
}

/// The readings of a host as a service, `(namespace, name)`, the likeliest first: `name`, `name.namespace`,
/// `name.namespace.svc`, and the latter in the cluster's domain. A service's name may itself hold dots.
pub(super) fn readings<'a>(host: &'a str, caller_namespace: &'a str) -> Vec<(&'a str, &'a str)> {
    let qualified = host.strip_suffix(".svc").or_else(|| host.strip_suffix(".svc.cluster.local"));
    if let Some(qualified) = qualified {
        return qualified.rsplit_once('.').map(|(name, namespace)| (namespace, name)).into_iter().collect();
    }
    let with_namespace = host.rsplit_once('.').map(|(name, namespace)| (namespace, name));
    let own = Some((caller_namespace, host));
    let in_order = if with_namespace.is_some() { [with_namespace, own] } else { [own, None] };
    in_order.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_and_addresses_are_told_apart() {
        let address = |text: &str| Some(DialledName::Address(text.parse().unwrap()));
        assert_eq!(parse("10.0.0.1:80"), address("10.0.0.1:80"));
        assert_eq!(parse("[::1]:80"), address("[::1]:80"));
        assert_eq!(parse("[::ffff:10.0.0.1]:80"), address("10.0.0.1:80"));
        assert_eq!(parse("Cart.shop.:80"), Some(DialledName::Host { host: "cart.shop".into(), port: 80 }));
        for text in ["", "cart", "cart:", "cart:0", "cart:65536", "cart:+80", ":80", "a/b:80"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_host_is_read_as_kubernetes_resolvers_do() {
        assert_eq!(readings("cart", "shop"), [("shop", "cart")]);
        assert_eq!(readings("cart.web", "shop"), [("web", "cart"), ("shop", "cart.web")]);
        assert_eq!(readings("cart.web.svc", "shop"), [("web", "cart")]);
        assert_eq!(readings("cart.web.svc.cluster.local", "shop"), [("web", "cart")]);
        assert_eq!(readings("a.b.web.svc", "shop"), [("web", "a.b")]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r"[a-zA-Z0-9.:\[\]/é-]{0,40}") {
            let _ = parse(&text);
        }
    }
}
