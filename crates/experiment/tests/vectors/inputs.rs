//! Reading the inputs of vectors, and writing answers as they are written there.

use serde_json::{Value, json};
use weft_experiment::asymptotic::Effect;
use weft_experiment::kernel::Concentration;
use weft_experiment::{Evidence, Interval, Level, Share};

pub(crate) fn number(inputs: &Value, name: &str) -> f64 {
    inputs[name].as_f64().unwrap_or_else(|| panic!("{name} is no number"))
}

pub(crate) fn whole(inputs: &Value, name: &str) -> u64 {
    inputs[name].as_u64().unwrap_or_else(|| panic!("{name} is no count"))
}

pub(crate) fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().expect("a list").iter().map(|value| value.as_f64().expect("a number")).collect()
}

pub(crate) fn wholes(list: &Value) -> Vec<u64> {
    list.as_array().expect("a list").iter().map(|value| value.as_u64().expect("a count")).collect()
}

pub(crate) fn level(inputs: &Value) -> Level {
    Level::new(inputs["alpha"].as_f64().unwrap_or(0.05)).unwrap()
}

pub(crate) fn share(inputs: &Value, name: &str) -> Share {
    Share::new(number(inputs, name)).unwrap()
}

pub(crate) fn concentration(inputs: &Value) -> Concentration {
    match inputs.get("concentration") {
        Some(c) => Concentration::new(c.as_f64().unwrap()).unwrap(),
        None => Concentration::tightest_at(number(inputs, "nOpt"), level(inputs)).unwrap(),
    }
}

pub(crate) fn evidence(evidence: Evidence) -> Value {
    json!({ "logE": evidence.log(), "e": evidence.value(), "p": evidence.p() })
}

pub(crate) fn ends(interval: Interval) -> Value {
    json!({ "lower": interval.lower, "upper": interval.upper })
}

/// All of one object and then all of another.
pub(crate) fn both(mut one: Value, other: Value) -> Value {
    let Value::Object(other) = other else { panic!("no object") };
    one.as_object_mut().expect("an object").extend(other);
    one
}

pub(crate) fn effect(effect: Effect, level: Level) -> Value {
    let own = json!({
        "difference": effect.estimate(), "variance": effect.variance(), "z": effect.z(), "R": effect.information(),
        "e": effect.evidence().value(), "p": effect.evidence().p(),
        "eOneSidedGreater": effect.evidence_greater().value(), "pOneSidedGreater": effect.evidence_greater().p(),
    });
    both(own, ends(effect.interval(level)))
}
