//! `weft-cni`: the plugin that redirects the connections of meshed pods, and what puts it on nodes.

use std::env;
use std::io::Read as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use weft_redirect::cni::conflist::Outcome;
use weft_redirect::cni::install::{Folders, copy, keep, remove};
use weft_redirect::cni::{Call, failure, run};

/// How often the list of plugins is looked at: others replace it rarely, and pods that start meanwhile are not meshed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Redirects the connections of meshed pods, called by the container runtime
#[derive(Parser)]
#[command(name = "weft-cni", version)]
enum Program {
    /// Put the plugin on this node and keep it there until told to end
    Install {
        #[command(flatten)]
        folders: Folders,
        /// Take the plugin off the node at the end; without this it stays, so that pods which start while this program is
        /// replaced are redirected, too
        #[arg(long)]
        remove_at_end: bool,
    },
    /// Take the plugin off this node
    Uninstall {
        #[command(flatten)]
        folders: Folders,
    },
}

fn main() -> ExitCode {
    // Runtimes call without arguments, and say in variables what they want.
    if let Ok(command) = env::var("CNI_COMMAND") {
        return plugin(command);
    }
    let ended = match Program::parse() {
        Program::Install { folders, remove_at_end } => install(&folders, remove_at_end),
        Program::Uninstall { folders } => remove(&folders),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weft-cni: {error}; the folders are given by --bin-dir and --conf-dir");
            ExitCode::FAILURE
        }
    }
}

fn plugin(command: String) -> ExitCode {
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let call = Call { command, network: variable("CNI_NETNS"), arguments: variable("CNI_ARGS") };
    let mut input = Vec::new();
    // What cannot be read is refused as no configuration.
    let _ = std::io::stdin().read_to_end(&mut input);
    match run(&call, &input) {
        Ok(result) => {
            println!("{result}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{}", failure(&error));
            ExitCode::FAILURE
        }
    }
}

fn install(folders: &Folders, remove_at_end: bool) -> std::io::Result<()> {
    let own = env::current_exe()?;
    copy(&own, folders)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut end = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut waiting = false;
        loop {
            tokio::select! {
                _ = end.recv() => break,
                _ = interrupt.recv() => break,
                _ = look.tick() => {}
            }
            match keep(&own, folders)? {
                Outcome::Waiting if !waiting => {
                    eprintln!("weft-cni: no list of plugins in {} yet; waiting", folders.conf_dir.display());
                    waiting = true;
                }
                Outcome::Added(path) => {
                    eprintln!("weft-cni: added to {}", path.display());
                    waiting = false;
                }
                Outcome::Waiting | Outcome::Unchanged => {}
            }
        }
        if remove_at_end { remove(folders) } else { Ok(()) }
    })
}
