//! Requests that come around: how a proxy knows one that it has sent before.
//!
//! Where what a request is sent to forwards it, and leads back to the proxy, it would go round for ever. RFC 9110, section
//! 7.6.3, has proxies name themselves in `Via` for that; applications treat a request with that field differently, so that
//! here it is [`X_WEFT_VIA`], a list of marks, one for each time that a proxy of the mesh has sent the request on.
//!
//! A mark is a hash of what the request asks for, with a seed of the proxy's own. So it says that this proxy has sent this
//! request, and not only that it has sent one: a gateway that calls itself asks for something else the second time. Nobody
//! else can make one that counts but for a request of their own, of which they then are told that it is a loop.
//!
//! Between two sidecars a request carries no mark the first time, as nearly none comes around. The inbound side tells its
//! application whom it is called by, which requests that an application makes don't have, and those that it forwards do:
//! from then on there are marks.

use std::hash::BuildHasher;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::forwarded::X_FORWARDED_CLIENT_CERT;
use crate::name::Identity;
use crate::route::RequestParts;

/// The header field: marks in hexadecimal, with commas between them.
pub const X_WEFT_VIA: HeaderName = HeaderName::from_static("x-weft-via");

/// Marks that a request may have. One that is changed on its way round has another mark each time, and more proxies than
/// this in a row are none that anybody has set up.
pub const MARKS_MAX: usize = 32;

/// Why a request goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loop {
    /// This proxy has sent the same request before.
    Again,
    /// Who got it from this workload has sent it back, as if it were this workload's own.
    Returned,
    /// It has been through more proxies than there can be.
    Endless,
}

impl Loop {
    /// What happened and what to do, for people.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Again => {
                "this proxy has sent the same request before: something that it was sent to forwards it back here; let \
                 that lead elsewhere"
            }
            Self::Returned => {
                "the request is one that this workload has sent to a service, which forwards it back here; let the \
                 service's application lead elsewhere"
            }
            Self::Endless => "the request has been forwarded by more than 32 proxies",
        }
    }
}

/// Makes the marks of one proxy.
#[derive(Debug, Default)]
pub struct Marks<S>(S);

impl<S: BuildHasher> Marks<S> {
    fn mark(&self, request: &RequestParts<'_>) -> u64 {
        let RequestParts { method, host, path, query, .. } = request;
        self.0.hash_one((method.as_str(), host, path, query))
    }

    /// Finds the loop that a forwarded request is in ([`is_forwarded`]), if it is in one. `own` is the identity of the proxy's
    /// workload.
    pub fn check(&self, request: &RequestParts<'_>, own: Option<&Identity>) -> Result<(), Loop> {
        let headers = request.headers;
        if own.is_some_and(|own| is_returned(headers, own)) {
            return Err(Loop::Returned);
        }
        let (mark, mut marks) = (self.mark(request), marks(headers));
        if marks.any(|other| other == Some(mark)) {
            return Err(Loop::Again);
        }
        if self::marks(headers).count() >= MARKS_MAX {
            return Err(Loop::Endless);
        }
        Ok(())
    }

    /// The field of a request that this proxy is about to send; `None`: it has the mark already.
    pub fn field(&self, request: &RequestParts<'_>) -> Option<HeaderValue> {
        let mark = self.mark(request);
        if marks(request.headers).any(|other| other == Some(mark)) {
            return None;
        }
        HeaderValue::try_from(format!("{mark:016x}")).ok()
    }
}

/// Whether a request was forwarded by something that had got it from a proxy of the mesh. Most were not, which one look at
/// each name tells.
pub fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.keys().any(tells_of_a_proxy)
}

fn tells_of_a_proxy(name: &HeaderName) -> bool {
    match name.as_str().len() {
        10 => *name == X_WEFT_VIA,
        23 => *name == X_FORWARDED_CLIENT_CERT,
        _ => false,
    }
}

/// The marks of a request; `None` for what is none.
fn marks(headers: &HeaderMap) -> impl Iterator<Item = Option<u64>> {
    let items = headers
        .get_all(X_WEFT_VIA)
        .into_iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    items.map(|item| u64::from_str_radix(std::str::from_utf8(item.trim_ascii()).ok()?, 16).ok())
}

/// Whether the sidecar of another workload has told its application that a request came from this one.
fn is_returned(headers: &HeaderMap, own: &Identity) -> bool {
    let Some(value) = headers.get(X_FORWARDED_CLIENT_CERT).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    // The last one is of the sidecar that had the request last.
    let last = value.rsplit(',').next().unwrap_or_default();
    let of = |key: &str| last.split(';').find_map(|pair| pair.trim().strip_prefix(key));
    of("URI=") == Some(own.as_str()) && of("By=").is_some_and(|by| by != own.as_str())
}

