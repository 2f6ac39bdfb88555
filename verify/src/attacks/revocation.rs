//! Certificates that are valid, of identities that are not to be believed any more.

use std::process::Command;

use weft_harness::host::find_program;
use weft_harness::wait::wait_until;

use super::peer::Peer;
use super::report::{Actor, Attempt, Report};
use crate::application::{self, Application};
use crate::target::Target;

pub(super) async fn run(report: &mut Report) -> anyhow::Result<()> {
    let mut target = Target::start("revocation", "").await?;
    let cart = Application::start("cart").await?;
    let server = target.server("cart", "cart:80/http", &cart, &[]).await?;
    let caller = target.caller("web", &[]).await?;
    target.wait_for(&caller, "http://cart/", "cart").await?;
    let mut open = Peer::connect(&target, &server).await?;
    open.request("/before", &[], "")?;
    let before = open.answer().await;
    revoke(&target, "default/evil")?;
    let refused = wait_until("a refusal", async || {
        let Ok(mut peer) = Peer::connect(&target, &server).await else { return Ok(true) };
        peer.request("/after", &[], "")?;
        Ok(!peer.answer().await.contains("200"))
    })
    .await;
    let attempt = Attempt {
        actor: Actor::Thief,
        what: "a stolen certificate, after weft identity revoke",
        expected: "200 before, refused afterwards",
    };
    report.record(attempt, before.contains("200") && refused.is_ok(), format!("{before}; then {refused:?}"));
    let ended = wait_until("its end", async || {
        Ok(open.request("/still", &[], "").is_err() || !open.answer().await.contains("200"))
    })
    .await;
    let attempt = Attempt {
        actor: Actor::Thief,
        what: "a connection that the stolen certificate had opened before",
        expected: "it ends within seconds",
    };
    report.record(attempt, ended.is_ok(), format!("{ended:?}"));

    revoke(&target, "default/web")?;
    let ended = wait_until("an end", async || {
        let answer = application::get(caller.outbound, "http://cart/", "cart").await;
        Ok(answer.status() != Some(200))
    })
    .await;
    let answer = application::get(caller.outbound, "http://cart/", "cart").await;
    let attempt = Attempt {
        actor: Actor::Workload,
        what: "a workload whose identity was revoked calls another",
        expected: "it is not answered by the application",
    };
    report.record(attempt, ended.is_ok(), answer.summary());
    target.stop().await;
    Ok(())
}

fn revoke(target: &Target, identity: &str) -> anyhow::Result<()> {
    let done = Command::new(find_program("weft")?)
        .args(["identity", "revoke", identity, "--state"])
        .arg(target.mesh.folder.join("state"))
        .output()?;
    anyhow::ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}
