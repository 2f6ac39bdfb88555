//! NACK: what is refused, what stays, and what is not sent again.

use weft_xds::{EncodedResource, Rejection};

use crate::fixture::{FRUIT, Mesh, STONE, settle};

#[tokio::test(start_paused = true)]
async fn the_last_good_one_stays_and_the_refusal_is_told() {
    let mesh = Mesh::new();
    mesh.store.set(FRUIT, "apple", "green");
    mesh.store.set(FRUIT, "pear", "yellow");
    let client = mesh.client("c");
    client.fruits.subscribe("apple");
    client.fruits.subscribe("pear");
    settle().await;
    mesh.store.set(FRUIT, "apple", "bad apple");
    mesh.store.set(FRUIT, "pear", "brown");
    settle().await;
    assert_eq!(client.get("apple").as_deref(), Some("green"));
    assert_eq!(client.get("pear").as_deref(), Some("brown"));
    let seen = mesh.seen.take();
    let expected = Rejection::new("apple", "\"bad apple\" is bad");
    assert_eq!(
        seen.refused,
        [(
            "c".into(),
            "1 of 2 resources refused: apple: \"bad apple\" is bad".into(),
            vec![expected.clone()]
        )]
    );
    let stats = &mesh.server.clients()[0].types[0];
    assert_eq!(stats.rejected, [expected]);
    assert!(stats.last_nack.as_ref().is_some_and(|(_, text)| text.contains("bad apple")));
}

#[tokio::test(start_paused = true)]
async fn a_refused_version_is_not_sent_again_until_it_changes() {
    let mesh = Mesh::new();
    mesh.store.set(FRUIT, "apple", "bad apple");
    let client = mesh.client("c");
    client.fruits.subscribe("apple");
    settle().await;
    assert_eq!(mesh.seen.take().resources, 1);
    mesh.store.notifier.changed(FRUIT, ["apple"]);
    mesh.store.notifier.changed_all();
    settle().await;
    assert_eq!(mesh.seen.take().resources, 0);
    mesh.store.set(FRUIT, "apple", "green");
    settle().await;
    assert_eq!(mesh.seen.take().resources, 1);
    assert_eq!(client.get("apple").as_deref(), Some("green"));
    assert_eq!(mesh.server.clients()[0].types[0].rejected, []);
}

#[tokio::test(start_paused = true)]
async fn a_refused_change_that_is_taken_back_leaves_the_good_one() {
    let mesh = Mesh::new();
    mesh.store.set(FRUIT, "apple", "green");
    let client = mesh.client("c");
    client.fruits.subscribe("apple");
    settle().await;
    mesh.store.set(FRUIT, "apple", "bad apple");
    settle().await;
    mesh.store.set(FRUIT, "apple", "green");
    settle().await;
    assert_eq!(client.get("apple").as_deref(), Some("green"));
    assert_eq!(mesh.server.clients()[0].types[0].rejected, []);
    let accepted = mesh.server.accepted(FRUIT, "apple");
    assert_eq!(accepted[0].1, mesh.store.value(FRUIT, "apple").map(|resource| resource.version()));
}

#[tokio::test(start_paused = true)]
async fn a_new_server_learns_of_the_refusal_and_only_of_that() {
    let mut mesh = Mesh::new();
    mesh.store.set(FRUIT, "apple", "green");
    mesh.store.set(FRUIT, "pear", "yellow");
    let client = mesh.client("c");
    client.fruits.subscribe("apple");
    client.fruits.subscribe("pear");
    settle().await;
    mesh.store.set(FRUIT, "apple", "bad apple");
    settle().await;
    mesh.seen.take();
    mesh.replace(weft_xds::server::Config::default());
    mesh.wire.cut();
    settle().await;
    let seen = mesh.seen.take();
    assert_eq!((seen.resources, seen.refused.len()), (1, 1));
    assert_eq!(client.get("apple").as_deref(), Some("green"));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_refused() {
    let mesh = Mesh::new();
    let client = mesh.client("c");
    let broken = EncodedResource::from_content(FRUIT, "apple", vec![0xff]);
    let foreign = EncodedResource::from_content(STONE, "pear", vec![]);
    mesh.store.insert(FRUIT, broken);
    mesh.store.insert(FRUIT, foreign);
    client.fruits.subscribe("apple");
    client.fruits.subscribe("pear");
    settle().await;
    let mut refused = mesh.seen.take().refused.remove(0).2;
    refused.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(refused[0].reason.starts_with("it can't be decoded"), "{refused:?}");
    assert_eq!(refused[1].reason, format!("it is a {STONE}, not a {FRUIT}"));
    assert_eq!(client.view().updates, 2);
}
