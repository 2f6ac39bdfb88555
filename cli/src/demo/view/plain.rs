//! Lines for people.

use crate::output::{Closed, line};
use crate::traffic::{EdgeReport, milliseconds};

use super::super::report::{Event, Ready, Second, SplitNow, Summary};

/// Lines of seconds without an event in between are the same but for their numbers: this many of them are enough.
const EVERY: u64 = 5;

/// Prints every event, and some of the seconds.
#[derive(Debug, Default)]
pub(in super::super) struct Plain {
    seconds: u64,
}

impl Plain {
    pub(super) fn second(&mut self, second: &Second) -> Result<(), Closed> {
        self.seconds += 1;
        if self.seconds % EVERY != 1 {
            return Ok(());
        }
        let (p50, p99) = (milliseconds(second.p50_ms), milliseconds(second.p99_ms));
        line(&format!(
            "{:>6.1} s  {:.0}/s, {} ok, {} lost, p50 {p50}, p99 {p99}; asked (seen): {}",
            second.at_s,
            second.rate,
            second.ok,
            second.lost,
            second.split.short()
        ))
    }
}

pub(super) fn ready(ready: &Ready) -> Result<(), Closed> {
    line(&format!("a request through the mesh:   {}", ready.curl))?;
    line(&format!("the page, through the mesh:   {}", ready.page))?;
    line(&format!("the split, to edit and save:  {}", ready.routes))?;
    line(&format!("logs:                         {}", ready.logs))
}

pub(super) fn event(event: &Event) -> Result<(), Closed> {
    line(&format!("{:>6.1} s  {}", event.at_s, event.text))
}

pub(super) fn summary(summary: &Summary) -> Result<(), Closed> {
    for text in summary_lines(summary) {
        line(&text)?;
    }
    Ok(())
}

fn summary_lines(summary: &Summary) -> Vec<String> {
    let mut lines = vec![String::new()];
    let latency = summary.latency_ms;
    let (p50, p99) = (latency.map(|it| it.p50), latency.map(|it| it.p99));
    lines.push(format!(
        "{} requests in {:.1} s, {} lost; p50 {}, p99 {}",
        summary.requests,
        summary.length_s,
        summary.lost,
        milliseconds(p50),
        milliseconds(p99)
    ));
    lines.push(String::new());
    lines.push("splits               asked          seen".to_owned());
    for phase in &summary.splits {
        let split = SplitNow { asked: phase.asked.clone(), seen: phase.seen.clone() };
        for (version, asked, seen, count) in split.rows() {
            lines.push(format!(
                "  from {:>5.1} s  {version:<4} {asked:>4.0} %  {seen:>6.1} %  {count} answers",
                phase.at_s
            ));
        }
    }
    lines.push(String::new());
    lines.push(
        "edges                                         requests  failed  retried      p50      p99"
            .to_owned(),
    );
    lines.extend(summary.edges.iter().map(edge));
    lines
}

fn edge(edge: &EdgeReport) -> String {
    let name = format!("{} -> {}", edge.from, edge.to);
    let tls = if edge.mtls { "mTLS" } else { "plain" };
    let (p50, p99) = (milliseconds(edge.p50_ms), milliseconds(edge.p99_ms));
    format!(
        "  {name:<34} {tls:<6} {:>10} {:>7} {:>8} {p50:>8} {p99:>8}",
        edge.requests, edge.failures, edge.retries
    )
}
