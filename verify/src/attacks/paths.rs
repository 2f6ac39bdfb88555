//! Paths that a policy and the application behind it read in different ways.

use super::report::{Actor, Attempt, Report};
use crate::application::{self, Application};
use crate::target::Target;

/// `/admin` is denied, and `/public` is all that is allowed.
const POLICIES: &str = "\
apiVersion: mesh.weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: no-admin}
spec:
  action: DENY
  rules: [{to: {paths: [/admin, \"/admin/*\"]}}]
---
apiVersion: mesh.weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: public}
spec:
  action: ALLOW
  rules: [{to: {paths: [\"/public/*\"]}}]
";

/// Targets that some server maps to `/admin/x`, or out of `/public`.
const PATHS: [&str; 19] = [
    "/public/%2e%2e/admin/x/%252e%252e/%252e%252e/public/y",
    "/public/../admin/%2e%2e/public/y",
    "/public/../admin/x",
    "/public/%2e%2e/admin/x",
    "/public/%2E%2E/admin/x",
    "/public/.%2e/admin/x",
    "/public/%252e%252e/admin/x",
    "/public/%25252e%25252e/admin/x",
    "/public/..%2fadmin/x",
    "/public/..%5cadmin/x",
    "/public/..\\admin/x",
    "/public//../../admin/x",
    "/public/..;/admin/x",
    "/public/..;a=b/admin/x",
    "/public/%2e%2e;/admin/x",
    "/public/%c0%ae%c0%ae/admin/x",
    "/public/..%00/admin/x",
    "//admin/x",
    "/public/x/%2e%2e/%2e%2e/admin",
];

pub(super) async fn run(report: &mut Report) -> anyhow::Result<()> {
    let mut target = Target::start("paths", POLICIES).await?;
    let cart = Application::start("cart").await?;
    target.server("cart", "cart:80/http", &cart, &[]).await?;
    let caller = target.caller("web", &[]).await?;
    target.wait_for(&caller, "http://cart/public/ready", "cart").await?;
    cart.forget();
    let plain = application::get(caller.outbound, "http://cart/admin/x", "cart").await;
    let attempt = Attempt { actor: Actor::Workload, what: "GET /admin/x, as it is denied", expected: "403" };
    report.record(attempt, plain.status() == Some(403), plain.summary());
    for path in PATHS {
        cart.forget();
        let answer = application::get(caller.outbound, &format!("http://cart{path}"), "cart").await;
        let attempt = Attempt {
            actor: Actor::Workload,
            what: &format!("GET {path}"),
            expected: "400 or 403, and the application gets nothing",
        };
        let held = matches!(answer.status(), Some(400 | 403)) && cart.requests().is_empty();
        report.record(attempt, held, format!("{}; application read {:?}", answer.summary(), cart.requests()));
    }
    target.stop().await;
    Ok(())
}
