//! Real processes for benchmarks and verification: a control plane, sidecars and applications, each bound to a core, ended
//! when the run ends, and observed through `/proc` and their admin servers.
//!
//! A program that starts processes through [`process::Process`] has a command `exec` that calls
//! [`process::exec::replace`]: a child binds itself to its core and to its parent's life before it becomes the program.

pub mod certificates;
pub mod host;
pub mod load;
pub mod mesh;
pub mod options;
pub mod process;
pub mod protocol;
pub mod report;
pub mod run;
pub mod server;
pub mod subject;
pub mod testbed;
pub mod wait;
