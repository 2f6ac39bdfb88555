//! `load`: requests at a constant rate, whatever the answers do, and what became of them.
//!
//! Open loop: request `i` is due at `i / rate` seconds, and a slow answer holds no later request back. When all slots
//! are taken, due requests wait, and the wait counts: a latency is measured from the moment the request was due, so that
//! a stall shows in full (no coordinated omission).

mod pace;
mod report;
mod tally;

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Response, Uri};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::{Client, ClientArgs, Failure};
use crate::serving::{say, stop_on_signal};
use crate::{Error, VERSION_HEADER, value};
use pace::Plan;
use tally::Outcome;

pub use report::{Kind, Latency, Report};

/// Says why a proxy answered instead of a service.
const MESH_ERROR_HEADER: &str = "x-weft-error";

/// Options of `load`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// What to GET, such as `http://web:8080/product/1`
    #[arg(value_name = "URL", value_parser = value::url)]
    pub url: Uri,
    /// Requests per second
    #[arg(long, default_value = "10", value_parser = value::rate)]
    pub rate: f64,
    /// End after this long; without it, at SIGTERM or SIGINT
    #[arg(long, value_name = "DURATION", value_parser = value::some_duration)]
    pub duration: Option<Duration>,
    /// Requests in flight at most; what is due meanwhile waits, and its wait counts
    #[arg(long, value_name = "REQUESTS", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,
    /// A request without its whole answer so long after it was due has failed
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = value::some_duration)]
    pub timeout: Duration,
    /// Print what happened so often
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = value::some_duration)]
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
    let client = Client::new(&args.client)?;
    let plan = Plan {
        rate: args.rate,
        length: args.duration,
        slots: args.concurrency.into(),
        timeout: args.timeout,
        every: args.every,
    };
    let headers: HeaderMap = args.headers.into_iter().collect();
    let send = |deadline: Instant| {
        let (client, url, headers) = (client.clone(), args.url.clone(), headers.clone());
        async move { outcome(client.get(url, headers, deadline).await) }
    };
    Ok(pace::drive(&plan, stop, send, each).await)
}

fn outcome(answer: Result<Response<Bytes>, Failure>) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) => return Outcome::failed(failure.reason),
    };
    let text = |name| answer.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let status = answer.status();
    let failure = (status.is_client_error() || status.is_server_error()).then(|| {
        let reason = text(MESH_ERROR_HEADER).map(|reason| format!(" {reason}")).unwrap_or_default();
        format!("status {}{reason}", status.as_u16())
    });
    Outcome { status: Some(status.as_u16()), version: text(VERSION_HEADER).map(str::to_owned), failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)]) -> Outcome {
        let mut answer = Response::new(Bytes::new());
        *answer.status_mut() = status.try_into().unwrap();
        for (name, value) in headers {
            answer.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        outcome(Ok(answer))
    }

    #[test]
    fn errors_by_status_are_failures_with_the_reason_that_the_mesh_gives() {
        assert_eq!(answer(200, &[("x-version", "v2")]).version.as_deref(), Some("v2"));
        assert_eq!(answer(302, &[]).failure, None);
        assert_eq!(answer(404, &[]).failure.as_deref(), Some("status 404"));
        let reason = answer(503, &[(MESH_ERROR_HEADER, "no_endpoints")]).failure;
        assert_eq!(reason.as_deref(), Some("status 503 no_endpoints"));
    }

    #[test]
    fn headers_are_read_as_name_and_value() {
        assert_eq!(header("X-User: a:b").unwrap(), ("x-user".parse().unwrap(), "a:b".parse().unwrap()));
        assert!(header("no colon").is_err() && header("a b: c").is_err());
    }
}
