//! Interleaved rounds over all workloads and subjects.

use anyhow::Context;

use crate::check;
use crate::h2load;
use crate::options::{Compare, Generator};
use crate::report::{Comparison, Entry, SubjectFacts, WorkloadResults};
use crate::sample::{self, Sample};
use crate::workload::{Workload, WorkloadName};
use weft_harness::host::{self, Host};
use weft_harness::protocol::Protocol;
use weft_harness::subject::Subject;
use weft_harness::testbed::{HopPorts, Setting, Testbed};

/// Checks every subject, measures in rounds, writes the results.
pub(crate) async fn run(options: Compare) -> anyhow::Result<()> {
    let host = Host::describe();
    let subjects = Subject::select(&options.selection.subjects)?;
    let workloads = workloads(&options);
    let cores = options.selection.placing.cores();
    let setting = Setting::prepare(cores)?;
    let mut facts = Vec::new();
    for subject in &subjects {
        facts.push(check(subject, &workloads, &setting).await?);
    }
    let mut results: Vec<_> =
        workloads.into_iter().map(|workload| empty_results(workload, &subjects)).collect();
    for round in 1..=options.rounds {
        for result in &mut results {
            for (subject, entry) in subjects.iter().zip(&mut result.entries) {
                let sample = measure(subject, &result.workload, &setting, &options).await;
                let sample =
                    sample.with_context(|| format!("{} with {}", subject.name, result.workload.name))?;
                progress(round, &subject.name, &result.workload, &sample);
                entry.samples.push(sample);
            }
        }
    }
    let comparison = Comparison {
        command: host::command_line(env!("CARGO_PKG_NAME")),
        host,
        generator: if options.generator == Generator::Own { "own" } else { "h2load" },
        rounds: options.rounds,
        seconds: options.seconds,
        warmup: options.warmup,
        baseline: options.baseline,
        subjects: facts,
        results,
    };
    weft_harness::report::write(
        &host::bench_folder().join("results"),
        options.name.as_deref(),
        "compare",
        &comparison,
        &comparison.markdown(),
    )?;
    let failures = comparison.failures();
    anyhow::ensure!(failures.is_empty(), "results are void, requests failed: {}", failures.join("; "));
    Ok(())
}

fn workloads(options: &Compare) -> Vec<Workload> {
    let names =
        if options.workloads.is_empty() { WorkloadName::ALL.to_vec() } else { options.workloads.clone() };
    let workloads = names.into_iter().map(|name| name.workload(options.rate));
    // By default h2load runs what it can; a workload asked for that it can't run is refused when it comes.
    let asked = !options.workloads.is_empty();
    workloads
        .filter(|workload| asked || options.generator == Generator::Own || workload.rate.is_none())
        .collect()
}

async fn check(subject: &Subject, workloads: &[Workload], setting: &Setting) -> anyhow::Result<SubjectFacts> {
    let mut hops = std::collections::BTreeMap::new();
    for protocol in Protocol::ALL {
        if workloads.iter().any(|workload| workload.protocol == protocol)
            && let Some(hop) = check::verify(subject, protocol, setting).await?
        {
            hops.insert(protocol, hop);
        }
    }
    let version = subject.version().await?;
    eprintln!("{}: {version}: checked", subject.name);
    Ok(SubjectFacts { name: subject.name.clone(), version, hops })
}

fn empty_results(workload: Workload, subjects: &[Subject]) -> WorkloadResults {
    let entries = subjects.iter().map(|subject| Entry { subject: subject.name.clone(), samples: Vec::new() });
    WorkloadResults { workload, entries: entries.collect() }
}

async fn measure(
    subject: &Subject,
    workload: &Workload,
    setting: &Setting,
    options: &Compare,
) -> anyhow::Result<Sample> {
    let mut stage = Testbed::start(subject, workload.protocol, setting, HopPorts::plain()?).await?;
    let (warmup, seconds) = (options.warmup, options.seconds);
    let sample = match options.generator {
        Generator::Own => sample::measure(&mut stage, workload, setting.cores, warmup, seconds).await?,
        Generator::H2load => h2load::measure(&mut stage, workload, setting.cores, warmup, seconds).await?,
    };
    stage.stop().await;
    Ok(sample)
}

fn progress(round: u32, subject: &str, workload: &Workload, sample: &Sample) {
    let latency = &sample.outcome.latency;
    let quantile = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let pair = sample.pair.map_or_else(String::new, |pair| {
        format!(
            ", {:.1} us CPU/request, disturbance {:.0} %",
            pair.cpu_us_per_request, pair.disturbance_percent
        )
    });
    eprintln!(
        "round {round} {:<8} {subject:<10} {:>8.0}/s, mean {:.0} us, p50 {}, p99 {}{pair}",
        workload.name,
        sample.throughput,
        latency.mean,
        quantile(latency.p50),
        quantile(latency.p99)
    );
}
