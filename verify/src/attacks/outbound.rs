//! The listener for a workload's own requests, used to reach what is not theirs, or itself.

use std::fs;

use super::report::{Actor, Attempt, Report};
use crate::application::{self, Application};
use crate::target::{Caller, Target};

/// Descriptors of an idle sidecar, and some: a loop takes thousands.
const FEW_DESCRIPTORS: usize = 100;

pub(super) async fn run(report: &mut Report) -> anyhow::Result<()> {
    let mut target = Target::start("outbound", "").await?;
    let outside = Application::start("outside").await?;
    let caller = target.caller("web", &[]).await?;
    target.wait_for(&caller, &format!("http://{}/", outside.address), "outside").await?;
    own_surfaces(report, &caller).await;
    loops(report, &mut target, &caller).await?;
    target.stop().await;
    Ok(())
}

/// Own addresses in every spelling that some resolver takes.
async fn own_surfaces(report: &mut Report, caller: &Caller) {
    let hosts = [
        "127.0.0.1",
        "localhost",
        "0.0.0.0",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::]",
        "127.1",
    ];
    for host in hosts {
        for (name, port) in [("ADMIN", caller.admin.port()), ("OUTBOUND", caller.outbound.port())] {
            let url = format!("http://{host}:{port}/config");
            let request = format!("GET {url} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            let tunnel = format!("CONNECT {host}:{port} HTTP/1.1\r\nhost: {host}:{port}\r\n\r\n");
            for (method, octets) in [("GET", request), ("CONNECT", tunnel)] {
                let answer = application::send(caller.outbound, &octets).await;
                let attempt = Attempt {
                    actor: Actor::Workload,
                    what: &format!("{method} {host}:{name} through the outbound listener"),
                    expected: "refused with a reason",
                };
                let refused =
                    answer.status().is_some_and(|status| status >= 400) && answer.has("x-weft-error");
                report.record(attempt, refused, answer.summary());
            }
        }
    }
    let open = fs::read_dir(format!("/proc/{}/fd", caller.process)).map_or(usize::MAX, Iterator::count);
    let attempt = Attempt {
        actor: Actor::Workload,
        what: "requests that lead the outbound listener to itself",
        expected: "no connection is left of them",
    };
    report.record(attempt, open < FEW_DESCRIPTORS, format!("{open} open descriptors"));
}

/// A service whose application is its caller's own outbound listener.
async fn loops(report: &mut Report, target: &mut Target, caller: &Caller) -> anyhow::Result<()> {
    let listener = Application::at(caller.outbound);
    target.server("mirror", "mirror:80/http", &listener, &[]).await?;
    let answer = application::get(caller.outbound, "http://mirror/", "mirror").await;
    let open = fs::read_dir(format!("/proc/{}/fd", caller.process)).map_or(usize::MAX, Iterator::count);
    let attempt = Attempt {
        actor: Actor::Workload,
        what: "a service whose application is its caller's own outbound listener",
        expected: "the second pass is refused with a reason, and no connection is left",
    };
    let ended = answer.status().is_some_and(|status| status >= 400) && open < FEW_DESCRIPTORS;
    report.record(attempt, ended, format!("{}; {open} open descriptors", answer.summary()));
    Ok(())
}
