//! Who calls whom, from what the sidecars count.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::exposition::Sample;

/// The time that rates and latencies of the moment are taken over.
const RECENT: Duration = Duration::from_secs(3);

/// What one edge has carried.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Totals {
    pub(super) requests: u64,
    /// Failed requests and connections.
    pub(super) failures: u64,
    pub(super) retries: u64,
    /// Requests and connections in plain text to who is in the mesh.
    pub(super) plain: u64,
    /// TCP connections that began, and those that ended.
    pub(super) opened: u64,
    pub(super) closed: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
    /// Requests by the upper bound of their duration, in microseconds.
    pub(super) durations: BTreeMap<u64, u64>,
}

impl Totals {
    fn counters(&mut self) -> [&mut u64; 8] {
        let Self { requests, failures, retries, plain, opened, closed, sent, received, .. } = self;
        [requests, failures, retries, plain, opened, closed, sent, received]
    }

    fn since(&self, earlier: &Self) -> Self {
        let (mut since, mut earlier) = (self.clone(), earlier.clone());
        for (now, then) in since.counters().into_iter().zip(earlier.counters()) {
            *now = now.saturating_sub(*then);
        }
        for (bound, count) in &earlier.durations {
            if let Some(now) = since.durations.get_mut(bound) {
                *now = now.saturating_sub(*count);
            }
        }
        since
    }

    pub(super) fn add(&mut self, more: &Self) {
        let mut more = more.clone();
        for (sum, more) in self.counters().into_iter().zip(more.counters()) {
            *sum += *more;
        }
        for (bound, count) in &more.durations {
            *self.durations.entry(*bound).or_default() += count;
        }
    }

    /// The share of the requests, and of the connections that ended, that succeeded, in per cent.
    fn success(&self) -> Option<f64> {
        let ended = self.requests + self.closed;
        let good = ended.saturating_sub(self.failures) as f64;
        (ended > 0).then(|| 100.0 * good / ended as f64)
    }

    /// The duration within which the share `quantile` of the requests ended, in milliseconds; requests are taken to be
    /// spread evenly within each bucket.
    fn quantile(&self, quantile: f64) -> Option<f64> {
        let count: u64 = self.durations.values().sum();
        let rank = quantile * count as f64;
        let (mut below, mut lower) = (0.0, 0.0);
        for (bound, count) in self.durations.iter().filter(|_| count > 0) {
            let (bound, count) = (*bound as f64, *count as f64);
            if count > 0.0 && below + count >= rank {
                return Some((lower + (bound - lower) * ((rank - below) / count).clamp(0.0, 1.0)) / 1000.0);
            }
            below += count;
            lower = bound;
        }
        None
    }
}

/// What there is to say about an edge.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct EdgeReport {
    /// The calling service, with its version.
    pub(crate) from: String,
    /// The service that was called; with its version, where versions are services.
    pub(crate) to: String,
    /// The version of its workloads that were asked; empty: they have none, or none was asked.
    pub(crate) version: String,
    /// Whether nothing went in plain text to who is in the mesh.
    pub(crate) mtls: bool,
    /// Who the called side proved to be.
    pub(crate) peer: String,
    /// Requests that ended.
    pub(crate) requests: u64,
    /// Those that failed.
    pub(crate) failures: u64,
    /// Attempts beyond the first.
    pub(crate) retries: u64,
    /// TCP connections that are open now, and those that there were in all.
    pub(crate) tcp_open: u64,
    /// See `tcp_open`.
    pub(crate) tcp_connections: u64,
    /// Bytes to the called side, and from it.
    pub(crate) sent_bytes: u64,
    /// See `sent_bytes`.
    pub(crate) received_bytes: u64,
    /// Requests a second.
    pub(crate) rate: f64,
    /// The share of these that succeeded, in per cent; none when there were none.
    pub(crate) success_percent: Option<f64>,
    /// Half of the requests took no longer, in milliseconds; between the bounds of a histogram.
    pub(crate) p50_ms: Option<f64>,
    /// 99 of 100 took no longer.
    pub(crate) p99_ms: Option<f64>,
}

#[derive(Debug, Default)]
struct Edge {
    totals: Totals,
    peer: String,
    /// The totals at some moments of late.
    recent: VecDeque<(Instant, Totals)>,
}

/// Who calls whom: the calling service, the called one, and the version of its workloads, where that is told apart.
pub(crate) type Key = (String, String, String);

/// All edges. Instances come and go; what they counted stays.
#[derive(Debug, Default)]
pub(crate) struct Edges {
    carried: BTreeMap<Key, Edge>,
    /// The last value of each counter, by instance.
    seen: HashMap<String, HashMap<String, u64>>,
    /// The last totals, by instance, of those that are told as such.
    told: HashMap<(String, Key), Totals>,
}

