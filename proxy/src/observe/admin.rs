//! The admin server: readiness, metrics, what is in force, and the few things that can be asked for. It has no
//! authentication, and so answers its own network namespace alone, wherever it listens.

mod config;
mod server;

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use tokio::sync::oneshot;

pub(crate) use self::server::{Admits, serve};
use crate::config::ProxyConfig;
use crate::observe::explain;
use crate::observe::stats::{Exposition, Format};
use crate::runtime::shared::{LOOKUP_TIMEOUT, Lookup, Shared};
use crate::runtime::status::{Rotations, Status};

const TEXT: &str = "text/plain; charset=utf-8";

/// What there is, for whoever asks for something else.
const PATHS: &[(&str, &str)] = &[
    ("GET /ready", "200 when the proxy takes requests, else 503 with what it waits for"),
    ("GET /live", "200 as long as the process works"),
    ("GET /metrics", "counters, for Prometheus"),
    ("GET /config", "what is in force: destinations, endpoints, inbound ports, certificate"),
    (
        "GET /explain?method=METHOD&url=URL&header=NAME:VALUE",
        "what would become of a request of this workload, and why",
    ),
    (
        "GET /admission?method=METHOD&url=URL&caller=SPIFFE_ID&source=ADDRESS",
        "whether a request to the URL's port of this workload would be let in, and why",
    ),
    ("GET /log", "the log's filter"),
    ("PUT /log?filter=FILTER", "changes it: a level, or TARGET=LEVEL,..."),
    ("GET /access-log", "what the access log holds"),
    (
        "PUT /access-log?mode=MODE&share=SHARE",
        "changes it: off, errors or all, and the share of what succeeds",
    ),
    ("POST /rotate", "gets a new certificate now"),
    ("POST /drain", "takes nothing new; requests under way finish"),
];

/// Answers the admin server's requests.
#[derive(Debug)]
pub(crate) struct Admin {
    shared: Arc<Shared>,
    status: Arc<Status>,
    exposition: Exposition,
    workload: String,
    control_plane: String,
    listeners: serde_json::Value,
    rotations: Rotations,
}

/// What is answered.
pub(crate) type Answer = Response<Full<Bytes>>;