#[cfg(test)]
mod tests {
    use http::{Method, Uri};
    use proptest::prelude::*;

    use super::*;
    use crate::forwarded::client_certificate;

    type Seeded = Marks<foldhash::quality::RandomState>;

    /// A request as it comes and goes.
    #[derive(Clone)]
    struct Request {
        method: Method,
        uri: Uri,
        headers: HeaderMap,
    }

    impl Request {
        fn new(uri: &str) -> Self {
            Self { method: Method::GET, uri: uri.parse().unwrap(), headers: HeaderMap::new() }
        }

        fn parts(&self) -> RequestParts<'_> {
            RequestParts::new(&self.method, &self.uri, &self.headers)
        }

        fn sent_by(mut self, proxy: &Seeded) -> Self {
            if let Some(field) = proxy.field(&self.parts()) {
                self.headers.append(X_WEFT_VIA, field);
            }
            self
        }

        /// What an inbound side adds.
        fn received_by(mut self, own: &Identity, from: &Identity) -> Self {
            self.headers.insert(X_FORWARDED_CLIENT_CERT, client_certificate(own, from, None).unwrap());
            self
        }
    }

    fn identity(name: &str) -> Identity {
        format!("spiffe://mesh/ns/shop/sa/{name}").parse().unwrap()
    }

    #[test]
    fn a_request_that_comes_back_is_known_and_others_are_not() {
        let (one, other) = (Seeded::default(), Seeded::default());
        let request = Request::new("http://loop/a?b");
        assert!(!is_forwarded(&request.headers));
        let sent = request.sent_by(&one);
        assert!(is_forwarded(&sent.headers));
        assert_eq!(one.check(&sent.parts(), None), Err(Loop::Again));
        assert_eq!(other.check(&sent.parts(), None), Ok(()));
        let sent = sent.sent_by(&other);
        assert_eq!(one.check(&sent.parts(), None), Err(Loop::Again));
        assert_eq!(other.check(&sent.parts(), None), Err(Loop::Again));
        // It has one mark of each, however often it is sent.
        assert_eq!(marks(&sent.clone().sent_by(&one).headers).count(), 2);
        for (uri, method) in [
            ("http://loop/a?c", Method::GET),
            ("http://loop/", Method::GET),
            ("http://loop/a?b", Method::PUT),
        ] {
            let changed = Request { method, uri: uri.parse().unwrap(), ..sent.clone() };
            assert_eq!(one.check(&changed.parts(), None), Ok(()), "{uri}");
        }
    }

    #[test]
    fn what_a_workload_has_sent_to_another_one_does_not_come_from_itself() {
        let (web, cart) = (identity("web"), identity("cart"));
        let proxy = Seeded::default();
        let request = Request::new("http://cart/");
        let returned = request.clone().received_by(&cart, &web);
        assert_eq!(proxy.check(&returned.parts(), Some(&web)), Err(Loop::Returned));
        // The application of cart may send it on, which is a gateway then.
        assert_eq!(proxy.check(&returned.parts(), Some(&cart)), Ok(()));
        // A workload may call itself, and its application may be a gateway too.
        let itself = request.received_by(&web, &web);
        assert_eq!(proxy.check(&itself.parts(), Some(&web)), Ok(()));
        let again = itself.sent_by(&proxy);
        assert_eq!(proxy.check(&again.parts(), Some(&web)), Err(Loop::Again));
    }

    #[test]
    fn a_request_that_changes_on_each_round_comes_to_an_end() {
        let proxy = Seeded::default();
        let mut request = Request::new("http://loop/");
        let rounds = (0..100).take_while(|round| {
            request.uri = format!("http://loop/{round}").parse().unwrap();
            let goes_on = proxy.check(&request.parts(), None).is_ok();
            request = request.clone().sent_by(&proxy);
            goes_on
        });
        assert_eq!(rounds.count(), MARKS_MAX);
    }

    proptest! {
        /// Only who knows a mark of this very request can have it refused, however many others they make up.
        #[test]
        fn marks_that_are_made_up_do_no_more_than_end_a_request_that_has_too_many(
            values in prop::collection::vec("[0-9a-f, x]{0,40}", 0..8),
        ) {
            let proxy = Seeded::default();
            let mut request = Request::new("http://one/");
            for value in &values {
                request.headers.append(X_WEFT_VIA, HeaderValue::from_str(value).unwrap());
            }
            let items: usize = values.iter().map(|value| value.split(',').count()).sum();
            let expected = match items {
                items if items >= MARKS_MAX => Err(Loop::Endless),
                _ => Ok(()),
            };
            prop_assert_eq!(proxy.check(&request.parts(), None), expected);
        }
    }
}
