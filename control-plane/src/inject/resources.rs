//! Requests and limits of a proxy, as in a pod (Kubernetes, `ResourceRequirements v1 core`).

use serde_json::{Map, Value};

const REQUESTS: &str = "requests";
const LIMITS: &str = "limits";

/// A Kubernetes quantity in thousandths, rounded up.
pub(super) fn quantity(value: &Value) -> Option<u64> {
    let thousandths = match value {
        Value::Number(number) => number.as_f64()? * 1e3,
        Value::String(text) => parse(text)? * 1e3,
        _ => return None,
    };
    (thousandths.is_finite() && thousandths >= 0.0).then(|| thousandths.ceil() as u64)
}

fn parse(text: &str) -> Option<f64> {
    let digits = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().ok()?;
    let power = |base: f64, exponent: i32| Some(number * base.powi(exponent));
    match unit {
        "" => Some(number),
        "n" => power(1e3, -3),
        "u" => power(1e3, -2),
        "m" => power(1e3, -1),
        "k" => power(1e3, 1),
        "M" => power(1e3, 2),
        "G" => power(1e3, 3),
        "T" => power(1e3, 4),
        "P" => power(1e3, 5),
        "E" => power(1e3, 6),
        "Ki" => power(1024.0, 1),
        "Mi" => power(1024.0, 2),
        "Gi" => power(1024.0, 3),
        "Ti" => power(1024.0, 4),
        "Pi" => power(1024.0, 5),
        "Ei" => power(1024.0, 6),
        _ => power(10.0, unit.strip_prefix(['e', 'E'])?.parse().ok()?),
    }
}

/// Checks requests and limits. The error begins with the place within them.
pub(crate) fn check(resources: &Value) -> Result<(), String> {
    let Some(fields) = resources.as_object() else {
        return Err(format!(": {resources} is no object; write {{requests: ..., limits: ...}}"));
    };
    for (field, quantities) in fields {
        if field != REQUESTS && field != LIMITS {
            return Err(format!(".{field}: is neither requests nor limits"));
        }
        let Some(quantities) = quantities.as_object() else {
            return Err(format!(
                ".{field}: {quantities} is no object; write such as {{cpu: 100m, memory: 64Mi}}"
            ));
        };
        if let Some((name, value)) = quantities.iter().find(|(_, value)| quantity(value).is_none()) {
            return Err(format!(".{field}.{name}: {value} is no quantity; write one such as 100m or 64Mi"));
        }
    }
    match above_limit(resources) {
        Some((name, request, limit)) => {
            Err(format!(".{REQUESTS}.{name}: {request} is more than the limit, {limit}"))
        }
        None => Ok(()),
    }
}

/// The first request that is more than its limit: its name, itself and the limit.
pub(super) fn above_limit(resources: &Value) -> Option<(String, Value, Value)> {
    let of = |field: &str| resources.get(field).and_then(Value::as_object);
    let (requests, limits) = (of(REQUESTS)?, of(LIMITS)?);
    requests.iter().find_map(|(name, request)| {
        let limit = limits.get(name)?;
        (quantity(request)? > quantity(limit)?).then(|| (name.clone(), request.clone(), limit.clone()))
    })
}

/// Sets one of the requests or limits.
pub(super) fn set(resources: &mut Value, field: &str, name: &str, value: Value) {
    if !resources.is_object() {
        *resources = Value::Object(Map::new());
    }
    super::object(resources, field).insert(name.to_owned(), value);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (value, thousandths) in [
            (json!("100m"), 100),
            (json!("1"), 1000),
            (json!(2), 2000),
            (json!("0.5"), 500),
            (json!("1e3"), 1_000_000),
            (json!("2E2"), 200_000),
            (json!("64Mi"), 64 * 1024 * 1024 * 1000),
            (json!("1k"), 1_000_000),
            (json!("1n"), 1),
        ] {
            assert_eq!(quantity(&value), Some(thousandths), "{value}");
        }
        for value in [
            json!("lots"),
            json!(""),
            json!("."),
            json!("-1"),
            json!(-1),
            json!("1MB"),
            json!("1e"),
            json!([]),
        ] {
            assert_eq!(quantity(&value), None, "{value}");
        }
    }
}
