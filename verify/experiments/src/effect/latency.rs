//! Latencies of a canary, slower or not.

use weft_experiment::kernel::Concentration;
use weft_experiment::label::{Side, Stage as Labels};
use weft_experiment::latency::{Stage, between, edges, limit, omnibus, slower_than};
use weft_experiment::quantile::{Distribution, difference};
use weft_experiment::random::Random;
use weft_mesh::statistics::Histogram;

use crate::traffic::{label_rejects, level, share};
use crate::trial::{Trial, beside, keeps, note};

/// How latencies are.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    /// How much slower the canary is.
    pub(crate) slower: f64,
    /// How far the median goes up and down.
    pub(crate) wave: f64,
    pub(crate) looks: u64,
}

const BATCH: u64 = 500;

/// A latency in microseconds: lognormal around 20 ms.
fn draw(random: &mut Random, slower: f64, wave: f64, time: f64) -> u64 {
    let median = 20_000.0 * slower * (1.0 + wave * (2.0 * std::f64::consts::PI * time).sin());
    (median * random.normal().exp()) as u64
}

/// All methods for latency; each keeps its level if the canary is not slower.
pub(crate) fn trial(name: &'static str, setting: Setting) -> Trial {
    let method = |name| if setting.slower > 1.0 { beside(name) } else { keeps(0.05, name) };
    Trial {
        setting: name,
        methods: [
            "label test, slower than control's p99 of the warm-up",
            "label test, slower than control's p50 of the warm-up",
            "omnibus over 50 edges",
            "difference of p50 by histograms",
            "difference of p99 by histograms",
        ]
        .map(method)
        .to_vec(),
        run: Box::new(move |random, alarms| {
            let [p99, p50, all, median, tail] = alarms else { return };
            let mut warm_up = Histogram::default();
            for request in 0..5_000 {
                warm_up.record(draw(random, 1.0, setting.wave, f64::from(request) / 5_000.0));
            }
            let limits = [0.99, 0.5].map(|quantile| limit(&warm_up, quantile).unwrap_or(0));
            let edges = edges(&warm_up);
            let (mut canary, mut control) = (Histogram::default(), Histogram::default());
            for look in 1..=setting.looks {
                for request in 0..BATCH {
                    let time = ((look - 1) * BATCH + request) as f64 / (setting.looks * BATCH) as f64;
                    let own = random.chance(0.1);
                    let slower = if own { setting.slower } else { 1.0 };
                    let arm = if own { &mut canary } else { &mut control };
                    arm.record(draw(random, slower, setting.wave, time));
                }
                let slow = |limit| Labels {
                    share: share(0.1),
                    canary: slower_than(&canary, limit),
                    control: slower_than(&control, limit),
                };
                note(p99, look * BATCH, || label_rejects(&[slow(limits[0])], Side::More, level(0.05)));
                note(p50, look * BATCH, || label_rejects(&[slow(limits[1])], Side::More, level(0.05)));
                note(all, look * BATCH, || {
                    let (own, others) = (between(&canary, &edges), between(&control, &edges));
                    let stage = Stage { share: share(0.1), canary: &own, control: &others };
                    omnibus(&[stage], Concentration::OMNIBUS).is_ok_and(|e| e.rejects(level(0.05)))
                });
                let arms = [&canary, &control].map(Distribution::from);
                let differs = |p: f64| {
                    let tuned = Concentration::tightest_at(2_000.0, level(0.025));
                    let found = tuned.and_then(|c| difference(&arms[0], &arms[1], p, c, level(0.05)));
                    found.is_ok_and(|interval| !interval.contains(0.0))
                };
                note(median, look * BATCH, || differs(0.5));
                note(tail, look * BATCH, || differs(0.99));
            }
        }),
    }
}
