//! A local port that leads to one destination, told to lead to another.

use weft_harness::host::free_port;
use weft_harness::mesh::local;
use weft_harness::wait::wait_until;

use super::report::{Actor, Attempt, Report};
use crate::application::{self, Application};
use crate::target::Target;

pub(super) async fn run(report: &mut Report) -> anyhow::Result<()> {
    let mut target = Target::start("upstream", "").await?;
    let (web, vault) = (Application::start("web").await?, Application::start("vault").await?);
    target.server("web", "web:8080/http", &web, &[]).await?;
    target.server("vault", "vault:9000/http", &vault, &[]).await?;
    let port = local(free_port()?);
    let caller = target.caller("client", &[format!("--upstream web:8080={port}")]).await?;
    wait_until("web to answer", async || Ok(application::get(port, "/", "web").await.has("web"))).await?;
    target.wait_for(&caller, "http://vault:9000/ready", "vault").await?;

    let admin = caller.admin.to_string();
    for (name, authority) in [("vault:9000", "vault:9000"), ("ADMIN", &admin)] {
        let tunnel = format!(
            "CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\nproxy-authorization: Basic eDp5\r\n\r\n\
             GET /stolen HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n"
        );
        let answer = application::send(port, &tunnel).await;
        let reached = vault.count("/stolen") > 0 || answer.has("\"workload\"");
        let attempt = Attempt {
            actor: Actor::Stranger,
            what: &format!("CONNECT {name} to a port that leads to web"),
            expected: "web alone gets the request",
        };
        report.record(
            attempt,
            !reached,
            format!("{}; web got {:?}", answer.summary(), web.requests().last()),
        );
        let answer = application::get(port, &format!("http://{authority}/absolute"), authority).await;
        let attempt = Attempt {
            actor: Actor::Stranger,
            what: &format!("GET http://{name}/absolute to a port that leads to web"),
            expected: "web alone gets the request",
        };
        let reached = vault.count("/absolute") > 0 || !answer.has("web");
        report.record(
            attempt,
            !reached,
            format!("{}; web got {:?}", answer.summary(), web.requests().last()),
        );
    }
    let nowhere = local(free_port()?);
    let answer =
        application::send(caller.outbound, &format!("CONNECT {nowhere} HTTP/1.1\r\nhost: {nowhere}\r\n\r\n"))
            .await;
    let attempt = Attempt {
        actor: Actor::Workload,
        what: "CONNECT to an address where nobody listens",
        expected: "502 or 503 with a reason",
    };
    let named = matches!(answer.status(), Some(502 | 503)) && answer.has("x-weft-error");
    report.record(attempt, named, answer.summary());
    target.stop().await;
    Ok(())
}
