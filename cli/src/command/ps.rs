//! `weft ps`: what runs on this machine.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;
use weft_control_plane::{Announcement, default_state_dir};

use crate::output::{self, Format};
use crate::run::record::Record;
use crate::table::table;

pub(crate) const EXAMPLES: &str = "\
Examples:
  weft ps                                  what `weft run` runs here, and where its sidecars are
  weft top --proxy $(weft ps --output json | jq -r '.runs[0].admin')
  kill $(weft ps --output json | jq '.runs[] | select(.service == \"web\") | .pid')

ADMIN has /ready, /metrics and /config of the sidecar, and is what --proxy of weft top, get, config, logs and explain
takes. PROXY is where the program's own requests go; INBOUND is where the sidecar takes requests for it.

Exit codes:
  0  what runs is on stdout
  1  it can't be told, and the last line on stderr says why
  2  wrong usage";

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// State folder [default: ~/.local/state/weft]
    #[arg(long, value_name = "DIR", env = "WEFT_STATE")]
    state: Option<PathBuf>,
    /// For people or for programs: `json` is one object with `control_plane` and `runs`
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let state = args.state.clone().unwrap_or_else(default_state_dir);
    let runs = Record::all(&state).with_context(|| format!("cannot read {}", state.display()))?;
    let plane = Announcement::running(&state)?;
    let _ = match args.output {
        Format::Json => {
            let plane = plane.map(|it| json!({ "pid": it.pid, "address": it.address, "admin": it.admin }));
            output::json(&json!({ "control_plane": plane, "runs": runs }))
        }
        Format::Text => output::line(&lines(plane.as_ref(), &runs).join("\n")),
    };
    Ok(ExitCode::SUCCESS)
}

fn lines(plane: Option<&Announcement>, runs: &[Record]) -> Vec<String> {
    let mut lines = vec![match plane {
        Some(plane) => format!("control plane: pid {}, {}, admin {}", plane.pid, plane.address, plane.admin),
        None => "control plane: none runs here".to_owned(),
    }];
    if runs.is_empty() {
        lines.push("nothing runs here by `weft run`".to_owned());
        return lines;
    }
    let rows: Vec<_> = runs.iter().map(row).collect();
    lines.extend(table(["PID", "SERVICE", "VERSION", "INBOUND", "PROXY", "ADMIN", "PROGRAM"], &rows));
    lines
}

fn row(record: &Record) -> [String; 7] {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let service = record.service.as_ref().map(|name| {
        let name =
            if record.namespace == "default" { name.clone() } else { format!("{}/{name}", record.namespace) };
        record.service_port.map_or(name.clone(), |port| format!("{name}:{port}"))
    });
    [
        record.info.pid.to_string(),
        or_none(service),
        or_none(record.version.clone()),
        or_none(record.info.inbound.map(|address| address.to_string())),
        or_none(record.info.outbound.map(|address| address.to_string())),
        record.info.admin.to_string(),
        or_none(Some(record.command.join(" ")).filter(|command| !command.is_empty())),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::info::Info;

    #[test]
    fn what_runs_is_a_table() {
        assert_eq!(lines(None, &[]), ["control plane: none runs here", "nothing runs here by `weft run`"]);
        let record = Record {
            workload: "web-1".to_owned(),
            namespace: "shop".to_owned(),
            service: Some("web".to_owned()),
            version: Some("v2".to_owned()),
            service_port: Some(80),
            command: vec!["npm".to_owned(), "start".to_owned()],
            info: Info {
                pid: 42,
                program: Some(43),
                port: Some(3000),
                outbound: None,
                inbound: Some("127.0.0.1:1".parse().unwrap()),
                upstreams: std::collections::BTreeMap::new(),
                admin: "127.0.0.1:2".parse().unwrap(),
            },
        };
        let expected = [
            "control plane: none runs here",
            "PID  SERVICE      VERSION  INBOUND      PROXY  ADMIN        PROGRAM",
            "42   shop/web:80  v2       127.0.0.1:1  -      127.0.0.1:2  npm start",
        ];
        assert_eq!(lines(None, &[record]), expected);
    }
}
