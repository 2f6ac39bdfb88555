//! What a thread of the proxy works with: the worker, what all threads share, the clock, and how much of the machine it may take.
//!
//! May import what a worker holds (`upstream`, `http`, `transport`, `observe`, `snapshot`); is imported by everything that handles
//! connections.

pub mod clock;
pub(crate) mod descriptors;
pub mod overload;
pub mod shared;
pub(crate) mod status;
pub mod unread;
pub(crate) mod wall_clock;
pub mod worker;
