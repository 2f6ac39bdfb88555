//! Sends a case's octets, and reads until it is known how it ends.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use weft_testkit::hostile::{self, Case, Seen, Version};

/// Longest wait for a case's end. What has not come within it does not come.
const PATIENCE: Duration = Duration::from_secs(3);

/// What comes back for a case's octets.
pub(super) async fn exchange(address: SocketAddr, version: Version, case: &Case) -> Seen {
    let mut seen = Seen::default();
    let talk = async {
        let stream = TcpStream::connect(address).await?;
        hostile::exchange(stream, version, case, &mut seen).await;
        std::io::Result::Ok(())
    };
    let _patience = timeout(PATIENCE, talk).await;
    seen
}
