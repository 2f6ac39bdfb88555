//! How long an experiment will take.
//!
//! [`simulate`] runs it many times with a look each second and gives the distribution of the time to its decision. The closed forms
//! ([`information`], [`exposures`]) are for orientation: the latter ignores that a boundary may be crossed earlier.

use crate::asymptotic::critical;
use crate::error::{Error, positive, within};
use crate::evidence::Level;
use crate::label::{Prior, Side, Stage, evidence, evidence_at_most};
use crate::numeric::bisect;
use crate::random::Random;
use crate::share::Share;
use crate::special::normal;

/// What one event says in the label test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Information {
    /// The probability that an event is the canary's, with the effect.
    pub theta: f64,
    /// The divergence that one event brings, in nats.
    pub per_event: f64,
    /// About how many events the test needs: `(ln(1/alpha) + 1) / per_event`.
    pub events: f64,
    /// About how many requests of both arms bring them.
    pub requests: f64,
}

/// What an event says if the canary's rate is `ratio` times the `rate` of control.
pub fn information(share: Share, ratio: f64, rate: f64, level: Level) -> Result<Information, Error> {
    let (ratio, rate) = (positive("the ratio", ratio)?, positive("the rate", rate)?);
    let (own, rest) = (share.get(), share.rest());
    let all = rest + own * ratio;
    let theta = own * ratio / all;
    let per_event = theta * (theta / own).ln() + (1.0 - theta) * ((1.0 - theta) / rest).ln();
    let events = (level.threshold() + 1.0) / per_event.max(f64::MIN_POSITIVE);
    Ok(Information { theta, per_event, events, requests: events / (rate * all) })
}

/// Exposures of both arms for a difference of proportions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exposures {
    /// After which the asymptotic confidence sequence excludes 0 with this power, if it is looked at then alone.
    pub sequential: f64,
    /// That a test with a fixed horizon needs.
    pub fixed: f64,
}

/// How many exposures tell proportion `canary` from `control` with `power`, under a prior of standard deviation `tau`.
pub fn exposures(
    (control, canary): (f64, f64),
    share: Share,
    tau: f64,
    level: Level,
    power: f64,
) -> Result<Exposures, Error> {
    let proportion = |p: f64| within("a proportion", p, "above 0 and below 1", |p| 0.0 < p && p < 1.0);
    let (control, canary) = (proportion(control)?, proportion(canary)?);
    let tau = positive("the prior's standard deviation", tau)?;
    let power = within("the power", power, "above 0 and below 1", |p| 0.0 < p && p < 1.0)?;
    let difference = positive("the difference", (canary - control).abs())?;
    let unit = canary * (1.0 - canary) / share.get() + control * (1.0 - control) / share.rest();
    let z = normal::quantile(power);
    let short = |n: f64| {
        let variance = unit / n;
        difference < variance.sqrt() * (critical(tau * tau / variance, level) + z)
    };
    let fixed = unit * ((z - normal::quantile(level.get() / 2.0)) / difference).powi(2);
    let mut high = fixed.max(1.0);
    while short(high) && high < 1e30 {
        high *= 2.0;
    }
    Ok(Exposures { sequential: bisect(1.0, high, short), fixed })
}

/// A stage of a rollout that is planned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The canary's share.
    pub share: Share,
    /// How long it lasts, in seconds; the last one goes on to the end.
    pub seconds: f64,
}

/// A rollout that is planned.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The chance of an event in control, such as a failed request.
    pub rate: f64,
    /// The canary's chance divided by control's.
    pub ratio: f64,
    /// Requests of both arms in a second.
    pub per_second: f64,
    /// The stages.
    pub steps: Vec<Step>,
    /// When it ends undecided, in seconds.
    pub seconds: f64,
    /// Which difference is looked for.
    pub side: Side,
    /// The level of the alarm.
    pub level: Level,
    /// How often it is run.
    pub runs: u32,
}

/// When simulated experiments were decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Times {
    /// Seconds until the decision of those that were decided, ascending.
    pub decided: Vec<f64>,
    /// How many were run.
    pub runs: u32,
}

impl Times {
    /// The part of the runs that were decided.
    pub fn power(&self) -> f64 {
        self.decided.len() as f64 / f64::from(self.runs.max(1))
    }

    /// After how many seconds a part of all runs was decided; none if fewer ever were.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let rank = (part.clamp(0.0, 1.0) * f64::from(self.runs)).ceil() as usize;
        self.decided.get(rank.max(1) - 1).copied()
    }
}

