//! What an end of the control plane takes from its clients: nothing.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::SystemTime;

use tokio::sync::mpsc;
use tonic::Code;
use weft_control_plane::{Announcement, ControlPlaneConfig, start};
use weft_identity::ca::rotate;

use crate::fixture::{Folders, any_port, join, shares, soon, split, token_of};

const CARTS: &str = "shop/cart:80/*";
const CART: &str = "shop/cart:80/shop.cart~cart-1";

/// A control plane that is a process of its own.
struct Process(Child);

impl Process {
    /// Starts one and waits until it serves.
    async fn start(folders: &Folders, listen: SocketAddr) -> (Self, Announcement) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_weft-control-plane"))
            .args(["--listen", &listen.to_string(), "--admin", "127.0.0.1:0"])
            .arg("--config")
            .arg(folders.config())
            .arg("--state")
            .arg(folders.state())
            .env("WEFT_LOG", "info")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, mut lines) = mpsc::unbounded_channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        // Read to its end, so that the process never waits for a reader.
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).for_each(|line| _ = sender.send(line));
        });
        let process = Self(child);
        let mut seen = Vec::new();
        soon(async {
            while let Some(line) = lines.recv().await {
                if line.contains("control plane listens") {
                    return;
                }
                seen.push(line);
            }
            panic!("the control plane ended: {seen:#?}");
        })
        .await;
        (process, Announcement::read(&folders.state()).unwrap().unwrap())
    }

    /// Ends it as `SIGKILL` does.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_kill_takes_no_endpoint_and_nothing_is_sent_again() {
    let folders = Folders::new();
    folders.write("shop.yaml", &split(90, 10));
    let (mut process, announced) = Process::start(&folders, any_port()).await;
    let cart = folders.join("cart").await;
    let mut registration = cart.register("cart-1", "cart", "10.0.0.1:8080").await.unwrap();
    let mut client = folders.join("web").await.discover("web-1");
    client.destinations.get("cart:80").await;
    client.endpoints.subscriptions.subscribe(CARTS);
    client.endpoints.until(|held| held.resources.contains_key(CART)).await;
    client.bundles.get("cluster.local").await;
    let before = (client.destinations.now(), client.endpoints.now(), client.bundles.now());
    for _ in 0..2 {
        process.kill();
        assert!(soon(registration.answers.message()).await.is_err());
        client.connected(false).await;
        process = Process::start(&folders, announced.address).await.0;
        client.connected(true).await;
        registration = cart.register("cart-1", "cart", "10.0.0.1:8080").await.unwrap();
    }
    // A new name is answered after everything that was resumed with.
    client.endpoints.subscriptions.subscribe("shop/nothing:80/*");
    client.endpoints.until(|held| held.absent.contains(&"shop/nothing:80/*".to_owned())).await;
    client.destinations.subscriptions.subscribe("nothing:80");
    client.destinations.until(|held| held.absent.contains(&"nothing:80".to_owned())).await;
    assert_eq!(client.endpoints.now().resources, before.1.resources);
    let added = |sent: &[String], before: &[String]| sent.strip_prefix(before).map(<[String]>::to_vec);
    assert_eq!(
        added(&client.endpoints.now().sent, &before.1.sent),
        Some(vec!["-shop/nothing:80/*".to_owned()])
    );
    assert_eq!(added(&client.destinations.now().sent, &before.0.sent), Some(vec!["-nothing:80".to_owned()]));
    assert_eq!(client.bundles.now(), before.2);
    folders.write("shop.yaml", &split(10, 90));
    client.destinations.until(|held| shares(&held.resources["cart:80"]) == [10, 90]).await;
}

#[tokio::test]
async fn an_end_is_told_to_clients_and_registrations_stay_for_the_next_start() {
    let folders = Folders::new();
    let running = folders.start().await;
    let address = running.address;
    let cart = folders.join("cart").await;
    let mut registration = cart.register("cart-1", "cart", "10.0.0.1:8080").await.unwrap();
    let mut client = folders.join("web").await.discover("web-1");
    client.endpoints.subscriptions.subscribe(CARTS);
    client.endpoints.until(|held| held.resources.contains_key(CART)).await;
    let sent = client.endpoints.now().sent;
    soon(running.stop()).await;
    let status = soon(registration.answers.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    client.connected(false).await;
    let _running = start(ControlPlaneConfig { listen: address, ..folders.settings() }).await.unwrap();
    client.connected(true).await;
    let mut newcomer = folders.join("web").await.discover("web-2");
    newcomer.endpoints.subscriptions.subscribe(CARTS);
    newcomer.endpoints.until(|held| held.resources.contains_key(CART)).await;
    assert_eq!(client.endpoints.now().sent, sent);
}

#[tokio::test]
async fn what_is_dropped_has_ended() {
    let folders = Folders::new();
    let running = folders.start().await;
    let cart = folders.join("cart").await;
    let mut registration = cart.register("cart-1", "cart", "10.0.0.1:8080").await.unwrap();
    let mut client = cart.discover("cart-1");
    client.bundles.get("cluster.local").await;
    drop(running);
    assert!(soon(registration.answers.message()).await.is_err());
    client.connected(false).await;
    // The folder is free, once what was dropped has let go of it.
    soon(async {
        while start(folders.settings()).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_new_root_is_believed_by_clients_and_named_in_new_tokens() {
    let folders = Folders::new();
    let _running = folders.start().await;
    let cart = folders.join("cart").await;
    let mut client = cart.discover("cart-1");
    assert_eq!(client.bundles.get("cluster.local").await.roots.len(), 1);
    let trust_domain = cart.identity().trust_domain();
    let ca = folders.state().join("ca");
    let next = rotate::prepare(&ca, &trust_domain, SystemTime::now()).unwrap();
    client.bundles.until(|held| held.resources["cluster.local"].roots.len() == 2).await;
    rotate::activate(&ca).unwrap();
    rotate::retire(&ca).unwrap();
    client.bundles.until(|held| held.resources["cluster.local"].roots.len() == 1).await;
    let hour = std::time::Duration::from_hours(1);
    let token = token_of(&folders.state(), "shop", "web", hour, SystemTime::now());
    assert_eq!(token.roots(), [next]);
    join(&token).await.unwrap();
}
