//! Against the configuration of a sidecar of `web`, as its admin server tells it.

use serde_json::json;

use super::*;

fn config() -> Value {
    json!({
        "workload": "web-7f-x2.shop",
        "version": "0.1.0",
        "control_plane": {"address": "control-plane.weft-system.svc:15012", "connected": true},
        "waiting_for": [],
        "troubles": ["one resource was refused"],
        "snapshot": 12,
        "certificate": {"identity": "spiffe://cluster.local/ns/shop/sa/web", "serial": "0a1b", "not_after": "2026-11-26T10:00:00Z"},
        "trust": [{"trust_domain": "cluster.local", "fingerprint": "00112233445566778899", "not_after": "2036-11-26T10:00:00Z"}],
        "listeners": [{"address": "[::]:15001", "takes": "what leaves the workload"}],
        "inbound": {
            "ports": [{"port": 8080, "protocol": "Http", "tls": "strict"}],
            "other_ports": {"port": null, "protocol": "Detect", "tls": "permissive"},
        },
        "destinations": [
            {"name": "example.com:80", "in_the_mesh": false},
            {"name": "reviews:80", "in_the_mesh": true, "service": "shop/reviews:80", "protocol": "Http", "rules": [{
                "route": "shop/reviews", "rule": null, "request_timeout_ms": 2000,
                "backends": [{"weight": 9, "service": "shop/reviews-v1:80"}, {"weight": 1, "invalid": "no Service shop/reviews-v2"}],
            }]},
        ],
        "endpoints": [{"service": "shop/reviews-v1:80", "endpoints": [
            {"id": "10.244.0.7-9080", "workload": "reviews-1.shop", "address": "10.244.0.7:9080", "health": "ready", "hop": "weft/1 over mTLS", "weight": 1, "version": "v1"},
            {"id": "reviews-2.shop", "address": "10.244.0.8:9080", "health": "ready", "hop": "weft/1 over mTLS", "weight": 1, "version": "", "ejected_by": 2},
        ]}],
    })
}

#[test]
fn everything_is_told_in_its_order() {
    let expected = "\
sidecar of web-7f-x2.shop, version 0.1.0
connected to control-plane.weft-system.svc:15012, snapshot 12
trouble: one resource was refused

certificates
  WHAT      OF                                     SERIAL OR FINGERPRINT  VALID UNTIL
  workload  spiffe://cluster.local/ns/shop/sa/web  0a1b                   2026-11-26T10:00:00Z
  root      cluster.local                          0011223344556677       2036-11-26T10:00:00Z

listeners
  ADDRESS     TAKES
  [::]:15001  what leaves the workload

  INBOUND PORT  PROTOCOL  TLS
  8080          Http      strict
  others        Detect    permissive

destinations
  NAME            SERVICE          PROTOCOL  RULES
  example.com:80  not in the mesh
  reviews:80      shop/reviews:80  Http      1

routes
  DESTINATION  ROUTE         RULE  TIMEOUT  BACKENDS (WEIGHT SERVICE)
  reviews:80   shop/reviews  -     2000 ms  9 shop/reviews-v1:80, 1 INVALID: no Service shop/reviews-v2

endpoints
  SERVICE             ADDRESS          HEALTH                HOP               WEIGHT  VERSION  WORKLOAD
  shop/reviews-v1:80  10.244.0.7:9080  ready                 weft/1 over mTLS  1       v1       reviews-1.shop
  shop/reviews-v1:80  10.244.0.8:9080  ejected by 2 workers  weft/1 over mTLS  1       -        reviews-2.shop";
    assert_eq!(lines(&config(), Part::All).join("\n"), expected);
}

#[test]
fn a_part_is_that_part_alone() {
    let part = Part::Certificates.of(&config());
    assert_eq!(part.as_object().unwrap().len(), 2);
    assert_eq!(part["certificate"]["serial"], "0a1b");
    assert_eq!(lines(&config(), Part::Endpoints).len(), 3);
}

#[test]
fn a_sidecar_that_waits_says_for_what() {
    let mut waiting = config();
    waiting["control_plane"]["connected"] = json!(false);
    waiting["waiting_for"] = json!(["a certificate"]);
    let said = lines(&waiting, Part::All).join("\n");
    assert!(said.contains("NOT connected to") && said.contains("not ready: a certificate"), "{said}");
}
