//! Policies that can't be read, or not all of them.

use std::process::Command;

use weft_harness::host::find_program;

use super::report::{Actor, Attempt, Report};
use crate::application::{self, Application};
use crate::target::Target;

/// Policies with a fault, and what is wrong.
const POLICIES: [(&str, &str); 4] = [
    (
        "an address block of 33 bits",
        "  action: DENY\n  rules: [{from: {ipBlocks: [10.0.0.0/33, 127.0.0.0/8]}}]\n",
    ),
    ("a field of a newer version", "  action: DENY\n  rules: [{from: {countries: [xx]}}]\n"),
    ("an action of a newer version", "  action: QUARANTINE\n  rules: [{from: {namespaces: [default]}}]\n"),
    ("a rule that is no rule", "  action: DENY\n  rules: nothing\n"),
];

pub(super) async fn run(report: &mut Report) -> anyhow::Result<()> {
    for (name, spec) in POLICIES {
        let policy = format!(
            "apiVersion: mesh.weft.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: closed}}\nspec:\n{spec}"
        );
        let mut target = Target::start("policies", &policy).await?;
        let cart = Application::start("cart").await?;
        target.server("cart", "cart:80/http", &cart, &[]).await?;
        let caller = target.caller("web", &[]).await?;
        for state in ["at the first start", "after a restart of the control plane"] {
            // What is asked at first can come before the destination is known; the verdict is on what it settles at.
            let mut answer = application::get(caller.outbound, "http://cart/", "cart").await;
            for _ in 0..20 {
                if answer.status() != Some(503) && answer.status() != Some(502) {
                    break;
                }
                answer = application::get(caller.outbound, "http://cart/", "cart").await;
            }
            let attempt = Attempt {
                actor: Actor::Operator,
                what: &format!("a DENY policy with {name}, {state}"),
                expected: "403: what can't be read denies",
            };
            report.record(attempt, answer.status() == Some(403), answer.summary());
            target.mesh.restart().await?;
        }
        let checked = Command::new(find_program("weft")?)
            .arg("check")
            .arg(target.mesh.folder.join("config"))
            .output()?;
        let said = String::from_utf8_lossy(&checked.stdout) + String::from_utf8_lossy(&checked.stderr);
        let attempt = Attempt {
            actor: Actor::Operator,
            what: &format!("weft check of a DENY policy with {name}"),
            expected: "an error that names the policy",
        };
        let named = !checked.status.success() && said.contains("closed");
        report.record(attempt, named, said.lines().next().unwrap_or_default());
        target.stop().await;
    }
    Ok(())
}
