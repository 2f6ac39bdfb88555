//! Sockets that say nothing, as many as can be had.

use tokio::net::TcpStream;
use weft_harness::wait::wait_until;

use super::report::{Actor, Attempt, Report};
use crate::application::{self, Application};
use crate::target::Target;

/// Places for connections that the sidecar under attack has, and sockets that the attacker opens.
const PLACES: usize = 100;
const SOCKETS: usize = 400;

pub(super) async fn run(report: &mut Report) -> anyhow::Result<()> {
    let mut target = Target::start("exhaustion", "").await?;
    let (cart, outside) = (Application::start("cart").await?, Application::start("outside").await?);
    let limit = format!("--max-connections {PLACES}");
    let outbound = weft_harness::mesh::local(weft_harness::host::free_port()?);
    let server =
        target.server("cart", "cart:80/http", &cart, &[limit, format!("--outbound {outbound}")]).await?;
    let caller = target.caller("web", &[]).await?;
    target.wait_for(&caller, "http://cart/", "cart").await?;
    let mut silent = Vec::new();
    for _ in 0..SOCKETS {
        // One that is refused is what the attacker has to live with.
        silent.extend(TcpStream::connect(server.inbound).await.ok());
    }
    let own = application::get(outbound, &format!("http://{}/", outside.address), "x").await;
    let attempt = Attempt {
        actor: Actor::Stranger,
        what: &format!(
            "{SOCKETS} silent sockets to a sidecar with {PLACES} places, and a request of its application"
        ),
        expected: "200: outbound connections have places that no stranger takes",
    };
    report.record(attempt, own.status() == Some(200), own.summary());
    let began = tokio::time::Instant::now();
    let freed = wait_until("a place", async || {
        let mut answer = application::get(caller.outbound, "http://cart/", "cart").await;
        if answer.status() != Some(200) {
            answer = application::get(caller.outbound, "http://cart/", "cart").await;
        }
        Ok(answer.status() == Some(200))
    })
    .await;
    let attempt = Attempt {
        actor: Actor::Stranger,
        what: "the same sockets, and a request of another workload",
        expected: "200 within seconds: silent sockets lose their places",
    };
    report.record(attempt, freed.is_ok(), format!("{:?} after {:?}", freed.err(), began.elapsed()));
    drop(silent);
    target.stop().await;
    Ok(())
}
