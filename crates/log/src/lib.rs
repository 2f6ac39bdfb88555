//! The log of every program of Weft: on stderr, at a level that can be changed while it runs.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// Names the level, or a filter such as `info,weft_proxy::outbound=debug`.
pub const VARIABLE: &str = "WEFT_LOG";

/// While the API server is gone, its client tells of every attempt as of an error, by the dozen each second, and not of
/// which. The control plane tells of it once.
const QUIET: &str = "kube_client::client::builder=off";

static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts logging at `level` and worse, unless the environment says otherwise; what it says is told to be wrong where it is,
/// and `level` holds. Does nothing where somebody else has set up a log for this process.
pub fn start(level: &str) {
    let wanted = std::env::var_os(VARIABLE).filter(|wanted| !wanted.is_empty());
    let read = wanted.map(|wanted| parse(&wanted.to_string_lossy())).transpose();
    let (filter, problem) = match read {
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
            tracing::warn!(%problem, "{VARIABLE} is passed over, and the level is {level}");
        }
    }
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

/// A filter as people write it. A word alone is a level: as the name of a module, for which it could be taken, it would turn
/// off everything else.
fn parse(filter: &str) -> Result<EnvFilter, String> {
    let wrong = |problem: &dyn std::fmt::Display| {
        let levels = "a level (error, warn, info, debug, trace, off) or TARGET=LEVEL,...";
        format!("{filter:?} is not a filter: {problem}. Write {levels}")
    };
    let is_word = |part: &&str| part.chars().all(|char| char.is_alphanumeric() || char == '_');
    if filter.trim().is_empty() {
        return Err(wrong(&"it is empty"));
    }
    let words = filter.split(',').filter(|part| !part.is_empty()).filter(is_word);
    for word in words {
        word.parse::<LevelFilter>().map_err(|_| wrong(&format_args!("{word} is no level")))?;
    }
    EnvFilter::try_new(with_quiet(filter)).map_err(|error| wrong(&error))
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
