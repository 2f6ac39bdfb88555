//! Each method gives the reference values of `vectors.json`, which independent implementations computed. A vector that no method
//! here answers to fails the test.

#![allow(clippy::unwrap_used, reason = "a vector that can't be read fails the test")]

use serde_json::Value;

mod answers;
mod inputs;

/// What the crate answers to a vector; none if it has no such method.
fn answer(id: &str, inputs: &Value) -> Option<Value> {
    answers::events(id, inputs)
        .or_else(|| answers::bounds(id, inputs))
        .or_else(|| answers::means(id, inputs))
        .or_else(|| answers::quantiles(id, inputs))
        .or_else(|| answers::units(id, inputs))
        .or_else(|| answers::others(id, inputs))
}

/// What differs, if anything: each value that is expected must be there.
fn differs(path: &str, expected: &Value, found: &Value, tolerance: f64) -> Option<String> {
    match (expected, found) {
        (Value::Object(expected), found) => expected
            .iter()
            .find_map(|(name, value)| differs(&format!("{path}.{name}"), value, &found[name], tolerance)),
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            let pairs = expected.iter().zip(found).enumerate();
            pairs
                .into_iter()
                .find_map(|(i, (value, found))| differs(&format!("{path}[{i}]"), value, found, tolerance))
        }
        (Value::Number(expected), Value::Number(found)) => {
            let (expected, found) = (expected.as_f64()?, found.as_f64()?);
            let near = (expected - found).abs() <= (tolerance * expected.abs()).max(1e-9);
            (!near).then(|| format!("{path}: {found} instead of {expected}"))
        }
        _ => (expected != found).then(|| format!("{path}: {found} instead of {expected}")),
    }
}

#[test]
fn every_reference_value_is_reproduced() {
    let all: Value = serde_json::from_str(include_str!("../vectors.json")).unwrap();
    let vectors = all["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 76);
    let mut problems = Vec::new();
    for vector in vectors {
        let id = vector["id"].as_str().unwrap();
        let Some(found) = answer(id, &vector["inputs"]) else {
            problems.push(format!("{id}: no method answers"));
            continue;
        };
        let tolerance = vector["relativeTolerance"].as_f64().unwrap();
        problems.extend(differs(id, &vector["expected"], &found, tolerance));
    }
    assert!(problems.is_empty(), "{} of {}:\n{}", problems.len(), vectors.len(), problems.join("\n"));
}
