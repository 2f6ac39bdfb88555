//! Each way in which a count can be wrong is found, with evidence made by hand.

use super::*;
use crate::chaos::request::{Call, Kind};

const GET: Kind = Kind { service: Service::Http1, call: Call::Get };

fn sent(number: u64, status: Option<u16>, outcome: Outcome) -> Sent {
    let (at, ended) = (Duration::from_secs(1), Duration::from_secs(2));
    Sent { number, kind: GET, at, ended, status, outcome }
}

fn line(status: Option<u16>, reason: &str) -> Logged {
    let cut_off = reason == CANCELLED;
    let named = !cut_off && !reason.is_empty();
    let reason = named.then(|| reason.to_owned());
    Logged { status, reason, cut_off, ended: Duration::from_secs(2), ..Logged::default() }
}

/// One request of each kind of end, as all have counted it.
fn evidence() -> (Vec<Sent>, Lines) {
    let instance = || "a".to_owned();
    let all = [
        (Some(200), Outcome::Answered(instance()), ""),
        (Some(500), Outcome::Failed(instance()), ""),
        (Some(503), Outcome::Refused("no_endpoints".to_owned()), "no_endpoints"),
        (Some(200), Outcome::Torn(instance()), "upstream_reset"),
        (None, Outcome::Left(When::BeforeHead), CANCELLED),
        (Some(200), Outcome::Left(When::InBody), CANCELLED),
    ];
    let numbered = (0..).zip(all);
    numbered
        .map(|(number, (status, outcome, reason))| {
            (sent(number, status, outcome), (number, vec![line(status, reason)]))
        })
        .unzip()
}

const METRICS: &str = "\
    weft_requests_total{direction=\"outbound\",destination=\"default/http1:80\",class=\"2xx\",reason=\"\"} 1\n\
    weft_requests_total{direction=\"outbound\",destination=\"default/http1:80\",class=\"5xx\",reason=\"\"} 1\n\
    weft_requests_total{direction=\"outbound\",destination=\"default/http1:80\",class=\"5xx\",reason=\"no_endpoints\"} 1\n\
    weft_requests_total{direction=\"outbound\",destination=\"default/http1:80\",class=\"2xx\",reason=\"upstream_reset\"} 1\n\
    weft_requests_total{direction=\"outbound\",destination=\"default/http1:80\",class=\"none\",reason=\"cancelled\"} 1\n\
    weft_requests_total{direction=\"outbound\",destination=\"default/http1:80\",class=\"2xx\",reason=\"cancelled\"} 1\n\
    weft_requests_total{direction=\"inbound\",destination=\"default/http1:80\",class=\"2xx\",reason=\"\"} 9\n\
    weft_requests_total{direction=\"outbound\",destination=\"default/other:80\",class=\"2xx\",reason=\"\"} 9\n";

const TRAFFIC: &str = r#"{"edges": [
    {"destination": "default/http1:80", "mirrored": false, "requests": 5,
     "causes": {"no_endpoints": 1, "upstream_reset": 1, "cancelled": 1}},
    {"destination": "default/http1:80", "mirrored": false, "requests": 1, "causes": {"cancelled": 1}},
    {"destination": "default/http1:80", "mirrored": true, "requests": 7, "causes": {}},
    {"destination": null, "mirrored": false, "requests": 7, "causes": {}}]}"#;

fn books(sent: &[Sent], lines: &Lines, metrics: &str, traffic: &str) -> (Books, Vec<Row>) {
    let mut books = Books::open(sent, lines);
    books.metrics = of_metrics(&Exposition::new(metrics.to_owned()));
    books.telemetry = of_telemetry(traffic).unwrap();
    let rows = books.close();
    (books, rows)
}

fn faults(sent: &[Sent], lines: &Lines) -> Vec<String> {
    books(sent, lines, METRICS, TRAFFIC).0.faults
}

#[test]
fn what_all_count_alike_is_no_fault() {
    let (sent, lines) = evidence();
    let (books, rows) = books(&sent, &lines, METRICS, TRAFFIC);
    assert_eq!((books.faults, books.crossed), (Vec::<String>::new(), 0));
    assert_eq!(rows.iter().map(|row| row.clients).collect::<Vec<_>>(), [1, 1, 1, 1, 1, 1, 2, 2, 1, 1]);
    assert_eq!(rows[0].what, "http1: no head, cancelled");
}