/// After this many looks with one second between them, a look comes after each further hundredth of the time.
const SECONDS: f64 = 100.0;

/// Runs a plan; the same seed gives the same times. An error where a rate is no probability or the plan has no step or no end.
pub fn simulate(plan: &Plan, seed: u64) -> Result<Times, Error> {
    let probability = |what, p: f64| within(what, p, "from 0 to 1", |p| (0.0..=1.0).contains(&p));
    let rate = probability("the rate", plan.rate)?;
    let canary = probability("the canary's rate", plan.rate * positive("the ratio", plan.ratio)?)?;
    positive("the number of requests in a second", plan.per_second)?;
    positive("the duration", plan.seconds)?;
    if plan.steps.is_empty() {
        return Err(Error::Length { what: "steps", found: 0, expected: 1 });
    }
    for step in &plan.steps {
        positive("the duration of a step", step.seconds)?;
    }
    let prior = Prior::default();
    let mut decided = Vec::new();
    for run in 0..plan.runs {
        let mut random = Random::seeded(seed ^ u64::from(run).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        if let Some(time) = one(plan, &prior, (canary, rate), &mut random)? {
            decided.push(time);
        }
    }
    decided.sort_by(f64::total_cmp);
    Ok(Times { decided, runs: plan.runs })
}

/// One run: when it is decided.
fn one(
    plan: &Plan,
    prior: &Prior,
    (canary, control): (f64, f64),
    random: &mut Random,
) -> Result<Option<f64>, Error> {
    let mut stages: Vec<Stage> = Vec::new();
    let (mut time, mut sent) = (0.0_f64, 0.0_f64);
    let mut end = 0.0;
    for (index, step) in plan.steps.iter().enumerate() {
        end =
            if index + 1 == plan.steps.len() { plan.seconds } else { (end + step.seconds).min(plan.seconds) };
        stages.push(Stage { share: step.share, canary: 0, control: 0 });
        while time < end {
            time = (time + (time / SECONDS).max(1.0)).min(end);
            let all = (plan.per_second * time).floor();
            let requests = (all - sent) as u64;
            sent = all;
            let own = random.binomial(requests, step.share.get());
            if let Some(stage) = stages.last_mut() {
                stage.canary += random.binomial(own, canary);
                stage.control += random.binomial(requests - own, control);
            }
            if evidence_at_most(&stages, plan.side, 1.0).rejects(plan.level)
                && evidence(&stages, prior, plan.side, 1.0)?.rejects(plan.level)
            {
                return Ok(Some(time));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(ratio: f64, runs: u32) -> Plan {
        Plan {
            rate: 0.005,
            ratio,
            per_second: 200.0,
            steps: vec![Step { share: Share::new(0.1).unwrap(), seconds: 600.0 }],
            seconds: 600.0,
            side: Side::More,
            level: Level::new(0.01).unwrap().divided_by(3),
            runs,
        }
    }

    #[test]
    fn a_bad_canary_is_found_in_about_the_time_that_the_rule_of_thumb_says() {
        let plan = plan(4.0, 200);
        let times = simulate(&plan, 1).unwrap();
        assert!(times.power() > 0.99, "{}", times.power());
        let rule =
            information(plan.steps[0].share, 4.0, 0.005, plan.level).unwrap().requests / plan.per_second;
        let median = times.quantile(0.5).unwrap();
        assert!((0.5..2.0).contains(&(median / rule)), "{median} for {rule}");
        assert!(times.quantile(0.1).unwrap() < median && median < times.quantile(0.9).unwrap());
    }

    #[test]
    fn a_good_canary_is_hardly_ever_alarmed_about() {
        assert!(simulate(&plan(1.0, 400), 2).unwrap().power() <= 0.02);
    }

    #[test]
    fn the_same_seed_gives_the_same_times() {
        assert_eq!(simulate(&plan(4.0, 20), 7).unwrap(), simulate(&plan(4.0, 20), 7).unwrap());
        assert_ne!(simulate(&plan(4.0, 20), 7).unwrap(), simulate(&plan(4.0, 20), 8).unwrap());
    }

    #[test]
    fn plans_that_make_no_sense_are_refused() {
        assert!(simulate(&plan(1_000.0, 1), 1).is_err());
        assert!(simulate(&Plan { steps: Vec::new(), ..plan(1.0, 1) }, 1).is_err());
        assert!(
            exposures((0.01, 0.01), Share::new(0.5).unwrap(), 0.002, Level::new(0.05).unwrap(), 0.8).is_err()
        );
    }
}
