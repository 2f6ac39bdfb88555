//! What is shown of what sidecars count.

use std::net::{Ipv4Addr, SocketAddr};

use super::*;
use crate::admin::Place;

fn found(name: &str, workload: &str) -> Found {
    Found {
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        workload: workload.to_owned(),
        place: Place::Address(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
    }
}

fn samples(direction: &str, peer: &str, count: u32) -> Vec<Sample> {
    let labels = format!(
        "direction=\"{direction}\",backend=\"shop/reviews-v2:80\",tls=\"mutual\",peer=\"spiffe://cluster.local/ns/{peer}\""
    );
    exposition::read(&format!(
        "weft_requests_total{{{labels},class=\"2xx\"}} {count}\n\
         weft_request_duration_seconds_bucket{{{labels},le=\"0.001\"}} {count}\n\
         weft_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} {count}\n"
    ))
}

/// What is seen of web, which calls reviews-v2, and of reviews-v2, which till of another namespace calls too.
fn seen(names: &[&str], whole: Option<&str>) -> Vec<(String, String, u64)> {
    let all = [found("web-1", "web"), found("reviews-1", "reviews-v2")];
    let mut watch = {
        let wanted = all.into_iter().filter(|it| names.contains(&&*it.name));
        Watch::new(wanted.map(Source::sidecar).collect(), whole)
    };
    for source in &watch.sources {
        let samples: Vec<Sample> = match &*source.found.name {
            "web-1" => samples("outbound", "shop/sa/reviews-v2", 10),
            _ => [samples("inbound", "shop/sa/web", 10), samples("inbound", "bank/sa/till", 10)].concat(),
        };
        watch
            .edges
            .take(&source.found.name, &samples, |sample| edge(&source.found, watch.whole.as_deref(), sample));
    }
    watch.picture(Vec::new()).edges.into_iter().map(|it| (it.from, it.to, it.requests)).collect()
}

#[test]
fn of_a_whole_namespace_each_edge_is_counted_once() {
    let edges = |from_to: &[(&str, &str)]| -> Vec<(String, String, u64)> {
        from_to.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned(), 10)).collect()
    };
    let whole = seen(&["web-1", "reviews-1"], Some("shop"));
    assert_eq!(whole, edges(&[("bank/till", "reviews-v2"), ("web", "reviews-v2")]));
    let called = seen(&["reviews-1"], None);
    assert_eq!(
        called,
        edges(&[("bank/till", "reviews-v2"), ("web", "reviews-v2")]),
        "callers by their accounts"
    );
}

#[test]
fn who_proves_nothing_is_said_to_be_outside() {
    let of = found("web-1", "web");
    let sample =
        &exposition::read("weft_requests_total{direction=\"inbound\",peer=\"\",tls=\"none\"} 1\n")[0];
    assert_eq!(edge(&of, None, sample), Some((UNKNOWN.to_owned(), "web".to_owned(), String::new())));
}

#[test]
fn the_table_says_what_there_is_and_who_did_not_answer() {
    let picture = Picture {
        edges: vec![EdgeReport {
            from: "web".to_owned(),
            to: "reviews".to_owned(),
            version: "v2".to_owned(),
            mtls: true,
            tcp_open: 2,
            tcp_connections: 7,
            requests: 1234,
            failures: 2,
            retries: 3,
            rate: 51.26,
            success_percent: Some(99.5),
            p50_ms: Some(1.25),
            ..EdgeReport::default()
        }],
        unanswered: vec!["web-2: it is gone".to_owned()],
    };
    let expected = [
        "FROM  TO       VERSION  MTLS  /S    SUCCESS  P50     P99  REQUESTS  RETRIES  TCP",
        "web   reviews  v2       yes   51.3  99.50 %  1.2 ms  -    1234      3        2 open of 7",
        "unanswered: web-2: it is gone",
    ];
    assert_eq!(lines(&picture), expected);
    let none = Picture { edges: Vec::new(), unanswered: Vec::new() };
    assert_eq!(lines(&none)[0], "no requests yet");
}
