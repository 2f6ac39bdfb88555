//! Weft's policies: BackendPolicy, AuthorizationPolicy and MeshPolicy (`mesh.weft.dev/v1alpha1`).

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::duration::GatewayDuration;
use super::filter::RateLimitFilterSpec;
use super::reference::{Selector, TargetReference};
use super::rule::{TOKEN, TOKEN_EXPECTED, rule, texts};

mod authorization;

pub use authorization::{
    Action, AuthorizationFrom, AuthorizationPolicySpec, AuthorizationRule, AuthorizationTo,
};

/// A BackendPolicy's `spec`: how clients balance over a Service and protect it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackendPolicySpec {
    /// The Services it is for, in its own namespace.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub target_refs: Vec<TargetReference>,
    /// Balancing.
    pub balancing: Option<Balancing>,
    /// Limits of one client's proxy.
    pub limits: Option<Limits>,
    /// Ejection of endpoints that fail.
    pub outlier_detection: Option<OutlierDetection>,
    /// Bound on retries.
    pub retry_budget: Option<RetryBudget>,
    /// When to retry, for requests whose route does not say.
    pub retry: Option<BackendRetry>,
    /// When to send a request to another endpoint as well; never when left out.
    pub hedging: Option<Hedging>,
    /// What keeps a request at one backend where a route of the Service splits: the same key means the same backend in
    /// every proxy, and when one weight changes only as many keys move as have to. Each request is split anew when left out.
    pub split_key: Option<HashKey>,
    /// Timeouts of connections.
    pub timeouts: Option<ConnectionTimeouts>,
    /// Version of the header of the PROXY protocol that connections of TCP to endpoints without a sidecar begin with;
    /// none when left out. Requests of HTTP share connections, which have none.
    pub proxy_protocol: Option<ProxyProtocolVersion>,
}

/// How to choose an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rule(
    "!has(self.algorithm) || !(self.algorithm in ['RingHash', 'Maglev']) || has(self.hashKey)",
    "the field \"hashKey\" is missing; RingHash and Maglev need it",
)]))]
pub struct Balancing {
    /// The algorithm; `PeakEwma` when left out.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// What `RingHash` and `Maglev` hash; required for them.
    pub hash_key: Option<HashKey>,
    /// Time over which a new endpoint grows to its full share.
    pub slow_start: Option<GatewayDuration>,
}

/// An algorithm of balancing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Algorithm {
    /// The better of two by latency and outstanding requests.
    #[default]
    PeakEwma,
    /// The better of two by outstanding requests.
    LeastRequest,
    /// In turn.
    RoundRobin,
    /// At random.
    Random,
    /// Consistent hashing on a ring.
    RingHash,
    /// Consistent hashing by Maglev's table.
    Maglev,
}

/// What is hashed: one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rule(
    "[has(self.header), has(self.cookie), has(self.sourceAddress) && self.sourceAddress].filter(given, given).size() == 1",
    "write exactly one of header, cookie and sourceAddress: true",
)]))]
pub struct HashKey {
    /// A header field.
    #[schemars(regex(pattern = TOKEN), length(max = 256), extend("x-weft-expected" = TOKEN_EXPECTED))]
    pub header: Option<String>,
    /// A cookie.
    #[schemars(regex(pattern = TOKEN), length(max = 256), extend("x-weft-expected" = TOKEN_EXPECTED))]
    pub cookie: Option<String>,
    /// The client's address.
    pub source_address: Option<bool>,
}

/// Limits of one client's proxy towards the Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Connections; 1024 when left out, 0 for no limit.
    pub max_connections: Option<u32>,
    /// Requests that wait for a connection; 1024 when left out, 0 for no limit.
    pub max_pending_requests: Option<u32>,
    /// Requests in flight; no limit when left out, or 0.
    pub max_requests: Option<u32>,
}

