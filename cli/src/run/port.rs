//! The port between sidecar and program.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};

use anyhow::Context as _;
use tokio::net::TcpStream;

/// Below are the ports that people give to what they run by hand.
const LOWEST: u16 = 20_000;
/// Where the kernel's own choice begins unless it was told otherwise.
const EPHEMERAL: u16 = 32_768;
/// Where programs listen that are told `localhost`.
const LOOPBACKS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
/// So many wrong guesses in a row say that next to nothing is free.
const GUESSES: usize = 200;

/// A free port for the program. It is free now and stays so but for bad luck: it is none of those that the kernel
/// gives to outgoing connections, of which there are many while a mesh starts.
pub(super) fn free() -> anyhow::Result<u16> {
    let end = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
    let end = end.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(EPHEMERAL);
    // A machine may be without IPv6; then nobody takes its port there.
    let is_free = |port: u16| {
        let mut bound = LOOPBACKS.iter().map(|loopback| TcpListener::bind((*loopback, port)));
        bound.all(|bound| !bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse))
    };
    if end > LOWEST
        && let Some(port) = (0..GUESSES).map(|_| fastrand::u16(LOWEST..end)).find(|port| is_free(*port))
    {
        return Ok(port);
    }
    let any = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("there is no free port on 127.0.0.1")?;
    Ok(any.local_addr()?.port())
}

/// Whether somebody takes connections there, on either loopback address.
pub(super) async fn listens(port: u16) -> bool {
    for loopback in LOOPBACKS {
        if TcpStream::connect((loopback, port)).await.is_ok() {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_can_be_listened_on() {
        let port = free().unwrap();
        assert_eq!(
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap().local_addr().unwrap().port(),
            port
        );
    }

    #[tokio::test]
    async fn a_listener_is_noticed() {
        for loopback in LOOPBACKS {
            let listener = TcpListener::bind((loopback, 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            assert!(listens(port).await, "{loopback}");
            drop(listener);
            assert!(!listens(port).await, "{loopback}");
        }
    }
}
