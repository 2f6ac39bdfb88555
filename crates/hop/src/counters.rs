//! What a connection holds and has seen.

/// What a connection holds right now, and what it has seen since it began.
///
/// `receive_held + send_queued + control_queued` is what the connection and its driver keep in memory for the
/// peer and the applications; each part has a bound in [`Config`](crate::Config).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Streams that are open.
    pub streams: usize,
    /// Octets received and not consumed yet, with the cost of their frames.
    pub receive_held: usize,
    /// Octets that the peer may make us hold: the windows of all streams. At most `Config::max_receive`.
    pub receive_promised: usize,
    /// Octets of DATA queued and not written.
    pub send_queued: usize,
    /// Octets of heads and control frames queued and not written.
    pub control_queued: usize,
    /// Octets of a head that has begun and not ended.
    pub head_partial: usize,
    /// Frames received, in all.
    pub frames_received: u64,
    /// Frames of unknown types that were skipped, in all.
    pub frames_unknown: u64,
    /// Frames for streams that were already over, in all.
    pub frames_late: u64,
    /// Streams that were refused, in all.
    pub streams_refused: u64,
    /// Blocks that could not be read, in all.
    pub blocks_refused: u64,
}
