//! The report.

use clap::ValueEnum;

use crate::Experiments;
use crate::trial::{Trial, Tried};

/// How many standard deviations of a binomial count are its error.
const DEVIATIONS: f64 = 3.0;

pub(crate) fn head(options: &Experiments) {
    let Experiments { runs, seed, table, only } = options;
    let table = table.and_then(|table| table.to_possible_value());
    let table = table.map_or(String::new(), |table| format!(" --table {}", table.get_name()));
    let only = only.as_ref().map_or(String::new(), |only| format!(" --only {only:?}"));
    println!("# Experiments: false alarms and power\n");
    println!("{runs} runs of each trial. To repeat it, with the same figures:\n");
    println!("```sh\nweft-verify experiments --runs {runs} --seed {seed}{table}{only}\n```\n");
}

pub(crate) fn quiet_head() {
    println!("## Variants that do not differ\n");
    println!(
        "How many runs had an alarm at any look. A method is judged where it promises a level: at most that, with"
    );
    println!(
        "{DEVIATIONS} standard deviations of a binomial count. The others are there to be compared with.\n"
    );
    println!("| traffic | method | level | false alarms | at most | |\n|---|---|---:|---:|---:|---|");
}

/// Prints a trial without an effect. Whether all methods kept their level.
pub(crate) fn quiet(trial: &Trial, tried: &Tried) -> bool {
    let runs = f64::from(tried.runs());
    let mut held = true;
    for (index, method) in trial.methods.iter().enumerate() {
        let alarms = tried.alarms(index);
        let share = percent(f64::from(alarms) / runs);
        let Some(level) = method.level else {
            println!("| {} | {} | | {share} | | |", trial.setting, method.name);
            continue;
        };
        let most = most(level, runs);
        let verdict = if f64::from(alarms) <= most { "held" } else { "**EXCEEDED**" };
        held &= f64::from(alarms) <= most;
        println!(
            "| {} | {} | {} | {share} | {} | {verdict} |",
            trial.setting,
            method.name,
            percent(level),
            percent(most / runs)
        );
    }
    held
}

/// The largest count of alarms that a level allows.
fn most(level: f64, runs: f64) -> f64 {
    (level * runs + DEVIATIONS * (runs * level * (1.0 - level)).sqrt()).ceil()
}

pub(crate) fn effect_head() {
    println!("\n## Variants that differ\n");
    println!(
        "How many runs had an alarm by the end of the traffic, and after how many requests of both arms half and nine tenths"
    );
    println!("of all runs had. A test with a fixed horizon ends at its last request.\n");
    println!("| traffic | method | found | half after | nine tenths after |\n|---|---|---:|---:|---:|");
}

/// Prints a trial with an effect, of which nothing is promised.
pub(crate) fn effect(trial: &Trial, tried: &Tried) {
    for (index, method) in trial.methods.iter().enumerate() {
        let found = percent(f64::from(tried.alarms(index)) / f64::from(tried.runs()));
        let after =
            |part| tried.quantile(index, part).map_or("-".to_owned(), |requests| format!("{requests:.0}"));
        println!("| {} | {} | {found} | {} | {} |", trial.setting, method.name, after(0.5), after(0.9));
    }
}

pub(crate) fn verdict(held: bool) {
    println!(
        "\n{}",
        if held { "Every method that promises a level kept it." } else { "A method EXCEEDED its level." }
    );
}

fn percent(part: f64) -> String {
    format!("{:.2} %", part * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{beside, keeps};

    #[test]
    fn a_method_that_alarms_too_often_fails_and_one_that_promises_nothing_does_not() {
        let trial = |methods| Trial { setting: "test", methods, run: Box::new(|_, _| ()) };
        let tried = |trial: &Trial, alarms: u32| {
            let mut tried = Tried::new(trial);
            for run in 0..1_000 {
                tried.record(&[(run < alarms).then_some(1.0)]);
            }
            tried
        };
        let judged = trial(vec![keeps(0.05, "judged")]);
        assert!(quiet(&judged, &tried(&judged, 70)) && !quiet(&judged, &tried(&judged, 72)));
        let other = trial(vec![beside("other")]);
        assert!(quiet(&other, &tried(&other, 1_000)));
    }
}
