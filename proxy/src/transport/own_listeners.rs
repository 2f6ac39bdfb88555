//! What is the proxy's own: its listeners, to which it leads nobody, and its network namespace, whose connections alone it
//! serves where it lends its identity.

use std::fmt::Display;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::rc::Rc;

use tokio::net::TcpStream;
use weft_mesh::reason::Reason;

use crate::error::{BoxFailure, Failure};

/// The port that the system is asked for a route to; nothing is sent there.
const DISCARD: u16 = 9;

/// Where a proxy listens for what leaves its workload, for what is redirected, and for its operator.
///
/// Connections to these would go in circles, or reach what is meant for others than the workload's callers. The listeners
/// of ports that the workload offers are not among them: they stand for the application.
#[derive(Debug, Clone, Default)]
pub struct OwnListeners(Rc<[SocketAddr]>);

impl OwnListeners {
    /// The listeners at these addresses.
    pub fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self(addresses.into_iter().collect())
    }

    /// The listener that a connection to `address` would reach, whichever of its spellings that is.
    pub fn reached_by(&self, address: SocketAddr) -> Option<SocketAddr> {
        // The system is asked only where the port is the same, which it is of hardly any connection.
        self.0.iter().copied().find(|own| own.port() == address.port() && covers(own.ip(), address))
    }

    /// Refuses an address of one of the listeners. `name` is what led there.
    pub fn refuse(&self, name: impl Display, address: SocketAddr) -> Result<(), BoxFailure> {
        let Some(own) = self.reached_by(address) else { return Ok(()) };
        let detail = format!("{name} leads back to this proxy, which listens on {own}");
        Err(Failure::internal(Reason::LoopDetected, detail))
    }
}

/// Whether a listener at `listens` takes connections to `address`.
fn covers(listens: IpAddr, address: SocketAddr) -> bool {
    let listens = listens.to_canonical();
    let dialled = match address.ip().to_canonical() {
        // Where the kernel takes a connection that names no host.
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    // What cannot be found out is taken for the worse.
    listens == dialled || listens.is_unspecified() && is_local(address).unwrap_or(true)
}

/// Whether an address is one of this network namespace. The error is that of the system, which has no socket left.
pub fn is_local(address: SocketAddr) -> io::Result<bool> {
    let ip = address.ip().to_canonical();
    if ip.is_loopback() || ip.is_unspecified() {
        return Ok(true);
    }
    let (any, target) = match ip {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), SocketAddr::new(ip, DISCARD)),
        IpAddr::V6(_) => {
            let mut target = address;
            target.set_port(DISCARD);
            (IpAddr::from(Ipv6Addr::UNSPECIFIED), target)
        }
    };
    // What goes to an own address comes from it. The kernel chooses the source without sending anything, and knows of
    // addresses that came or went.
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    Ok(socket.connect(target).is_ok() && socket.local_addr()?.ip() == ip)
}

/// Whether a connection was opened in this network namespace. From elsewhere nobody can open one by an address of it: the
/// kernel drops such packets, and its answers would not leave.
pub fn is_opened_here(stream: &TcpStream, peer: SocketAddr) -> bool {
    let peer_ip = peer.ip().to_canonical();
    let to_itself = stream.local_addr().is_ok_and(|local| local.ip().to_canonical() == peer_ip);
    to_itself || is_local(peer).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(listeners: &[&str], address: &str) -> bool {
        let own = OwnListeners::new(listeners.iter().map(|listener| listener.parse().unwrap()));
        own.reached_by(address.parse().unwrap()).is_some()
    }

    #[test]
    fn a_listener_is_known_by_every_spelling_of_its_address() {
        for spelling in
            ["127.0.0.1:15001", "0.0.0.0:15001", "[::ffff:127.0.0.1]:15001", "[::ffff:0.0.0.0]:15001"]
        {
            assert!(reached(&["127.0.0.1:15001"], spelling), "{spelling}");
            assert!(reached(&["[::]:15001"], spelling), "{spelling}");
            assert!(reached(&["0.0.0.0:15001"], spelling), "{spelling}");
        }
        for spelling in ["[::1]:15001", "[::]:15001"] {
            assert!(reached(&["[::1]:15001"], spelling), "{spelling}");
            assert!(reached(&["[::]:15001"], spelling), "{spelling}");
        }
        // The whole block is loopback.
        assert!(reached(&["[::]:15001"], "127.9.9.9:15001"));
        assert!(reached(&["[::ffff:127.0.0.1]:15001"], "127.0.0.1:15001"));
    }

    #[test]
    fn other_ports_and_other_hosts_are_no_listener() {
        for (listener, address) in [
            ("127.0.0.1:15001", "127.0.0.1:15002"),
            ("[::]:15001", "127.0.0.1:15002"),
            ("127.0.0.1:15001", "127.0.0.2:15001"),
            ("127.0.0.1:15001", "[::1]:15001"),
            // Documentation addresses, which no machine has.
            ("[::]:15001", "203.0.113.7:15001"),
            ("[::]:15001", "[2001:db8::1]:15001"),
            ("[::]:15001", "255.255.255.255:15001"),
        ] {
            assert!(!reached(&[listener], address), "{listener} {address}");
        }
    }

    #[test]
    fn loopback_is_local_and_documentation_is_not() {
        for (address, local) in [
            ("127.0.0.1:1", true),
            ("127.200.0.1:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", true),
            ("203.0.113.7:1", false),
            ("[2001:db8::1]:1", false),
        ] {
            assert_eq!(is_local(address.parse().unwrap()).unwrap(), local, "{address}");
        }
    }
}
