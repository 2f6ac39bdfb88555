//! Losing the server and finding it again.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use weft_mesh::backoff::{Backoff, Jitter};
use weft_xds::client::{self, Connection};
use weft_xds::server;

use crate::fixture::{FRUIT, Mesh, STONE, settle};

#[tokio::test(start_paused = true)]
async fn nothing_that_is_unchanged_is_sent_again() {
    let mut mesh = Mesh::new();
    mesh.store.collect(FRUIT, "tree/*");
    mesh.store.collect(FRUIT, "bush/*");
    for index in 0..200 {
        mesh.store.set(FRUIT, &format!("tree/{index}"), "ripe");
        mesh.store.set(STONE, &index.to_string(), "hard");
    }
    let client = mesh.client("c");
    client.fruits.subscribe("tree/*");
    client.fruits.subscribe("bush/*");
    for index in 0..100 {
        client.stones.subscribe(&index.to_string());
    }
    settle().await;
    assert_eq!(mesh.seen.take().resources, 302);
    let before = (client.view(), client.stone.borrow().clone());
    mesh.replace(server::Config::default());
    mesh.wire.cut();
    settle().await;
    let seen = mesh.seen.take();
    assert_eq!((seen.connected.len(), seen.responses), (1, 0));
    assert_eq!((client.view(), client.stone.borrow().clone()), before);
    assert_eq!(mesh.server.clients()[0].types[0].held, 200);
    mesh.store.set(FRUIT, "tree/7", "rotten");
    settle().await;
    assert_eq!(mesh.seen.take().resources, 1);
    assert_eq!(client.get("tree/7").as_deref(), Some("rotten"));
}

