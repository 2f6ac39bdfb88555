//! `echo` as a program of its own.

use std::process::ExitCode;

use weft_examples::{Program, start};

fn main() -> ExitCode {
    start("echo", "Lines over plain TCP, from a server that speaks first", |args| Program::Echo(args).run())
}
