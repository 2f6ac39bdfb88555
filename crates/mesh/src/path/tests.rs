//! Readings against what servers make of paths, each written down from its documentation or behaviour.

mod servers;

use http::Method;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::authorization::{Action, Authorizer, Call, HttpCall, Policy, Rule, RuleSpec};
use crate::name::TrustDomain;
use crate::route::ResourceRef;

fn readings(path: &str) -> Vec<String> {
    Readings::of(path).iter().map(|reading| reading.unwrap_or("anything").to_owned()).collect()
}

#[test]
fn ordinary_paths_have_one_reading_and_are_not_copied() {
    for path in ["/", "/a/b", "/a.b/c-d_e~f", "/shop.v1.Cart/Add", "/a/", "/@me:x/$a,b=c!", "*", ""] {
        assert!(is_plain(path), "{path}");
        assert!(matches!(normal(path), Cow::Borrowed(same) if same == path));
        assert_eq!(Readings::of(path), Readings::One(Cow::Borrowed(path)));
    }
}

#[test]
fn spellings_of_one_path_are_one_reading() {
    for (path, reading) in [
        ("/%61dmin", "/admin"),
        ("/a%20b", "/a%20b"),
        ("/a b", "/a%20b"),
        ("/sch%c3%b6n", "/sch%C3%B6n"),
        ("/sch\u{f6}n", "/sch%C3%B6n"),
        ("/a%40b", "/a@b"),
        ("/100%", "/100%25"),
        ("/.well-known/x", "/.well-known/x"),
        ("/..a/b...", "/..a/b..."),
    ] {
        assert_eq!(readings(path), [reading], "{path}");
        assert_eq!(normal(path), reading, "{path}");
    }
}

#[test]
fn everything_that_servers_disagree_about_is_another_reading() {
    for (path, reading) in [
        ("/public/../admin", "/admin"),
        ("/public/%2e%2e/admin", "/admin"),
        ("/public/%252e%252e/admin", "/admin"),
        ("//admin", "/admin"),
        ("//public/admin", "/admin"),
        ("/public\\..\\admin", "/admin"),
        ("/public%5c..%5cadmin", "/admin"),
        ("/admin;x=1/users", "/admin/users"),
        ("/public/..;/admin", "/admin"),
        ("/public/..%3b/admin", "/admin"),
        ("/a%2Fb", "/a/b"),
        ("/admin%00.png", "/admin"),
        ("/admin%3Fx", "/admin"),
        ("/admin%23x", "/admin"),
        ("/public/%c0%ae%c0%ae/admin", "/admin"),
        ("/public/%25252525252e%25252525252e/admin", "/admin"),
        // What one server resolves first, another decodes first.
        ("/public/%2e%2e/admin/x/%252e%252e/%252e%252e/public/y", "/admin/x/%252e%252e/%252e%252e/public/y"),
        ("/public/../admin/%2e%2e/public/y", "/admin/../public/y"),
        ("/public//../admin", "/admin"),
        ("/public//../admin", "/public/admin"),
    ] {
        let found = readings(path);
        assert!(found.iter().any(|found| found == reading), "{path}: {found:?}");
    }
}

#[test]
fn a_path_with_too_many_readings_may_be_anything_and_costs_no_more_than_others() {
    let hostile = "/a//b/%252e%252e/..;x/%5c%2f%00%3f//%25252e".repeat(40);
    assert_eq!(Readings::of(&hostile), Readings::TooMany);
    assert_eq!(Readings::of("admin/x"), Readings::TooMany, "no path, whatever a server makes of it");
    assert_eq!(readings(&format!("/{}", "%20".repeat(5000))).len(), 1);
}

#[test]
fn the_mode_says_what_is_forwarded() {
    use PathMode::{AsSent, EveryReading, Normalize, Reject};
    for mode in [EveryReading, Normalize, Reject, AsSent] {
        assert_eq!(mode.forwarded("/a/b"), Ok(None));
        assert_eq!(mode.forwarded("*"), Ok(None));
        assert_eq!(mode.forwarded("/a%20b"), Ok(None), "its only reading");
    }
    let ambiguous = "/a/../b//c%2fd";
    assert_eq!(EveryReading.forwarded(ambiguous), Ok(None));
    assert_eq!(AsSent.forwarded(ambiguous), Ok(None));
    assert_eq!(Reject.forwarded(ambiguous), Err(Ambiguous));
    assert_eq!(Normalize.forwarded(ambiguous), Ok(Some("/b/c%2Fd".to_owned())));
    assert_eq!(Normalize.forwarded("/%61"), Ok(Some("/a".to_owned())));
}

/// A policy that speaks of paths, in a mode.
fn authorizer(action: Action, paths: &[&str], mode: PathMode) -> Authorizer {
    let spec = RuleSpec { paths: paths.iter().map(|&path| path.to_owned()).collect(), ..RuleSpec::default() };
    let rule = Rule::compile(&spec, &TrustDomain::new("mesh").unwrap()).unwrap();
    Authorizer::new([Policy::new(ResourceRef::new("AuthorizationPolicy", "n", "p"), action, [rule])], false)
        .reading_paths(mode)
}

