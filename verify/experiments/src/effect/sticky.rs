//! Users who stick to a variant, most of whom never fail and some often.

use weft_experiment::count::sums::GroupSums;
use weft_experiment::difference::{Stage as Difference, Stages};
use weft_experiment::groups;
use weft_experiment::label::{Side, Stage as Labels};
use weft_experiment::random::Random;

use crate::traffic::{Counts, label_rejects, level, share};
use crate::trial::{Trial, beside, keeps, note};

/// How users are.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) percent: f64,
    /// How many times as many users fail with the canary.
    pub(crate) users: f64,
    /// How many times as often those fail with the canary that do.
    pub(crate) often: f64,
}

const USERS: usize = 5_000;
const BATCH: u64 = 1_000;

struct User {
    /// The part of all users whose activity comes before this one's: where a random number finds it.
    upto: f64,
    /// The chance of a failure.
    rate: f64,
    canary: bool,
    failed: bool,
    group: u64,
}

/// Users of unequal activity, one in twenty of whom fail 30 % of their requests.
fn users(random: &mut Random, setting: Setting) -> Vec<User> {
    let mut sum = 0.0;
    let mut all: Vec<User> = (0..USERS)
        .map(|_| {
            sum += random.normal().exp();
            let canary = random.chance(setting.percent / 100.0);
            let (users, often) = if canary { (setting.users, setting.often) } else { (1.0, 1.0) };
            let rate = if random.chance(0.05 * users) { 0.3 * often } else { 0.0 };
            User { upto: sum, rate, canary, failed: false, group: random.bits() }
        })
        .collect();
    for user in &mut all {
        user.upto /= sum;
    }
    all
}

/// Who sends the next request.
fn next<'a>(random: &mut Random, users: &'a mut [User]) -> Option<&'a mut User> {
    let ticket = random.uniform();
    let index = users.partition_point(|user| user.upto < ticket);
    users.get_mut(index)
}

pub(crate) fn trial(name: &'static str, setting: Setting) -> Trial {
    let method = |name| if setting.users * setting.often > 1.0 { beside(name) } else { keeps(0.05, name) };
    Trial {
        setting: name,
        methods: vec![
            method("label test on first failures of users"),
            method("random groups, larger variance"),
            beside("random groups, Welch's variance"),
            beside("label test on requests"),
            beside("asymptotic CS on requests"),
        ],
        run: Box::new(move |random, alarms| {
            let [first, larger, welch, requests, acs] = alarms else { return };
            let mut all = users(random, setting);
            let (mut firsts, mut counts) = (Counts::new(setting.percent), Counts::new(setting.percent));
            let (mut canary, mut control) = (GroupSums::default(), GroupSums::default());
            for look in 1..=100_u64 {
                for _ in 0..BATCH {
                    let failed = random.uniform();
                    let Some(user) = next(random, &mut all) else { continue };
                    let failed = failed < user.rate;
                    let groups = if user.canary { &mut canary } else { &mut control };
                    groups.record(user.group, f64::from(u8::from(failed)));
                    let (own, own_first) = if user.canary {
                        (&mut counts.canary, &mut firsts.canary)
                    } else {
                        (&mut counts.control, &mut firsts.control)
                    };
                    own.1 += 1;
                    own.0 += u64::from(failed);
                    own_first.0 += u64::from(failed && !user.failed);
                    user.failed |= failed;
                }
                let sent = look * BATCH;
                note(first, sent, || label_rejects(&[firsts.labels()], Side::Two, level(0.05)));
                let sum = groups::difference(&canary.sums(), &control.sums(), share(setting.percent / 100.0));
                if let Ok(Some(stage)) = sum {
                    let sum = Stages::of(&[stage]);
                    let rejects = |variance: f64| {
                        weft_experiment::asymptotic::Effect::new(sum.difference, variance, 0.005)
                            .is_ok_and(|e| e.evidence().rejects(level(0.05)))
                    };
                    note(larger, sent, || sum.is_ready() && rejects(sum.variance()));
                    note(welch, sent, || sum.is_ready() && rejects(sum.welch));
                }
                note(requests, sent, || label_rejects(&[counts.labels()], Side::Two, level(0.05)));
                note(acs, sent, || {
                    let Ok(Some(stage)) = Difference::proportions(counts.canary, counts.control) else {
                        return false;
                    };
                    let sum = Stages::of(&[stage]);
                    sum.is_ready() && sum.effect(0.005).is_ok_and(|e| e.evidence().rejects(level(0.05)))
                });
            }
        }),
    }
}

/// A ramp: users move from control to the canary at each step, and error rates jump meanwhile.
pub(crate) fn ramp() -> Trial {
    Trial {
        setting: "sticky ramp of 1, 5, 25, 50 %, users move, error rates jump, 80 looks",
        methods: vec![keeps(0.05, "label test on first failures of users"), beside("label test on requests")],
        run: Box::new(|random, alarms| {
            let [first, requests] = alarms else { return };
            let mut all = users(random, Setting { percent: 0.0, users: 1.0, often: 1.0 });
            let places: Vec<f64> = all.iter().map(|_| random.uniform()).collect();
            let (mut firsts, mut counts): (Vec<Labels>, Vec<Labels>) = (Vec::new(), Vec::new());
            let mut sent = 0;
            for (percent, worse) in [(1.0, 1.0), (5.0, 2.0), (25.0, 0.5), (50.0, 1.5)] {
                for (user, place) in all.iter_mut().zip(&places) {
                    user.canary = *place < percent / 100.0;
                }
                for stages in [&mut firsts, &mut counts] {
                    stages.push(Labels { share: share(percent / 100.0), canary: 0, control: 0 });
                }
                for _ in 0..20 {
                    for _ in 0..BATCH {
                        let failed = random.uniform();
                        let Some(user) = next(random, &mut all) else { continue };
                        if failed >= user.rate * worse {
                            continue;
                        }
                        let is_first = !std::mem::replace(&mut user.failed, true);
                        for (stages, counts) in [(&mut firsts, is_first), (&mut counts, true)] {
                            let Some(stage) = stages.last_mut() else { continue };
                            let arm = if user.canary { &mut stage.canary } else { &mut stage.control };
                            *arm += u64::from(counts);
                        }
                    }
                    sent += BATCH;
                    note(first, sent, || label_rejects(&firsts, Side::Two, level(0.05)));
                    note(requests, sent, || label_rejects(&counts, Side::Two, level(0.05)));
                }
            }
        }),
    }
}
