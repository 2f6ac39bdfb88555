//! Bounds, and what a client can't make a server do.

use std::time::Duration;

use tokio::time::sleep;
use tonic::Code;
use weft_xds::client::Connection;
use weft_xds::server;

use crate::fixture::{FRUIT, Mesh, STONE, settle};
use crate::wire::Raw;

#[tokio::test(start_paused = true)]
async fn a_slow_client_gets_the_last_state_in_few_messages() {
    let mesh = Mesh::new();
    mesh.store.collect(FRUIT, "tree/*");
    mesh.store.set(FRUIT, "apple", "0");
    let mut raw = Raw::open(&mesh).await;
    raw.subscribe(FRUIT, &["apple", "tree/*"]).await;
    let first = raw.next().await;
    for index in 1..=10_000 {
        mesh.store.set(FRUIT, "apple", &index.to_string());
        mesh.store.set(FRUIT, &format!("tree/{index}"), "there for a moment");
        mesh.store.remove(FRUIT, &format!("tree/{index}"));
    }
    mesh.store.set(FRUIT, "tree/stays", "ripe");
    settle().await;
    assert!(raw.is_silent().await);
    let pending = mesh.server.clients()[0].types[0].pending;
    assert!(pending <= 2, "{pending} changes wait");
    let lookups = mesh.store.lookups();
    raw.ack(&first).await;
    let second = raw.next().await;
    let mut names: Vec<&str> = second.resources.iter().map(|resource| resource.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["apple", "tree/stays"]);
    assert!(mesh.store.lookups() - lookups <= 2);
    raw.ack(&second).await;
    settle().await;
    assert!(raw.is_silent().await);
    assert_eq!(mesh.seen.take().responses, 2);
}

