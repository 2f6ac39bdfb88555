use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;

use proptest::prelude::*;
use tempfile::tempdir;

use super::*;

const HOUR: Duration = Duration::from_hours(1);

fn now() -> SystemTime {
    from_unix(1_900_000_000)
}

fn issuer() -> TokenIssuer {
    TokenIssuer::from_key(&TokenIssuer::generate_key()).unwrap()
}

fn new_token() -> NewToken {
    NewToken {
        identity: "spiffe://mesh.test/ns/vms/sa/db".parse().unwrap(),
        roots: vec![Fingerprint::of(&b"root".as_slice().into())],
        control_plane: Some("weft.example:15012".to_owned()),
        grants: Grants::default(),
        ttl: HOUR,
    }
}

/// A token with any claims, signed with the issuer's key.
fn signed(issuer: &TokenIssuer, header: &Header, change: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut claims = serde_json::json!({
        "sub": "spiffe://mesh.test/ns/vms/sa/db", "aud": AUDIENCE, "iat": 1_900_000_000_u64,
        "exp": 1_900_003_600_u64, "jti": "x", "td": "mesh.test", "root": ["00".repeat(32)],
    });
    change(&mut claims);
    jsonwebtoken::encode(header, &claims, &issuer.signing).unwrap()
}

#[test]
fn a_token_says_what_its_holder_needs() {
    let issuer = issuer();
    let text = issuer.mint(&new_token(), now()).unwrap();
    let token = JoinToken::parse(&format!("  {text}\n")).unwrap();
    assert_eq!(token.as_str(), text);
    assert_eq!(token.claims(), &issuer.verify(&text, now()).unwrap());
    assert_eq!(token.claims().identity, new_token().identity);
    assert_eq!(token.claims().trust_domain().as_str(), "mesh.test");
    assert_eq!(token.roots(), new_token().roots);
    assert_eq!(token.control_plane(), Some("weft.example:15012"));
    assert_eq!(token.claims().issued_at, now());
    assert_eq!(token.claims().expires_at, now() + HOUR);
    assert_ne!(
        token.claims().id,
        issuer.verify(&issuer.mint(&new_token(), now()).unwrap(), now()).unwrap().id
    );
    assert!(!format!("{token:?}").contains(&text));

    let bare = NewToken { control_plane: None, ..new_token() };
    assert_eq!(JoinToken::parse(&issuer.mint(&bare, now()).unwrap()).unwrap().control_plane(), None);
}

#[test]
fn a_token_ends_at_its_expiry() {
    let issuer = issuer();
    let text = issuer.mint(&new_token(), now()).unwrap();
    issuer.verify(&text, now() + HOUR - Duration::from_secs(1)).unwrap();
    let expected = "the join token for spiffe://mesh.test/ns/vms/sa/db expired at 2030-03-17T18:46:40Z; create a new \
                    one with `weft token create`";
    assert_eq!(issuer.verify(&text, now() + HOUR).unwrap_err().to_string(), expected);
    let held = JoinToken::parse(&text).unwrap();
    held.check_expiry(now()).unwrap();
    assert_eq!(held.check_expiry(now() + HOUR).unwrap_err().to_string(), expected);
    assert!(issuer.mint(&NewToken { roots: Vec::new(), ..new_token() }, now()).is_err());
    assert!(issuer.mint(&NewToken { ttl: Duration::ZERO, ..new_token() }, now()).is_err());
}

#[test]
fn a_token_of_another_issuer_is_refused() {
    let text = issuer().mint(&new_token(), now()).unwrap();
    assert!(matches!(issuer().verify(&text, now()), Err(Error::TokenSignature)));
}

#[test]
fn a_token_for_another_audience_is_refused() {
    let issuer = issuer();
    let header = Header::new(Algorithm::HS256);
    let text = signed(&issuer, &header, |claims| claims["aud"] = "weft-dashboard".into());
    let error = issuer.verify(&text, now()).unwrap_err();
    assert!(
        matches!(&error, Error::TokenAudience { audience, .. } if audience == "weft-dashboard"),
        "{error}"
    );
    assert!(matches!(JoinToken::parse(&text), Err(Error::TokenAudience { .. })));
}

#[test]
fn no_other_algorithm_is_accepted() {
    let issuer = issuer();
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        let text = signed(&issuer, &Header::new(algorithm), |_| ());
        assert!(matches!(issuer.verify(&text, now()), Err(Error::TokenMalformed { .. })), "{algorithm:?}");
    }
    let text = issuer.mint(&new_token(), now()).unwrap();
    let claims = text.split('.').nth(1).unwrap();
    let none = format!("{}.{claims}.", URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"none"}"#));
    assert!(matches!(issuer.verify(&none, now()), Err(Error::TokenMalformed { .. })));
}

