//! Octets of HTTP/1 and HTTP/2 that a client must not send, or may though few do, against real processes: both listeners of a
//! pair of sidecars, or any other proxy.

use std::net::SocketAddr;

use clap::Args;
use weft_harness::mesh::local;

use weft_testkit::hostile::{AUTHORITY, Case, Version, cases};

use crate::application::Application;
use crate::hostile::application::Recorder;
use crate::target::Target;

mod application;
mod client;

/// What to send where.
#[derive(Clone, Debug, Args)]
pub(crate) struct Hostile {
    /// Send to this proxy, which has to forward to the application's address [default: a pair of sidecars]
    #[arg(long, value_name = "ADDRESS", requires = "application")]
    target: Option<SocketAddr>,
    /// Where the application listens that the proxy forwards to
    #[arg(long, value_name = "ADDRESS")]
    application: Option<SocketAddr>,
    /// Show the cases whose name has this in it alone, and what came back
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// What the cases are in.
const VERSIONS: [Version; 2] = [Version::Http1, Version::Http2];

/// Sends all of it. Whether every case ended as it has to.
pub(crate) async fn run(options: Hostile) -> anyhow::Result<bool> {
    if let Some(only) = &options.only
        && !VERSIONS
            .into_iter()
            .any(|version| cases(version).iter().any(|case| case.name.contains(only.as_str())))
    {
        anyhow::bail!("no case has {only:?} in its name; --only takes a part of one, such as trailers");
    }
    let listener = tokio::net::TcpListener::bind(options.application.unwrap_or(local(0))).await?;
    let address = listener.local_addr()?;
    let recorder = Recorder::serve(listener);
    if let Some(target) = options.target {
        return Ok(all("the proxy", target, &recorder, &options).await);
    }
    let mut mesh = Target::start("hostile", "").await?;
    let application = Application::at(address);
    let server = mesh.server("reviews", &format!("{AUTHORITY}/http"), &application, &[]).await?;
    let caller = mesh.caller("web", &[]).await?;
    mesh.wait_for(&caller, &format!("http://{AUTHORITY}/"), "").await?;
    let inbound = all("inbound", server.inbound, &recorder, &options).await;
    let outbound = all("outbound", caller.outbound, &recorder, &options).await;
    mesh.stop().await;
    Ok(inbound && outbound)
}

/// All cases against one listener.
async fn all(name: &str, address: SocketAddr, recorder: &Recorder, options: &Hostile) -> bool {
    let mut held = true;
    for version in VERSIONS {
        let chosen =
            |case: &&Case| options.only.as_ref().is_none_or(|only| case.name.contains(only.as_str()));
        let (mut passed, mut count) = (0, 0);
        for case in cases(version).iter().filter(chosen) {
            recorder.forget();
            let seen = client::exchange(address, version, case).await;
            let verdict = case.expected.verdict(&seen, &recorder.requests());
            count += 1;
            passed += u32::from(verdict.is_ok());
            if let Err(problem) = &verdict {
                println!("  FAILED  {name}, {version}: {}: {problem}; came: {seen}", case.name);
            } else if options.only.is_some() {
                println!("  passed  {name}, {version}: {}: {seen}", case.name);
            }
        }
        println!("hostile: {name}, {version}: {passed} of {count}");
        held &= passed == count;
    }
    held
}
