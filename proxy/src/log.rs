//! The log: on stderr, at a level that can be changed while the process runs.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// Names the level, or a filter such as `info,weft_proxy::outbound=debug`.
pub const VARIABLE: &str = "WEFT_LOG";

static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts logging at `level` and worse, unless the environment says otherwise. Does nothing where somebody else has
/// set up a log for this process.
pub fn start(level: &str) {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(level));
    let (filter, handle) = reload::Layer::new(filter);
    let no_colours = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
    let colours = std::io::stderr().is_terminal() && !no_colours;
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        let _ = FILTER.set(handle);
    }
}

/// The filter in force, if this process has a log of ours.
pub fn filter() -> Option<String> {
    FILTER.get()?.with_current(ToString::to_string).ok()
}

/// Puts another filter in force; the error says what is wrong with it.
pub fn set_filter(filter: &str) -> Result<(), String> {
    let handle = FILTER.get().ok_or("this process logs in a way that can't be changed")?;
    let parsed = EnvFilter::try_new(filter).map_err(|error| {
        format!("{filter:?} is not a filter: {error}. Write a level (error, warn, info, debug, trace) or TARGET=LEVEL,...")
    })?;
    handle.reload(parsed).map_err(|error| error.to_string())
}
