//! What others than this machine may ask of a proxy: whether it is ready, its metrics, and probes of the application.
//!
//! The kubelet's probes come without a certificate, and a connection to the proxy says nothing about whether the
//! application listens. The injector therefore points them here, and the proxy probes the application as the kubelet would
//! have done (Kubernetes, `Probe v1 core`), whatever the application's port lets in.
//!
//! A pod that is told to end goes on for a while, so that those who call it have heard of it: the kubelet's hook before the end
//! of a container asks here, and is answered only then.

mod probe;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::USER_AGENT;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use parking_lot::Mutex;

pub use self::probe::{Probe, Probes};
use crate::observe::admin::{Admin, Answer, format_of, not_allowed, text};
use crate::observe::stats::Format;
use crate::runtime::clock::{now, since};

/// The part of the path before the name of a probe.
const PROBE: &str = "/probe/";
/// The part of the path before the number of seconds after which there is an answer.
const HOLD: &str = "/hold/";
/// The longest hold, in seconds: the longest grace period that anybody gives a pod by default.
const LONGEST_HOLD: u64 = 60;

/// For how long metrics are given as they were written: whoever reaches the server may ask for them as often as they like,
/// and writing them takes the processor's time.
const METRICS_FOR: Duration = Duration::from_secs(1);

/// Answers the monitoring server's requests.
#[derive(Debug)]
pub(crate) struct Monitor {
    admin: Arc<Admin>,
    probes: Probes,
    written: Written,
}

/// Metrics as they were written last, in each format.
#[derive(Debug, Default)]
struct Written(Mutex<Vec<(Format, Instant, Answer)>>);

impl Written {
    fn get(&self, format: Format, write: impl FnOnce() -> Answer) -> Answer {
        let mut written = self.0.lock();
        written.retain(|(_, when, _)| since(*when) < METRICS_FOR);
        if let Some((_, _, answer)) = written.iter().find(|(of, _, _)| *of == format) {
            return answer.clone();
        }
        let answer = write();
        written.push((format, now(), answer.clone()));
        answer
    }
}

impl Monitor {
    pub(crate) fn new(admin: Arc<Admin>, probes: Probes) -> Self {
        Self { admin, probes, written: Written::default() }
    }

    /// `local` is where the connection came to: probes go to the same address.
    pub(crate) async fn answer(&self, request: &Request<Incoming>, local: SocketAddr) -> Answer {
        let path = request.uri().path();
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        match path {
            "/metrics" if reads => {
                let format = format_of(request);
                self.written.get(format, || self.admin.metrics(format))
            }
            "/ready" | "/live" | "/metrics" => self.admin.answer(request).await,
            _ if !reads => not_allowed("GET, HEAD"),
            _ if path.starts_with(HOLD) => hold(path.trim_start_matches(HOLD)).await,
            _ => match path.strip_prefix(PROBE) {
                Some(name) => self.probe(name, request, local).await,
                None => text(
                    StatusCode::NOT_FOUND,
                    format!(
                        "there is no {path} here; there is /ready, /live, /metrics, {PROBE}CONTAINER/KIND and \
                         {HOLD}SECONDS\n"
                    ),
                ),
            },
        }
    }

    async fn probe(&self, name: &str, request: &Request<Incoming>, local: SocketAddr) -> Answer {
        let Some(probe) = self.probes.get(name) else {
            return text(StatusCode::NOT_FOUND, format!("there is no probe {name:?}\n"));
        };
        match probe.run(local.ip(), request.headers().get(USER_AGENT)).await {
            Ok((status, body)) => text(status, body),
            Err(problem) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")),
        }
    }
}

async fn hold(seconds: &str) -> Answer {
    match seconds.parse() {
        Ok(seconds) if seconds <= LONGEST_HOLD => {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            text(StatusCode::OK, "held\n".to_owned())
        }
        _ => {
            let problem = format!("{seconds:?} is no number of seconds from 0 to {LONGEST_HOLD}\n");
            text(StatusCode::BAD_REQUEST, problem)
        }
    }
}

#[cfg(test)]
mod tests;
