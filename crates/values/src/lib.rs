//! Values that are typed on a command line: how each is read, and what is said of a wrong one.
//!
//! Each parser takes a text, and its error is a sentence for whoever typed it, as `value_parser` of clap wants it:
//!
//! ```
//! use std::time::Duration;
//!
//! use weft_values::{BaseUrl, duration, share};
//!
//! assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
//! assert_eq!(duration("5").unwrap_err(), "write a number and ms, s, m or h, such as 20ms or 1.5s");
//! assert_eq!(share("0.25"), Ok(0.25));
//!
//! let reviews: BaseUrl = "http://reviews:9080".parse().unwrap();
//! assert_eq!(reviews.authority().as_str(), "reviews:9080");
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

/// Where a service is reached: an `http://` URL without a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    authority: Authority,
}

impl BaseUrl {
    /// Host and, where given, port.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The URL of a path on that service.
    pub fn join(&self, path: PathAndQuery) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).expect("scheme, authority and path make a URL")
    }
}

impl FromStr for BaseUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = url(text)?.into_parts();
        if parts.path_and_query.is_some_and(|path| path != "/") {
            return Err("leave the path off; the service adds its own".to_owned());
        }
        let authority = parts.authority.ok_or_else(no_host)?;
        Ok(Self { authority })
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "http://{}", self.authority)
    }
}

fn no_host() -> String {
    "the host is missing; write for example http://reviews:9080".to_owned()
}

/// Reads an `http://` URL with a host.
pub fn url(text: &str) -> Result<Uri, String> {
    url_of(text, &["http"])
}

/// Reads the URL of something that requests can be sent to: `http://`, `grpc://` or `tcp://` with a host.
pub fn load_url(text: &str) -> Result<Uri, String> {
    url_of(text, &["http", "grpc", "tcp"])
}

fn url_of(text: &str, schemes: &[&str]) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|error| format!("not a URL ({error})"))?;
    match uri.scheme_str() {
        Some(scheme) if schemes.contains(&scheme) => {}
        Some("https") => {
            return Err("https is not spoken here; use http and let the sidecar encrypt".to_owned());
        }
        _ => return Err(format!("it has to begin with {}://", schemes.join(":// or "))),
    }
    let authority = uri.authority().ok_or_else(no_host)?;
    if authority.host().is_empty() {
        return Err(no_host());
    }
    if authority.as_str().contains('@') {
        return Err("a user name or password in a URL is not supported".to_owned());
    }
    Ok(uri)
}

/// Reads host and port as they stand in `Host` and `:authority`.
pub fn authority(text: &str) -> Result<Authority, String> {
    text.parse().map_err(|error| format!("not a host with an optional port, such as ratings:9090 ({error})"))
}

/// Reads a duration: a number with the unit `ms`, `s`, `m` or `h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    const HELP: &str = "write a number and ms, s, m or h, such as 20ms or 1.5s";
    let digits = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(HELP.to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| HELP.to_owned())?;
    if number * seconds > MAX_DURATION_SECONDS {
        return Err("longer than a week".to_owned());
    }
    Ok(Duration::from_secs_f64(number * seconds))
}

/// Nothing here waits longer than a week, and adding so much to a point in time cannot overflow.
const MAX_DURATION_SECONDS: f64 = 7.0 * 24.0 * 3600.0;

/// Reads a duration that is not zero.
pub fn some_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("has to be more than nothing".to_owned()),
        duration => Ok(duration),
    }
}

/// Reads a share of a whole: 0 to 1.
pub fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("write a number from 0 to 1, such as 0.1".to_owned()),
    }
}

/// Reads requests per second.
pub fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.01..=100_000.0).contains(&rate) => Ok(rate),
        _ => Err("write requests per second, from 0.01 to 100000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit() {
        assert_eq!(duration("20ms"), Ok(Duration::from_millis(20)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        for wrong in ["", "5", "s", "1.2.3s", "-1s", "1 s", "1e9h", "9999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!(some_duration("0s").is_err());
    }

    #[test]
    fn shares_lie_between_nothing_and_everything() {
        assert_eq!(share("0.25"), Ok(0.25));
        for wrong in ["-0.1", "1.01", "NaN", "10%"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_are_positive_and_bounded() {
        assert_eq!(rate("50"), Ok(50.0));
        for wrong in ["0", "-1", "inf", "NaN", "1000000"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_base_url_has_a_host_and_no_path() {
        let base: BaseUrl = "http://reviews:9080/".parse().unwrap();
        assert_eq!(base.to_string(), "http://reviews:9080");
        assert_eq!(base.join(PathAndQuery::from_static("/a?b")), "http://reviews:9080/a?b");
        for wrong in ["reviews:9080", "https://reviews", "http://", "http://a/b", "http://u@a", "ftp://a", ""]
        {
            assert!(wrong.parse::<BaseUrl>().is_err(), "{wrong}");
        }
    }
}
