//! `reviews` as a program of its own.

use std::process::ExitCode;

use weft_examples::{Program, start};

fn main() -> ExitCode {
    start("reviews", "Reviews of a product, in three versions (HTTP)", |args| Program::Reviews(args).run())
}
