//! The report for people.

use std::fmt::Write as _;

use super::Report;
use super::weights::Weights;

impl Report {
    pub(super) fn markdown(&self) -> String {
        let mut text = format!(
            "# Splits from end to end\n\n{}; Linux {}, {} x {}.\n\nTo repeat it:\n\n```sh\n{}\n```\n\n\
             Four backends of two instances each, every one of them behind a sidecar, and two sidecars of clients, all of them\n\
             processes. {} requests for each set of weights go through one sidecar over HTTP/2. What the client has counted has\n\
             to be what the applications and the metrics of both sides' sidecars have, exactly, within four standard deviations\n\
             of what the weights say, and 0 where they say 0.\n\n",
            self.host.date,
            self.host.kernel,
            self.host.cores,
            self.host.processor,
            self.command,
            self.requests,
        );
        text.push_str(
            "| weights | backend | expected | client | applications | client's sidecar | servers' sidecars | standard deviations |\n\
             |---|---|---:|---:|---:|---:|---:|---:|\n",
        );
        for row in &self.counted {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "| {} | {} | {:.0} | {} | {} | {} | {} | {:+.2} |",
                ratio(row.weights),
                row.backend,
                row.expected,
                row.by_client,
                row.by_applications,
                row.by_client_sidecar,
                row.by_server_sidecars,
                row.sigmas
            );
        }
        let _ = write!(
            text,
            "\n{} clients each get a backend and come again, one request each in every step: with a session in a cookie, with a\n\
             session in a header field, and with a key in a header field (`splitKey`). Sessions never move, also when weights\n\
             change; of keys as many move as rendezvous hashing says, within four standard deviations. New clients, and all keys\n\
             in the other sidecar, are met with the new weights.\n\n\
             | clients with | step | at another backend | that had to | expected | at another instance of the same |\n\
             |---|---|---:|---:|---:|---:|\n",
            self.visitors
        );
        for row in &self.followed {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {:.0} | {:.0} | {} |",
                row.by, row.step, row.moved, row.necessary, row.expected, row.changed_instance
            );
        }
        let _ = writeln!(text, "\nFaults: {}.", self.faults.len());
        for fault in &self.faults {
            let _ = writeln!(text, "- {fault}");
        }
        text
    }
}

/// Weights as people write them.
fn ratio(weights: Weights) -> String {
    weights.map(|weight| weight.to_string()).join(":")
}