#[test]
fn a_request_without_a_line_and_one_with_two_are_faults() {
    let (sent, lines) = evidence();
    let mut lost = lines.clone();
    lost.remove(&0);
    assert!(faults(&sent, &lost).iter().any(|fault| fault.contains("0 lines")));
    let mut twice = lines;
    twice.entry(2).or_default().push(line(Some(503), "no_endpoints"));
    let found = faults(&sent, &twice);
    assert!(found.iter().any(|fault| fault.contains("2 lines")), "{found:?}");
    assert!(found.iter().any(|fault| fault.contains("clients 1, metrics 1, log 2")), "{found:?}");
}

#[test]
fn a_line_that_says_something_else_is_a_fault() {
    for (number, wrong) in [
        (0, line(Some(200), CANCELLED)),
        (0, line(Some(204), "request_timeout")),
        (1, line(Some(200), "")),
        (2, line(Some(503), "connect_failed")),
        (2, line(None, "no_endpoints")),
        (3, line(Some(200), "")),
        (3, line(Some(200), CANCELLED)),
    ] {
        let (sent, mut lines) = evidence();
        lines.insert(number, vec![wrong]);
        assert!(!faults(&sent, &lines).is_empty(), "{number}");
    }
}

#[test]
fn what_ended_before_its_client_left_has_crossed_and_what_ended_later_is_a_fault() {
    let (sent, mut lines) = evidence();
    lines.insert(4, vec![line(Some(504), "request_timeout")]);
    let crossed = Books::open(&sent, &lines);
    assert_eq!((crossed.faults.len(), crossed.crossed), (0, 1));
    assert_eq!(crossed.clients, crossed.log);
    let late = Logged { ended: Duration::from_millis(2200), ..line(Some(504), "request_timeout") };
    lines.insert(4, vec![late]);
    let late = Books::open(&sent, &lines);
    assert_eq!((late.faults.len(), late.crossed), (1, 0));
}

#[test]
fn a_head_may_cross_its_clients_leaving_and_be_lost_with_the_end_of_its_answer_at_once() {
    let millis = Duration::from_millis;
    for (number, reason) in [(4, CANCELLED), (6, "upstream_reset")] {
        for (headed, crossed) in [(millis(1990), 1), (millis(2200), 0)] {
            let (mut sent_all, mut lines) = evidence();
            sent_all.push(sent(6, None, Outcome::Reset));
            let ended = headed + millis(if number == 6 && crossed == 0 { 500 } else { 1 });
            let wrong = Logged { headed: Some(headed), ended, ..line(Some(200), reason) };
            lines.insert(6, vec![line(None, "upstream_reset")]);
            lines.insert(number, vec![wrong]);
            let books = Books::open(&sent_all, &lines);
            assert_eq!(
                (books.crossed, books.faults.len() as u64),
                (crossed, 1 - crossed),
                "{number} {headed:?}"
            );
        }
    }
}

#[test]
fn metrics_and_telemetry_that_lose_or_repeat_one_are_faults() {
    let (sent, lines) = evidence();
    for (count, said) in [(0, "metrics 0"), (2, "metrics 2")] {
        let wrong =
            METRICS.replace("reason=\"upstream_reset\"} 1", &format!("reason=\"upstream_reset\"}} {count}"));
        let found = books(&sent, &lines, &wrong, TRAFFIC).0.faults;
        assert!(matches!(&found[..], [fault] if fault.contains(said)), "{found:?}");
    }
    for (from, to) in
        [("\"requests\": 5", "\"requests\": 6"), ("\"upstream_reset\": 1", "\"upstream_reset\": 2")]
    {
        let found = books(&sent, &lines, METRICS, &TRAFFIC.replace(from, to)).0.faults;
        assert!(found.iter().all(|fault| fault.contains("telemetry")) && !found.is_empty(), "{found:?}");
    }
    assert!(of_telemetry(&TRAFFIC.replace("\"requests\": 1,", "\"requests\": 0,")).is_err());
}

#[test]
fn what_was_counted_before_is_left_out() {
    let before = BTreeMap::from([("a", 2), ("b", 3)]);
    let now = BTreeMap::from([("a", 5), ("b", 3), ("c", 1)]);
    assert_eq!(since(&now, &before), BTreeMap::from([("a", 3), ("c", 1)]));
}
