//! Who is served where a proxy acts in its workload's name, with networks of the kernel.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use weft_mesh::balance::Locality;
use weft_mesh::reason::Reason;
use weft_testkit::namespace::{Neighbour, in_own_network, run};

use super::world::local;
use crate::observe::stats::Direction;
use crate::outbound;
use crate::runtime::shared::Shared;
use crate::runtime::worker::Worker;
use crate::transport::listener::Bound;
use crate::transport::own_listeners::{OwnListeners, is_local};

/// What comes back for a request to an address, or that the connection was reset.
fn answer(proxy: &str, target: &str) -> String {
    let mut answer = String::new();
    let asked = TcpStream::connect(proxy).and_then(|mut stream| {
        let request = format!("GET {target} HTTP/1.1\r\nhost: application\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        stream.read_to_string(&mut answer)
    });
    match asked {
        Ok(_) => answer.lines().next().unwrap_or_default().to_owned(),
        Err(error) => error.kind().to_string(),
    }
}

/// An application that listens on loopback alone.
async fn application() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 204 here\r\n\r\n").await;
        }
    });
    address
}

/// A proxy to which `application` is a name outside of the mesh.
fn worker(application: SocketAddr) -> Rc<Worker> {
    let (shared, _) = Shared::new(1, Locality::default());
    let worker = Worker::new(shared, Vec::new());
    let mut snapshot = (*worker.snapshot()).clone();
    snapshot.destinations.insert(application.to_string().into(), None);
    worker.shared.snapshot.store(Arc::new(snapshot));
    worker
}

#[test]
fn others_than_its_network_namespace_are_not_served_in_a_workloads_name() {
    let name = "tests::foreign::others_than_its_network_namespace_are_not_served_in_a_workloads_name";
    in_own_network(name, &["nft"], || {
        let here = ["10.9.0.1/24", "fd00:9::1/64"];
        let neighbour = Arc::new(Neighbour::joined(&here, &["10.9.0.2/24", "fd00:9::2/64"]));
        run("ip", &["address", "add", "10.9.1.1/32", "dev", "lo"]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(local(async {
            let application = application().await;
            let worker = worker(application);
            let stop = CancellationToken::new();
            let [explicit, redirected, upstream] = ["0.0.0.0:0", "[::]:0", "0.0.0.0:0"]
                .map(|address| Bound::bind(address.parse().unwrap()).unwrap());
            let [explicit_port, redirected_port, upstream_port] =
                [&explicit, &redirected, &upstream].map(|bound| bound.address().port());
            outbound::listen_explicit(&worker, explicit.listener().unwrap(), &Arc::default(), stop.clone());
            outbound::listen_transparent(&worker, redirected.listener().unwrap(), stop.clone());
            let destination = application.to_string().into();
            let upstream = upstream.listener().unwrap();
            outbound::listen_local(&worker, upstream, destination, &Arc::default(), stop.clone());
            let rules = format!(
                "table inet weft {{
                    chain output {{
                        type nat hook output priority -100
                        ip daddr 10.9.0.2 tcp dport 80 redirect to :{redirected_port}
                    }}
                }}"
            );
            run("nft", &[&rules]);
            // Where redirected connections are meant to go.
            let mut snapshot = (*worker.snapshot()).clone();
            snapshot.destinations.insert("10.9.0.2:80".into(), None);
            worker.shared.snapshot.store(Arc::new(snapshot));
            let target = format!("http://{application}/");
            let ask = async |proxy: String, target: &str| {
                let target = target.to_owned();
                tokio::task::spawn_blocking(move || answer(&proxy, &target)).await.unwrap()
            };
            let ask_from_there = async |proxy: String| {
                let (neighbour, target) = (Arc::clone(&neighbour), target.clone());
                let asking = move || neighbour.enter(|| answer(&proxy, &target));
                tokio::task::spawn_blocking(asking).await.unwrap()
            };
            let served = "HTTP/1.1 204 here";
            for port in [explicit_port, redirected_port] {
                for host in ["127.0.0.1", "10.9.0.1", "10.9.1.1"] {
                    assert_eq!(ask(format!("{host}:{port}"), &target).await, served, "{host}:{port}");
                }
                let before = worker.shared.stats.answers(Direction::Outbound, Reason::Denied);
                assert_eq!(ask_from_there(format!("10.9.0.1:{port}")).await, "connection reset", "{port}");
                let refused = worker.shared.stats.answers(Direction::Outbound, Reason::Denied) - before;
                assert_eq!(refused, 1);
            }
            assert_eq!(ask(format!("[fd00:9::1]:{redirected_port}"), &target).await, served);
            let foreign = ask_from_there(format!("[fd00:9::1]:{redirected_port}")).await;
            assert_eq!(foreign, "connection reset");
            // A port for one destination is for whoever reaches it.
            assert_eq!(ask_from_there(format!("10.9.0.1:{upstream_port}")).await, served);
            // What is redirected is served; here the proxy's own connections are redirected, too.
            assert_eq!(ask("10.9.0.2:80".to_owned(), "/").await, "HTTP/1.1 508 Loop Detected");
            stop.cancel();
        }));
        let own = OwnListeners::new(["[::]:15001".parse().unwrap()]);
        for (address, here) in [
            ("10.9.0.1:15001", true),
            ("[::ffff:10.9.0.1]:15001", true),
            ("10.9.1.1:15001", true),
            ("[fd00:9::1]:15001", true),
            ("10.9.0.2:15001", false),
            ("[fd00:9::2]:15001", false),
        ] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(
                (is_local(address).unwrap(), own.reached_by(address).is_some()),
                (here, here),
                "{address}"
            );
        }
    });
}