/// Ejection of endpoints that fail; on when left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rule(
    "!has(self.baseEjection) || !has(self.maxEjection) || duration(self.baseEjection) <= duration(self.maxEjection)",
    "maxEjection is less than baseEjection, the first one; make it longer",
)]))]
pub struct OutlierDetection {
    /// Turns it off.
    pub disabled: Option<bool>,
    /// Gateway failures in a row: resets, timeouts, status 502 to 504, UNAVAILABLE and DEADLINE_EXCEEDED of gRPC; 5 when
    /// left out. An endpoint that takes no connection is ejected at once.
    #[schemars(range(min = 1))]
    pub consecutive_failures: Option<u32>,
    /// Failures of any kind in a row: gateway failures, any other status 5xx, and UNKNOWN, UNIMPLEMENTED, INTERNAL and DATA_LOSS
    /// of gRPC; 10 when left out.
    #[schemars(range(min = 1))]
    pub consecutive_5xx: Option<u32>,
    /// Success rate in percent under which an endpoint is ejected; 80 when left out.
    #[schemars(range(min = 1, max = 100))]
    pub success_rate_percent: Option<u32>,
    /// Requests below which the success rate says nothing; 20 when left out.
    #[schemars(range(min = 1))]
    pub success_rate_requests: Option<u32>,
    /// Window of the success rate; 10 s when left out.
    pub window: Option<GatewayDuration>,
    /// First ejection; 1 s when left out.
    pub base_ejection: Option<GatewayDuration>,
    /// Longest ejection; 60 s when left out.
    pub max_ejection: Option<GatewayDuration>,
    /// Most endpoints ejected, in percent; 50 when left out. Those that take no connection are ejected beyond it.
    #[schemars(range(min = 1, max = 100))]
    pub max_ejected_percent: Option<u32>,
}

/// Bound on retries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetryBudget {
    /// Retries as a percentage of the requests; 20 when left out.
    #[schemars(range(min = 1, max = 100))]
    pub percent: Option<u32>,
    /// The window; 10 s when left out.
    pub interval: Option<GatewayDuration>,
    /// Retries that are always allowed, per second; 3 when left out.
    #[schemars(range(min = 1))]
    pub min_retries_per_second: Option<u32>,
}

/// When to retry what reached an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackendRetry {
    /// Attempts after the first; 1 when left out.
    #[schemars(range(min = 1, max = 100))]
    pub attempts: Option<u32>,
    /// Least time between attempts; 25 ms when left out.
    pub backoff: Option<GatewayDuration>,
    /// HTTP statuses.
    #[serde(default)]
    #[schemars(length(max = 200), inner(range(min = 400, max = 599)))]
    pub codes: Vec<u16>,
    /// gRPC statuses, by number.
    #[serde(default)]
    #[schemars(length(max = 16), inner(range(min = 1, max = 16)))]
    pub grpc_codes: Vec<u16>,
}

/// Sends requests to another endpoint as well while there is no answer, and takes the first one. For requests that may be
/// processed twice: those with an idempotent method, those whose route retries, or all. Takes from the retry budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rule(
    "duration(self.delay) > duration('0s')",
    "delay is 0s, so that every request would be sent twice; write a latency that few answers exceed",
)]))]
pub struct Hedging {
    /// Time without an answer's head after which another attempt is made: a latency that few answers exceed.
    pub delay: GatewayDuration,
    /// Attempts at once, the first one included; 2 when left out.
    #[schemars(range(min = 2, max = 5))]
    pub attempts: Option<u32>,
    /// Whether all requests may be processed twice, whatever their method, such as calls of gRPC that only read.
    pub all_methods: Option<bool>,
}

/// Timeouts of connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConnectionTimeouts {
    /// For a TCP connection; 1 s when left out.
    pub connect: Option<GatewayDuration>,
    /// After which an unused connection is closed; 60 s when left out.
    pub idle: Option<GatewayDuration>,
    /// Age, give or take a tenth, at which a connection takes no new requests and ends when its own have ended; none
    /// when left out. Connections of TCP are not concerned.
    pub max_age: Option<GatewayDuration>,
    /// After which a request on which nothing moves either way is given up, in whole minutes; 0s is never. 5 m, or what the
    /// caller's sidecar was started with, when left out. A route's `timeouts.request` takes its place.
    pub stream_idle: Option<GatewayDuration>,
}

