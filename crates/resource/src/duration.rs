//! Durations as Gateway API writes them (GEP-2257): `1h30m`, `500ms`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use weft_mesh::deadline::{format_duration, parse_duration};

/// The pattern of GEP-2257.
const PATTERN: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";
const EXPECTED: &str = "a duration such as 10s, 1h30m or 500ms";

/// A length of time, written as GEP-2257 says: one to four numbers of up to five digits, each with `h`, `m`, `s` or
/// `ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GatewayDuration(pub Duration);

impl FromStr for GatewayDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_duration(text).map(Self).map_err(|_| format!("is {text:?}; write {EXPECTED}"))
    }
}

impl fmt::Display for GatewayDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for GatewayDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'_, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for GatewayDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for GatewayDuration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": PATTERN, super::schema::EXPECTED: EXPECTED })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_of_the_specification_are_read() {
        for (text, milliseconds) in [
            ("0h", 0),
            ("1s", 1_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("1s500ms", 1_500),
            ("99999h", 359_996_400_000),
        ] {
            assert_eq!(
                text.parse::<GatewayDuration>().unwrap().0,
                Duration::from_millis(milliseconds),
                "{text}"
            );
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "1",
            "1.5s",
            "-1s",
            "1 s",
            "s",
            "1d",
            "100000s",
            "1s1s1s1s1s",
            "1us",
            "+1s",
            "é",
            "99999h60h",
        ] {
            assert!(text.parse::<GatewayDuration>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_the_pattern_matches_up_to_the_longest(text in "([0-9]{0,6}(h|m|s|ms|x)?){0,5}") {
            let regex = |pattern: &str| regex_automata::meta::Regex::new(pattern).unwrap();
            let (parts, unit) = (regex("[0-9]+(h|ms|m|s)"), regex("[hms]+"));
            let length = |part: &str| {
                let unit = unit.find(part).unwrap().range();
                let scale = match &part[unit.clone()] { "h" => 3_600_000, "m" => 60_000, "s" => 1000, _ => 1 };
                part[..unit.start].parse::<u64>().unwrap() * scale
            };
            let valid = regex(PATTERN).is_match(text.as_str())
                && parts.find_iter(&text).map(|found| length(&text[found.range()])).sum::<u64>() <= 359_999_999_999;
            prop_assert_eq!(text.parse::<GatewayDuration>().is_ok(), valid);
        }

        #[test]
        fn a_duration_reads_back_what_it_writes(milliseconds in 0..359_996_400_000_u64) {
            let duration = GatewayDuration(Duration::from_millis(milliseconds));
            prop_assert_eq!(duration.to_string().parse::<GatewayDuration>().unwrap(), duration);
        }
    }
}
