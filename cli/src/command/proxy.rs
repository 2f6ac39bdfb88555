//! `weft proxy`.

use std::process::ExitCode;

pub(crate) use weft_proxy::Args;

pub(crate) const EXAMPLES: &str = "\
Examples:
  weft proxy --token-file token --service reviews:9080/http=127.0.0.1:3000@0.0.0.0:19080
      takes what other workloads send to reviews:9080, on port 19080, for a program on port 3000

  WEFT_TOKEN=$(weft token create --identity shop/web) weft proxy --outbound 127.0.0.1:15001
      an HTTP proxy into the mesh for the programs of a machine

  weft proxy --token-file token --upstream db:5432=127.0.0.1:5432
      a local port that leads to a service

`weft run` is the same with a program beside it. GET /ready of the admin server says whether it takes requests, and if
not, why. It ends with 0 after SIGTERM or Ctrl-C, when requests under way have finished, and with 1 when it can't start
or can never join, such as with an expired token.";

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    weft_proxy::run(args)?;
    Ok(ExitCode::SUCCESS)
}