#[tokio::test(start_paused = true)]
async fn what_changed_or_went_meanwhile_is_told_on_resuming() {
    let mesh = Mesh::new();
    mesh.store.collect(FRUIT, "tree/*");
    mesh.store.collect(FRUIT, "bush/*");
    for name in ["apple", "pear", "plum", "tree/1", "tree/2", "bush/1"] {
        mesh.store.set(FRUIT, name, "ripe");
    }
    let client = mesh.client("c");
    for name in ["apple", "pear", "plum", "tree/*", "bush/*"] {
        client.fruits.subscribe(name);
    }
    settle().await;
    mesh.seen.take();
    *mesh.wire.refuse.lock() = true;
    mesh.wire.cut();
    settle().await;
    for name in ["pear", "tree/2"] {
        mesh.store.remove(FRUIT, name);
    }
    mesh.store.scatter(FRUIT, "bush/*");
    mesh.store.set(FRUIT, "plum", "blue");
    mesh.store.set(FRUIT, "tree/3", "ripe");
    settle().await;
    assert_eq!(client.view().resources.len(), 6);
    *mesh.wire.refuse.lock() = false;
    sleep(Duration::from_mins(1)).await;
    let view = client.view();
    assert_eq!(view.resources.keys().collect::<Vec<_>>(), ["apple", "plum", "tree/1", "tree/3"]);
    assert_eq!(view.absent.iter().collect::<Vec<_>>(), ["bush/*", "bush/1", "pear", "tree/2"]);
    let seen = mesh.seen.take();
    assert_eq!((seen.resources, seen.removed), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_know_yet_takes_nothing_away() {
    let mut mesh = Mesh::new();
    mesh.store.collect(FRUIT, "tree/*");
    mesh.store.set(FRUIT, "tree/1", "ripe");
    mesh.store.set(FRUIT, "apple", "green");
    let client = mesh.client("c");
    client.fruits.subscribe("tree/*");
    client.fruits.subscribe("apple");
    settle().await;
    let before = client.view();
    mesh.store.pending(true);
    mesh.replace(server::Config::default());
    mesh.wire.cut();
    settle().await;
    mesh.store.set(FRUIT, "apple", "red");
    settle().await;
    assert_eq!(client.view(), before);
    mesh.store.pending(false);
    settle().await;
    assert_eq!(client.get("apple").as_deref(), Some("red"));
    assert_eq!(client.get("tree/1").as_deref(), Some("ripe"));
}

#[tokio::test(start_paused = true)]
async fn wishes_of_the_time_without_a_server_are_kept() {
    let mesh = Mesh::new();
    mesh.store.set(FRUIT, "apple", "green");
    mesh.store.set(FRUIT, "pear", "yellow");
    let client = mesh.client("c");
    client.fruits.subscribe("apple");
    settle().await;
    *mesh.wire.refuse.lock() = true;
    mesh.wire.cut();
    settle().await;
    client.fruits.unsubscribe("apple");
    client.fruits.subscribe("pear");
    settle().await;
    assert_eq!(client.get("apple"), None);
    *mesh.wire.refuse.lock() = false;
    sleep(Duration::from_mins(1)).await;
    assert_eq!(client.view().resources.into_iter().collect::<Vec<_>>(), [("pear".into(), "yellow".into())]);
    assert_eq!(mesh.store.notifier.subscribers(FRUIT, "apple"), 0);
}

#[tokio::test(start_paused = true)]
async fn attempts_are_spread_within_growing_steps() {
    let mesh = Mesh::new();
    *mesh.wire.refuse.lock() = true;
    let backoff =
        Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(8), jitter: Jitter::AtLeast };
    let client = mesh.client_with(client::Config { backoff, ..client::Config::new("c") });
    sleep(Duration::from_mins(2)).await;
    let attempts = mesh.wire.attempts.lock().clone();
    assert!(attempts.len() >= 9, "{}", attempts.len());
    let steps = [1, 2, 4, 8, 8, 8, 8, 8];
    for (pair, step) in attempts.windows(2).zip(steps) {
        let delay = pair[1] - pair[0];
        // The clock of the runtime has milliseconds.
        let bounds = Duration::from_secs(step)..=Duration::from_secs(2 * step) + Duration::from_millis(2);
        assert!(bounds.contains(&delay), "{delay:?} is not in {bounds:?}");
    }
    let connection = client.connection.borrow().clone();
    let Connection::Disconnected { failures, error, .. } = connection else { panic!("{connection:?}") };
    assert!(failures as usize >= steps.len());
    let error = error.unwrap();
    assert!(error.contains("cannot connect") && error.contains("refused by the test"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_not_made_in_time_is_given_up() {
    let mesh = Mesh::new();
    *mesh.wire.hang.lock() = true;
    let client = mesh.client("c");
    let limit = client::Config::new("c").connect_timeout;
    sleep(limit + Duration::from_millis(10)).await;
    let connection = client.connection.borrow().clone();
    let Connection::Disconnected { error: Some(error), .. } = connection else { panic!("{connection:?}") };
    assert!(error.contains("no discovery stream within 10s"), "{error}");
    *mesh.wire.hang.lock() = false;
    settle().await;
    assert!(matches!(*client.connection.borrow(), Connection::Connected { .. }));
}

#[tokio::test(start_paused = true)]
async fn the_state_of_the_connection_is_told_with_its_time() {
    let mesh = Mesh::new();
    let mut client = mesh.client("c");
    let start = Instant::now();
    assert!(matches!(*client.connection.borrow_and_update(), Connection::Disconnected { error: None, .. }));
    settle().await;
    let connected = client.connection.borrow_and_update().clone();
    assert_eq!(connected, Connection::Connected { since: start, max_subscriptions: Some(100_000) });
    *mesh.wire.refuse.lock() = true;
    let lost = Instant::now();
    mesh.wire.cut();
    sleep(Duration::from_mins(1)).await;
    let connection = client.connection.borrow_and_update().clone();
    let Connection::Disconnected { since, failures, .. } = connection else { panic!("{connection:?}") };
    assert_eq!(since, lost);
    assert!(failures > 1);
}

#[tokio::test(start_paused = true)]
async fn a_draining_server_sends_its_clients_to_another() {
    let mut mesh = Mesh::new();
    mesh.store.set(FRUIT, "apple", "green");
    let client = mesh.client("c");
    client.fruits.subscribe("apple");
    settle().await;
    let old = mesh.server.clone();
    mesh.replace(server::Config::default());
    old.drain();
    settle().await;
    assert_eq!(old.clients().len(), 0);
    assert_eq!(mesh.server.clients().len(), 1);
    let seen = mesh.seen.take();
    assert_eq!(seen.ends, ["the server drains"]);
    assert_eq!(seen.resources, 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_has_an_age_and_its_client_comes_back() {
    let age = Duration::from_mins(10);
    let mesh = Mesh::with(server::Config { max_age: Some(age), ..server::Config::default() });
    mesh.store.set(FRUIT, "apple", "green");
    let client = mesh.client("c");
    client.fruits.subscribe("apple");
    sleep(age.mul_f64(0.79)).await;
    assert_eq!(mesh.seen.take().ends.len(), 0);
    sleep(age.mul_f64(0.45)).await;
    let seen = mesh.seen.take();
    assert_eq!(seen.ends, ["the stream reached its age"]);
    assert_eq!((seen.connected.len(), seen.resources), (1, 0));
}
