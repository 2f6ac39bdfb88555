//! The older text format, made from the newer one.

use std::fmt::Write as _;

/// Rewrites OpenMetrics text 1.0.0 as Prometheus text 0.0.4: there, a counter's family is named as its samples are, an
/// info is a gauge, and there are neither units nor an end mark.
pub(super) fn from_open_metrics(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help = None;
    for line in open.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), Some(about)) => help = Some((name, about)),
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", kind),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    _ => ("", kind),
                };
                if let Some((_, about)) = help.take().filter(|(of, _)| *of == name) {
                    // Writing to a `String` cannot fail.
                    let _ = writeln!(text, "# HELP {name}{suffix} {about}");
                }
                let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
            }
            (Some("#"), ..) => {}
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}
