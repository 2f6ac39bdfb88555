//! What a request carries on to the requests it causes. Proxies can't know which outgoing call belongs to which
//! incoming one; only the program can, so it passes these headers on.

use http::HeaderMap;
use http::header::HeaderName;
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};

/// W3C Trace Context and Baggage, B3 in both forms, the request's id, and `x-user`, which routes can match to treat
/// testers apart.
const NAMES: [&str; 11] = [
    "traceparent",
    "tracestate",
    "baggage",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "x-request-id",
    "x-user",
];

/// The headers of one incoming request that go on with every call made for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Context(HeaderMap);

impl Context {
    /// Takes them from an incoming request.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut kept = HeaderMap::new();
        for name in NAMES.map(HeaderName::from_static) {
            for value in headers.get_all(&name) {
                kept.append(name.clone(), value.clone());
            }
        }
        Self(kept)
    }

    /// Adds them to an HTTP request.
    pub(crate) fn add_to_headers(&self, headers: &mut HeaderMap) {
        headers.extend(self.0.clone());
    }

    /// Adds them to a gRPC request. Values that gRPC can't carry (not ASCII) are left off.
    pub(crate) fn add_to_metadata(&self, metadata: &mut MetadataMap) {
        for (name, value) in &self.0 {
            let key = name.as_str().parse::<MetadataKey<Ascii>>();
            let value = MetadataValue::try_from(value.as_bytes());
            if let (Ok(key), Ok(value)) = (key, value) {
                metadata.append(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_headers_go_on_and_others_stay() {
        let mut incoming = HeaderMap::new();
        for name in ["traceparent", "x-b3-traceid", "x-request-id", "x-user", "cookie", "authorization"] {
            incoming.insert(name, "1".parse().unwrap());
        }
        incoming.append("tracestate", "a=1".parse().unwrap());
        incoming.append("tracestate", "b=2".parse().unwrap());
        let context = Context::of(&incoming);

        let mut headers = HeaderMap::new();
        context.add_to_headers(&mut headers);
        assert_eq!(headers.get_all("tracestate").iter().count(), 2);
        assert!(headers.contains_key("x-user") && headers.contains_key("x-request-id"));
        assert!(!headers.contains_key("cookie") && !headers.contains_key("authorization"));

        let mut metadata = MetadataMap::new();
        context.add_to_metadata(&mut metadata);
        assert_eq!(metadata.get("traceparent").unwrap(), "1");
        assert_eq!(metadata.get_all("tracestate").iter().count(), 2);
    }
}
