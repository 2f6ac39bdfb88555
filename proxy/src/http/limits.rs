//! Bounds of what clients may make a connection hold.

use std::time::Duration;

use weft_mesh::http_validation::MAX_RESETS_OF_PROXY;

/// Time for a request's head to arrive, from its first octet on.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// Streams of one HTTP/2 connection.
pub(super) const MAX_STREAMS: u32 = 1000;
/// The window of a stream of HTTP/2. A client on the same machine needs no more, as its window is opened again at once.
pub(super) const STREAM_WINDOW: u32 = 64 * 1024;
/// The same for a proxy of the mesh, which is elsewhere.
pub(super) const STREAM_WINDOW_OF_PROXY: u32 = 256 * 1024;
/// The same on connections that are accepted while too much is held for readers that do not take it.
pub(super) const SMALL_WINDOW: u32 = 16 * 1024;
/// The window of a connection is that of so many streams: as many bodies that are not read take nothing away from the others.
/// More would let whoever opens connections fill the memory.
pub(super) const STREAMS_IN_WINDOW: u32 = 256;
/// Streams that the client may reset before they are served: rapid resets (CVE-2023-44487) end the connection.
pub(super) const MAX_PENDING_RESETS: usize = 50;
/// The same for a proxy of the mesh, which passes on what its clients do: reading from it pauses before there are as many.
pub(super) const MAX_PENDING_RESETS_OF_PROXY: usize = 4 * MAX_RESETS_OF_PROXY as usize;
