//! Whether the statistics of experiments keep their levels, and how soon they find an effect: simulations.
//!
//! Each trial makes traffic, looks at it after every batch and asks all of its methods; a method is judged where it promises a
//! level. The same seed gives the same table, on any number of cores.

use std::sync::atomic::{AtomicU32, Ordering};

use clap::{Args, ValueEnum};
use weft_experiment::random::Random;
use weft_mesh::hash::{combine, stable_hash};

mod effect;
mod quiet;
mod table;
mod thresholds;
mod traffic;
mod trial;

use trial::{Trial, Tried};

/// What to simulate.
#[derive(Clone, Debug, Args)]
pub struct Experiments {
    /// Runs of each trial
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Seed of the random numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only one of the two tables
    #[arg(long, value_enum)]
    table: Option<Table>,
    /// Only the trials that have this in their name
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// The tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Table {
    /// Variants that do not differ
    FalseAlarms,
    /// Variants that differ
    Power,
}

/// Runs all trials and prints their tables. Whether every method kept its level; an error if no trial has the name.
pub fn run(options: &Experiments) -> Result<bool, String> {
    let chosen =
        |trial: &Trial| options.only.as_ref().is_none_or(|only| trial.setting.contains(only.as_str()));
    let select = |all: Vec<Trial>| all.into_iter().filter(|trial| chosen(trial)).collect::<Vec<_>>();
    let wanted = |table| options.table.is_none_or(|only| only == table);
    let quiet = if wanted(Table::FalseAlarms) { select(quiet::trials()) } else { Vec::new() };
    let effects = if wanted(Table::Power) { select(effect::trials()) } else { Vec::new() };
    if quiet.is_empty() && effects.is_empty() {
        let only = options.only.as_deref().unwrap_or_default();
        return Err(format!("no trial has {only:?} in its name; --only takes a part of one, such as ramp"));
    }
    table::head(options);
    let mut held = true;
    if !quiet.is_empty() {
        table::quiet_head();
        for trial in &quiet {
            held &= table::quiet(trial, &simulate(trial, options));
        }
        table::verdict(held);
    }
    if !effects.is_empty() {
        table::effect_head();
        for trial in &effects {
            table::effect(trial, &simulate(trial, options));
        }
    }
    Ok(held)
}

/// All runs of a trial: for each method when it alarmed.
fn simulate(trial: &Trial, options: &Experiments) -> Tried {
    let next = AtomicU32::new(0);
    let seed = combine(options.seed, stable_hash(trial.setting.as_bytes()));
    let work = || {
        let mut tried = Tried::new(trial);
        loop {
            let run = next.fetch_add(1, Ordering::Relaxed);
            if run >= options.runs {
                return tried;
            }
            let mut alarms = vec![None; trial.methods.len()];
            (trial.run)(&mut Random::seeded(combine(seed, u64::from(run))), &mut alarms);
            tried.record(&alarms);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all = Tried::new(trial);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            match thread.join() {
                Ok(tried) => all.merge(tried),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_alarms_whichever_core_runs_them() {
        let options = Experiments { runs: 8, seed: 3, table: None, only: None };
        let trials = quiet::trials();
        let trial = trials.iter().find(|trial| trial.setting.contains("ramp")).unwrap();
        assert_eq!(simulate(trial, &options), simulate(trial, &options));
    }

    #[test]
    fn a_name_that_no_trial_has_is_refused() {
        let options = Experiments { runs: 1, seed: 1, table: None, only: Some("no such trial".into()) };
        assert!(run(&options).is_err());
    }

    #[test]
    fn every_trial_has_another_name_and_runs() {
        let options = Experiments { runs: 1, seed: 2, table: None, only: None };
        let all: Vec<Trial> = quiet::trials().into_iter().chain(effect::trials()).collect();
        let names: std::collections::BTreeSet<_> = all.iter().map(|trial| trial.setting).collect();
        assert_eq!(names.len(), all.len());
        for trial in all.iter().filter(|trial| trial.setting.contains("sample ratio")) {
            assert_eq!(simulate(trial, &options).runs(), 1);
        }
    }
}
