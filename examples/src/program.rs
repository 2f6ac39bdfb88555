//! Starting one of the programs, from its own binary or from another's command line.

use std::future::Future;
use std::process::ExitCode;

use crate::{Error, echo, load, ratings, reviews, web};

/// Which program to run.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Program {
    /// The page: a product and what reviews says of it (HTTP)
    Web(web::Args),
    /// Reviews of a product, in three versions (HTTP)
    Reviews(reviews::Args),
    /// Stars of a product (gRPC)
    Ratings(ratings::Args),
    /// Lines over plain TCP, from a server that speaks first
    Echo(echo::Args),
    /// Sends requests at a constant rate and counts what comes back
    Load(load::Args),
}

impl Program {
    /// Runs it until it ends or SIGTERM or SIGINT ends it.
    pub async fn run(self) -> Result<ExitCode, Error> {
        match self {
            Self::Web(args) => web::run(args).await?,
            Self::Reviews(args) => reviews::run(args).await?,
            Self::Ratings(args) => ratings::run(args).await?,
            Self::Echo(args) => echo::run(args).await?,
            Self::Load(args) => return load::run(args).await,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What a binary of one of the programs does: reads the command line, runs on one thread, prints an error as one line.
pub fn start<A, F>(name: &'static str, about: &'static str, run: impl FnOnce(A) -> F) -> ExitCode
where
    A: clap::Args,
    F: Future<Output = Result<ExitCode, Error>>,
{
    let command = A::augment_args(clap::Command::new(name)).about(about);
    let args = A::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    match on_runtime(run(args)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn on_runtime(running: impl Future<Output = Result<ExitCode, Error>>) -> Result<ExitCode, Error> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
    let ended = runtime.block_on(running);
    // A name that is still being looked up must not keep the process.
    runtime.shutdown_background();
    ended
}

#[cfg(test)]
mod tests {
    use clap::Subcommand;

    use super::*;

    #[test]
    fn the_programs_fit_into_a_command_line_with_a_version_of_its_own() {
        Program::augment_subcommands(clap::Command::new("weft").version("1")).debug_assert();
    }
}
