//! The port between sidecar and program.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::Context as _;
use tokio::net::TcpStream;

/// Below are the ports that people give to what they run by hand.
const LOWEST: u16 = 20_000;
/// Where the kernel's own choice begins unless it was told otherwise.
const EPHEMERAL: u16 = 32_768;
/// So many wrong guesses in a row say that next to nothing is free.
const GUESSES: usize = 200;

/// A free port for the program. It is free now and stays so but for bad luck: it is none of those that the kernel
/// gives to outgoing connections, of which there are many while a mesh starts.
pub(super) fn free() -> anyhow::Result<u16> {
    let end = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
    let end = end.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(EPHEMERAL);
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    if end > LOWEST
        && let Some(port) = (0..GUESSES).map(|_| fastrand::u16(LOWEST..end)).find(|port| is_free(*port))
    {
        return Ok(port);
    }
    let any = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("there is no free port on 127.0.0.1")?;
    Ok(any.local_addr()?.port())
}

/// Whether somebody takes connections there.
pub(super) async fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok()
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
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listens(port).await);
        drop(listener);
        assert!(!listens(port).await);
    }
}
