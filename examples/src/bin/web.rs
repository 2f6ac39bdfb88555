//! `web` as a program of its own.

use std::process::ExitCode;

use weft_examples::{Program, start};

fn main() -> ExitCode {
    start("web", "The page: a product and what reviews says of it (HTTP)", |args| Program::Web(args).run())
}
