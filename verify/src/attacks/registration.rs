//! Endpoints of a service, offered by a workload that the service was not granted to.

use super::report::{Actor, Attempt, Report};
use crate::application::{self, Application};
use crate::target::Target;

/// Requests that are asked for the service under attack: half of its traffic would show in so many.
const REQUESTS: usize = 40;

pub(super) async fn run(report: &mut Report) -> anyhow::Result<()> {
    let mut target = Target::start("registration", "").await?;
    let (cart, evil) = (Application::start("cart").await?, Application::start("evil").await?);
    target.server("cart", "cart:80/http", &cart, &[]).await?;
    let caller = target.caller("web", &[]).await?;
    target.wait_for(&caller, "http://cart/", "cart").await?;
    let (offered, log) = target.unsettled("evil", "cart:80/http", &evil).await?;
    for _ in 0..REQUESTS {
        application::get(caller.outbound, "http://cart/", "cart").await;
    }
    let attempt = Attempt {
        actor: Actor::Workload,
        what: "a workload with a token of default/evil offers the service cart",
        expected: "it gets none of cart's requests, and its sidecar says why",
    };
    let stolen = evil.requests().len();
    let config = application::get(caller.admin, "/config", "admin").await;
    let known = config.has(&offered.to_string());
    let held = stolen == 0 && !known && log.has("cart");
    let seen =
        format!("{stolen} of {REQUESTS} requests, known as an endpoint: {known}; {}", log.line("cart"));
    report.record(attempt, held, seen);
    target.stop().await;
    Ok(())
}
