//! `ratings` as a program of its own.

use std::process::ExitCode;

use weft_examples::{Program, start};

fn main() -> ExitCode {
    start("ratings", "Stars of a product (gRPC)", |args| Program::Ratings(args).run())
}
