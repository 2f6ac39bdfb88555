//! What the methods of the crate answer to vectors.

use serde_json::{Value, json};
use weft_experiment::asymptotic::{self, Effect};
use weft_experiment::bound::{self, Stitching, Tuning};
use weft_experiment::difference::{Moments, Stage as Difference, Stages};
use weft_experiment::evidence::Running;
use weft_experiment::groups::{self, Sums};
use weft_experiment::kernel::{self, Concentration};
use weft_experiment::label::{self, Prior, Side};
use weft_experiment::latency;
use weft_experiment::mismatch;
use weft_experiment::quantile::{self, Distribution};
use weft_experiment::spending::{self, Spending};
use weft_experiment::weighted::{Batch, Weighted};
use weft_experiment::{
    Evidence, Level, Shares, bandit, betting, covariate, multiple, plan, regression, sketch, switchback,
};
use weft_mesh::statistics::{bounds_of, bucket_of};

use crate::inputs::{
    both, concentration, effect, ends, evidence, level, number, numbers, share, whole, wholes,
};

fn stages(inputs: &Value) -> Vec<label::Stage> {
    let stage = |stage: &Value| label::Stage {
        share: share(stage, "rho"),
        canary: whole(stage, "eventsCanary"),
        control: whole(stage, "eventsControl"),
    };
    inputs["stages"].as_array().unwrap().iter().map(stage).collect()
}

fn prior(inputs: &Value) -> Prior {
    if inputs.get("taus").is_none() {
        return Prior::single(number(inputs, "tau")).unwrap();
    }
    let parts: Vec<(f64, f64)> =
        numbers(&inputs["weights"]).into_iter().zip(numbers(&inputs["taus"])).collect();
    let prior = Prior::mixture(&parts).unwrap();
    // These vectors are those of the default, to the digits that they are given with.
    assert!(
        parts
            .iter()
            .zip([(0.8, 2.0_f64.ln()), (0.2, 32.0_f64.ln())])
            .all(|(one, other)| { (one.0 - other.0).abs() < 1e-9 && (one.1 - other.1).abs() < 1e-9 })
    );
    prior
}

pub(crate) fn events(id: &str, inputs: &Value) -> Option<Value> {
    Some(if id.starts_with("concentration-") {
        json!({ "c": concentration(inputs).get() })
    } else if id.starts_with("betabin-") {
        let found = kernel::binomial(
            whole(inputs, "k"),
            whole(inputs, "n"),
            share(inputs, "share"),
            concentration(inputs),
        );
        evidence(found.unwrap())
    } else if id.starts_with("srm-") {
        let stages =
            inputs.get("stages").and_then(Value::as_array).cloned().unwrap_or_else(|| vec![inputs.clone()]);
        let stages: Vec<(Vec<u64>, Shares)> = stages
            .iter()
            .map(|stage| (wholes(&stage["counts"]), Shares::new(&numbers(&stage["shares"])).unwrap()))
            .collect();
        let stages = stages.iter().map(|(counts, shares)| mismatch::Stage { counts, shares });
        evidence(mismatch::evidence(stages, concentration(inputs)).unwrap())
    } else if id.starts_with("ratio-cs-") {
        let counts = (whole(inputs, "eventsCanary"), whole(inputs, "eventsControl"));
        let found =
            kernel::ratio(counts.0, counts.1, share(inputs, "rho"), concentration(inputs), level(inputs));
        json!({
            "share": [found.share.lower, found.share.upper],
            "ratio": [found.ratio.lower, found.ratio.upper],
        })
    } else if id.starts_with("bernoulli-cs-") {
        let (k, n) = (whole(inputs, "k"), whole(inputs, "n"));
        ends(kernel::proportion(k, n, concentration(inputs), level(inputs)).unwrap())
    } else if id == "label-stages-cs" {
        let found = label::interval(&stages(inputs), &prior(inputs), level(inputs)).unwrap();
        both(json!({ "estimate": found.estimate }), ends(found.interval))
    } else if id.starts_with("label-") || id == "non-inferiority-ratio" {
        let side = match inputs["side"].as_str()? {
            "worse" => Side::More,
            "better" => Side::Fewer,
            _ => Side::Two,
        };
        let null = number(inputs, "nullRatio");
        let found = label::evidence(&stages(inputs), &prior(inputs), side, null).unwrap();
        let mut answer = evidence(found);
        if id == "non-inferiority-ratio" {
            let five = Level::new(0.05).unwrap();
            assert!(label::non_inferior(&stages(inputs), &prior(inputs), null - 1.0, five).unwrap());
            answer["rejectsAt05"] = found.rejects(five).into();
        }
        answer
    } else if id == "always-valid-p-stream" {
        stream(inputs)
    } else {
        return None;
    })
}

