//! Names for single endpoints, so that who dials an endpoint's own address gets that one, and nevertheless its
//! identity and its policies.

use std::net::{IpAddr, SocketAddr};

use weft_mesh::name::ServiceName;

const PREFIX: &str = "ep-";

/// The name of a service of one address: `ep-<address>-<port>.<service>`. No Service has such a name, because theirs
/// hold no dot.
pub(crate) fn direct_name(service: &ServiceName, address: SocketAddr) -> Option<ServiceName> {
    let ip = address.ip().to_string().replace(['.', ':'], "-");
    let name = format!("{PREFIX}{ip}-{}.{}", address.port(), service.name());
    ServiceName::new(service.namespace(), &name).ok()
}

/// The service and the address that such a name is made of.
pub(crate) fn parse_direct_name(name: &ServiceName) -> Option<(ServiceName, SocketAddr)> {
    let (label, service) = name.name().split_once('.')?;
    let (ip, port) = label.strip_prefix(PREFIX)?.rsplit_once('-')?;
    let ip: IpAddr = ip
        .replace('-', ".")
        .parse()
        .map(IpAddr::V4)
        .or_else(|_| ip.replace('-', ":").parse().map(IpAddr::V6))
        .ok()?;
    let service = ServiceName::new(name.namespace(), service).ok()?;
    Some((service, SocketAddr::new(ip, port.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_name_reads_back_what_it_was_made_of(v4: [u8; 4], v6: [u16; 8], zeros in 0..8_usize, port in 1..=u16::MAX) {
            let service = ServiceName::new("shop", "cart").unwrap();
            let mut groups = v6;
            groups[..zeros].fill(0);
            for ip in [IpAddr::from(v4), IpAddr::from(groups)] {
                let address = SocketAddr::new(ip, port);
                // The text of an IPv4 address inside an IPv6 one has both separators, and no workload has one.
                if address.ip().to_string().contains('.') && address.is_ipv6() {
                    continue;
                }
                let name = direct_name(&service, address).unwrap();
                prop_assert_eq!(parse_direct_name(&name), Some((service.clone(), address)));
            }
        }
    }
}
