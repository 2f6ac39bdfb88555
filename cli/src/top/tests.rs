//! What is shown of what sidecars count.

use std::net::{Ipv4Addr, SocketAddr};

use super::*;
use crate::admin::Place;

fn found(name: &str, workload: &str) -> Found {
    Found {
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        workload: workload.to_owned(),
        account: workload.to_owned(),
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

#[test]
fn an_edge_is_counted_once_where_both_its_sidecars_are_asked() {
    let mut watch = Watch::new(vec![found("web-1", "web"), found("reviews-1", "reviews-v2")]);
    let mut take = |instance: &str, count| {
        let source = watch.sources.iter().find(|it| it.found.name == instance).unwrap();
        let samples: Vec<Sample> = match instance {
            "web-1" => samples("outbound", "shop/sa/reviews-v2", count),
            _ => {
                [samples("inbound", "shop/sa/web", count), samples("inbound", "bank/sa/till", count)].concat()
            }
        };
        watch.edges.take(instance, &samples, |sample| edge(&source.found, &watch.callers, sample));
    };
    take("web-1", 10);
    take("reviews-1", 10);
    let found: Vec<_> =
        watch.picture(Vec::new()).edges.into_iter().map(|it| (it.from, it.to, it.requests)).collect();
    let expected = [("bank/till", "reviews-v2", 10), ("web", "reviews-v2", 10)];
    assert_eq!(found, expected.map(|(from, to, count)| (from.to_owned(), to.to_owned(), count)));
}

#[test]
fn who_proves_nothing_is_said_to_be_outside() {
    let of = found("web-1", "web");
    let sample =
        &exposition::read("weft_requests_total{direction=\"inbound\",peer=\"\",tls=\"none\"} 1\n")[0];
    assert_eq!(edge(&of, &BTreeSet::new(), sample), Some((UNKNOWN.to_owned(), "web".to_owned())));
}

#[test]
fn the_table_says_what_there_is_and_who_did_not_answer() {
    let picture = Picture {
        edges: vec![EdgeReport {
            from: "web".to_owned(),
            to: "reviews".to_owned(),
            mtls: true,
            peer: String::new(),
            requests: 1234,
            failures: 2,
            retries: 3,
            rate: 51.26,
            success_percent: Some(99.5),
            p50_ms: Some(1.25),
            p99_ms: None,
        }],
        unanswered: vec!["web-2: it is gone".to_owned()],
    };
    let expected = [
        "FROM  TO       MTLS  /S    SUCCESS  P50     P99  REQUESTS  RETRIES",
        "web   reviews  yes   51.3  99.50 %  1.2 ms  -    1234      3",
        "unanswered: web-2: it is gone",
    ];
    assert_eq!(lines(&picture), expected);
    let none = Picture { edges: Vec::new(), unanswered: Vec::new() };
    assert_eq!(lines(&none)[0], "no requests yet");
}