fn stream(inputs: &Value) -> Value {
    let (mut canary, mut control, mut running) = (0, 0, Running::default());
    let mut steps = Vec::new();
    let mut first = None;
    for (index, batch) in inputs["batches"].as_array().unwrap().iter().enumerate() {
        canary += whole(batch, "eventsCanary");
        control += whole(batch, "eventsControl");
        let found =
            kernel::binomial(canary, canary + control, share(inputs, "rho"), concentration(inputs)).unwrap();
        running.observe(found);
        steps.push(json!({ "logE": found.log(), "p": running.p() }));
        if running.p() <= 0.05 && first.is_none() {
            first = Some(index + 1);
        }
    }
    json!({ "steps": steps, "firstStepBelow05": first })
}

pub(crate) fn bounds(id: &str, inputs: &Value) -> Option<Value> {
    let tuning = || {
        let alpha = Level::new(number(inputs, "alphaOpt")).unwrap();
        Tuning::new(number(inputs, "vOpt"), alpha).unwrap()
    };
    let stitching = || Stitching::new(number(inputs, "eta"), number(inputs, "s")).unwrap();
    let level = level(inputs);
    let v = inputs.get("v").and_then(Value::as_f64).unwrap_or(f64::NAN);
    let bound = match id {
        "normal-mixture-two-sided" => bound::normal_two_sided(v, level, tuning()),
        "normal-mixture-one-sided" => bound::normal_one_sided(v, level, tuning()),
        "gamma-exponential" => bound::gamma_exponential(v, level, tuning(), number(inputs, "c")),
        "gamma-poisson" => bound::gamma_poisson(v, level, tuning(), number(inputs, "c")),
        "empirical-process-lil" => {
            let (t, least, a) = (number(inputs, "t"), number(inputs, "tMin"), number(inputs, "A"));
            return Some(json!({ "radius": bound::distribution_radius(t, level, least, a).unwrap() }));
        }
        "ipw-eb" => return Some(weighted(inputs)),
        _ if id.starts_with("stitched-") => {
            stitching().bound(v, level, number(inputs, "vMin"), number(inputs, "c"))
        }
        _ if id.starts_with("double-stitching-") => stitching().quantile_bound(
            number(inputs, "quantile"),
            number(inputs, "t"),
            level,
            number(inputs, "tOpt"),
            number(inputs, "delta"),
        ),
        _ => return None,
    };
    Some(json!({ "bound": bound.unwrap() }))
}

fn weighted(inputs: &Value) -> Value {
    let mut weighted = Weighted::new(share(inputs, "rho"));
    let mut units = 0;
    for batch in inputs["batches"].as_array().unwrap() {
        let count = |name| whole(batch, name);
        units += count("n1") + count("n0");
        weighted
            .add(Batch { canary: (count("k1"), count("n1")), control: (count("k0"), count("n0")) })
            .unwrap();
    }
    let interval = weighted.interval(level(inputs), number(inputs, "vOpt")).unwrap();
    json!({
        "sum": weighted.sum(), "intrinsicTime": weighted.intrinsic_time(), "n": units,
        "estimate": weighted.estimate(), "halfWidth": (interval.upper - interval.lower) / 2.0,
    })
}

