//! In which order the addresses of one name are tried (RFC 8305, "happy eyeballs").

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

/// Time after which the next address is tried beside those that have not answered (RFC 8305 section 8: the
/// recommended value).
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Most addresses that are tried: more of one name don't fail for different reasons.
const MOST: usize = 8;

/// The addresses to try, in order: each once, families in turn, beginning with that of the first (RFC 8305 section 4).
/// Within a family the order stays, which is the resolver's (RFC 6724).
///
/// ```
/// let addresses = ["[2001:db8::1]:80", "[2001:db8::2]:80", "192.0.2.1:80"].map(|text| text.parse().unwrap());
/// let order: Vec<String> =
///     weft_mesh::eyeballs::order(addresses).iter().map(|address| address.ip().to_string()).collect();
/// assert_eq!(order, ["2001:db8::1", "192.0.2.1", "2001:db8::2"]);
/// ```
pub fn order(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut seen = HashSet::new();
    let unique = addresses.into_iter().filter(|address| seen.insert(*address));
    let (v6, v4): (Vec<_>, Vec<_>) = unique.enumerate().partition(|(_, address)| address.is_ipv6());
    let begins_v6 =
        v6.first().map_or(usize::MAX, |(at, _)| *at) < v4.first().map_or(usize::MAX, |(at, _)| *at);
    let (first, second) = if begins_v6 { (v6, v4) } else { (v4, v6) };
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut order = Vec::new();
    loop {
        let (one, other) = (first.next(), second.next());
        if one.is_none() && other.is_none() || order.len() >= MOST {
            order.truncate(MOST);
            return order;
        }
        order.extend(one.into_iter().chain(other).map(|(_, address)| address));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address() -> impl Strategy<Value = SocketAddr> {
        (any::<bool>(), 0..6_u8).prop_map(|(v6, host)| {
            let ip = if v6 { format!("[2001:db8::{host}]:80") } else { format!("192.0.2.{host}:80") };
            ip.parse().unwrap()
        })
    }

    proptest! {
        #[test]
        fn every_address_is_tried_once_in_its_familys_order_and_no_family_waits_for_all_of_the_other(
            addresses in prop::collection::vec(address(), 0..16),
        ) {
            let order = order(addresses.clone());
            let mut unique = Vec::new();
            for address in addresses {
                if !unique.contains(&address) {
                    unique.push(address);
                }
            }
            prop_assert_eq!(order.len(), unique.len().min(MOST));
            prop_assert_eq!(order.first(), unique.first());
            for is_v6 in [true, false] {
                let of_family = |all: &[SocketAddr]| -> Vec<SocketAddr> {
                    all.iter().copied().filter(|address| address.is_ipv6() == is_v6).collect()
                };
                let (tried, all) = (of_family(&order), of_family(&unique));
                prop_assert_eq!(&tried[..], &all[..tried.len()]);
            }
            for pair in order.windows(2).enumerate().filter(|(_, pair)| pair[0].is_ipv6() == pair[1].is_ipv6()) {
                let (at, pair) = pair;
                let left = unique.iter().filter(|address| !order[..=at].contains(address));
                let others = left.filter(|address| address.is_ipv6() != pair[0].is_ipv6()).count();
                prop_assert_eq!(others, 0, "an address of the other family could have been next");
            }
        }
    }
}