/// A MeshPolicy's `spec`: what holds for the workloads of its namespace, or of the whole mesh when it is in the
/// control plane's namespace. Each field is taken from the nearest policy that has it: one that selects the workload,
/// then one of the namespace, then one of the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MeshPolicySpec {
    /// The workloads; all when left out.
    pub selector: Option<Selector>,
    /// TLS between workloads.
    pub tls: Option<TlsPolicy>,
    /// What happens to calls where no ALLOW policy exists; `ALLOW` when left out.
    pub default_authorization: Option<DefaultAuthorization>,
    /// Limit of requests to each workload, for each calling identity.
    pub rate_limit: Option<RateLimitFilterSpec>,
    /// A limit on the requests that a workload works on, found from how its latency answers to it. Requests beyond it
    /// go to other endpoints, or are refused as overloaded.
    pub adaptive_concurrency: Option<AdaptiveConcurrency>,
    /// Ports on which the PROXY protocol is spoken, by a load balancer before them or to the application behind them.
    #[serde(default)]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["port"]))]
    pub proxy_protocol: Vec<PortProxyProtocol>,
    /// What is made of paths that servers may read in several ways, such as `/public/%2e%2e/admin`; `EVERY_READING` when
    /// left out everywhere.
    pub path_mode: Option<PathMode>,
    /// Whether the policy can't be read, so that it is for every workload of its namespace and goes before all others; never
    /// written down.
    #[serde(skip)]
    pub unreadable: bool,
}

/// What is made of paths that servers may read in several ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PathMode {
    /// Policies are asked about every reading, and a request is let in only if it would be in all of them.
    EveryReading,
    /// The path is replaced by its normal form, and policies are asked about every reading of that.
    Normalize,
    /// A path that has several readings is refused with 400.
    Reject,
    /// Policies are asked about the path as it was sent: for applications that compare it so themselves.
    AsSent,
}

/// The PROXY protocol on one port: it tells where connections come from that somebody passes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rule(
    "(has(self.acceptFrom) && size(self.acceptFrom) > 0) || has(self.send)",
    "says nothing of its port; write acceptFrom, send or both",
)]))]
pub struct PortProxyProtocol {
    /// Port of the application.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Addresses, or blocks such as 10.0.0.0/8, of load balancers whose connections begin with a header, of version 1 or
    /// 2. Who they name is who policies see, and requests carry it in `x-forwarded-for`. A connection from there without
    /// a header is refused; those from elsewhere are taken without.
    #[serde(default)]
    #[schemars(schema_with = "blocks::<64>")]
    pub accept_from: Vec<String>,
    /// The version of the header that connections to the application begin with; none when left out.
    pub send: Option<ProxyProtocolVersion>,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProxyProtocolVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// Bounds of a limit that adapts; those of a proxy are shared by its threads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rule(
    "!has(self.minRequests) || !has(self.maxRequests) || self.minRequests <= self.maxRequests",
    "minRequests is more than maxRequests; write a minimum that is not above",
)]))]
pub struct AdaptiveConcurrency {
    /// The limit never goes below this; 4 when left out.
    #[schemars(range(min = 1))]
    pub min_requests: Option<u32>,
    /// The limit never goes above this; 10000 when left out.
    #[schemars(range(min = 1))]
    pub max_requests: Option<u32>,
    /// How long an answer may take before the limit shrinks, in percent of the time that it takes without waiting; 150
    /// when left out.
    #[schemars(range(min = 100, max = 10000))]
    pub tolerance_percent: Option<u32>,
}

/// TLS between workloads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsPolicy {
    /// The mode; `PERMISSIVE` when left out everywhere.
    pub mode: Option<TlsMode>,
    /// Ports of the workload with another mode.
    #[serde(default)]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["port"]))]
    pub ports: Vec<PortTls>,
}