#[test]
fn claims_that_mean_nothing_are_refused_with_what_is_wrong() {
    let issuer = issuer();
    let refusal = |change: fn(&mut serde_json::Value)| {
        let text = signed(&issuer, &Header::new(Algorithm::HS256), change);
        let error = issuer.verify(&text, now()).unwrap_err().to_string();
        assert_eq!(error, JoinToken::parse(&text).unwrap_err().to_string());
        error
    };
    assert!(refusal(|claims| claims["sub"] = "cart".into()).contains("write spiffe://<trust domain>"));
    assert!(
        refusal(|claims| claims["td"] = "other.test".into())
            .contains("not in the trust domain \"other.test\"")
    );
    assert!(refusal(|claims| claims["root"] = serde_json::json!([])).contains("no fingerprint"));
    assert!(refusal(|claims| claims["root"] = serde_json::json!(["ab"])).contains("64 hexadecimal digits"));
    assert!(
        refusal(|claims| _ = claims.as_object_mut().unwrap().remove("exp")).contains("missing field `exp`")
    );
}

#[test]
fn what_is_no_token_is_refused() {
    let long = "a".repeat(10_000);
    for text in ["", " ", "token", "a.b.c", "..", long.as_str()] {
        let error = JoinToken::parse(text).unwrap_err();
        assert!(matches!(error, Error::TokenMalformed { .. }), "{text:?}: {error}");
        assert!(matches!(issuer().verify(text, now()), Err(Error::TokenMalformed { .. })), "{text:?}");
    }
}

#[test]
fn processes_that_start_at_once_share_one_key() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("ca");
    let tokens: Vec<String> = thread::scope(|scope| {
        let start = || TokenIssuer::open(&path).unwrap().mint(&new_token(), now()).unwrap();
        let starts: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    let issuer = TokenIssuer::open(&path).unwrap();
    assert!(tokens.iter().all(|token| issuer.verify(token, now()).is_ok()));

    let key = path.join("token.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&key, "short").unwrap();
    let error = TokenIssuer::open(&path).unwrap_err().to_string();
    assert!(error.contains("token.key: token key: not 32 bytes in base64"), "{error}");
    assert!(!format!("{issuer:?}").contains("secret"));
}

proptest! {
    #[test]
    fn any_changed_byte_is_refused(at in any::<prop::sample::Index>(), flip in 1..=u8::MAX) {
        let issuer = issuer();
        let mut bytes = issuer.mint(&new_token(), now()).unwrap().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(changed) = String::from_utf8(bytes) {
            prop_assert!(issuer.verify(&changed, now()).is_err());
        }
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "[a-zA-Z0-9._-]{0,60}|.{0,40}") {
        let _ = JoinToken::parse(&text);
        let _ = issuer().verify(&text, now());
    }
}

#[test]
fn every_changed_bit_is_refused() {
    let issuer = issuer();
    let good = issuer.mint(&new_token(), now()).unwrap();
    for at in 0..good.len() {
        for bit in 0..7 {
            let mut bytes = good.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            assert!(
                issuer.verify(std::str::from_utf8(&bytes).unwrap(), now()).is_err(),
                "byte {at}, bit {bit}"
            );
        }
    }
}

#[test]
fn whatever_a_token_says_it_is_refused_unless_it_was_signed() {
    let issuer = issuer();
    let token = issuer.mint(&new_token(), now()).unwrap();
    let seeds = [token.clone().into_bytes(), b"e30.e30.e30".to_vec(), b"a.b".to_vec()];
    weft_testkit::mutation::inputs(&seeds, 3000, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let _ = JoinToken::parse(text);
        assert!(text == token || issuer.verify(text, now()).is_err(), "{text:?} passes for {token:?}");
    });
}

#[test]
fn what_a_token_grants_is_signed_with_it() {
    let issuer = issuer();
    let grants = Grants::new(Some(vec!["cart".to_owned()]), vec!["10.0.0.0/8".parse().unwrap()]).unwrap();
    let token = issuer.mint(&NewToken { grants: grants.clone(), ..new_token() }, now()).unwrap();
    assert_eq!(issuer.verify(&token, now()).unwrap().grants, grants);
    let plain = issuer.mint(&new_token(), now()).unwrap();
    assert_eq!(issuer.verify(&plain, now()).unwrap().grants, Grants::default());
}