impl Admin {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        status: &Arc<Status>,
        config: &ProxyConfig,
        rotations: Rotations,
    ) -> Self {
        let connected = Arc::clone(status);
        Self {
            shared: Arc::clone(shared),
            status: Arc::clone(status),
            exposition: Exposition::new(shared, move || connected.is_connected()),
            workload: config.workload_id.clone(),
            control_plane: config.control_plane.clone(),
            listeners: config::listeners(config),
            rotations,
        }
    }

    pub(crate) async fn answer<B>(&self, request: &Request<B>) -> Answer {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if !reads && request.headers().contains_key(ORIGIN) {
            // A browser sends it along with what a page of somebody else asks of this machine.
            return text(StatusCode::FORBIDDEN, "web pages may not change anything here\n");
        }
        match (request.uri().path(), request.method()) {
            ("/ready", _) if reads => self.ready(),
            ("/live", _) if reads => text(StatusCode::OK, "live\n"),
            ("/metrics", _) if reads => self.metrics(format_of(request)),
            ("/config", _) if reads => self.config(),
            ("/explain", _) if reads => self.explain(request.uri().query()).await,
            ("/admission", _) if reads => self.admission(request.uri().query()),
            ("/log", _) if reads => match weft_log::filter() {
                Some(filter) => text(StatusCode::OK, format!("{filter}\n")),
                None => text(StatusCode::NOT_FOUND, "this process logs in a way that can't be changed\n"),
            },
            ("/log", &Method::PUT | &Method::POST) => set_log(request.uri().query()),
            ("/access-log", _) if reads => self.access_log(),
            ("/access-log", &Method::PUT | &Method::POST) => self.set_access_log(request.uri().query()),
            ("/rotate", &Method::POST) => self.rotate().await,
            ("/drain", &Method::POST) => {
                self.shared.drain.cancel();
                text(StatusCode::ACCEPTED, format!("draining; {} under way\n", self.shared.under_way()))
            }
            ("/ready" | "/live" | "/metrics" | "/config" | "/explain" | "/admission", _) => {
                not_allowed("GET, HEAD")
            }
            ("/log" | "/access-log", _) => not_allowed("GET, HEAD, PUT, POST"),
            ("/rotate" | "/drain", _) => not_allowed("POST"),
            (path, _) => unknown(path),
        }
    }

    fn ready(&self) -> Answer {
        let waiting_for = self.status.waiting_for();
        if waiting_for.is_empty() {
            let mut lines = "ready\n".to_owned();
            for trouble in self.status.troubles() {
                lines.push_str(&trouble);
                lines.push('\n');
            }
            return text(StatusCode::OK, lines);
        }
        text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{}\n", waiting_for.join("\n")))
    }

    /// The counters, in one of the formats.
    pub(crate) fn metrics(&self, format: Format) -> Answer {
        match self.exposition.write(format) {
            Ok(metrics) => answer(StatusCode::OK, format.content_type(), metrics),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("metrics: {error}\n")),
        }
    }

    fn config(&self) -> Answer {
        let mut config = config::describe(&self.shared, &self.status, &self.workload, &self.control_plane);
        config["listeners"] = self.listeners.clone();
        match serde_json::to_string_pretty(&config) {
            Ok(json) => answer(StatusCode::OK, "application/json", json + "\n"),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("configuration: {error}\n")),
        }
    }

    fn access_log(&self) -> Answer {
        let (mode, share) = self.shared.access.setting();
        text(StatusCode::OK, format!("mode={mode}&share={share}\n"))
    }

    fn set_access_log(&self, query: Option<&str>) -> Answer {
        let (mut mode, mut share) = self.shared.access.setting();
        let Some(query) = query else {
            return text(StatusCode::BAD_REQUEST, "say which: PUT /access-log?mode=errors\n");
        };
        for pair in query.split('&') {
            let problem = match pair.split_once('=') {
                Some(("mode", value)) => value.parse().map(|value| mode = value),
                Some(("share", value)) => value.parse().map(|value| share = value),
                _ => Err(format!("{pair:?} is neither mode=MODE nor share=SHARE")),
            };
            if let Err(problem) = problem {
                return text(StatusCode::BAD_REQUEST, format!("{problem}\n"));
            }
        }
        self.shared.access.set(mode, share);
        self.access_log()
    }

    async fn explain(&self, query: Option<&str>) -> Answer {
        let query = match asked(query.unwrap_or_default()) {
            Ok(query) => query,
            Err(problem) => return text(StatusCode::BAD_REQUEST, format!("{problem}\n")),
        };
        let Some(name) = query.destination() else {
            return text(StatusCode::BAD_REQUEST, "the URL has no host\n");
        };
        if !self.shared.snapshot.load().destinations.contains_key(&*name) {
            let (answered, answer) = oneshot::channel();
            // Without an answer in time the snapshot says what a request would meet, too.
            if self.shared.lookups.try_send(Lookup { name: name.clone(), answered }).is_ok() {
                let _ = tokio::time::timeout(LOOKUP_TIMEOUT, answer).await;
            }
        }
        let snapshot = self.shared.snapshot.load_full();
        let known = explain::Known {
            destination: snapshot.destinations.get(&*name).and_then(|known| known.as_deref()),
            endpoints: &|service| snapshot.endpoints.get(service).cloned(),
            ejected_by: &|service, id| self.shared.ejected.by(service, id),
            // Those of other workloads are for their own proxies.
            inbound: &|_| None,
            caller: snapshot.tls.as_ref().map(|tls| tls.identity()),
        };
        match serde_json::to_string_pretty(&explain::explain(&query, &known)) {
            Ok(json) => answer(StatusCode::OK, "application/json", json + "\n"),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("explanation: {error}\n")),
        }
    }

    /// Whether a request would be let in.
    fn admission(&self, query: Option<&str>) -> Answer {
        let (callers, rest): (Vec<&str>, Vec<&str>) = query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
            .partition(|pair| pair.starts_with("caller="));
        let caller = callers.first().and_then(|pair| pair.strip_prefix("caller=")).map(|caller| {
            decoded(caller).and_then(|caller| caller.parse().ok()).ok_or("the caller is no SPIFFE id\n")
        });
        let caller = match caller.transpose() {
            Ok(caller) => caller,
            Err(problem) => return text(StatusCode::BAD_REQUEST, problem),
        };
        let query = match asked(&rest.join("&")) {
            Ok(query) => query,
            Err(problem) => return text(StatusCode::BAD_REQUEST, format!("{problem}\n")),
        };
        let Some(port) = query.uri.port_u16() else {
            return text(StatusCode::BAD_REQUEST, "the URL has no port\n");
        };
        let snapshot = self.shared.snapshot.load();
        let said = explain::admission(&query, caller.as_ref(), &snapshot.inbound, port);
        match serde_json::to_string_pretty(&said) {
            Ok(json) => answer(StatusCode::OK, "application/json", json + "\n"),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("admission: {error}\n")),
        }
    }

    async fn rotate(&self) -> Answer {
        let (done, outcome) = oneshot::channel();
        if self.rotations.try_send(done).is_err() {
            return text(StatusCode::TOO_MANY_REQUESTS, "other rotations are still under way\n");
        }
        match outcome.await {
            Ok(Ok(serial)) => text(StatusCode::OK, format!("{serial}\n")),
            Ok(Err(problem)) => text(StatusCode::BAD_GATEWAY, format!("{problem}\n")),
            Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "the proxy is about to end\n"),
        }
    }
}

