//! What is delivered to whom.

use crate::fixture::{FRUIT, Mesh, STONE, View, settle};

#[tokio::test(start_paused = true)]
async fn a_resource_is_delivered_on_demand() {
    let mesh = Mesh::new();
    mesh.store.set(FRUIT, "apple", "green");
    mesh.store.set(FRUIT, "pear", "yellow");
    let client = mesh.client("c");
    settle().await;
    assert_eq!(client.view(), View::default());
    client.fruits.subscribe("apple");
    settle().await;
    assert_eq!(client.get("apple").as_deref(), Some("green"));
    let seen = mesh.seen.take();
    assert_eq!((seen.responses, seen.resources, seen.accepted), (1, 1, 1));
    assert_eq!(&*seen.connected[0].namespace, "garden");
    assert_eq!(&*seen.connected[0].node_id, "c");
}

#[tokio::test(start_paused = true)]
async fn absence_is_told_and_ends_when_the_resource_appears() {
    let mesh = Mesh::new();
    let client = mesh.client("c");
    client.fruits.subscribe("apple");
    settle().await;
    assert!(client.view().absent.contains("apple"));
    mesh.store.set(FRUIT, "apple", "green");
    settle().await;
    assert_eq!(client.get("apple").as_deref(), Some("green"));
    mesh.store.remove(FRUIT, "apple");
    settle().await;
    assert_eq!(client.get("apple"), None);
    assert!(client.view().absent.contains("apple"));
}

