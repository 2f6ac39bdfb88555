//! The same requests to a recording server directly and through proxies: what differs, and whether it is known why.

use std::collections::BTreeSet;

use anyhow::Context;
use clap::Args;

use weft_harness::host::{self, Host};
use weft_harness::options::Placing;
use weft_harness::report;
use weft_harness::testbed::Setting;

mod answer;
mod case;
pub(crate) mod client;
mod compare;
mod findings;
mod generate;
mod message;
mod model;
mod mutations;
pub(crate) mod recorder;
mod subject;
mod table;
mod wire;

use case::Case;
use findings::Findings;
use model::Seen;
use subject::Subject;
use table::Table;

/// What is compared.
#[derive(Clone, Debug, Args)]
pub(crate) struct Differential {
    /// Exchanges to try; every kind has come after some 400.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) requests: u64,
    /// What the exchanges are made of: the same ones for the same seed.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Try this one alone and print all that is seen of it.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) only: Option<u64>,
    /// A folder of `differential/`; repeatable, all by default.
    #[arg(long = "subject", value_name = "NAME")]
    pub(crate) subjects: Vec<String>,
    #[command(flatten)]
    pub(crate) placing: Placing,
    /// Names the results, `results/<NAME>.md` and `.json`. Without it they go to `bench/.work/results/`.
    #[arg(long)]
    pub(crate) name: Option<String>,
}

/// Every proxy with routes, by the folder that describes it.
const SUBJECTS: [&str; 3] = ["weft", "weft-single", "envoy"];
/// Exchanges between two lines on how far it is.
const PROGRESS: u64 = 500;

/// Tries all exchanges with all subjects and fails if a difference is not explained.
pub(crate) async fn run(options: Differential) -> anyhow::Result<()> {
    let host = Host::describe();
    let table = Table::read()?;
    let setting = Setting::prepare(options.placing.cores())?;
    let direct = Subject::direct().await?;
    let names: Vec<&str> = if options.subjects.is_empty() {
        SUBJECTS.to_vec()
    } else {
        options.subjects.iter().map(String::as_str).collect()
    };
    let mut subjects = Vec::new();
    for name in &names {
        subjects.push(Subject::start(name, &setting).await.with_context(|| format!("starting {name}"))?);
    }
    let mut findings = Findings::new(names.iter().map(ToString::to_string).collect());
    match options.only {
        Some(number) => show(&generate::case(options.seed, number), &direct, &subjects).await,
        None => {
            for number in 0..options.requests {
                let case = generate::case(options.seed, number);
                try_case(&case, &direct, &mut subjects, &table, &mut findings).await?;
                if (number + 1) % PROGRESS == 0 {
                    eprintln!("{} of {}: {}", number + 1, options.requests, findings.summary());
                }
            }
        }
    }
    for subject in subjects {
        subject.stop().await;
    }
    if options.only.is_some() {
        return Ok(());
    }
    let report = findings.report(host::command_line(env!("CARGO_PKG_NAME")), host, &options, &table);
    report::write(
        &host::verify_folder().join("results"),
        options.name.as_deref(),
        "differ",
        &report,
        &report.markdown(),
    )?;
    let unexplained = report.unexplained();
    anyhow::ensure!(
        unexplained == 0,
        "{unexplained} kinds of differences are not explained in docs/differential.md"
    );
    Ok(())
}

async fn try_case(
    case: &Case,
    direct: &Subject,
    subjects: &mut [Subject],
    table: &Table,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let seen = tokio::join!(direct.try_case(case), all(case, subjects));
    findings.tried(case);
    for (subject, own) in subjects.iter_mut().zip(seen.1) {
        let mut differences = differences(case, seen.0.clone(), &own);
        let unknown = |difference: &String| table.explains(case.point, difference, &subject.name).is_none();
        if differences.iter().any(unknown) {
            // What a busy machine made of it does not come a second time.
            let again = differences_again(case, direct, subject).await;
            findings.unsteady(differences.iter().filter(|one| unknown(one) && !again.contains(*one)).count());
            differences.retain(|one| !unknown(one) || again.contains(one));
        }
        subject.ensure_alive().with_context(|| format!("after exchange {}", case.number))?;
        for difference in differences {
            let row = table.explains(case.point, &difference, &subject.name);
            findings.found(case, &subject.name, difference, row);
        }
    }
    Ok(())
}

async fn all(case: &Case, subjects: &[Subject]) -> Vec<Seen> {
    futures_util::future::join_all(subjects.iter().map(|subject| subject.try_case(case))).await
}

async fn differences_again(case: &Case, direct: &Subject, subject: &Subject) -> BTreeSet<String> {
    let (direct, own) = tokio::join!(direct.try_case(case), subject.try_case(case));
    differences(case, direct, &own)
}

fn differences(case: &Case, direct: Seen, own: &Seen) -> BTreeSet<String> {
    compare::differences(case, &model::with_routes(case, direct), own)
}

/// Prints all there is to see of one exchange.
async fn show(case: &Case, direct: &Subject, subjects: &[Subject]) {
    println!("{case:#?}");
    let seen = direct.try_case(case).await;
    println!("== direct\n{seen:#?}");
    for subject in subjects {
        let own = subject.try_case(case).await;
        println!("== {}\n{own:#?}", subject.name);
        for difference in differences(case, seen.clone(), &own) {
            println!("{}: {}: {difference}", subject.name, case.point);
        }
    }
}
