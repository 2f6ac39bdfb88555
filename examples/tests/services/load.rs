//! What `load` counts against real services.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;
use weft_examples::load::{Report, drive};

use crate::support::{args, nowhere, start_echo, start_ratings, start_reviews, start_web};

/// 30 requests.
async fn load(url: &str, more: &[&str]) -> Report {
    let typed = [&[url, "--rate=300", "--duration=100ms"], more].concat();
    drive(args(&typed), CancellationToken::new(), |_| ()).await.unwrap()
}

fn count(label: &str, number: u64) -> BTreeMap<String, u64> {
    BTreeMap::from([(label.to_owned(), number)])
}

#[tokio::test]
async fn successes_are_counted_by_status_and_version() {
    let reviews = start_reviews(&[]).await;
    let web = start_web(&["--reviews", &reviews.url()]).await;
    let summary = load(&format!("{}/product/1", web.url()), &[]).await;
    assert_eq!((summary.sent, summary.ok, summary.failed), (30, 30, 0), "{summary:?}");
    assert_eq!((&summary.statuses, &summary.versions), (&count("200", 30), &count("v1", 30)));
    assert!(summary.latency_ms.is_some());
}

#[tokio::test]
async fn failures_are_counted_with_their_reason() {
    let failing = start_reviews(&["--fail-share=1"]).await;
    let summary = load(&format!("{}/reviews/1", failing.url()), &[]).await;
    assert_eq!((summary.ok, summary.failed), (0, 30));
    assert_eq!((&summary.statuses, &summary.failures), (&count("503", 30), &count("status 503", 30)));
    assert_eq!(summary.latency_ms, None);

    let nowhere = nowhere();
    let summary = load(&nowhere.url, &[]).await;
    assert_eq!((summary.sent, summary.failed, summary.statuses.len()), (30, 30, 0));
    let (reason, number) = summary.failures.first_key_value().unwrap();
    assert!(reason.starts_with("cannot connect: ") && *number == 30, "{summary:?}");

    let slow = start_reviews(&["--latency=1h"]).await;
    let summary = load(&format!("{}/reviews/1", slow.url()), &["--timeout=100ms"]).await;
    assert_eq!((summary.failed, summary.statuses.len()), (30, 0));
    assert!(summary.failures.contains_key("timeout"), "{summary:?}");
}

#[tokio::test]
async fn streams_of_grpc_are_whole_or_have_failed() {
    let ratings = start_ratings(&[]).await;
    let url = format!("grpc://{}", ratings.address);
    let summary = load(&url, &[]).await;
    assert_eq!((summary.sent, summary.ok, summary.failed), (30, 30, 0), "{summary:?}");
    let failing = start_ratings(&["--fail-share=1"]).await;
    let summary = load(&format!("grpc://{}", failing.address), &[]).await;
    assert_eq!((summary.ok, summary.failed), (0, 30), "{summary:?}");
}

#[tokio::test]
async fn connections_to_a_server_that_speaks_first_are_whole_or_have_failed() {
    let echo = start_echo().await;
    let summary = load(&format!("tcp://{}", echo.address), &[]).await;
    assert_eq!((summary.sent, summary.ok, summary.failed), (30, 30, 0), "{summary:?}");
    let silent = nowhere();
    let summary = load(&silent.url.replace("http", "tcp"), &[]).await;
    assert_eq!((summary.ok, summary.failed), (0, 30), "{summary:?}");
}

#[tokio::test]
async fn some_failing_and_some_not_add_up() {
    let flaky = start_reviews(&["--fail-share=0.5"]).await;
    let summary = load(&format!("{}/reviews/1", flaky.url()), &[]).await;
    assert_eq!(summary.ok + summary.failed, 30);
    assert_eq!(summary.statuses.values().sum::<u64>(), 30);
    assert_eq!(summary.failures.values().sum::<u64>(), summary.failed);
}