#[tokio::test(start_paused = true)]
async fn subscriptions_have_a_bound_over_all_types() {
    let mesh =
        Mesh::with(server::Config { max_subscriptions: 3, max_age: None, ..server::Config::default() });
    let mut raw = Raw::open(&mesh).await;
    raw.subscribe(FRUIT, &["a", "b"]).await;
    raw.subscribe(STONE, &["a"]).await;
    raw.subscribe(FRUIT, &["a", "b"]).await;
    settle().await;
    assert_eq!(mesh.server.clients().len(), 1);
    raw.subscribe(STONE, &["b"]).await;
    let status = raw.end().await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().starts_with("4 subscriptions on one stream, the limit is 3"), "{status}");
    settle().await;
    assert_eq!(mesh.store.notifier.subscribers(FRUIT, "a"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_knows_how_many_subscriptions_it_may_have_and_is_served_again_with_fewer() {
    let limited = |max_subscriptions| server::Config { max_subscriptions, ..server::Config::default() };
    let mesh = Mesh::with(limited(100));
    let client = mesh.client("c");
    for index in 0..100 {
        client.fruits.subscribe(&index.to_string());
    }
    settle().await;
    assert_eq!(client.view().absent.len(), 100);
    let limit = |connection: &Connection| match connection {
        Connection::Connected { max_subscriptions, .. } => *max_subscriptions,
        Connection::Disconnected { .. } => None,
    };
    assert_eq!(limit(&client.connection.borrow()), Some(100));
    client.fruits.subscribe("one more");
    settle().await;
    assert!(mesh.seen.take().ends[0].contains("the limit is 100"));
    client.fruits.unsubscribe("7");
    sleep(Duration::from_mins(1)).await;
    assert_eq!(limit(&client.connection.borrow()), Some(100));
    assert_eq!(mesh.store.notifier.subscribers(FRUIT, "one more"), 1);
}

#[tokio::test(start_paused = true)]
async fn types_have_a_bound() {
    let mesh = Mesh::with(server::Config { max_types: 2, ..server::Config::default() });
    let mut raw = Raw::open(&mesh).await;
    for kind in ["a", "b", "c"] {
        raw.subscribe(kind, &["x"]).await;
    }
    assert_eq!(raw.end().await.code(), Code::ResourceExhausted);
}

#[tokio::test(start_paused = true)]
async fn what_a_client_says_it_holds_has_a_bound() {
    let mesh = Mesh::with(server::Config { max_resumed: 2, ..server::Config::default() });
    let mut raw = Raw::open(&mesh).await;
    raw.resume(FRUIT, &["tree/*"], &[("tree/1", "x"), ("tree/2", "x"), ("tree/3", "x")]).await;
    assert_eq!(raw.end().await.code(), Code::ResourceExhausted);
}

#[tokio::test(start_paused = true)]
async fn names_have_a_bound() {
    let mesh = Mesh::new();
    for name in [String::new(), "x".repeat(1_025)] {
        let mut raw = Raw::open(&mesh).await;
        raw.subscribe(FRUIT, &[&name]).await;
        assert_eq!(raw.end().await.code(), Code::InvalidArgument);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_acknowledge_is_let_go() {
    let mesh = Mesh::new();
    mesh.store.set(FRUIT, "apple", "green");
    let mut raw = Raw::open(&mesh).await;
    raw.subscribe(FRUIT, &["apple"]).await;
    raw.next().await;
    sleep(Duration::from_secs(59)).await;
    assert_eq!(mesh.server.clients().len(), 1);
    let status = raw.end().await;
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(mesh.server.clients().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn acknowledging_what_was_not_read_does_not_fill_the_server() {
    let mesh = Mesh::with(server::Config { max_types: 1, max_age: None, ..server::Config::default() });
    let mut raw = Raw::open(&mesh).await;
    raw.subscribe(FRUIT, &["apple"]).await;
    for nonce in 1..10_000_u32 {
        mesh.store.set(FRUIT, "apple", &"x".repeat(1_000 + nonce as usize % 2));
        if raw.ack_nonce(FRUIT, &nonce.to_string()).await.is_err() {
            break;
        }
        settle().await;
    }
    assert_eq!(mesh.server.clients().len(), 0);
    assert!(mesh.seen.take().ends[0].contains("before they were received"));
}

#[tokio::test(start_paused = true)]
async fn a_large_collection_comes_in_parts_and_is_complete_after_the_last() {
    let config = server::Config { batch_bytes: 1_000, max_age: None, ..server::Config::default() };
    let mesh = Mesh::with(config);
    mesh.store.collect(FRUIT, "tree/*");
    for index in 0..100 {
        mesh.store.set(FRUIT, &format!("tree/{index}"), &"x".repeat(100));
    }
    let mut raw = Raw::open(&mesh).await;
    raw.subscribe(FRUIT, &["tree/*"]).await;
    let mut members = 0;
    let parts = loop {
        let part = raw.next().await;
        raw.ack(&part).await;
        members += part.resources.iter().filter(|resource| resource.resource.is_some()).count();
        let complete = part.resources.iter().any(|resource| resource.name == "tree/*");
        assert_eq!(complete, members == 100);
        if complete {
            break mesh.seen.take();
        }
    };
    assert!(parts.responses > 10 && parts.largest < 1_300, "{parts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_collection_that_vanishes_in_the_middle_is_absent_in_the_end() {
    let mesh = Mesh::with(server::Config { batch_bytes: 100, ..server::Config::default() });
    mesh.store.collect(FRUIT, "tree/*");
    for index in 0..10 {
        mesh.store.set(FRUIT, &format!("tree/{index}"), "ripe");
    }
    let mut raw = Raw::open(&mesh).await;
    raw.subscribe(FRUIT, &["tree/*"]).await;
    let first = raw.next().await;
    for index in 0..10 {
        mesh.store.remove(FRUIT, &format!("tree/{index}"));
    }
    mesh.store.scatter(FRUIT, "tree/*");
    let mut last = first;
    loop {
        raw.ack(&last).await;
        if raw.is_silent().await {
            break;
        }
        last = raw.next().await;
    }
    assert_eq!(last.removed_resources, ["tree/*"]);
}