impl Edges {
    /// Takes what an instance counts now. `edge` says who calls whom in a sample; none is of no interest.
    pub(crate) fn take(&mut self, instance: &str, samples: &[Sample], edge: impl Fn(&Sample) -> Option<Key>) {
        let seen = self.seen.entry(instance.to_owned()).or_default();
        // Buckets hold what the smaller ones hold too, in this order.
        let mut smaller: HashMap<String, u64> = HashMap::new();
        for sample in samples {
            let Some(key) = edge(sample) else { continue };
            let series = series(sample);
            let mut value = sample.value as u64;
            if sample.name.ends_with("_bucket") {
                let below = smaller.insert(series.clone(), value).unwrap_or_default();
                value = value.saturating_sub(below);
            }
            let counter = format!("{}|{}|{series}", sample.name, sample.label("le"));
            let before = seen.insert(counter, value).unwrap_or_default();
            // Less than before: the instance began anew, and all of it is new.
            let more = if value >= before { value - before } else { value };
            if more > 0 || self.carried.contains_key(&key) {
                self.carried.entry(key).or_default().add(sample, more);
            }
        }
    }

    /// Takes all that an instance has counted of an edge.
    pub(super) fn told(&mut self, instance: &str, key: Key, totals: &Totals, peer: &str) {
        let before = self.told.insert((instance.to_owned(), key.clone()), totals.clone()).unwrap_or_default();
        let edge = self.carried.entry(key).or_default();
        edge.totals.add(&totals.since(&before));
        if !peer.is_empty() {
            peer.clone_into(&mut edge.peer);
        }
    }

    /// The instance is gone; one of the same name counts from 0.
    pub(crate) fn forget(&mut self, instance: &str) {
        self.seen.remove(instance);
    }

    /// Remembers this moment, for the rates.
    pub(crate) fn tick(&mut self, now: Instant) {
        for edge in self.carried.values_mut() {
            edge.recent.push_back((now, edge.totals.clone()));
            while edge.recent.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= RECENT) {
                edge.recent.pop_front();
            }
        }
    }

    /// The edges as they are now, with rate and latencies of late.
    pub(crate) fn of_late(&self, now: Instant) -> Vec<EdgeReport> {
        self.reports(|edge| {
            let Some((at, earlier)) = edge.recent.front() else { return (edge.totals.clone(), RECENT) };
            (edge.totals.since(earlier), now.duration_since(*at))
        })
    }

    /// The edges over all of the time.
    pub(crate) fn in_all(&self, length: Duration) -> Vec<EdgeReport> {
        self.reports(|edge| (edge.totals.clone(), length))
    }

    fn reports(&self, window: impl Fn(&Edge) -> (Totals, Duration)) -> Vec<EdgeReport> {
        let used = self.carried.iter().filter(|(_, edge)| edge.totals.requests + edge.totals.opened > 0);
        used.map(|((from, to, version), edge)| {
            let (window, length) = window(edge);
            let seconds = length.as_secs_f64();
            let rate = if seconds > 0.0 { window.requests as f64 / seconds } else { 0.0 };
            EdgeReport {
                from: from.clone(),
                to: to.clone(),
                version: version.clone(),
                mtls: edge.totals.plain == 0,
                peer: edge.peer.clone(),
                requests: edge.totals.requests,
                failures: edge.totals.failures,
                retries: edge.totals.retries,
                tcp_open: edge.totals.opened.saturating_sub(edge.totals.closed),
                tcp_connections: edge.totals.opened,
                sent_bytes: edge.totals.sent,
                received_bytes: edge.totals.received,
                rate: rounded(rate),
                success_percent: window.success().map(rounded),
                p50_ms: window.quantile(0.5).map(rounded),
                p99_ms: window.quantile(0.99).map(rounded),
            }
        })
        .collect()
    }
}

impl Edge {
    fn add(&mut self, sample: &Sample, more: u64) {
        match sample.name.as_str() {
            "weft_requests_total" => {
                self.totals.requests += more;
                self.secured(sample, more);
            }
            "weft_tcp_connections_opened_total" => {
                self.totals.opened += more;
                self.secured(sample, more);
            }
            "weft_tcp_connections_closed_total" => self.totals.closed += more,
            "weft_sent_bytes_total" => self.totals.sent += more,
            "weft_received_bytes_total" => self.totals.received += more,
            "weft_failures_total" => self.totals.failures += more,
            "weft_retries_total" => self.totals.retries += more,
            "weft_request_duration_seconds_bucket" => {
                let seconds: f64 = sample.label("le").parse().unwrap_or(f64::INFINITY);
                // Longer than the last bound is shown as that bound.
                if seconds.is_finite() {
                    *self.totals.durations.entry((seconds * 1e6).round() as u64).or_default() += more;
                } else if let Some(mut last) = self.totals.durations.last_entry() {
                    *last.get_mut() += more;
                }
            }
            _ => {}
        }
    }

    fn secured(&mut self, sample: &Sample, more: u64) {
        match sample.label("tls") {
            "mutual" => sample.label("peer").clone_into(&mut self.peer),
            "none" => self.totals.plain += more,
            _ => {}
        }
    }
}