pub(crate) fn means(id: &str, inputs: &Value) -> Option<Value> {
    let level = level(inputs);
    let tau = || number(inputs, "tau");
    let proportions = |stage: &Value| {
        let count = |name| whole(stage, name);
        Difference::proportions((count("k1"), count("n1")), (count("k0"), count("n0"))).unwrap().unwrap()
    };
    let moments = || {
        let arm = |mean, variance, count| Moments {
            mean: number(inputs, mean),
            variance: number(inputs, variance),
            count: whole(inputs, count),
        };
        let (one, zero) = (arm("mean1", "variance1", "n1"), arm("mean0", "variance0", "n0"));
        Stages::of(&[Difference::means(one, zero).unwrap().unwrap()])
    };
    Some(match id {
        "acs-n-form" => {
            let (n, s2) = (number(inputs, "n"), number(inputs, "s2"));
            let rho = asymptotic::tightest_at(number(inputs, "nOpt"), level).unwrap();
            let found = Effect::new(0.0, s2 / n, rho * s2.sqrt()).unwrap();
            json!({ "rho": rho, "halfWidth": found.interval(level).upper })
        }
        "acs-two-proportions" | "acs-stratified" => {
            let stages: Vec<Difference> = match inputs.get("stages") {
                Some(stages) => stages.as_array().unwrap().iter().map(proportions).collect(),
                None => vec![proportions(inputs)],
            };
            let found = Stages::of(&stages);
            both(
                json!({ "welch": found.welch, "pooled": found.pooled }),
                effect(found.effect(tau()).unwrap(), level),
            )
        }
        "acs-two-means" => {
            let found = moments();
            effect(Effect::new(found.difference, found.welch, tau()).unwrap(), level)
        }
        "acs-two-means-growthbook" => {
            let found = moments();
            let n = number(inputs, "n1") + number(inputs, "n0");
            let rho = asymptotic::tightest_at(number(inputs, "nOpt"), level).unwrap();
            let found = Effect::new(found.difference, found.welch, rho * (n * found.welch).sqrt()).unwrap();
            json!({ "halfWidth": found.interval(level).upper - found.estimate(), "p": found.evidence().p() })
        }
        "msprt" => {
            let difference = number(inputs, "mean1") - number(inputs, "mean0");
            let tau = number(inputs, "tau2").sqrt();
            let found =
                asymptotic::mixture_ratio(number(inputs, "n"), difference, number(inputs, "variance"), tau);
            json!({ "lambda_": found.clone().unwrap().value(), "p": found.unwrap().p() })
        }
        "relative-effect" => {
            let arm = |ratio, variance| (number(inputs, ratio), number(inputs, variance));
            let found = asymptotic::relative(arm("ratio1", "variance1"), arm("ratio0", "variance0")).unwrap();
            json!({
                "relative": found.estimate, "variance": found.variance,
                "logRatio": found.log_ratio, "logRatioVariance": found.log_variance,
            })
        }
        "switchback" => {
            effect(switchback::effect(&numbers(&inputs["blockDifferences"]), tau()).unwrap(), level)
        }
        _ if id.starts_with("acs-critical-") => {
            json!({ "z": asymptotic::critical(number(inputs, "R"), level) })
        }
        _ => return None,
    })
}

