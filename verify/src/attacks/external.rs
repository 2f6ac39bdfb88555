//! Hosts and addresses that an ExternalService of a foreign namespace claims.

use super::report::{Actor, Attempt, Report};
use crate::application::{self, Application};
use crate::target::Target;

pub(super) async fn run(report: &mut Report) -> anyhow::Result<()> {
    let mut target = Target::start("external", "").await?;
    let (cart, evil, bank) = (
        Application::start("cart").await?,
        Application::start("evil").await?,
        Application::start("bank").await?,
    );
    target.server("cart", "cart:80/http", &cart, &[]).await?;
    let caller = target.caller("web", &[]).await?;
    target.wait_for(&caller, "http://cart/", "cart").await?;
    let external = |namespace: &str, name: &str, host: &str, port: u16, endpoint: &Application| {
        format!(
            "apiVersion: mesh.weft.dev/v1alpha1\nkind: ExternalService\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec:\n  hosts: [\"{host}\"]\n  ports: [{{port: {port}, targetPort: {}}}]\n  endpoints: [{{address: 127.0.0.1}}]\n",
            endpoint.address.port()
        )
    };
    target.mesh.configure(
        &[
            external("default", "bank", "api.bank.test", 80, &bank),
            external("aaa", "bank", "api.bank.test", 80, &evil),
            external("aaa", "other", "other.test", 80, &evil),
            external("aaa", "short", "cart", 80, &evil),
        ]
        .join("---\n"),
    )?;
    target.wait_for(&caller, "http://api.bank.test/ready", "bank").await?;
    let asked = [
        ("the caller's own host", "http://api.bank.test/", Some("bank")),
        ("a host that is not exported", "http://other.test/", None),
        ("a service's short name", "http://cart/", Some("cart")),
    ];
    for (name, url, owner) in asked {
        let answer = application::get(caller.outbound, url, "x").await;
        let attempt = Attempt {
            actor: Actor::Tenant,
            what: &format!("an ExternalService of another namespace claims {name}"),
            expected: "the caller does not reach the claimant",
        };
        let right = owner.is_none_or(|owner| answer.has(owner)) && !answer.has("evil");
        report.record(attempt, right && evil.requests().is_empty(), answer.summary());
        evil.forget();
    }
    target.stop().await;
    Ok(())
}
