//! An application that listens on one loopback address alone.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::{Response, StatusCode};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use weft_proto::v1;

use super::network;
use super::world::*;
use crate::http::body::Body;
use crate::http::client::{Client, HttpVersion};
use crate::http::server::{ServerVersion, serve};
use crate::http::violation_recorder::ViolationRecorder;
use crate::transport::own_listeners::OwnListeners;
use crate::upstream::connect::Connector;
use crate::upstream::local::Local;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// An application that answers with its name and closes the connection, and how often it was connected to.
fn listens(at: &str, name: &'static str) -> Rc<Cell<u32>> {
    network::listen(address(at), move |stream| async move {
        let handler = move |_| async move {
            Response::builder().header("connection", "close").body(Body::full(name)).unwrap()
        };
        let drain = CancellationToken::new();
        serve(stream, ServerVersion::Http1, drain, ViolationRecorder::default(), handler, drop).await;
    });
    let connections = Rc::new(Cell::new(0));
    network::counted(address(at), &connections);
    connections
}

/// The connections to an application that was told to be there, of a proxy that listens there.
fn application_of(told: &str, listeners: &[&str]) -> Rc<Client> {
    let all = OwnListeners::new(listeners.iter().map(|listener| address(listener)));
    let local = Local::or_other_loopback(address(told), &all);
    Client::new(Connector::application(local, &OwnListeners::default()))
}

async fn asked(client: &Rc<Client>) -> Result<String, String> {
    let request = Box::new(request("POST", "/", Body::Empty));
    let answer = client.send(request, HttpVersion::Http1).await.map_err(|failure| failure.detail.clone())?;
    Ok(String::from_utf8(whole(answer).await.body().to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn an_application_is_reached_on_either_loopback_address() {
    for (told, at) in
        [("127.0.0.1:80", "[::1]:80"), ("[::1]:80", "127.0.0.1:80"), ("127.0.0.1:80", "127.0.0.1:80")]
    {
        local(async {
            listens(at, "here");
            let client = application_of(told, &[]);
            for _ in 0..3 {
                assert_eq!(asked(&client).await.unwrap(), "here", "{told} {at}");
            }
            network::refuse(address(at));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_address_that_was_told_comes_first_and_the_one_that_works_is_remembered_for_a_while() {
    local(async {
        let client = application_of("127.0.0.1:80", &[]);
        let other = listens("[::1]:80", "other");
        assert_eq!(asked(&client).await.unwrap(), "other");
        let told = listens("127.0.0.1:80", "told");
        assert_eq!(asked(&client).await.unwrap(), "other");
        assert_eq!((told.get(), other.get()), (0, 2), "what works is not left at once");
        sleep(Duration::from_secs(11)).await;
        assert_eq!(asked(&client).await.unwrap(), "told");
        // What is remembered does not hold when it is gone.
        network::refuse(address("127.0.0.1:80"));
        assert_eq!(asked(&client).await.unwrap(), "other");
        network::refuse(address("[::1]:80"));
        listens("127.0.0.1:80", "told");
        assert_eq!(asked(&client).await.unwrap(), "told");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_application_that_listens_nowhere_is_named_with_both_addresses() {
    local(async {
        listens("127.0.0.1:81", "another");
        let problem = asked(&application_of("127.0.0.1:80", &[])).await.unwrap_err();
        assert!(problem.contains("127.0.0.1:80") && problem.contains("[::1]:80"), "{problem}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_proxys_own_listener_at_the_other_address_is_not_the_application() {
    local(async {
        let own = listens("[::1]:80", "the proxy");
        assert!(asked(&application_of("127.0.0.1:80", &["[::1]:80"])).await.is_err());
        assert!(asked(&application_of("127.0.0.1:80", &["[::]:80"])).await.is_err());
        assert_eq!(own.get(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_application_that_does_not_answer_is_not_looked_for_elsewhere() {
    local(async {
        network::silence(address("127.0.0.1:80"));
        let other = listens("[::1]:80", "other");
        assert!(asked(&application_of("127.0.0.1:80", &[])).await.is_err());
        assert_eq!(other.get(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_is_reached_at_its_own_address_alone() {
    local(async {
        let plain = v1::Endpoint { address: "127.0.0.1".into(), port: 80, ..endpoint(2, v1::Hop::Plain) };
        let _mesh = Mesh::new(&destination(), &[plain]);
        let other = listens("[::1]:80", "other");
        assert_eq!(Caller::new().get("/").await.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(other.get(), 0);
    })
    .await;
}