#[tokio::test(start_paused = true)]
async fn a_change_reaches_those_who_subscribe_once_and_nobody_else() {
    let mesh = Mesh::new();
    mesh.store.set(FRUIT, "apple", "green");
    let (first, second, third) = (mesh.client("1"), mesh.client("2"), mesh.client("3"));
    first.fruits.subscribe("apple");
    second.fruits.subscribe("apple");
    third.fruits.subscribe("pear");
    settle().await;
    mesh.seen.take();
    mesh.store.set(FRUIT, "apple", "red");
    settle().await;
    for client in [&first, &second] {
        assert_eq!(client.get("apple").as_deref(), Some("red"));
        assert_eq!(client.view().updates, 2);
    }
    let seen = mesh.seen.take();
    assert_eq!((seen.responses, seen.resources, seen.removed), (2, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_changes_nothing_is_not_sent() {
    let mesh = Mesh::new();
    mesh.store.set(FRUIT, "apple", "green");
    let client = mesh.client("c");
    client.fruits.subscribe("apple");
    settle().await;
    mesh.seen.take();
    mesh.store.set(FRUIT, "apple", "green");
    mesh.store.notifier.changed_all();
    settle().await;
    assert_eq!(mesh.seen.take().responses, 0);
}

#[tokio::test(start_paused = true)]
async fn a_collection_has_its_members_and_only_the_changed_one_is_sent_again() {
    let mesh = Mesh::new();
    mesh.store.collect(FRUIT, "tree/*");
    for index in 0..50 {
        mesh.store.set(FRUIT, &format!("tree/{index}"), "unripe");
    }
    mesh.store.set(FRUIT, "tree/branch/1", "elsewhere");
    let client = mesh.client("c");
    client.fruits.subscribe("tree/*");
    settle().await;
    assert_eq!(client.view().resources.len(), 50);
    assert!(client.view().complete.contains("tree/*"));
    mesh.seen.take();
    mesh.store.set(FRUIT, "tree/7", "ripe");
    settle().await;
    assert_eq!(client.get("tree/7").as_deref(), Some("ripe"));
    let seen = mesh.seen.take();
    assert_eq!((seen.responses, seen.resources, seen.removed), (1, 1, 0));
    mesh.store.remove(FRUIT, "tree/7");
    mesh.store.set(FRUIT, "tree/50", "new");
    settle().await;
    assert_eq!(client.view().resources.len(), 50);
    let seen = mesh.seen.take();
    assert_eq!((seen.resources, seen.removed), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_empty_collection_an_absent_one_and_one_that_was_not_answered_differ() {
    let mesh = Mesh::new();
    mesh.store.collect(FRUIT, "empty/*");
    mesh.store.pending(true);
    let client = mesh.client("c");
    client.fruits.subscribe("empty/*");
    client.fruits.subscribe("absent/*");
    settle().await;
    assert_eq!(client.view(), View::default());
    mesh.store.pending(false);
    settle().await;
    assert_eq!(client.view().complete.iter().collect::<Vec<_>>(), ["empty/*"]);
    assert_eq!(client.view().absent.iter().collect::<Vec<_>>(), ["absent/*"]);
}

#[tokio::test(start_paused = true)]
async fn a_collection_takes_its_members_with_it() {
    let mesh = Mesh::new();
    mesh.store.collect(FRUIT, "tree/*");
    for name in ["tree/1", "tree/2", "tree/3"] {
        mesh.store.set(FRUIT, name, "ripe");
    }
    let client = mesh.client("c");
    client.fruits.subscribe("tree/*");
    client.fruits.subscribe("tree/3");
    settle().await;
    mesh.seen.take();
    mesh.store.scatter(FRUIT, "tree/*");
    settle().await;
    assert_eq!(client.view().resources.keys().collect::<Vec<_>>(), ["tree/3"]);
    assert_eq!(client.view().absent.iter().collect::<Vec<_>>(), ["tree/*", "tree/1", "tree/2"]);
    assert_eq!(mesh.seen.take().removed, 1);
    mesh.store.collect(FRUIT, "tree/*");
    settle().await;
    assert_eq!(client.view().resources.len(), 3);
    assert!(client.view().complete.contains("tree/*"));
}

#[tokio::test(start_paused = true)]
async fn what_is_unsubscribed_is_forgotten_and_not_sent() {
    let mesh = Mesh::new();
    mesh.store.collect(FRUIT, "tree/*");
    for name in ["apple", "tree/1", "tree/2"] {
        mesh.store.set(FRUIT, name, "ripe");
    }
    let client = mesh.client("c");
    for name in ["apple", "tree/*", "tree/1"] {
        client.fruits.subscribe(name);
    }
    settle().await;
    client.fruits.unsubscribe("apple");
    client.fruits.unsubscribe("tree/*");
    settle().await;
    assert_eq!(client.view().resources.keys().collect::<Vec<_>>(), ["tree/1"]);
    assert_eq!(client.view().forgotten.iter().collect::<Vec<_>>(), ["apple", "tree/*", "tree/2"]);
    assert_eq!(mesh.store.notifier.subscribers(FRUIT, "apple"), 0);
    mesh.seen.take();
    mesh.store.set(FRUIT, "apple", "rotten");
    mesh.store.set(FRUIT, "tree/2", "rotten");
    settle().await;
    assert_eq!(mesh.seen.take().responses, 0);
    client.fruits.subscribe("apple");
    settle().await;
    assert_eq!(client.get("apple").as_deref(), Some("rotten"));
}

#[tokio::test(start_paused = true)]
async fn types_share_a_stream_and_nothing_else() {
    let mesh = Mesh::new();
    mesh.store.set(FRUIT, "amber", "not a fruit");
    mesh.store.set(STONE, "amber", "yellow");
    let client = mesh.client("c");
    client.stones.subscribe("amber");
    client.stones.subscribe("ruby");
    settle().await;
    assert_eq!(client.view(), View::default());
    assert_eq!(client.stone.borrow().resources["amber"], "yellow");
    assert!(client.stone.borrow().absent.contains("ruby"));
    client.fruits.subscribe("amber");
    settle().await;
    assert_eq!(client.get("amber").as_deref(), Some("not a fruit"));
    assert_eq!(mesh.seen.take().connected.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_server_knows_who_has_accepted_what() {
    let mesh = Mesh::new();
    mesh.store.collect(FRUIT, "tree/*");
    mesh.store.set(FRUIT, "tree/1", "ripe");
    let (first, second) = (mesh.client("1"), mesh.client("2"));
    first.fruits.subscribe("tree/1");
    second.fruits.subscribe("tree/*");
    settle().await;
    let version = mesh.store.value(FRUIT, "tree/1").map(|resource| resource.version());
    let accepted = mesh.server.accepted(FRUIT, "tree/1");
    assert_eq!(accepted.len(), 2);
    assert!(accepted.iter().all(|(_, accepted)| *accepted == version));
    mesh.store.set(FRUIT, "tree/1", "bad");
    settle().await;
    assert!(mesh.server.accepted(FRUIT, "tree/1").iter().all(|(_, accepted)| accepted.is_none()));
    drop(first);
    settle().await;
    assert_eq!(mesh.server.accepted(FRUIT, "tree/1").len(), 1);
    let stats = mesh.server.clients();
    assert_eq!((stats.len(), stats[0].types[0].held, stats[0].types[0].subscriptions), (1, 1, 1));
    assert_eq!(stats[0].types[0].rejected.len(), 1);
    let subscriptions = mesh.server.subscriptions(stats[0].client.id);
    assert_eq!(subscriptions, [(FRUIT.into(), vec!["tree/*".into()])]);
}
