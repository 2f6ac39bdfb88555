//! The demo: a mesh of separate processes on this machine, load on it, and what goes wrong in a day, in half a minute.

mod connected;
mod folder;
mod instance;
mod mesh;
mod report;
pub(crate) mod scenario;
mod sidecars;
mod split;
mod story;
mod tally;
mod view;

use anyhow::bail;

use crate::command::demo::Args;
use crate::exit;
use crate::interrupts::Interrupts;

use self::mesh::Mesh;
use self::story::{Ended, Story};
use self::view::View;

/// Runs the demo, and gives the code to end with: 0, or 1 when requests were lost.
pub(crate) async fn run(args: Args) -> anyhow::Result<u8> {
    let mut interrupts = Interrupts::listen()?;
    let mut view = View::new(args.output);
    let starting = Mesh::start(view::progress);
    let mesh = tokio::select! {
        mesh = starting => mesh?,
        // The processes that have started end with this one.
        () = interrupts.next() => return Ok(exit::INTERRUPTED),
    };
    let story = match Story::begin(mesh, &args, &mut view).await {
        Ok(story) => story,
        Err((mesh, error)) => return Err(mesh.fail(error)),
    };
    match story.run(&mut view, &mut interrupts).await {
        Ok(Ended { mesh, summary }) => {
            let _ = view.finish(&summary);
            if let Some(kept) = mesh.stop(args.keep) {
                view::progress(&format!("kept {}", kept.display()));
            }
            match summary.complaint() {
                Some(complaint) => bail!(complaint),
                None => Ok(0),
            }
        }
        Err((mesh, error)) => {
            view.leave();
            Err(mesh.fail(error))
        }
    }
}
