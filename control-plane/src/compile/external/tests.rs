//! Whose a name is when several claim it.

use crate::compile::tests::{dialled, index};
use crate::compile::{Reader, conflicts};
use crate::index::Index;
use weft_resource::{Key, Kind, Spec};

fn external(namespace: &str, name: &str, rest: &str) -> String {
    format!(
        "{{apiVersion: mesh.weft.dev/v1alpha1, kind: ExternalService, metadata: {{name: {name}, namespace: {namespace}}}, spec: {{ports: [{{port: 443}}], endpoints: [{{address: 192.0.2.1}}], {rest}}}}}"
    )
}

fn bank(namespace: &str, rest: &str) -> String {
    external(namespace, "bank", &format!("hosts: [api.bank.com]{rest}"))
}

fn grant(namespace: &str, from: &str) -> String {
    format!(
        "{{apiVersion: gateway.networking.k8s.io/v1beta1, kind: ReferenceGrant, metadata: {{name: from-{from}, namespace: {namespace}}}, spec: {{from: [{{group: mesh.weft.dev, kind: ExternalService, namespace: {from}}}], to: [{{group: mesh.weft.dev, kind: ExternalService}}]}}}}"
    )
}

fn made(resources: &[String]) -> Index {
    index(&resources.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The namespace of the service that a host stands for.
fn whose(index: &Index, name: &str, caller: &str) -> Option<String> {
    Some(dialled(index, name, caller)?.service?.namespace)
}

fn told(index: &Index, namespace: &str, name: &str) -> Vec<String> {
    let key = Key { kind: Kind::ExternalService, namespace: namespace.into(), name: name.into() };
    let Spec::ExternalService(spec) = &index.object(&key).unwrap().spec else { panic!("{key}") };
    let name = format!("{namespace}/{name}").parse().unwrap();
    let found = conflicts(&Reader::new(index), &name, spec);
    found.into_iter().map(|it| format!("{}: {}", it.path, it.reason)).collect()
}

#[test]
fn an_external_service_is_for_its_own_namespace() {
    let index = made(&[bank("aaa", ""), external("aaa", "db", "hosts: []")]);
    assert_eq!(whose(&index, "api.bank.com:443", "aaa").as_deref(), Some("aaa"));
    assert_eq!(whose(&index, "db:443", "aaa").as_deref(), Some("aaa"));
    for name in ["api.bank.com:443", "bank.aaa:443", "192.0.2.1:443"] {
        assert_eq!(whose(&index, name, "shop"), None, "{name}");
    }
}

#[test]
fn the_callers_own_goes_before_what_others_export() {
    let index = made(&[
        bank("aaa", ", exportTo: ['*']"),
        bank("shop", ""),
        grant("shop", "aaa"),
        grant("web", "aaa"),
    ]);
    assert_eq!(whose(&index, "api.bank.com:443", "shop").as_deref(), Some("shop"));
    assert_eq!(whose(&index, "api.bank.com:443", "web").as_deref(), Some("aaa"));
    assert_eq!(whose(&index, "192.0.2.1:443", "shop").as_deref(), Some("shop"));
}

#[test]
fn what_is_exported_counts_where_it_is_taken() {
    let exported = bank("aaa", ", exportTo: [shop]");
    let alone = made(std::slice::from_ref(&exported));
    for name in ["api.bank.com:443", "bank.aaa:443", "192.0.2.1:443"] {
        assert_eq!(whose(&alone, name, "shop"), None, "{name}");
    }
    let said = told(&alone, "aaa", "bank");
    assert!(said[0].starts_with("spec.exportTo[0]: namespace shop does not take it"), "{said:?}");
    let taken = made(&[exported, grant("shop", "aaa"), grant("web", "aaa")]);
    for name in ["api.bank.com:443", "bank.aaa:443", "192.0.2.1:443"] {
        assert_eq!(whose(&taken, name, "shop").as_deref(), Some("aaa"), "{name}");
        assert_eq!(whose(&taken, name, "web"), None, "it is not exported there: {name}");
    }
    assert_eq!(told(&taken, "aaa", "bank"), [""; 0]);
}

#[test]
fn what_the_meshs_own_namespace_exports_is_taken_everywhere() {
    let index = made(&[bank("weft-system", ", exportTo: ['*']")]);
    assert_eq!(whose(&index, "api.bank.com:443", "shop").as_deref(), Some("weft-system"));
    assert_eq!(told(&index, "weft-system", "bank"), [""; 0]);
}

#[test]
fn of_several_that_are_exported_the_oldest_counts_and_the_others_say_so() {
    // Created in this order.
    let resources = [
        bank("zzz", ", exportTo: [shop]"),
        bank("aaa", ", exportTo: [shop]"),
        grant("shop", "aaa"),
        grant("shop", "zzz"),
    ];
    let index = made(&resources);
    assert_eq!(whose(&index, "api.bank.com:443", "shop").as_deref(), Some("zzz"));
    let said = told(&index, "aaa", "bank");
    assert!(said[0].contains("is ExternalService zzz/bank's in namespace shop, which is older"), "{said:?}");
    assert_eq!(told(&index, "zzz", "bank"), [""; 0]);
}

#[test]
fn no_external_service_goes_before_a_service() {
    let claims = "hosts: [cart, cart.shop, page.web], exportTo: ['*']";
    let index = made(&[external("weft-system", "cart", claims), external("shop", "mine", claims)]);
    for name in ["cart:80", "cart.shop:80"] {
        assert_eq!(whose(&index, name, "shop").as_deref(), Some("shop"), "{name}");
    }
    assert_eq!(whose(&index, "page.web:80", "shop").as_deref(), Some("web"));
    assert_eq!(whose(&index, "cart:443", "web"), None, "a name without a dot is nobody else's to give");
    let said = told(&index, "shop", "mine");
    assert!(said[0].contains("\"cart\" is the name of Service shop/cart, which goes before it"), "{said:?}");
    assert!(said.iter().any(|it| it.contains("Service web/page")), "{said:?}");
}

#[test]
fn a_namespace_with_the_name_of_a_domain_does_not_get_its_names() {
    let index = made(&[external("com", "api.bank", "hosts: [], exportTo: ['*']")]);
    assert_eq!(whose(&index, "api.bank.com:443", "shop"), None);
    assert_eq!(whose(&index, "api.bank.com:443", "com").as_deref(), Some("com"));
}

#[test]
fn of_one_namespace_the_older_has_a_host() {
    let hosts = "hosts: [api.bank.com]";
    let index = made(&[external("shop", "z", hosts), external("shop", "a", hosts)]);
    assert_eq!(dialled(&index, "api.bank.com:443", "shop").unwrap().service.unwrap().name, "z");
    let said = told(&index, "shop", "a");
    assert!(
        said[0].starts_with("spec.hosts[0]: \"api.bank.com\" is ExternalService shop/z's already"),
        "{said:?}"
    );
}
