//! What a sidecar knows, for people: tables of what its admin server says at `/config`.

use serde_json::Value;

use crate::table::table;

/// What of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Everything
    All,
    /// What the workload has dialled, and what that stands for
    Destinations,
    /// Rules and the shares of their backends
    Routes,
    /// Where the services' workloads are, and whether they take requests
    Endpoints,
    /// Where the sidecar listens, and what it lets in
    Listeners,
    /// Who the workload is, until when, and whom it believes
    Certificates,
}

impl Part {
    /// The names of what it is in the configuration.
    fn fields(self) -> &'static [&'static str] {
        match self {
            Self::All => &[],
            Self::Destinations | Self::Routes => &["destinations"],
            Self::Endpoints => &["endpoints"],
            Self::Listeners => &["listeners", "inbound"],
            Self::Certificates => &["certificate", "trust"],
        }
    }

    /// Of a configuration what is asked for.
    pub(crate) fn of(self, config: &Value) -> Value {
        if self == Self::All {
            return config.clone();
        }
        self.fields().iter().map(|name| ((*name).to_owned(), config[*name].clone())).collect()
    }
}

/// Lines for people.
pub(crate) fn lines(config: &Value, part: Part) -> Vec<String> {
    match part {
        Part::Destinations => destinations(config),
        Part::Routes => routes(config),
        Part::Endpoints => endpoints(config),
        Part::Listeners => listeners(config),
        Part::Certificates => certificates(config),
        Part::All => {
            let mut all = head(config);
            for (title, lines) in [
                ("certificates", certificates(config)),
                ("listeners", listeners(config)),
                ("destinations", destinations(config)),
                ("routes", routes(config)),
                ("endpoints", endpoints(config)),
            ] {
                all.push(String::new());
                all.push(title.to_owned());
                all.extend(lines.into_iter().map(|line| format!("  {line}").trim_end().to_owned()));
            }
            all
        }
    }
}

fn head(config: &Value) -> Vec<String> {
    let plane = &config["control_plane"];
    let connected = if plane["connected"] == true { "connected to" } else { "NOT connected to" };
    let mut lines = vec![
        format!("sidecar of {}, version {}", text(&config["workload"]), or(&config["version"], "unknown")),
        format!("{connected} {}, snapshot {}", text(&plane["address"]), text(&config["snapshot"])),
    ];
    let of = |field: &str| items(&config[field]).map(text).collect::<Vec<_>>();
    for waiting in of("waiting_for") {
        lines.push(format!("not ready: {waiting}"));
    }
    lines.extend(of("troubles").into_iter().map(|trouble| format!("trouble: {trouble}")));
    lines
}

fn certificates(config: &Value) -> Vec<String> {
    let own = &config["certificate"];
    let mut rows = Vec::new();
    if own.is_object() {
        rows.push(["workload", "identity", "serial", "not_after"].map(|field| match field {
            "workload" => "workload".to_owned(),
            field => text(&own[field]),
        }));
    }
    for root in items(&config["trust"]) {
        rows.push([
            "root".to_owned(),
            text(&root["trust_domain"]),
            text(&root["fingerprint"]).chars().take(16).collect(),
            text(&root["not_after"]),
        ]);
    }
    table(["WHAT", "OF", "SERIAL OR FINGERPRINT", "VALID UNTIL"], &rows)
}

fn listeners(config: &Value) -> Vec<String> {
    let rows: Vec<_> = items(&config["listeners"])
        .map(|listener| [text(&listener["address"]), text(&listener["takes"])])
        .collect();
    let mut lines = table(["ADDRESS", "TAKES"], &rows);
    let inbound = &config["inbound"];
    let port = |port: &Value| {
        let number = if port["port"].is_null() { "others".to_owned() } else { text(&port["port"]) };
        [number, text(&port["protocol"]), text(&port["tls"])]
    };
    let mut rows: Vec<_> = items(&inbound["ports"]).map(port).collect();
    if inbound["other_ports"].is_object() {
        rows.push(port(&inbound["other_ports"]));
    }
    lines.push(String::new());
    lines.extend(table(["INBOUND PORT", "PROTOCOL", "TLS"], &rows));
    lines
}

fn destinations(config: &Value) -> Vec<String> {
    let rows: Vec<_> = items(&config["destinations"])
        .map(|destination| {
            if destination["in_the_mesh"] == false {
                return [
                    text(&destination["name"]),
                    "not in the mesh".to_owned(),
                    String::new(),
                    String::new(),
                ];
            }
            let rules = items(&destination["rules"]).count();
            let rules = if rules == 0 { "none: all to the service".to_owned() } else { rules.to_string() };
            [text(&destination["name"]), text(&destination["service"]), text(&destination["protocol"]), rules]
        })
        .collect();
    table(["NAME", "SERVICE", "PROTOCOL", "RULES"], &rows)
}

fn routes(config: &Value) -> Vec<String> {
    let mut rows = Vec::new();
    for destination in items(&config["destinations"]) {
        for rule in items(&destination["rules"]) {
            let backends = items(&rule["backends"]).map(|backend| match &backend["invalid"] {
                Value::Null => format!("{} {}", text(&backend["weight"]), text(&backend["service"])),
                problem => format!("{} INVALID: {}", text(&backend["weight"]), text(problem)),
            });
            let timeout = match &rule["request_timeout_ms"] {
                Value::Null => "-".to_owned(),
                milliseconds => format!("{milliseconds} ms"),
            };
            rows.push([
                text(&destination["name"]),
                text(&rule["route"]),
                or(&rule["rule"], "-"),
                timeout,
                backends.collect::<Vec<_>>().join(", "),
            ]);
        }
    }
    table(["DESTINATION", "ROUTE", "RULE", "TIMEOUT", "BACKENDS (WEIGHT SERVICE)"], &rows)
}

fn endpoints(config: &Value) -> Vec<String> {
    let mut rows = Vec::new();
    for service in items(&config["endpoints"]) {
        for endpoint in items(&service["endpoints"]) {
            let health = match endpoint["ejected_by"].as_u64() {
                None | Some(0) => text(&endpoint["health"]),
                Some(1) => "ejected by a worker".to_owned(),
                Some(workers) => format!("ejected by {workers} workers"),
            };
            rows.push([
                text(&service["service"]),
                text(&endpoint["address"]),
                health,
                text(&endpoint["hop"]),
                text(&endpoint["weight"]),
                or(&endpoint["version"], "-"),
                or(&endpoint["workload"], &text(&endpoint["id"])),
            ]);
        }
    }
    table(["SERVICE", "ADDRESS", "HEALTH", "HOP", "WEIGHT", "VERSION", "WORKLOAD"], &rows)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn or(value: &Value, otherwise: &str) -> String {
    match text(value) {
        text if text.is_empty() => otherwise.to_owned(),
        text => text,
    }
}

#[cfg(test)]
mod tests;
