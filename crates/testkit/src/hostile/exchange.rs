//! Sends a case over a connection.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Case, Seen, Version};

/// Sends a case's octets, and reads until it is known how it ends. It is known only when nothing more can come: who calls this
/// bounds the time, and has in `seen` what came within it.
pub async fn exchange(stream: impl AsyncRead + AsyncWrite, version: Version, case: &Case, seen: &mut Seen) {
    let (mut read, mut write) = tokio::io::split(stream);
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
}
