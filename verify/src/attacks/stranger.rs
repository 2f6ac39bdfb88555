//! A client on the network that has no identity, from a network namespace of its own.

use std::net::{IpAddr, SocketAddr};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use weft_harness::host::free_port;
use weft_testkit::namespace::Neighbour;

use super::network;
use super::report::{Actor, Attempt, Report};
use crate::application::{self, Application};
use crate::target::Target;

/// The attacked machine and the attacker's.
const HERE: &str = "10.213.7.1/24";
const THERE: [&str; 2] = ["10.213.7.2/24", "10.213.7.3/24"];
/// Connections that the attacker holds at the monitoring server.
const HELD: usize = 300;

pub(super) async fn run(report: &mut Report) -> anyhow::Result<()> {
    if !network::is_own() {
        report.skip("stranger", "it takes root, unshare and ip, for network namespaces");
        return Ok(());
    }
    let neighbour = Neighbour::joined(&[HERE], &THERE);
    let mut target = Target::start("stranger", "").await?;
    let inside = Application::start("inside").await?;
    let any = |port| SocketAddr::from(([0, 0, 0, 0], port));
    let (redirected, monitor) = (free_port()?, free_port()?);
    let arguments =
        [format!("--transparent-outbound {}", any(redirected)), format!("--monitor {}", any(monitor))];
    let caller = target.unredirected("web", &arguments).await?;
    target.wait_for(&caller, &format!("http://{}/", inside.address), "inside").await?;
    inside.forget();

    let proxied = format!("GET http://{}/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", inside.address);
    let tunnel = format!("CONNECT {0} HTTP/1.1\r\nhost: {0}\r\n\r\n", inside.address);
    for (name, octets) in [("a request", proxied), ("a tunnel", tunnel)] {
        let answer = application::send_on(connect(&neighbour, redirected)?, &octets).await;
        let attempt = Attempt {
            actor: Actor::Stranger,
            what: &format!("{name} by the listener of redirected connections, from another host"),
            expected: "the connection ends without an answer, and nothing is reached",
        };
        let held = answer.status().is_none() && inside.requests().is_empty();
        report.record(
            attempt,
            held,
            format!("{}; application read {:?}", answer.summary(), inside.requests()),
        );
    }

    let mut held = Vec::new();
    for _ in 0..HELD {
        let mut stream = TcpStream::from_std(connect(&neighbour, monitor)?)?;
        // One that is refused is what the attacker has to live with.
        let _refused = stream.write_all(b"GET /hold/60 HTTP/1.1\r\nhost: x\r\n\r\n").await;
        held.push(stream);
    }
    let answer = application::get(SocketAddr::from(([127, 0, 0, 1], monitor)), "/live", "kubelet").await;
    let attempt = Attempt {
        actor: Actor::Stranger,
        what: &format!("{HELD} connections that a sidecar holds (/hold/60), and the kubelet's probe"),
        expected: "200: the address that has most connections loses its oldest",
    };
    report.record(attempt, answer.status() == Some(200), answer.summary());
    drop(held);
    target.stop().await;
    Ok(())
}

/// A connection from the attacker's network.
fn connect(neighbour: &Neighbour, port: u16) -> anyhow::Result<std::net::TcpStream> {
    let host: IpAddr = HERE.split('/').next().unwrap_or_default().parse()?;
    let stream = neighbour.enter(|| std::net::TcpStream::connect((host, port)))?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}
