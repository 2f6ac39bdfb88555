//! What is known of traffic after reports that come in any order, twice, or not at all.

use proptest::prelude::*;

use super::*;

fn traffic() -> Arc<Traffic> {
    Arc::new(Traffic::new(Arc::default()))
}

fn reporter(workload: &str, instance: u64) -> Reporter {
    let identity = "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap();
    Reporter { identity, workload: workload.to_owned(), instance }
}

fn edge(upstream: &str, requests: u64) -> EdgeReport {
    EdgeReport { upstream_workload: upstream.to_owned(), requests, ..EdgeReport::default() }
}

fn totals(totals: Vec<EdgeReport>) -> TelemetryReport {
    TelemetryReport { totals, ..TelemetryReport::default() }
}

fn requests(traffic: &Traffic) -> u64 {
    let summary = traffic.summary(&[], &ConfigStatus::default());
    summary.edges.iter().map(|edge| edge.traffic.as_ref().unwrap().requests).sum()
}

#[test]
fn the_newest_report_replaces_the_one_before_it_and_a_repetition_changes_nothing() {
    let traffic = traffic();
    let web = traffic.begin(reporter("web", 7));
    for _ in 0..3 {
        web.take(totals(vec![edge("a", 5), edge("b", 1)]));
    }
    assert_eq!((requests(&traffic), traffic.len()), (6, 2));
    web.take(totals(vec![edge("a", 9)]));
    assert_eq!(requests(&traffic), 10);
    let back = traffic.begin(reporter("web", 7));
    drop(web);
    back.take(TelemetryReport { whole: true, ..totals(vec![edge("a", 9), edge("b", 1)]) });
    assert_eq!((requests(&traffic), traffic.len()), (10, 2), "over a new stream");
}

#[test]
fn a_process_that_began_anew_adds_to_what_the_one_before_it_counted() {
    let traffic = traffic();
    traffic.begin(reporter("web", 7)).take(totals(vec![edge("a", 5)]));
    let new = traffic.begin(reporter("web", 8));
    new.take(TelemetryReport { whole: true, ..totals(vec![edge("a", 2)]) });
    assert_eq!(requests(&traffic), 7);
    let summary = traffic.summary(&[], &ConfigStatus::default());
    assert_eq!(summary.edges.iter().map(|edge| edge.instance).collect::<Vec<_>>(), [7, 8]);
    assert_eq!(summary.workloads.len(), 1, "who reports is there, registered or not");
    assert!(summary.workloads[0].connected);
    drop(new);
    assert!(!traffic.summary(&[], &ConfigStatus::default()).workloads[0].connected);
}

#[test]
fn an_edge_that_has_ended_is_counted_with_those_of_its_service() {
    let traffic = traffic();
    let web = traffic.begin(reporter("web", 7));
    web.take(totals(vec![edge("a", 5), edge("", 1)]));
    web.take(totals(vec![edge("a", 0), edge("", 6)]));
    assert_eq!((requests(&traffic), traffic.len()), (6, 1));
}

#[test]
fn reports_of_what_is_new_are_added_up_as_they_were() {
    let traffic = traffic();
    let web = traffic.begin(reporter("web", 0));
    let new = |requests| {
        let latency = v1::Histogram { buckets: vec![3, u32::MAX], counts: vec![requests, 9], sum: 12 };
        let edges = vec![EdgeReport { latency: Some(latency), ..edge("a", requests) }];
        TelemetryReport { edges, ..TelemetryReport::default() }
    };
    web.take(new(2));
    web.take(new(3));
    let summary = traffic.summary(&[], &ConfigStatus::default());
    let told = summary.edges[0].traffic.as_ref().unwrap();
    let latency = told.latency.as_ref().unwrap();
    assert_eq!(
        (told.requests, &latency.buckets[..], &latency.counts[..], latency.sum),
        (5, &[3][..], &[5][..], 24)
    );
}

#[test]
fn who_has_gone_is_forgotten_first_and_nobody_fills_the_memory_alone() {
    let traffic = traffic();
    let many = |count: usize| totals((0..count).map(|number| edge(&number.to_string(), 1)).collect());
    let greedy = traffic.begin(reporter("greedy", 1));
    greedy.take(many(2 * WORKLOAD_EDGES_MAX));
    assert_eq!(traffic.len(), WORKLOAD_EDGES_MAX);
    for gone in ["first", "second"] {
        traffic.begin(reporter(gone, 1)).take(many(15_000));
    }
    assert_eq!(traffic.len(), EDGES_MAX);
    let new = traffic.begin(reporter("new", 1));
    new.take(many(10));
    let there = |traffic: &Traffic, workload: &str| {
        traffic.state.lock().instances.keys().any(|reporter| reporter.workload == workload)
    };
    assert!(there(&traffic, "greedy") && there(&traffic, "second") && there(&traffic, "new"));
    assert!(!there(&traffic, "first"));
    assert_eq!(traffic.len(), WORKLOAD_EDGES_MAX + 15_000 + 10);
    for instance in 2..100 {
        traffic.begin(reporter("new", instance)).take(many(1));
    }
    assert_eq!(traffic.state.lock().of_workload(&reporter("new", 0)).count(), INSTANCES_MAX);
    assert!(traffic.state.lock().instances.contains_key(&reporter("new", 1)), "it still has a stream");
}

proptest! {
    /// Whatever is lost, and whenever a control plane forgets everything: after a report on a new stream it knows all.
    #[test]
    fn nothing_is_lost_over_lost_reports_new_streams_and_restarts(
        steps in prop::collection::vec((0_usize..3, 1_u64..10, 0_u8..4), 1..80),
    ) {
        let mut plane = traffic();
        let mut stream = plane.begin(reporter("web", 7));
        let mut counted = [0; 3];
        for (at, more, happens) in steps {
            counted[at] += more;
            let changed = totals(vec![edge(&at.to_string(), counted[at])]);
            let all = counted.iter().enumerate().filter(|(_, count)| **count > 0);
            let all = totals(all.map(|(at, count)| edge(&at.to_string(), *count)).collect());
            match happens {
                // The report gets lost with its stream.
                0 => {
                    stream = plane.begin(reporter("web", 7));
                    stream.take(TelemetryReport { whole: true, ..all });
                }
                // The control plane starts again.
                1 => {
                    plane = traffic();
                    stream = plane.begin(reporter("web", 7));
                    stream.take(TelemetryReport { whole: true, ..all });
                }
                _ => stream.take(changed),
            }
            prop_assert_eq!(requests(&plane), counted.iter().sum::<u64>());
        }
    }
}