/// The format of metrics that a client asks for.
pub(crate) fn format_of<B>(request: &Request<B>) -> Format {
    Format::accepted(request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok()))
}

/// The request that a query asks about.
fn asked(query: &str) -> Result<explain::Query, String> {
    let mut asked = explain::Query {
        method: Method::GET,
        uri: Uri::default(),
        headers: HeaderMap::new(),
        server_name: None,
        source: None,
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value).ok_or_else(|| format!("{value:?} is not percent-encoded UTF-8"))?;
        let wrong = |what: &str| format!("{value:?} is not {what}");
        match key {
            "method" => asked.method = value.parse().map_err(|_| wrong("a method"))?,
            "url" => asked.uri = value.parse().map_err(|_| wrong("a URL"))?,
            "header" => {
                let (name, text) =
                    value.split_once(':').ok_or_else(|| wrong("a header: write NAME:VALUE"))?;
                let name: HeaderName =
                    name.trim().parse().map_err(|_| wrong("a header: its name is wrong"))?;
                let text = text.trim().parse().map_err(|_| wrong("a header: its value is wrong"))?;
                asked.headers.append(name, text);
            }
            "server-name" => asked.server_name = Some(value),
            "source" => asked.source = Some(value.parse().map_err(|_| wrong("an IP address"))?),
            _ => {
                return Err(format!("{key:?} is none of method, url, header, server-name and source"));
            }
        }
    }
    Ok(asked)
}

fn set_log(query: Option<&str>) -> Answer {
    let filter = query.and_then(|query| {
        query.split('&').find_map(|pair| pair.strip_prefix("filter=").or_else(|| pair.strip_prefix("level=")))
    });
    let Some(filter) = filter else {
        return text(StatusCode::BAD_REQUEST, "say which: PUT /log?filter=debug\n");
    };
    let Some(filter) = decoded(filter) else {
        return text(StatusCode::BAD_REQUEST, format!("{filter:?} is not percent-encoded UTF-8\n"));
    };
    match weft_log::set_filter(&filter) {
        Ok(()) => text(StatusCode::OK, format!("{filter}\n")),
        Err(problem) => text(StatusCode::BAD_REQUEST, format!("{problem}\n")),
    }
}

/// Percent-decoded (RFC 3986, section 2.1).
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

pub(crate) fn not_allowed(allowed: &'static str) -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, format!("use {allowed}\n"));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

fn unknown(path: &str) -> Answer {
    let width = PATHS.iter().map(|(path, _)| path.len()).max().unwrap_or_default();
    let mut lines = if path == "/" { String::new() } else { format!("there is no {path} here; there is:\n") };
    for (path, about) in PATHS {
        // Writing to a string does not fail.
        let _ = writeln!(lines, "{path:width$}  {about}");
    }
    text(if path == "/" { StatusCode::OK } else { StatusCode::NOT_FOUND }, lines)
}

pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    answer(status, TEXT, body)
}

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
