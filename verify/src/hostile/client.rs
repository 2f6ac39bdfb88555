//! Sends a case's octets, and reads until it is known how it ends.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use weft_testkit::hostile::{Case, Seen, Version};

/// Longest wait for a case's end. What has not come within it does not come.
const PATIENCE: Duration = Duration::from_secs(3);

/// What comes back for a case's octets.
pub(super) async fn exchange(address: SocketAddr, version: Version, case: &Case) -> Seen {
    let mut seen = Seen::default();
    let talk = async {
        let stream = TcpStream::connect(address).await?;
        let (mut read, mut write) = stream.into_split();
        let reading = async {
            let mut bytes = Vec::new();
            while !seen.settles(case.expected) {
                // One that resets the connection has closed it, too.
                seen.closed = !matches!(read.read_buf(&mut bytes).await, Ok(1..));
                seen.read(version, &mut bytes);
            }
        };
        let writing = async {
            // Whoever is cut off in the middle of a flood can't send the rest.
            let _cut_off = write.write_all(&case.octets).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = reading => {}
            () = writing => {}
        }
        std::io::Result::Ok(())
    };
    let _patience = timeout(PATIENCE, talk).await;
    seen
}
