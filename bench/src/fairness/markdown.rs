//! The result as a table.

use std::fmt::Write;

use super::{CANCELLING, FairnessReport, Others, PairGrowth, STREAMS, UNREAD_ANSWERS, UNREAD_UPLOADS};
use crate::idle::Growth;
use weft_harness::report::preamble;

impl FairnessReport {
    /// The report for people.
    pub(super) fn markdown(&self) -> String {
        let mut text = String::from("# What one client takes away from others\n\n");
        preamble(&mut text, &self.host, &self.command);
        let ((clients, requests), streams) = (CANCELLING, self.streams);
        let _infallible = writeln!(
            text,
            "Client and application speak HTTP/2. Each figure is of a fresh pair. Short requests have 2 s for their answer.\n\n\
             - unread answers: {UNREAD_ANSWERS} answers of 64 MiB whose clients read nothing, and then 100 short requests\n  \
             of others: how many of them are answered\n\
             - unread uploads: {UNREAD_UPLOADS} uploads that the application does not read, and then 100 requests of 1 KiB on the\n  \
             same connection of the client\n\
             - cancels: {clients} clients that cancel {requests} requests each, and 100 short requests of others meanwhile\n\
             - windows: {streams} answers of 64 MiB whose clients open no window, {STREAMS} on a connection: growth of the\n  \
             resident memory of the client's sidecar, the server's sidecar, and both\n\
             - uploads: the same with {streams} uploads that the application does not read\n\
             - one upload: the rate of one that the application reads, the best of three of 256 MiB\n"
        );
        text.push_str(
            "| subject | version | unread answers | unread uploads | cancels | windows, MiB | uploads, MiB | one upload, MiB/s |\n\
             |---|---|---:|---:|---:|---:|---:|---:|\n",
        );
        for result in &self.results {
            let _infallible = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {:.0} |",
                result.subject,
                result.version,
                share(result.unread_answers),
                share(result.unread_uploads),
                share(result.cancels),
                grown(&result.windows),
                grown(&result.uploads),
                result.upload_rate
            );
        }
        text
    }
}

fn share(others: Others) -> String {
    format!("{} of {}", others.answered, others.sent)
}

fn grown(pair: &PairGrowth) -> String {
    let mib = |growth: &Growth| (growth.with.rss_kib as f64 - growth.before.rss_kib as f64) / 1024.0;
    let (client, server) = (mib(&pair.client_sidecar), mib(&pair.server_sidecar));
    format!("{client:.1} + {server:.1} = {:.1}", client + server)
}