pub(crate) fn quantiles(id: &str, inputs: &Value) -> Option<Value> {
    let p = || number(inputs, "quantile");
    // Concentrations of these are given as the number of observations at which they are tightest.
    let tuned = || {
        Concentration::tightest_at(number(inputs, "tOpt"), Level::new(number(inputs, "alphaOpt")).unwrap())
    };
    let two = |one: &[f64], zero: &[f64]| json!({ "p": quantile::equal_values(one, zero, p(), tuned().unwrap()).unwrap().p() });
    Some(match id {
        "quantile-two-sample" => {
            assert_eq!(
                (inputs["first"].as_str(), inputs["second"].as_str()),
                (Some("1..100"), Some("21..120"))
            );
            let values = |from: u32| (from..from + 100).map(f64::from).collect::<Vec<_>>();
            two(&values(1), &values(21))
        }
        "quantile-two-sample-p90" => {
            assert_eq!(inputs["second"].as_str(), Some("1.3 i, i=1..200"));
            let values = |factor: f64| (1..=200).map(|i| factor * f64::from(i)).collect::<Vec<_>>();
            two(&values(1.0), &values(1.3))
        }
        "omnibus-edges" => {
            let (canary, control) = (wholes(&inputs["countsCanary"]), wholes(&inputs["countsControl"]));
            let stages = [latency::Stage { share: share(inputs, "rho"), canary: &canary, control: &control }];
            let edges = latency::evidence_at_edges(&stages, concentration(inputs)).unwrap();
            json!({
                "logEPerEdge": edges.iter().map(|edge| edge.log()).collect::<Vec<_>>(),
                "logE": latency::omnibus(&stages, concentration(inputs)).unwrap().log(),
            })
        }
        _ if id.starts_with("quantile-cs-hist-") => {
            let buckets = numbers(&inputs["upperEdges"]).into_iter().zip(wholes(&inputs["counts"])).collect();
            let distribution = Distribution::new(buckets).unwrap();
            let c = concentration(inputs);
            let edges = quantile::evidence_at_edges(&distribution, p(), c).unwrap();
            let found = quantile::interval(&distribution, p(), c, level(inputs)).unwrap();
            both(json!({ "logE": edges.iter().map(|edge| edge.log()).collect::<Vec<_>>() }), ends(found))
        }
        _ => return None,
    })
}

pub(crate) fn units(id: &str, inputs: &Value) -> Option<Value> {
    Some(match id {
        "delta-ratio" => {
            let arm = |counts, sums| -> Vec<Sums> {
                let pairs = numbers(&inputs[counts]).into_iter().zip(numbers(&inputs[sums]));
                pairs.map(|(count, sum)| Sums { count, sum }).collect()
            };
            let (one, zero) = (arm("denominator1", "numerator1"), arm("denominator0", "numerator0"));
            let stage = groups::difference(&one, &zero, share(inputs, "rho")).unwrap().unwrap();
            let found = Stages::of(&[stage]);
            let (one, zero) = (groups::ratio(&one).unwrap().unwrap(), groups::ratio(&zero).unwrap().unwrap());
            let own = json!({
                "ratio1": one.estimate, "variance1": one.variance,
                "ratio0": zero.estimate, "variance0": zero.variance, "pooledVariance": found.pooled,
            });
            both(own, effect(found.effect(number(inputs, "tau")).unwrap(), level(inputs)))
        }
        "cuped" => {
            let lists = ["y1", "x1", "y0", "x0"].map(|name| numbers(&inputs[name]));
            let [y1, x1, y0, x0] = &lists;
            let adjust = |x1: &[f64], x0: &[f64]| {
                let one = covariate::Arm { values: y1, before: x1 };
                covariate::adjust(one, covariate::Arm { values: y0, before: x0 }).unwrap()
            };
            let found = adjust(x1, x0);
            let plain = adjust(&vec![0.0; x1.len()], &vec![0.0; x0.len()]);
            json!({
                "theta": found.theta, "mean1": found.canary, "mean0": found.control,
                "difference": found.difference(), "variance": found.variance,
                "unadjustedDifference": plain.difference(), "unadjustedVariance": plain.variance,
            })
        }
        "t-test" => {
            let [t2, nu, phi, z2] = ["t2", "nu", "phi", "z2"].map(|name| number(inputs, name));
            evidence(regression::coefficient(t2, nu, phi, z2).unwrap())
        }
        "f-test" => {
            let [f, d, nu, n, g] = ["f", "d", "nu", "n", "g"].map(|name| number(inputs, name));
            evidence(regression::coefficients(f, d, nu, n, g).unwrap())
        }
        "t-radius" => {
            let [g, n, coefficients] = ["g", "n", "coefficients"].map(|name| number(inputs, name));
            json!({ "radius": regression::critical(g, n, coefficients, level(inputs)).unwrap() })
        }
        _ => return None,
    })
}

