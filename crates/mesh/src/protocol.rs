//! What is spoken on a connection: from what is declared about its port, or from its first bytes.

mod client_hello;
mod detect;

pub use detect::{DETECT_MAX, Detection, begins_like_http2_server, detect};

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Not declared: the first bytes tell.
    #[default]
    Detect,
    /// HTTP whose version the client's first bytes tell, HTTP/1.1 where the proxy chooses.
    Http1,
    /// HTTP/2, with prior knowledge where the proxy chooses (RFC 9113, section 3.3).
    Http2,
    /// gRPC, and so HTTP/2.
    Grpc,
    /// Opaque bytes; either side may speak first.
    Tcp,
    /// TLS that the proxy does not end; routed by its server name.
    Tls,
}

/// Names that Kubernetes (`appProtocol`), IANA and other meshes use, and what they mean here.
const NAMES: &[(&str, Protocol)] = &[
    ("http", Protocol::Http1),
    ("http1", Protocol::Http1),
    ("ws", Protocol::Http1),
    ("kubernetes.io/ws", Protocol::Http1),
    ("http2", Protocol::Http2),
    ("h2c", Protocol::Http2),
    ("kubernetes.io/h2c", Protocol::Http2),
    ("grpc", Protocol::Grpc),
    ("kubernetes.io/grpc", Protocol::Grpc),
    // gRPC-Web is framed inside ordinary HTTP of any version.
    ("grpc-web", Protocol::Http1),
    ("https", Protocol::Tls),
    ("tls", Protocol::Tls),
    ("wss", Protocol::Tls),
    ("kubernetes.io/wss", Protocol::Tls),
    ("tcp", Protocol::Tcp),
    ("amqp", Protocol::Tcp),
    ("kafka", Protocol::Tcp),
    ("mongo", Protocol::Tcp),
    ("mysql", Protocol::Tcp),
    ("postgres", Protocol::Tcp),
    ("postgresql", Protocol::Tcp),
    ("redis", Protocol::Tcp),
    ("smtp", Protocol::Tcp),
    ("ssh", Protocol::Tcp),
];

impl Protocol {
    /// From a port's declarations: `appProtocol` if it is known here, else the port's name up to its first `-`,
    /// else detection.
    pub fn declared(app_protocol: Option<&str>, port_name: Option<&str>) -> Self {
        let by_app = app_protocol.and_then(Self::from_name);
        let by_port = || {
            let name = port_name?;
            // `grpc-web` holds the separator itself, so the whole name goes first.
            let prefix = if is_or_extends(name, "grpc-web") {
                "grpc-web"
            } else {
                name.split_once('-').map_or(name, |(prefix, _)| prefix)
            };
            Self::from_name(prefix)
        };
        by_app.or_else(by_port).unwrap_or_default()
    }

    /// The protocol that a name, such as `http2` or `kubernetes.io/h2c`, stands for; letter case does not matter.
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, protocol)| *protocol)
    }

    /// Whether requests can be seen in it.
    pub const fn is_http(self) -> bool {
        matches!(self, Self::Http1 | Self::Http2 | Self::Grpc)
    }

    /// The name used in metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Detect => "detect",
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

fn is_or_extends(name: &str, whole: &str) -> bool {
    let head = name.get(..whole.len()).is_some_and(|head| head.eq_ignore_ascii_case(whole));
    head && matches!(name.as_bytes().get(whole.len()), None | Some(b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_protocol_wins_over_the_port_name() {
        assert_eq!(Protocol::declared(Some("kubernetes.io/h2c"), Some("tcp-x")), Protocol::Http2);
        assert_eq!(Protocol::declared(Some("example.com/own"), Some("grpc-api")), Protocol::Grpc);
        assert_eq!(Protocol::declared(None, Some("HTTP")), Protocol::Http1);
        assert_eq!(Protocol::declared(None, Some("http2-admin")), Protocol::Http2);
        assert_eq!(Protocol::declared(None, Some("grpc-web-ui")), Protocol::Http1);
        assert_eq!(Protocol::declared(None, Some("grpc-webhook")), Protocol::Grpc);
        assert_eq!(Protocol::declared(None, Some("mysql")), Protocol::Tcp);
    }

    #[test]
    fn what_is_not_declared_is_detected() {
        assert_eq!(Protocol::declared(None, None), Protocol::Detect);
        assert_eq!(Protocol::declared(None, Some("web")), Protocol::Detect);
        assert_eq!(Protocol::declared(None, Some("httpd")), Protocol::Detect);
        assert_eq!(Protocol::declared(Some(""), Some("")), Protocol::Detect);
    }
}