/// The mode of one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PortTls {
    /// Port of the application.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Its mode.
    pub mode: TlsMode,
}

/// Which connections a workload takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum TlsMode {
    /// Mesh TLS and plain text.
    Permissive,
    /// Mesh TLS only.
    Strict,
    /// Mesh TLS is left to the application.
    Disabled,
}

/// What happens to calls where no ALLOW policy exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum DefaultAuthorization {
    /// They are let in.
    Allow,
    /// They are kept out.
    Deny,
}

/// Blocks of addresses, so many at most.
fn blocks<const MOST: usize>(_: &mut SchemaGenerator) -> Schema {
    texts(MOST, 49, &block_pattern(), "a block such as 10.0.0.0/8")
}

/// What an address or a block of addresses looks like: RFC 4632, section 3.1, and RFC 4291, sections 2.2 and 2.3.
fn block_pattern() -> String {
    const OCTET: &str = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
    const GROUP: &str = "[0-9A-Fa-f]{1,4}";
    let four = format!("{OCTET}(\\.{OCTET}){{3}}");
    let mut six = vec![format!("({GROUP}:){{7}}{GROUP}"), "::".to_owned(), format!("({GROUP}:){{6}}{four}")];
    // So many groups before `::`, and up to as many as are missing after it.
    for before in 0..=6 {
        let begin = if before == 0 { ":".to_owned() } else { format!("({GROUP}:){{{before}}}") };
        six.push(format!("{begin}(:{GROUP}){{1,{}}}", 7 - before));
        if before <= 5 {
            let begin = if before == 0 { "::".to_owned() } else { format!("({GROUP}:){{{before}}}:") };
            six.push(format!("{begin}({GROUP}:){{0,{}}}{four}", 5 - before));
        }
    }
    six.push(format!("({GROUP}:){{1,7}}:"));
    format!("^({four}(/(3[0-2]|[12]?[0-9]))?|({})(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?)$", six.join("|"))
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;
    use proptest::prelude::*;
    use regex_automata::meta::Regex;

    use super::*;

    fn parses(text: &str) -> bool {
        text.parse::<IpNet>().is_ok() || text.parse::<std::net::IpAddr>().is_ok()
    }

    proptest! {
        #[test]
        fn the_pattern_of_blocks_takes_nothing_that_cannot_be_read(
            four: std::net::Ipv4Addr,
            six: std::net::Ipv6Addr,
            length in 0_u8..140,
            odd in "([0-9a-f]{0,5}:){0,9}[0-9a-f]{0,5}|[0-9.]{1,16}|(::|[0-9a-f]{1,4}:){1,7}[0-9.]{1,12}",
        ) {
            let pattern = Regex::new(&block_pattern()).unwrap();
            for text in [four.to_string(), six.to_string()] {
                for text in [text.clone(), format!("{text}/{length}")] {
                    prop_assert_eq!(pattern.is_match(&text), parses(&text), "{}", text);
                }
            }
            // The decoder lets `::` stand for nothing, too.
            for text in [six.to_string().replacen(":0:", "::", 1), odd] {
                for text in [text.clone(), format!("{text}/{length}")] {
                    prop_assert!(!pattern.is_match(&text) || parses(&text), "{}", text);
                }
            }
        }
    }

    #[test]
    fn blocks_that_are_none_are_refused() {
        let pattern = Regex::new(&block_pattern()).unwrap();
        for text in [
            "10.0.0.0/33",
            "::/129",
            "256.0.0.1",
            "10.0.0",
            "1:2:3:4:5:6:7:8:9",
            "1::2::3",
            ":",
            "/8",
            "10.0.0.0/",
        ] {
            assert!(!pattern.is_match(text) && !parses(text), "{text}");
        }
        for text in [
            "10.0.0.0/8",
            "::",
            "::1",
            "1::",
            "::ffff:10.0.0.1/104",
            "64:ff9b::1.2.3.4",
            "1:2:3:4:5:6:7:8/128",
        ] {
            assert!(pattern.is_match(text) && parses(text), "{text}");
        }
    }
}
