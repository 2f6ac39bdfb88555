//! Where an application of this machine listens.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::connect::{dial, failed, tcp};
use crate::error::BoxFailure;
use crate::runtime::clock::now;
use crate::transport::own_listeners::OwnListeners;
use crate::transport::socket::Socket;

/// Time for which the other address is tried first, once it has worked: then an application that has moved back to the
/// address that is told is found again. A refused connection to this machine costs next to nothing.
const REMEMBERED: Duration = Duration::from_secs(10);

/// Where an application of this machine listens.
///
/// What is told to listen on `localhost` takes `127.0.0.1`, `::1` or both, as its runtime likes. So where one of the two is
/// told and refuses, the other is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Local {
    address: SocketAddr,
    other: Option<SocketAddr>,
}

impl Local {
    /// An address and no other.
    pub fn exactly(address: SocketAddr) -> Self {
        Self { address, other: None }
    }

    /// An address; if it is a loopback address, or else the other one, unless one of `listeners` is reached by that.
    pub fn or_other_loopback(address: SocketAddr, listeners: &OwnListeners) -> Self {
        let other = other_loopback(address).filter(|other| listeners.reached_by(*other).is_none());
        Self { address, other }
    }

    /// The address that was told.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn other_loopback(address: SocketAddr) -> Option<SocketAddr> {
    let other: IpAddr = match address.ip() {
        IpAddr::V4(Ipv4Addr::LOCALHOST) => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::LOCALHOST) => Ipv4Addr::LOCALHOST.into(),
        _ => return None,
    };
    Some(SocketAddr::new(other, address.port()))
}

/// The ways to an application, and which of them works.
#[derive(Debug, Clone)]
pub(super) struct Ways {
    local: Local,
    /// Until when the other address is tried first.
    other_until: Rc<Cell<Option<Instant>>>,
}

impl Ways {
    pub(super) fn new(local: Local) -> Self {
        Self { local, other_until: Rc::default() }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.local.address
    }

    /// Connects; `timeout` is the time for each address.
    pub(super) async fn connect(&self, timeout: Duration, own: &OwnListeners) -> Result<Socket, BoxFailure> {
        let address = self.local.address;
        let Some(other) = self.local.other else { return tcp(address, timeout, own).await };
        own.refuse(address, address)?;
        let other_first = self.other_until.get().is_some_and(|until| now() < until);
        let (first, second) = if other_first { (other, address) } else { (address, other) };
        let refused = match dial(first, timeout).await {
            Ok(socket) => return Ok(socket),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(not_connected(first, &error));
            }
            Err(error) => error,
        };
        match dial(second, timeout).await {
            Ok(socket) => {
                self.other_until.set((second == other).then(|| now() + REMEMBERED));
                Ok(socket)
            }
            Err(error) => {
                Err(failed(format!("connecting to {first}: {refused}; connecting to {second}: {error}")))
            }
        }
    }
}

fn not_connected(address: SocketAddr, error: &io::Error) -> BoxFailure {
    failed(format!("connecting to {address}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_have_another_one_and_none_that_a_listener_takes() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let other = |told: &str, listeners: &[&str]| {
            let listeners = OwnListeners::new(listeners.iter().map(|listener| address(listener)));
            Local::or_other_loopback(address(told), &listeners).other
        };
        assert_eq!(other("127.0.0.1:80", &[]), Some(address("[::1]:80")));
        assert_eq!(other("[::1]:80", &["127.0.0.1:81"]), Some(address("127.0.0.1:80")));
        for told in ["127.0.0.2:80", "10.0.0.1:80", "[fd00::1]:80", "0.0.0.0:80"] {
            assert_eq!(other(told, &[]), None, "{told}");
        }
        for listener in ["[::1]:80", "[::]:80"] {
            assert_eq!(other("127.0.0.1:80", &[listener]), None, "{listener}");
        }
    }
}
