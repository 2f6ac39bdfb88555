//! `x-forwarded-client-cert`: who called, for applications. The format is Envoy's, which applications know.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::name::Identity;

/// The header.
pub const X_FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// The value for a request that `peer` sent to `own`. The SHA-256 hash of the peer's certificate is added if it is
/// known.
///
/// It costs a string; make it once for each connection.
pub fn client_certificate(own: &Identity, peer: &Identity, hash: Option<&[u8; 32]>) -> Option<HeaderValue> {
    let mut value = format!("By={own}");
    if let Some(hash) = hash {
        value.push_str(";Hash=");
        for byte in hash {
            for digit in [byte >> 4, byte & 15] {
                value.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
        }
    }
    value.push_str(";URI=");
    value.push_str(peer.as_str());
    HeaderValue::try_from(value).ok()
}

/// Replaces what a request says of its caller by what is known: the verified peer's value, or nothing.
pub fn set_client_certificate(headers: &mut HeaderMap, verified: Option<&HeaderValue>) {
    match verified {
        Some(value) => _ = headers.insert(X_FORWARDED_CLIENT_CERT, value.clone()),
        None => _ = headers.remove(X_FORWARDED_CLIENT_CERT),
    }
}

/// Removes what a request's trailers say of its caller: there are applications that join them to the head.
pub fn remove_client_certificate(trailers: &mut HeaderMap) {
    trailers.remove(X_FORWARDED_CLIENT_CERT);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verified_peer_takes_the_place_of_what_was_claimed() {
        let own: Identity = "spiffe://mesh/ns/shop/sa/cart".parse().unwrap();
        let peer: Identity = "spiffe://mesh/ns/shop/sa/web".parse().unwrap();
        let value = client_certificate(&own, &peer, None).unwrap();
        assert_eq!(value, "By=spiffe://mesh/ns/shop/sa/cart;URI=spiffe://mesh/ns/shop/sa/web");
        let mut headers = HeaderMap::new();
        headers
            .append(X_FORWARDED_CLIENT_CERT, HeaderValue::from_static("URI=spiffe://mesh/ns/bank/sa/vault"));
        headers
            .append(X_FORWARDED_CLIENT_CERT, HeaderValue::from_static("URI=spiffe://mesh/ns/bank/sa/safe"));
        set_client_certificate(&mut headers, Some(&value));
        assert_eq!(headers.get_all(X_FORWARDED_CLIENT_CERT).iter().collect::<Vec<_>>(), [&value]);
        set_client_certificate(&mut headers, None);
        assert!(headers.is_empty());
    }

    #[test]
    fn the_hash_is_hexadecimal() {
        let own: Identity = "spiffe://mesh/ns/a/sa/b".parse().unwrap();
        let value = client_certificate(&own, &own, Some(&[0xa5; 32])).unwrap();
        assert!(value.to_str().unwrap().contains(&format!(";Hash={};", "a5".repeat(32))));
    }
}
