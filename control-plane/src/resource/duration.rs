//! Durations as Gateway API writes them (GEP-2257): `1h30m`, `500ms`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
        let invalid = || format!("is {text:?}; write {EXPECTED}");
        let mut rest = text;
        let mut total = Duration::ZERO;
        let mut parts = 0;
        while !rest.is_empty() {
            let digits = rest.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(invalid)?;
            let (number, unit) = rest.split_at(digits);
            let number = u64::from(number.parse::<u32>().ok().filter(|_| digits <= 5).ok_or_else(invalid)?);
            let (length, unit) = if unit.starts_with("ms") {
                (Duration::from_millis(number), 2)
            } else {
                let seconds = match unit.as_bytes().first() {
                    Some(b'h') => 3600,
                    Some(b'm') => 60,
                    Some(b's') => 1,
                    _ => return Err(invalid()),
                };
                (Duration::from_secs(number * seconds), 1)
            };
            total += length;
            rest = rest.split_at(digits + unit).1;
            parts += 1;
        }
        if parts == 0 || parts > 4 {
            return Err(invalid());
        }
        Ok(Self(total))
    }
}

impl fmt::Display for GatewayDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, milliseconds) = (self.0.as_secs(), self.0.subsec_millis());
        let parts = [
            (seconds / 3600, "h"),
            (seconds / 60 % 60, "m"),
            (seconds % 60, "s"),
            (milliseconds.into(), "ms"),
        ];
        if parts.iter().all(|(number, _)| *number == 0) {
            return f.write_str("0s");
        }
        for (number, unit) in parts {
            if number != 0 {
                write!(f, "{number}{unit}")?;
            }
        }
        Ok(())
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
        json_schema!({ "type": "string", "pattern": PATTERN, super::shape::EXPECTED: EXPECTED })
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
        for text in ["", "1", "1.5s", "-1s", "1 s", "s", "1d", "100000s", "1s1s1s1s1s", "1us", "+1s", "é"] {
            assert!(text.parse::<GatewayDuration>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_the_pattern_matches(text in "([0-9]{0,6}(h|m|s|ms|x)?){0,5}") {
            let pattern = regex_automata::meta::Regex::new(PATTERN).unwrap();
            prop_assert_eq!(text.parse::<GatewayDuration>().is_ok(), pattern.is_match(text.as_str()));
        }

        #[test]
        fn a_duration_reads_back_what_it_writes(milliseconds in 0..359_996_400_000_u64) {
            let duration = GatewayDuration(Duration::from_millis(milliseconds));
            prop_assert_eq!(duration.to_string().parse::<GatewayDuration>().unwrap(), duration);
        }
    }
}
