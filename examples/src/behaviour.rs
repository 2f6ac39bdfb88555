//! Behaving badly on demand, so that one can watch what the mesh makes of it.

use std::time::Duration;

/// How a service misbehaves. By default it doesn't. Probes (`/healthz`, the gRPC health service) are never affected.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Behaviour {
    /// Wait so long before each answer
    #[arg(long, value_name = "DURATION", default_value = "0ms", value_parser = weft_values::duration)]
    pub latency: Duration,
    /// Fail this share of the requests (0 to 1): HTTP 503, gRPC UNAVAILABLE
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = weft_values::share)]
    pub fail_share: f64,
}

impl Behaviour {
    /// Waits as told; true when the request has to fail.
    pub(crate) async fn misbehave(&self) -> bool {
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
        self.fails(fastrand::f64())
    }

    /// Whether a request fails, given a number drawn evenly from 0 (possible) to 1 (never).
    fn fails(&self, drawn: f64) -> bool {
        drawn < self.fail_share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_decides_what_fails() {
        let none = Behaviour::default();
        let tenth = Behaviour { fail_share: 0.1, ..none };
        let all = Behaviour { fail_share: 1.0, ..none };
        assert!(!none.fails(0.0));
        assert!(tenth.fails(0.09) && !tenth.fails(0.1));
        assert!(all.fails(0.999_999));
    }

    #[tokio::test(start_paused = true)]
    async fn latency_is_waited_before_the_answer() {
        let slow = Behaviour { latency: Duration::from_millis(20), fail_share: 0.0 };
        let before = tokio::time::Instant::now();
        assert!(!slow.misbehave().await);
        assert!(before.elapsed() >= Duration::from_millis(20));
    }
}
