//! What is sent: protocol, concurrency and pace.

use clap::ValueEnum;
use serde::Serialize;
use weft_harness::protocol::Protocol;

/// A workload by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WorkloadName {
    /// HTTP/1.1, 50 connections, as fast as answers come.
    H1,
    /// HTTP/2, 10 connections of 10 streams, as fast as answers come.
    H2,
    /// HTTP/1.1, 50 connections, at a fixed rate.
    H1Rate,
    /// HTTP/2, 10 connections of 10 streams, at a fixed rate.
    H2Rate,
}

/// A workload with its numbers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) protocol: Protocol,
    pub(crate) connections: usize,
    /// Concurrent requests per connection.
    pub(crate) streams: usize,
    /// Requests per second over all connections; `None` is a closed loop.
    pub(crate) rate: Option<u32>,
}

impl WorkloadName {
    /// All, in the order of reports.
    pub(crate) const ALL: [Self; 4] = [Self::H1, Self::H2, Self::H1Rate, Self::H2Rate];

    /// The workload of this name; `rate` is used where the name says so.
    pub(crate) fn workload(self, rate: u32) -> Workload {
        let (name, protocol, rate) = match self {
            Self::H1 => ("h1", Protocol::H1, None),
            Self::H2 => ("h2", Protocol::H2, None),
            Self::H1Rate => ("h1-rate", Protocol::H1, Some(rate)),
            Self::H2Rate => ("h2-rate", Protocol::H2, Some(rate)),
        };
        let (connections, streams) = match protocol {
            Protocol::H1 => (50, 1),
            Protocol::H2 => (10, 10),
        };
        Workload { name, protocol, connections, streams, rate }
    }
}

impl Workload {
    /// One line for people.
    pub(crate) fn describe(&self) -> String {
        let shape = match self.protocol {
            Protocol::H1 => format!("HTTP/1.1, {} connections, keep-alive", self.connections),
            Protocol::H2 => format!("HTTP/2, {} connections of {} streams", self.connections, self.streams),
        };
        match self.rate {
            Some(rate) => format!("{shape}, open loop at {rate} requests/s"),
            None => format!("{shape}, closed loop"),
        }
    }
}
