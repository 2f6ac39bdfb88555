//! The client: does what a case says, on a connection of its own, and notes what comes back.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::case::{Case, Sent};
use super::message::{End, Got};

pub(crate) mod frames;
mod http1;
mod http2;

/// Time after which nothing more is expected to come.
const PATIENCE: Duration = Duration::from_secs(4);

/// Sends `case` to a port of the loopback interface.
pub(crate) async fn exchange(case: &Case, port: u16) -> Got {
    let got = RefCell::new(Got::default());
    let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    let working = async {
        let Ok(stream) = TcpStream::connect(address).await else { return End::Unreachable };
        match &case.sent {
            Sent::Http1(script) => http1::exchange(stream, script, &got).await,
            Sent::Http2(request) => http2::exchange(stream, request, &got).await,
            Sent::Frames(bytes) => frames::exchange(stream, bytes, &got).await,
        }
    };
    let end = timeout(PATIENCE, working).await.unwrap_or(End::Silent);
    let mut got = got.into_inner();
    got.end = end;
    got
}
