//! One kind of traffic, and the methods that look at it.

use weft_experiment::random::Random;

/// Makes traffic by some random numbers, and notes for each method after how many requests it alarmed, if it did.
pub(crate) type Run = Box<dyn Fn(&mut Random, &mut [Option<f64>]) + Sync>;

/// A kind of traffic with the methods that are asked.
pub(crate) struct Trial {
    pub(crate) setting: &'static str,
    pub(crate) methods: Vec<Method>,
    pub(crate) run: Run,
}

/// A method, with the level that it has to keep; none where it is there to be compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Method {
    pub(crate) name: &'static str,
    pub(crate) level: Option<f64>,
}

/// A method that promises a level.
pub(crate) fn keeps(level: f64, name: &'static str) -> Method {
    Method { name, level: Some(level) }
}

/// A method that promises nothing here.
pub(crate) fn beside(name: &'static str) -> Method {
    Method { name, level: None }
}

/// Asks a method that has not alarmed yet, and notes when it does.
pub(crate) fn note(alarm: &mut Option<f64>, requests: u64, ask: impl FnOnce() -> bool) {
    if alarm.is_none() && ask() {
        *alarm = Some(requests as f64);
    }
}

/// What came of all runs.
#[derive(Debug, PartialEq)]
pub(crate) struct Tried {
    runs: u32,
    /// For each method the requests at its alarms.
    alarms: Vec<Vec<f64>>,
}

impl Tried {
    pub(crate) fn new(trial: &Trial) -> Self {
        Self { runs: 0, alarms: vec![Vec::new(); trial.methods.len()] }
    }

    pub(crate) fn record(&mut self, alarms: &[Option<f64>]) {
        self.runs += 1;
        for (all, alarm) in self.alarms.iter_mut().zip(alarms) {
            all.extend(alarm);
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.runs += other.runs;
        for (all, alarms) in self.alarms.iter_mut().zip(other.alarms) {
            all.extend(alarms);
        }
    }

    /// So that the order of threads does not matter.
    pub(crate) fn sort(&mut self) {
        for alarms in &mut self.alarms {
            alarms.sort_by(f64::total_cmp);
        }
    }

    pub(crate) fn runs(&self) -> u32 {
        self.runs
    }

    /// How often a method alarmed.
    pub(crate) fn alarms(&self, method: usize) -> u32 {
        self.alarms.get(method).map_or(0, |alarms| alarms.len() as u32)
    }

    /// After how many requests a part of all runs had alarmed, if that many did.
    pub(crate) fn quantile(&self, method: usize, part: f64) -> Option<f64> {
        let rank = (part * f64::from(self.runs)).ceil().max(1.0) as usize;
        self.alarms.get(method)?.get(rank - 1).copied()
    }
}
