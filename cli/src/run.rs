//! A program with a sidecar beside it.
//!
//! The order is: sidecar, then program. The program gets the sidecar's addresses in its environment and may call others
//! in its first line, so the sidecar has to be there before. The other direction needs no order: the sidecar gets no
//! requests from others before the program takes connections on its port.

mod credentials;
mod environment;
pub(crate) mod info;
mod port;
pub(crate) mod record;
mod settings;
mod sidecar;
mod supervise;

use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use weft_control_plane::default_state_dir;

use crate::command::run::Args;
use crate::exit;
use crate::process::{Child, guarded, has_terminal};

use self::info::Info;
use self::record::{Kept, Record};
use self::settings::Settings;
use self::sidecar::Sidecar;
use self::supervise::{Stop, Stops};

/// What is said of what goes on, on stderr, beside what the program says.
const NAME: &str = "weft run";
/// What is logged before the sidecar is ready.
pub(crate) const STARTING: &str = "error";
/// What is logged afterwards.
const RUNNING: &str = "warn";
/// How long the program may take to listen before a hint is given.
const LISTEN_HINT: Duration = Duration::from_secs(5);
/// How long a drain may take before it is told how to end at once.
const DRAIN_HINT: Duration = Duration::from_secs(1);
/// How often it is tried whether the program listens.
const LISTEN_EVERY: Duration = Duration::from_millis(20);

/// Says something about what goes on. Nobody has to listen.
fn tell(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{NAME}: {text}");
}

/// Runs until the program ends, and gives the code to end with.
pub(crate) async fn run(args: Args) -> anyhow::Result<u8> {
    // From here on a signal ends what has been started, and not only this process.
    let mut stops = Stops::listen()?;
    let began = begin(&args, &mut stops).await;
    let (sidecar, settings) = match began {
        Ok(Ok(began)) => began,
        Ok(Err(stop)) => return Ok(stop.exit_code()),
        Err(error) => {
            exit::say(NAME, &error);
            return Ok(exit::SIDECAR_FAILED);
        }
    };
    let code = if args.command.is_empty() {
        alone(&args, &settings, &sidecar, &mut stops).await
    } else {
        beside(&args, &settings, &sidecar, &mut stops).await
    };
    sidecar.stop().await;
    code.or_else(|error| {
        exit::say(NAME, &error);
        Ok(exit::SIDECAR_FAILED)
    })
}

/// Starts the sidecar and waits until it is ready, or until a signal says that it is not wanted any more.
async fn begin(args: &Args, stops: &mut Stops) -> anyhow::Result<Result<(Sidecar, Settings), Stop>> {
    let token = credentials::find(args, SystemTime::now())?;
    let settings = Settings::new(args, &token, fastrand::u32(..))?;
    let sidecar = Sidecar::start(settings.proxy.clone())?;
    tokio::select! {
        stop = stops.next() => {
            sidecar.stop().await;
            Ok(Err(stop))
        }
        ready = sidecar.ready(Instant::now()) => match ready {
            Ok(()) => {
                // Whoever asked for something else has it from the start.
                if !weft_log::is_told() {
                    let _ = weft_log::set_filter(RUNNING);
                }
                Ok(Ok((sidecar, settings)))
            }
            Err(error) => {
                sidecar.stop().await;
                Err(error)
            }
        }
    }
}

/// A sidecar without a program, until a signal.
async fn alone(args: &Args, settings: &Settings, sidecar: &Sidecar, stops: &mut Stops) -> anyhow::Result<u8> {
    let info = Info::new(sidecar.addresses(), None, None);
    info.write(args.info.as_deref())?;
    let _kept = keep(args, settings, info);
    for line in sidecar.described() {
        tell(format_args!("{line}"));
    }
    let stop = stops.next().await;
    let telling = async {
        tokio::time::sleep(DRAIN_HINT).await;
        tell(format_args!("waiting for requests and connections to end; once more ends at once"));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = sidecar.drain() => {}
        _ = stops.next() => {}
        () = telling => {}
    }
    // It was asked to end and does: with nothing else to report, that is success.
    Ok(if stop.is_orderly() { 0 } else { stop.exit_code() })
}

/// Writes down what runs. Without it only `weft ps` knows less.
fn keep(args: &Args, settings: &Settings, info: Info) -> Option<Kept> {
    let state = args.state.clone().unwrap_or_else(default_state_dir);
    let record = Record {
        workload: settings.proxy.workload_id.clone(),
        namespace: settings.namespace.clone(),
        service: args.service.clone(),
        version: args.version.clone(),
        service_port: args.port,
        command: args.command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        info,
    };
    let kept = record.keep(&state);
    if let Err(error) = &kept {
        tell(format_args!("weft ps will not know of this: cannot write into {}: {error}", state.display()));
    }
    kept.ok()
}

async fn beside(
    args: &Args,
    settings: &Settings,
    sidecar: &Sidecar,
    stops: &mut Stops,
) -> anyhow::Result<u8> {
    let (program, rest) = args.command.split_first().context("no command")?;
    let mut command = guarded(program, rest);
    let inherited = |name: &str| std::env::var(name).ok();
    let environment =
        environment::compose(sidecar.addresses(), settings.application_port, &args.variables, inherited)?;
    command.envs(environment).env_remove("WEFT_TOKEN");
    // In front of a terminal the program shares it, job control included; else it is alone in a group, so that what it
    // leaves behind can be found.
    let terminal = has_terminal();
    let mut child =
        Child::start(command, !terminal).with_context(|| format!("cannot start {}", program.display()))?;
    let info = Info::new(sidecar.addresses(), settings.application_port, Some(child.id()));
    let _kept = keep(args, settings, info.clone());
    tell(format_args!("{}", sidecar.admin()));
    let telling = async {
        // The program runs all the same.
        if let Err(error) = tell_when_listening(args, settings, info).await {
            exit::say(NAME, &error);
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        () = supervise::until_ended(&mut child, sidecar, stops, terminal) => {}
        () = telling => {}
    }
    Ok(exit::of(child.collect().context("cannot learn how the program ended")?))
}

/// Writes the file of `--info` once the program takes connections, and gives a hint when that takes long.
async fn tell_when_listening(args: &Args, settings: &Settings, info: Info) -> anyhow::Result<()> {
    if let Some(port) = settings.application_port {
        let began = Instant::now();
        let mut hinted = false;
        while !port::listens(port).await {
            if !hinted && began.elapsed() >= LISTEN_HINT {
                hinted = true;
                let how = if args.app_port.is_some() { "--app-port" } else { "PORT" };
                tell(format_args!(
                    "the program does not listen on 127.0.0.1:{port} or [::1]:{port} yet, the port in {how}"
                ));
            }
            tokio::time::sleep(LISTEN_EVERY).await;
        }
    }
    info.write(args.info.as_deref())
}
