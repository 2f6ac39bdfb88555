//! The access log of the clients' sidecar: what it says of each request.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;

use super::clock;

/// Its name in the folder of the run.
pub(super) const FILE: &str = "access.log";

/// By the number of the request, its lines: one.
pub(super) type Lines = BTreeMap<u64, Vec<Logged>>;

/// A line.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Logged {
    #[serde(default)]
    pub(super) request_id: String,
    pub(super) time: String,
    pub(super) duration_ms: f64,
    pub(super) response_ms: Option<f64>,
    pub(super) status: Option<u16>,
    pub(super) reason: Option<String>,
    #[serde(default)]
    pub(super) cut_off: bool,
    #[serde(default)]
    pub(super) attempts: u32,
    /// The instance that was asked last.
    #[serde(default)]
    pub(super) workload: String,
    /// When the sidecar was done with the request, by the clock of all.
    #[serde(skip)]
    pub(super) ended: Duration,
    /// When it had the head of the answer, if it had one.
    #[serde(skip)]
    pub(super) headed: Option<Duration>,
}

impl Logged {
    /// Why it was not the destination's whole answer, as the metrics say it.
    pub(super) fn reason(&self) -> &str {
        if self.cut_off { "cancelled" } else { self.reason.as_deref().unwrap_or_default() }
    }
}

/// Reads the lines of all requests since that of number `first`.
pub(super) fn read(folder: &Path, first: u64) -> anyhow::Result<Lines> {
    let path = folder.join(FILE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    parse(&text, first, clock::start()).with_context(|| format!("{} is not an access log", path.display()))
}

/// The last line may be half written, and is left out then.
fn parse(text: &str, first: u64, start: Duration) -> anyhow::Result<Lines> {
    let mut lines = Lines::new();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    for line in whole.lines() {
        let mut line: Logged = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let time: jiff::Timestamp = line.time.parse().with_context(|| line.time.clone())?;
        let time = Duration::from_nanos(time.as_nanosecond().try_into()?).saturating_sub(start);
        line.ended = time + Duration::from_secs_f64(line.duration_ms / 1e3);
        line.headed = line.response_ms.map(|millis| time + Duration::from_secs_f64(millis / 1e3));
        if let Ok(number) = line.request_id.parse()
            && number >= first
        {
            lines.entry(number).or_default().push(line);
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_their_request_with_all_that_there_are() {
        let line = |number: u64, more: &str| {
            format!(
                "{{\"time\":\"1970-01-01T00:01:40.5Z\",\"duration_ms\":250.0,\"request_id\":\"{number}\"{more}}}\n"
            )
        };
        let text = [
            line(1, ""),
            line(7, ",\"status\":200,\"cut_off\":true,\"attempts\":2,\"workload\":\"a\""),
            line(8, ",\"status\":503,\"reason\":\"no_endpoints\",\"response_ms\":240.0"),
            line(8, ""),
            "{\"time\":\"19".to_owned(),
        ];
        let lines = parse(&text.concat(), 7, Duration::from_secs(90)).unwrap();
        assert_eq!(lines.keys().collect::<Vec<_>>(), [&7, &8]);
        let cancelled = &lines[&7][0];
        assert_eq!((cancelled.reason(), cancelled.status, cancelled.attempts), ("cancelled", Some(200), 2));
        assert_eq!((cancelled.ended, cancelled.headed), (Duration::from_millis(10_750), None));
        assert_eq!(lines[&8][0].headed, Some(Duration::from_millis(10_740)));
        assert_eq!((lines[&8].len(), lines[&8][0].reason()), (2, "no_endpoints"));
        assert!(parse("nothing\n", 0, Duration::ZERO).is_err());
    }
}