pub(crate) fn others(id: &str, inputs: &Value) -> Option<Value> {
    let level = level(inputs);
    Some(match id {
        "e-bh" => {
            let all: Vec<Evidence> =
                numbers(&inputs["e"]).iter().map(|e| Evidence::from_log(e.ln())).collect();
            json!({
                "rejected": multiple::e_bh(&all, level),
                "rejectedAt01": multiple::e_bh(&all, Level::new(0.01).unwrap()),
                "bonferroni": multiple::bonferroni(&all, level),
                "meanE": Evidence::mean(&all).value(),
            })
        }
        "calibrate" => {
            let all = numbers(&inputs["p"]);
            let by = |f: fn(f64) -> Result<Evidence, _>| {
                all.iter().map(|p| f(*p).unwrap().value()).collect::<Vec<_>>()
            };
            json!({ "half": by(multiple::calibrate_half), "integral": by(multiple::calibrate_integral) })
        }
        "group-sequential-obf" | "group-sequential-pocock" => {
            let spending = if id.ends_with("obf") { Spending::OBrienFleming } else { Spending::Pocock };
            let times = numbers(&inputs["times"]);
            json!({
                "spent": times.iter().map(|t| spending.spent(*t, level).unwrap()).collect::<Vec<_>>(),
                "bounds": spending::bounds(spending, &times, level).unwrap(),
            })
        }
        "prpl-eb" => {
            ends(betting::interval(&numbers(&inputs["values"]), level, number(inputs, "truncation")).unwrap())
        }
        "thompson-probability" => {
            // The vector has the posteriors under a uniform prior.
            let arm = |name: &str| {
                let posterior = wholes(&inputs[name]);
                bandit::Arm { successes: posterior[0] - 1, failures: posterior[1] - 1 }
            };
            json!({ "probability": bandit::probabilities(&[arm("first"), arm("second")])[0] })
        }
        "plan-acs" => {
            let rates = (number(inputs, "p0"), number(inputs, "p1"));
            let at = |power| {
                plan::exposures(rates, share(inputs, "rho"), number(inputs, "tau"), level, power).unwrap()
            };
            json!({ "n80": at(0.8).sequential, "n50": at(0.5).sequential, "fixedHorizonN80": at(0.8).fixed })
        }
        "plan-label" => {
            let (ratio, rate) = (number(inputs, "ratio"), number(inputs, "controlRate"));
            let found = plan::information(share(inputs, "rho"), ratio, rate, level).unwrap();
            json!({
                "shareUnderRatio": found.theta, "natsPerEvent": found.per_event,
                "events": found.events, "requests": found.requests,
            })
        }
        "weft-buckets" => {
            let buckets: Vec<usize> = wholes(&inputs["values"]).into_iter().map(bucket_of).collect();
            json!({ "bounds": buckets.iter().map(|bucket| bounds_of(*bucket)).collect::<Vec<_>>(), "buckets": buckets })
        }
        "ddsketch-index" => {
            let sketch = sketch::Sketch::new(number(inputs, "alpha")).unwrap();
            let index: Vec<i32> =
                numbers(&inputs["values"]).iter().map(|value| sketch.index(*value).unwrap()).collect();
            json!({
                "gamma": sketch.gamma(), "index": index,
                "lower": index.iter().map(|index| sketch.lower(*index)).collect::<Vec<_>>(),
            })
        }
        _ => return None,
    })
}
