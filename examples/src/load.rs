//! `load`: requests at a constant rate, whatever the answers do, and what became of them.
//!
//! Open loop: request `i` is due at `i / rate` seconds, and a slow answer holds no later request back. When all slots
//! are taken, due requests wait, and the wait counts: a latency is measured from the moment the request was due, so that
//! a stall shows in full (no coordinated omission).

mod exchange;
mod pace;
mod report;
mod tally;

use std::process::ExitCode;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Uri};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::client::{Client, ClientArgs};
use crate::serving::{say, stop_on_signal};
use exchange::Sender;
use pace::Plan;

pub use report::{Kind, Latency, Report};

/// Options of `load`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// What to GET, such as `http://web:8080/product/1`. With `grpc://` a request is a stream of `WatchRatings`, with
    /// `tcp://` a connection to `echo`
    #[arg(value_name = "URL", value_parser = weft_values::load_url)]
    pub url: Uri,
    /// Send HTTP/2 to `http://`, without asking whether it is spoken
    #[arg(long)]
    pub http2: bool,
    /// Requests per second
    #[arg(long, default_value = "10", value_parser = weft_values::rate)]
    pub rate: f64,
    /// End after this long; without it, at SIGTERM or SIGINT
    #[arg(long, value_name = "DURATION", value_parser = weft_values::some_duration)]
    pub duration: Option<Duration>,
    /// Requests in flight at most; what is due meanwhile waits, and its wait counts
    #[arg(long, value_name = "REQUESTS", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,
    /// A request without its whole answer so long after it was due has failed
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = weft_values::some_duration)]
    pub timeout: Duration,
    /// Print what happened so often
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = weft_values::some_duration)]
    pub every: Duration,
    /// Send this header; may be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = header)]
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How requests leave.
    #[command(flatten)]
    pub client: ClientArgs,
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    const HELP: &str = "write name, colon and value, such as `x-user: tester`";
    let (name, value) = text.split_once(':').ok_or(HELP)?;
    let name = name.trim().parse().map_err(|_| HELP)?;
    let value = value.trim().parse().map_err(|_| HELP)?;
    Ok((name, value))
}

/// Sends until the duration is over or until SIGTERM or SIGINT, printing JSON: a line for each interval, then the
/// summary. Succeeds when no request failed.
pub async fn run(args: Args) -> Result<ExitCode, Error> {
    let stop = stop_on_signal()?;
    let print = |report: &Report| say(format_args!("{}", report.to_json()));
    let summary = drive(args, stop, print).await?;
    print(&summary);
    Ok(if summary.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sends until the duration is over or until `stop`, tells `each` about each interval, and returns the summary. After
/// `stop` nothing new becomes due; what is due still gets its time.
pub async fn drive(args: Args, stop: CancellationToken, each: impl FnMut(&Report)) -> Result<Report, Error> {
    let client = if args.http2 { Client::of_http2(&args.client) } else { Client::new(&args.client) }?;
    let plan = Plan {
        rate: args.rate,
        length: args.duration,
        slots: args.concurrency.into(),
        timeout: args.timeout,
        every: args.every,
    };
    let headers: HeaderMap = args.headers.into_iter().collect();
    let sender = Sender::new(client, args.url, headers)?;
    let send = |deadline: Instant| sender.clone().send(deadline);
    Ok(pace::drive(&plan, stop, send, each).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_name_and_value() {
        assert_eq!(header("X-User: a:b").unwrap(), ("x-user".parse().unwrap(), "a:b".parse().unwrap()));
        assert!(header("no colon").is_err() && header("a b: c").is_err());
    }
}