/// What reaches the server of a path, if anything does.
fn let_in(authorizer: &Authorizer, path: &str) -> Option<String> {
    let forwarded = authorizer.path_mode().forwarded(path).ok()?.unwrap_or_else(|| path.to_owned());
    let http = Some(HttpCall { method: &Method::GET, path: &forwarded });
    let call = Call { identity: None, source: [10, 0, 0, 1].into(), port: 80, http };
    authorizer.decide(&call).allowed.then_some(forwarded)
}

fn any_path() -> impl Strategy<Value = String> {
    let part = select(
        &[
            "/",
            "/",
            "/",
            "//",
            "public",
            "admin",
            "admin",
            "..",
            "..",
            ".",
            "%2e",
            "%2E%2e",
            "%252e%252e",
            ".%2e",
            "%2f",
            "%252f",
            "%5c",
            "\\",
            ";",
            ";x",
            "%3b",
            "%00",
            "%c0%ae",
            "%25",
            "%61dmin",
            "%2561dmin",
            "x",
            "%zz",
            "%3f",
            "%23",
            "%20",
        ][..],
    );
    prop::collection::vec(part, 0..12).prop_map(|parts| format!("/{}", parts.concat()))
}

fn is_admin(resource: &[u8]) -> bool {
    resource == b"/admin" || resource.starts_with(b"/admin/")
}

#[test]
fn the_attacks_that_were_seen_are_refused() {
    let paths = [
        "/public/%2e%2e/admin/x/%252e%252e/%252e%252e/public/y",
        "/public/../admin/%2e%2e/public/y",
        "/public/..%2fadmin",
        "/public/..;/admin",
    ];
    for path in paths {
        for mode in [PathMode::EveryReading, PathMode::Reject] {
            assert_eq!(let_in(&authorizer(Action::Deny, &["/admin/*"], mode), path), None, "{mode:?} {path}");
            assert_eq!(
                let_in(&authorizer(Action::Allow, &["/public/*"], mode), path),
                None,
                "{mode:?} {path}"
            );
        }
        no_server_is_led_astray(path, PathMode::Normalize).unwrap();
    }
}

/// Checks that no server makes a denied resource, or one that is not allowed, of what is let in.
fn no_server_is_led_astray(path: &str, mode: PathMode) -> Result<(), TestCaseError> {
    let denying = authorizer(Action::Deny, &["/admin", "/admin/*"], mode);
    let allowing = authorizer(Action::Allow, &["/public/*"], mode);
    let (not_denied, allowed) = (let_in(&denying, path), let_in(&allowing, path));
    for (name, resource) in servers::chains() {
        if let Some(found) = not_denied.as_ref().and_then(|path| resource(path.as_bytes())) {
            prop_assert!(!is_admin(&found), "{} maps {} to {}", name, path, String::from_utf8_lossy(&found));
        }
        if let Some(found) = allowed.as_ref().and_then(|path| resource(path.as_bytes())) {
            let public = found.starts_with(b"/public");
            prop_assert!(public, "{} maps {} to {}", name, path, String::from_utf8_lossy(&found));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_server_maps_what_is_let_in_to_what_is_denied(
        path in any_path(),
        mode in select(&[PathMode::EveryReading, PathMode::Normalize, PathMode::Reject][..]),
    ) {
        no_server_is_led_astray(&path, mode)?;
    }

    #[test]
    fn the_normal_form_is_its_own_and_one_of_the_readings(path in any_path()) {
        let once = normal(&path).into_owned();
        prop_assert_eq!(normal(&once), &*once);
        match Readings::of(&path) {
            Readings::One(reading) => prop_assert_eq!(&*reading, &*once),
            Readings::Several(readings) => prop_assert!(readings.contains(&once), "{}: {:?}", once, readings),
            Readings::TooMany => {}
        }
    }

    #[test]
    fn any_octets_have_readings(path in "/\\PC{0,40}") {
        let _ = (Readings::of(&path), normal(&path));
    }
}

/// What real servers made of paths; `tests/paths/README.md` says how it was found out.
#[test]
fn what_real_servers_made_of_paths_is_a_reading() {
    let table = include_str!("../../tests/paths/cases.tsv");
    let mut lines = table.lines().filter(|line| !line.starts_with('#'));
    let servers: Vec<&str> = lines.next().unwrap().split('\t').skip(1).collect();
    assert!(servers.len() >= 5);
    let mut cases = 0;
    for line in lines {
        let mut columns = line.split('\t');
        let path = columns.next().unwrap();
        let known = Readings::of(path);
        for (server, said) in servers.iter().zip(columns) {
            cases += 1;
            // Refused, or answered with the advice to ask for another path.
            let Some(resource) = said.strip_prefix("200 ") else { continue };
            let names = |octets: &[u8]| String::from_utf8_lossy(octets).trim_end_matches('/').to_owned();
            let resource = names(&servers::octets(resource));
            let same = |reading: Option<&str>| {
                reading.is_none_or(|reading| {
                    names(&servers::unquoted(reading.as_bytes(), false).unwrap()) == resource
                })
            };
            assert!(known.iter().any(same), "{server} reads {path} as {resource}: {known:?}");
        }
    }
    assert!(cases > 100, "{cases}");
}
