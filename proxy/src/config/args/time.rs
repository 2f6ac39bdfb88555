//! Options that are a time.

use std::time::Duration;

use weft_mesh::deadline::parse_duration;

/// Reads a time such as `90s`, `5m` or `1h30m`; a number alone is seconds.
///
/// # Errors
///
/// What is none, said with what to write.
fn time(text: &str) -> Result<Duration, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = text.parse::<u32>().map_err(|_| format!("{text:?} is more than 136 years"))?;
        return Ok(Duration::from_secs(seconds.into()));
    }
    parse_duration(text).map_err(|_| {
        format!(
            "{text:?} is no time: write it with a unit, such as 90s, 5m or 1h30m; a number alone is seconds"
        )
    })
}

/// As [`time`], at least a second.
///
/// # Errors
///
/// As there, and what is shorter.
pub fn at_least_a_second(text: &str) -> Result<Duration, String> {
    let time = time(text)?;
    if time < Duration::from_secs(1) {
        return Err(format!("{text:?} is less than a second: write 1s or more, such as 90s or 5m"));
    }
    Ok(time)
}

/// As [`time`]; `off` is zero.
///
/// # Errors
///
/// As there.
pub fn time_or_off(text: &str) -> Result<Duration, String> {
    if text == "off" {
        return Ok(Duration::ZERO);
    }
    time(text).map_err(|error| format!("{error}; off: never"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_a_unit_or_as_seconds() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("0", 0)] {
            assert_eq!(time(text), Ok(Duration::from_secs(seconds)), "{text}");
            assert_eq!(time_or_off(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(time_or_off("off"), Ok(Duration::ZERO));
    }

    #[test]
    fn what_is_no_time_is_named_with_what_to_write() {
        for text in ["", "90x", "s", "-1", "1.5m", "off", "5 m"] {
            let error = time(text).unwrap_err();
            assert!(error.contains(&format!("{text:?}")) && error.contains("such as 90s, 5m"), "{error}");
        }
        assert!(time_or_off("never").unwrap_err().ends_with("off: never"));
        assert!(at_least_a_second("250ms").unwrap_err().contains("write 1s or more"));
        assert!(time("99999999999").unwrap_err().contains("99999999999"));
    }
}
