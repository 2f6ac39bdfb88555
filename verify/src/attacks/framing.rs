//! A peer with a valid certificate that frames its requests so that an application on HTTP/1 reads others.

use super::peer::Peer;
use super::report::{Actor, Attempt, Report};
use crate::application::Application;
use crate::target::Target;

/// What must never be read as a request: it stands in a body.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: cart\r\nx-forwarded-client-cert: forged\r\n\r\n";

/// A name, fields of the head, and the body.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

pub(super) async fn run(report: &mut Report) -> anyhow::Result<()> {
    let mut target = Target::start("framing", "").await?;
    let cart = Application::start("cart").await?;
    let server = target.server("cart", "cart:80/http", &cart, &[]).await?;
    let longer = (SMUGGLED.len() + 4).to_string();
    let cases: [Case<'_>; 6] = [
        ("a length without a body", &[("content-length", "77")], ""),
        ("a length shorter than the body", &[("content-length", "4")], SMUGGLED),
        ("a length longer than the body", &[("content-length", &longer)], SMUGGLED),
        ("two lengths", &[("content-length", "0"), ("content-length", "4")], SMUGGLED),
        ("chunked and a length", &[("transfer-encoding", "chunked"), ("content-length", "4")], SMUGGLED),
        (
            "a length beside an upgrade",
            &[("content-length", "77"), ("connection", "upgrade"), ("upgrade", "x")],
            "",
        ),
    ];
    for (name, fields, body) in cases {
        let mut peer = Peer::connect(&target, &server).await?;
        peer.request("/first", fields, body)?;
        let first = peer.answer().await;
        peer.request("/second", &[], SMUGGLED)?;
        let second = peer.answer().await;
        let wrong = cart.requests().iter().filter(|line| !is_of_a_head(line)).cloned().collect::<Vec<_>>();
        let attempt = Attempt {
            actor: Actor::Workload,
            what: &format!("weft/1 with {name}, and a second request"),
            expected: "the application reads no request that was not a head of its own",
        };
        report.record(
            attempt,
            wrong.is_empty(),
            format!("{first}, {second}; application read {:?}", cart.requests()),
        );
        cart.forget();
    }
    target.stop().await;
    Ok(())
}

/// Whether a request line is one that the peer sent as a head.
fn is_of_a_head(line: &str) -> bool {
    ["/first", "/second"].iter().any(|path| line.split(' ').nth(1) == Some(path))
}
