//! The same load from h2load (nghttp2), to cross-check the own generator.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use anyhow::Context;

use crate::load::{Latency, Outcome};
use crate::sample::{Meter, Sample};
use crate::workload::Workload;
use weft_harness::host;
use weft_harness::load::Failure;
use weft_harness::process::Cores;
use weft_harness::process::{Launch, Process};
use weft_harness::protocol::Protocol;
use weft_harness::server::BODY_LENGTH;
use weft_harness::testbed::Testbed;

/// Puts `workload` on `stage`: once to warm up, once to count. Processor time is that of the whole second run.
pub(crate) async fn measure(
    stage: &mut Testbed,
    workload: &Workload,
    cores: Cores,
    warmup: u32,
    seconds: u32,
) -> anyhow::Result<Sample> {
    anyhow::ensure!(workload.rate.is_none(), "h2load has no open loop; choose workloads h1 and h2");
    if warmup > 0 {
        run(stage, workload, cores.client, warmup).await?;
    }
    let begin = Meter::read(stage, cores)?;
    let report = run(stage, workload, cores.client, seconds).await?;
    let end = Meter::read(stage, cores)?;
    stage.verify()?;
    let outcome = parse(&report).with_context(|| format!("h2load's report isn't understood:\n{report}"))?;
    begin.sample(&end, outcome, stage)
}

async fn run(stage: &Testbed, workload: &Workload, core: usize, seconds: u32) -> anyhow::Result<String> {
    let program = host::find_program("h2load").context("cross-checking needs it; install nghttp2-client")?;
    let mut words: Vec<String> = ["-t", "1", "-c"].map(str::to_owned).into();
    words.push(workload.connections.to_string());
    words.extend(["-m".to_owned(), workload.streams.to_string(), "-D".to_owned(), seconds.to_string()]);
    if workload.protocol == Protocol::H1 {
        words.push("--h1".to_owned());
    }
    // The URI names the authority; where to connect to is said apart.
    words.extend([format!("--connect-to={}", stage.connect), format!("http://{}/1k", stage.authority)]);
    let command = std::iter::once(program.as_os_str()).chain(words.iter().map(OsStr::new)).collect();
    let folder = &stage.folder;
    let launch = Launch { name: "h2load", core, command, environment: Vec::new(), folder, read: true };
    let mut process = Process::start(&launch)?;
    let mut report = String::new();
    while let Some(line) = process.next_line().await? {
        report.push_str(&line);
        report.push('\n');
    }
    process.finish().await?;
    Ok(report)
}

fn parse(report: &str) -> Option<Outcome> {
    let line = |prefix: &str| report.lines().find_map(|line| line.strip_prefix(prefix));
    let seconds = time(line("finished in ")?.split(',').next()?)? / 1e6;
    let requests = counts(line("requests: ")?);
    let statuses = counts(line("status codes: ")?);
    let good = *statuses.get("2xx")?;
    // Requests that are under way when the time is over are neither succeeded nor failed.
    let answered = *requests.get("succeeded")?;
    let mut failures = BTreeMap::new();
    let mut fail = |failure, count: u64| {
        if count > 0 {
            failures.insert(failure, count);
        }
    };
    fail(Failure::Closed, requests.get("failed")? + requests.get("timeout")?);
    fail(Failure::Status, answered.saturating_sub(good));
    let body = line("traffic: ")?.rsplit('(').next()?.strip_suffix(") data")?.parse::<u64>().ok()?;
    // Bodies that are cut by the end of the time are counted in bytes but not as requests.
    fail(Failure::Length, (answered * BODY_LENGTH as u64).saturating_sub(body));
    let mut times = line("time for request:")?.split_whitespace().skip(1);
    let max = time(times.next()?)? as u64;
    let mean = time(times.next()?)?;
    let latency = Latency { mean, p50: None, p90: None, p99: None, p999: None, max };
    Some(Outcome { answered, seconds, latency, failures, backlog: 0 })
}

/// `12 total, 3 started` as a map from word to number.
fn counts(text: &str) -> BTreeMap<&str, u64> {
    let pairs = text.split(", ").filter_map(|part| part.trim().split_once(' '));
    pairs.filter_map(|(number, word)| Some((word, number.parse().ok()?))).collect()
}

/// Microseconds of `2.13ms`.
fn time(text: &str) -> Option<f64> {
    let unit = text.find(|character: char| character.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit);
    let factor = match unit {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
finished in 3.00s, 1000.00 req/s, 1.20MB/s
requests: 3010 total, 3010 started, 3000 done, 3000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 2999 2xx, 0 3xx, 0 4xx, 1 5xx
traffic: 3.43MB (3599999) total, 290.89KB (297875) headers (space savings 0.00%), 2.93MB (3072000) data
                     min         max         mean         sd        +/- sd
time for request:      315us     12.06ms      2.63ms      1.01ms    71.53%
";

    #[test]
    fn a_report_is_read() {
        let outcome = parse(REPORT).unwrap();
        assert_eq!(outcome.answered, 3000);
        assert!((outcome.seconds - 3.0).abs() < 1e-9);
        assert_eq!(outcome.latency.max, 12_060);
        assert_eq!(outcome.failures, BTreeMap::from([(Failure::Status, 1)]));
    }

    #[test]
    fn missing_bytes_are_a_failure() {
        let outcome = parse(&REPORT.replace("(3072000)", "(3071000)")).unwrap();
        assert_eq!(outcome.failures[&Failure::Length], 1000);
    }
}