/// The labels of a sample but for the bound of a bucket, which tells the samples of one histogram apart.
fn series(sample: &Sample) -> String {
    let labels = sample.labels.iter().filter(|(name, _)| name != "le");
    labels.map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join(",")
}

/// To a hundredth, so that lines stay short.
pub(crate) fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::super::exposition;
    use super::*;

    /// As a sidecar of `web` has counted.
    fn web(sample: &Sample) -> Option<Key> {
        let to = sample.service("backend", "default")?;
        (sample.label("direction") == "outbound").then(|| ("web".to_owned(), to, String::new()))
    }

    fn scrape(requests: u64, fast: u64, tls: &str) -> Vec<Sample> {
        let labels = format!(
            "direction=\"outbound\",backend=\"default/reviews-v2:9080\",workload=\"w\",tls=\"{tls}\",peer=\"spiffe://m/x\""
        );
        exposition::read(&format!(
            "weft_requests_total{{{labels},class=\"2xx\"}} {requests}\n\
             weft_requests_total{{direction=\"inbound\",backend=\"default/web:80\"}} 99\n\
             weft_request_duration_seconds_bucket{{le=\"0.001\",{labels}}} {fast}\n\
             weft_request_duration_seconds_bucket{{le=\"0.01\",{labels}}} {requests}\n\
             weft_request_duration_seconds_bucket{{le=\"+Inf\",{labels}}} {requests}\n"
        ))
    }

    #[test]
    fn counters_of_instances_add_up_also_over_a_restart() {
        let mut edges = Edges::default();
        edges.take("web-1", &scrape(10, 10, "mutual"), web);
        edges.take("web-1", &scrape(30, 20, "mutual"), web);
        edges.take("web-2", &scrape(5, 5, "mutual"), web);
        edges.forget("web-1");
        edges.take("web-1", &scrape(40, 40, "mutual"), web);
        edges.take("web-2", &scrape(1, 1, "mutual"), web);
        let found = edges.in_all(Duration::from_secs(10));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].from.as_str(), found[0].to.as_str()), ("web", "reviews-v2"));
        assert_eq!((found[0].requests, found[0].mtls, found[0].peer.as_str()), (76, true, "spiffe://m/x"));
        assert!((found[0].rate - 7.6).abs() < 1e-9);
    }

    #[test]
    fn one_request_in_the_clear_is_enough_not_to_say_mtls() {
        let mut edges = Edges::default();
        edges.take("web-1", &scrape(10, 10, "mutual"), web);
        edges.take("web-2", &scrape(1, 1, "none"), web);
        assert!(!edges.in_all(RECENT)[0].mtls);
    }

    #[test]
    fn connections_that_were_not_made_say_nothing_of_mtls() {
        let mut edges = Edges::default();
        edges.take("web-1", &scrape(10, 10, "mutual"), web);
        edges.take("web-2", &scrape(3, 3, ""), web);
        assert!(edges.in_all(RECENT)[0].mtls);
    }

    #[test]
    fn connections_are_an_edge_without_requests() {
        let mut edges = Edges::default();
        let labels = r#"direction="outbound",backend="default/redis:6379",tls="mutual""#;
        let text = format!(
            "weft_tcp_connections_opened_total{{{labels}}} 5\nweft_tcp_connections_closed_total{{{labels}}} 3\n\
             weft_sent_bytes_total{{{labels}}} 70\nweft_failures_total{{{labels}}} 1\n"
        );
        edges.take("web-1", &exposition::read(&text), web);
        let found = &edges.in_all(Duration::from_secs(1))[0];
        assert_eq!((found.tcp_open, found.tcp_connections, found.sent_bytes), (2, 5, 70));
        assert_eq!((found.requests, found.success_percent), (0, Some(66.67)));
    }

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let mut edges = Edges::default();
        edges.take("web-1", &scrape(100, 90, "mutual"), web);
        let found = edges.in_all(RECENT);
        assert_eq!(found[0].p50_ms, Some(rounded(50.0 / 90.0)));
        assert_eq!(found[0].p99_ms, Some(rounded(1.0 + 9.0 * 0.9)));
        assert_eq!(Totals::default().quantile(0.5), None);
    }

    #[test]
    fn rates_and_latencies_of_late_forget_what_was_before() {
        let mut edges = Edges::default();
        let start = Instant::now();
        edges.take("web-1", &scrape(1000, 0, "mutual"), web);
        edges.tick(start);
        edges.take("web-1", &scrape(1010, 10, "mutual"), web);
        let found = edges.of_late(start + Duration::from_secs(2));
        assert!((found[0].rate - 5.0).abs() < 1e-9);
        assert_eq!(found[0].success_percent, Some(100.0));
        assert!(found[0].p99_ms.unwrap() <= 1.0);
        assert_eq!(found[0].requests, 1010);
    }
}
