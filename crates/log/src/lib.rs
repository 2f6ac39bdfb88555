//! The log of every program of Weft: on stderr, at a level that can be changed while it runs.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// Names the level, or a filter such as `info,weft_proxy::outbound=debug`.
pub const VARIABLE: &str = "WEFT_LOG";

/// While the API server is gone, its client tells of every attempt as of an error, by the dozen each second, and not of
/// which. The control plane tells of it once.
const QUIET: &str = "kube_client::client::builder=off";

static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Levels, as people write them.
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Starts logging at `level` and worse, unless the environment says otherwise; what it says is told to be wrong where it is,
/// and `level` holds. Does nothing where somebody else has set up a log for this process.
pub fn start(level: &str) {
    let (filter, problem) = match told() {
        Ok(filter) => (filter, None),
        Err(problem) => (None, Some(problem)),
    };
    let filter = filter.unwrap_or_else(|| EnvFilter::new(with_quiet(level)));
    let (filter, handle) = reload::Layer::new(filter);
    let no_colours = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
    let colours = std::io::stderr().is_terminal() && !no_colours;
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        let _ = FILTER.set(handle);
        if let Some(problem) = problem {
            // As an error: some programs log nothing less at first.
            tracing::error!(%problem, "{VARIABLE} is passed over, and the level is {level}");
        }
    }
}

/// Whether the environment says what is logged, in a way that can be read.
pub fn is_told() -> bool {
    matches!(told(), Ok(Some(_)))
}

/// What the environment says, if anything.
fn told() -> Result<Option<EnvFilter>, String> {
    let told = std::env::var_os(VARIABLE).filter(|told| !told.is_empty());
    told.map(|told| parse(&told.to_string_lossy())).transpose()
}

/// The filter in force, if this process has a log of ours.
pub fn filter() -> Option<String> {
    FILTER.get()?.with_current(written).ok()
}

/// Puts another filter in force; the error says what is wrong with it.
pub fn set_filter(filter: &str) -> Result<(), String> {
    let handle = FILTER.get().ok_or("this process logs in a way that can't be changed")?;
    handle.reload(parse(filter)?).map_err(|error| error.to_string())
}

/// Says what is wrong with a filter, if anything.
pub fn check(filter: &str) -> Result<(), String> {
    parse(filter).map(|_| ())
}

/// A filter as people write it. Each part names its level: a word that is none could be taken for the name of a module, and
/// would turn off everything else.
fn parse(filter: &str) -> Result<EnvFilter, String> {
    let wrong = |problem: &dyn std::fmt::Display| {
        format!(
            "{filter:?} is not a filter: {problem}. Write a level ({}) or TARGET=LEVEL,...",
            LEVELS.join(", ")
        )
    };
    let parsed = EnvFilter::try_new(with_quiet(filter)).map_err(|error| wrong(&error))?;
    for part in filter.split(',') {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        if level.is_empty() {
            return Err(wrong(&"a part of it is empty"));
        }
        if !LEVELS.iter().any(|known| level.eq_ignore_ascii_case(known)) {
            return Err(wrong(&format_args!("{level} is no level")));
        }
    }
    Ok(parsed)
}

/// As people write it: without what is always there.
fn written(filter: &EnvFilter) -> String {
    let text = filter.to_string();
    text.split(',').filter(|part| *part != QUIET).collect::<Vec<_>>().join(",")
}

fn with_quiet(filter: &str) -> String {
    format!("{QUIET},{filter}")
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::filter::LevelFilter;

    use super::*;

    #[test]
    fn levels_and_levels_of_targets_are_filters() {
        for filter in [
            "info",
            "WARN",
            "off",
            "info,weft_proxy::outbound=debug",
            "debug,h2=error",
            "weft_proxy[request]=trace",
        ] {
            assert!(parse(filter).is_ok(), "{filter}");
        }
        assert_eq!(parse("info").unwrap().max_level_hint(), Some(LevelFilter::INFO));
    }

    #[test]
    fn what_is_no_filter_is_named_with_what_to_write() {
        for (filter, named) in [
            ("", "it is empty"),
            ("verbose", "verbose is no level"),
            ("info,loud", "loud is no level"),
            ("weft_proxy=loud", "error parsing level filter"),
            ("info,", "a part of it is empty"),
            ("weft_proxy=3", "3 is no level"),
            ("weft_proxy::outbound", "weft_proxy::outbound is no level"),
            ("debug, h2=error", "error parsing level filter"),
        ] {
            let problem = parse(filter).unwrap_err();
            assert!(problem.contains(named) && problem.contains("Write a level (error, warn"), "{problem}");
            assert!(problem.starts_with(&format!("{filter:?}")), "{problem}");
        }
    }

    #[test]
    fn what_is_told_by_others_in_a_better_way_stays_quiet_unless_it_is_asked_for() {
        let info = parse("info").unwrap();
        assert!(info.to_string().contains(QUIET));
        assert_eq!(written(&info), "info");
        let asked = parse("info,kube_client::client::builder=error").unwrap().to_string();
        assert!(!asked.contains("off"), "{asked}");
    }
}
