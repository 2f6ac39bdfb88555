//! How loaded the application is, as this proxy sees it; told to callers beside every answer.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use weft_hop::EndpointLoad;

/// Share of a new latency in the average.
const SHARE: f64 = 0.1;

/// Requests in flight and their latency.
#[derive(Debug, Clone, Default)]
pub struct Load(Rc<Known>);

#[derive(Debug, Default)]
struct Known {
    in_flight: Cell<u32>,
    latency_micros: Cell<f64>,
}

impl Load {
    /// Counts a request until the guard is dropped.
    pub fn enter(&self) -> InFlight {
        self.0.in_flight.set(self.0.in_flight.get() + 1);
        InFlight(Rc::clone(&self.0))
    }

    /// Takes note of the time to the head of an answer.
    pub fn answered(&self, latency: Duration) {
        let micros = latency.as_secs_f64() * 1e6;
        let average = self.0.latency_micros.get();
        let next = if average == 0.0 { micros } else { average + SHARE * (micros - average) };
        self.0.latency_micros.set(next);
    }

    /// Requests that have entered and not ended.
    pub fn in_flight(&self) -> u32 {
        self.0.in_flight.get()
    }

    /// What callers are told.
    pub fn report(&self) -> EndpointLoad {
        EndpointLoad { in_flight: self.in_flight(), latency_micros: self.0.latency_micros.get() as u32 }
    }
}

/// One request in flight.
#[derive(Debug)]
pub struct InFlight(Rc<Known>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}
