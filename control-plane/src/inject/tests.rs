use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

const NATIVE: Cluster = Cluster { native_sidecars: true };
const PLAIN: Cluster = Cluster { native_sidecars: false };

fn pod(yaml: &str) -> Value {
    serde_saphyr::from_str(yaml).unwrap()
}

fn injected(pod: &Value, cluster: Cluster) -> Value {
    match inject(pod, None, &Settings::default(), cluster) {
        Outcome::Injected { pod, .. } => *pod,
        other => panic!("{other:?}"),
    }
}

fn names(pod: &Value, list: &str) -> Vec<String> {
    let items = pod["spec"][list].as_array().into_iter().flatten();
    items.map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

fn variable(pod: &Value, name: &str) -> Option<String> {
    let proxy = all_containers(&pod["spec"]).find(|container| container["name"] == PROXY)?;
    let found = proxy["env"].as_array()?.iter().find(|entry| entry["name"] == name)?;
    Some(found["value"].as_str()?.to_owned())
}

const SIMPLE: &str = "{metadata: {labels: {app: web}}, spec: {initContainers: [{name: migrate, image: m}], containers: [{name: app, image: a}]}}";

#[test]
fn a_native_sidecar_comes_before_everything_else() {
    let pod = injected(&pod(SIMPLE), NATIVE);
    assert_eq!(names(&pod, "initContainers"), [PROXY, REDIRECT, "migrate"]);
    assert_eq!(names(&pod, "containers"), ["app"]);
    assert_eq!(pod["spec"]["initContainers"][0]["restartPolicy"], "Always");
    assert_eq!(names(&pod, "volumes"), ["weft-token", "weft-roots"]);
    assert_eq!(pod["metadata"]["labels"][PROXY_LABEL], env!("CARGO_PKG_VERSION"));
    assert_eq!(pod["metadata"]["labels"]["app"], "web");
    assert_eq!(pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"], "app");
}

#[test]
fn without_native_sidecars_it_is_the_first_container_and_redirection_the_last_step_before() {
    let pod = injected(&pod(SIMPLE), PLAIN);
    assert_eq!(names(&pod, "initContainers"), ["migrate", REDIRECT]);
    assert_eq!(names(&pod, "containers"), [PROXY, "app"]);
    assert_eq!(pod["spec"]["containers"][0].get("restartPolicy"), None);
    assert_eq!(pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"], "app");
}

#[test]
fn a_job_gets_a_sidecar_that_ends_or_none() {
    let job = pod("{spec: {restartPolicy: OnFailure, containers: [{name: work, image: w}]}}");
    assert_eq!(names(&injected(&job, NATIVE), "initContainers"), [PROXY, REDIRECT]);
    let Outcome::Left(reason) = inject(&job, None, &Settings::default(), PLAIN) else { panic!() };
    assert!(reason.contains("would never end"), "{reason}");
}

#[test]
fn the_proxy_satisfies_the_restricted_standard() {
    let pod = injected(&pod(SIMPLE), NATIVE);
    let context = &pod["spec"]["initContainers"][0]["securityContext"];
    assert_eq!(context["runAsNonRoot"], true);
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(context["readOnlyRootFilesystem"], true);
    let redirect = &pod["spec"]["initContainers"][1]["securityContext"];
    assert_eq!(redirect["capabilities"], json!({"add": ["NET_ADMIN"], "drop": ["ALL"]}));
}

#[test]
fn probes_over_the_network_go_to_the_proxy_and_commands_stay() {
    let pod = injected(
        &pod("
spec:
  initContainers:
  - {name: cache, restartPolicy: Always, startupProbe: {tcpSocket: {port: 6379}}}
  containers:
  - name: app
    ports: [{name: web, containerPort: 8080}]
    readinessProbe: {httpGet: {path: /healthz, port: web, scheme: HTTPS}, periodSeconds: 3, timeoutSeconds: 2}
    livenessProbe: {exec: {command: [check]}}
    startupProbe: {grpc: {port: 9090, service: shop}}
    lifecycle: {preStop: {httpGet: {path: /bye, port: 8080}}, postStart: {exec: {command: [hi]}}}
"),
        NATIVE,
    );
    let app = &pod["spec"]["containers"][0];
    assert_eq!(
        app["readinessProbe"]["httpGet"],
        json!({"path": "/probe/app/readiness", "port": 15020, "scheme": "HTTP"})
    );
    assert_eq!(app["readinessProbe"]["periodSeconds"], 3);
    assert_eq!(
        app["startupProbe"],
        json!({"httpGet": {"path": "/probe/app/startup", "port": 15020, "scheme": "HTTP"}})
    );
    assert_eq!(app["livenessProbe"], json!({"exec": {"command": ["check"]}}));
    assert_eq!(app["lifecycle"]["preStop"]["httpGet"]["path"], "/probe/app/pre-stop");
    assert_eq!(app["lifecycle"]["postStart"], json!({"exec": {"command": ["hi"]}}));
    let probes: Value = serde_json::from_str(&variable(&pod, "WEFT_PROBES").unwrap()).unwrap();
    assert_eq!(
        probes,
        json!({
            "app/pre-stop": {"httpGet": {"path": "/bye", "port": 8080}, "timeoutSeconds": 30},
            "app/readiness": {"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTPS"}, "timeoutSeconds": 2},
            "app/startup": {"grpc": {"port": 9090, "service": "shop"}},
            "cache/startup": {"tcpSocket": {"port": 6379}},
        })
    );
}

#[test]
fn annotations_change_what_differs_for_one_pod() {
    let pod = injected(
        &pod("
metadata:
  annotations:
    mesh.weft.dev/skip-outbound-ports: '3306, 6379'
    mesh.weft.dev/skip-outbound-addresses: 10.9.0.0/16
    mesh.weft.dev/proxy-cpu-limit: 1500m
    mesh.weft.dev/proxy-memory-request: 64Mi
    mesh.weft.dev/log-level: debug
spec: {containers: [{name: app}]}
"),
        NATIVE,
    );
    let args = pod["spec"]["initContainers"][1]["args"].to_string();
    assert!(
        args.contains(r#""--skip-outbound-ports","3306,6379","--skip-outbound-addresses","10.9.0.0/16""#),
        "{args}"
    );
    let proxy = &pod["spec"]["initContainers"][0];
    assert_eq!(
        proxy["resources"],
        json!({"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "1500m"}})
    );
    assert_eq!(variable(&pod, "WEFT_LOG").unwrap(), "debug");
    assert_eq!(variable(&pod, "WEFT_WORKERS").unwrap(), "2");
}

#[test]
fn without_redirection_the_application_is_told_of_the_proxy_and_keeps_its_probes() {
    let pod = injected(
        &pod("
metadata: {annotations: {mesh.weft.dev/redirect: none}}
spec:
  containers:
  - {name: app, env: [{name: NO_PROXY, value: db}], readinessProbe: {tcpSocket: {port: 80}}}
"),
        NATIVE,
    );
    assert_eq!(names(&pod, "initContainers"), [PROXY]);
    let app = &pod["spec"]["containers"][0];
    assert_eq!(app["readinessProbe"], json!({"tcpSocket": {"port": 80}}));
    let value = |name: &str| {
        app["env"].as_array().unwrap().iter().find(|it| it["name"] == name).unwrap()["value"].clone()
    };
    assert_eq!(value("HTTP_PROXY"), "http://127.0.0.1:15008");
    assert_eq!(value("NO_PROXY"), "db");
    assert_eq!(pod["metadata"].get("labels"), None, "it takes no connections of the mesh");
}

#[test]
fn pods_that_can_have_no_sidecar_are_left_with_a_reason() {
    for (yaml, reason) in [
        (
            "{metadata: {labels: {mesh.weft.dev/inject: disabled}}, spec: {containers: [{name: a}]}}",
            "its label",
        ),
        ("{spec: {hostNetwork: true, containers: [{name: a}]}}", "hostNetwork"),
        ("{spec: {os: {name: windows}, containers: [{name: a}]}}", "Windows"),
        (
            "{metadata: {annotations: {kubernetes.io/config.mirror: x}}, spec: {containers: [{name: a}]}}",
            "static pod",
        ),
        ("{spec: {containers: [{name: a}, {name: weft-proxy}]}}", "of its own"),
    ] {
        match inject(&pod(yaml), None, &Settings::default(), NATIVE) {
            Outcome::Left(said) => assert!(said.contains(reason), "{said}"),
            other => panic!("{yaml}: {other:?}"),
        }
    }
}

#[test]
fn what_would_not_work_is_refused_with_what_to_do() {
    for (yaml, reason) in [
        (
            "{spec: {containers: [{name: a, securityContext: {runAsUser: 2102}}]}}",
            "container \"a\" runs as user 2102",
        ),
        (
            "{spec: {securityContext: {runAsUser: 2102}, containers: [{name: a}]}}",
            "container \"a\" runs as user 2102",
        ),
        (
            "{metadata: {annotations: {mesh.weft.dev/skip-inbound-ports: many}}, spec: {containers: [{name: a}]}}",
            "annotation mesh.weft.dev/skip-inbound-ports: \"many\" is neither a port",
        ),
        (
            "{metadata: {annotations: {mesh.weft.dev/redirect: sometimes}}, spec: {containers: [{name: a}]}}",
            "annotation mesh.weft.dev/redirect is \"sometimes\"; write init, cni or none",
        ),
        (
            "{metadata: {annotations: {mesh.weft.dev/proxy-cpu-limit: lots}}, spec: {containers: [{name: a}]}}",
            "a quantity such as 100m",
        ),
        ("{spec: {containers: [{name: a, livenessProbe: {tcpSocket: {port: web}}}]}}", "does not name"),
    ] {
        match inject(&pod(yaml), None, &Settings::default(), NATIVE) {
            Outcome::Refused(said) => assert!(said.contains(reason), "{said}"),
            other => panic!("{yaml}: {other:?}"),
        }
    }
}

#[test]
fn a_container_that_comes_later_has_its_probes_taken_over_too() {
    let mut pod = injected(&pod(SIMPLE), NATIVE);
    let late = json!({"name": "late", "readinessProbe": {"httpGet": {"path": "/", "port": 1}}});
    pod["spec"]["containers"].as_array_mut().unwrap().push(late);
    let again = injected(&pod, NATIVE);
    assert_eq!(again["spec"]["containers"][1]["readinessProbe"]["httpGet"]["path"], "/probe/late/readiness");
    assert!(variable(&again, "WEFT_PROBES").unwrap().contains("late/readiness"));
    assert_eq!(inject(&again, None, &Settings::default(), NATIVE), Outcome::Complete);
}

fn container() -> impl Strategy<Value = Value> {
    let handler = select(vec![
        json!({"httpGet": {"path": "/", "port": 8080}}),
        json!({"tcpSocket": {"port": 8080}}),
        json!({"grpc": {"port": 9090}}),
        json!({"exec": {"command": ["true"]}}),
    ]);
    let fields = subsequence(vec!["startupProbe", "readinessProbe", "livenessProbe"], 0..=3);
    ("[a-z]{1,8}", fields, handler).prop_map(|(name, fields, handler)| {
        let mut container = json!({"name": name, "image": "i"});
        for field in fields {
            container[field] = handler.clone();
        }
        container
    })
}

proptest! {
    #[test]
    fn injecting_twice_changes_nothing_more(
        containers in prop::collection::vec(container(), 1..4),
        init in prop::collection::vec(container(), 0..3),
        native: bool,
        redirect in select(vec![Redirect::Init, Redirect::Cni, Redirect::None]),
    ) {
        let pod = json!({"metadata": {}, "spec": {"containers": containers, "initContainers": init}});
        let settings = Settings { redirect, ..Settings::default() };
        let cluster = Cluster { native_sidecars: native };
        let Outcome::Injected { pod: once, .. } = inject(&pod, None, &settings, cluster) else { panic!() };
        let again = inject(&once, None, &settings, cluster);
        prop_assert_eq!(again, Outcome::Complete);
        // The application's own containers stay, in their order.
        let own = |pod: &Value| names(pod, "containers").into_iter().filter(|name| name != PROXY).collect::<Vec<_>>();
        prop_assert_eq!(own(&once), own(&pod));
    }

    #[test]
    fn whatever_a_manifest_holds_is_answered(pod in json(), place in select(vec!["", "/spec", "/metadata", "/spec/containers/0", "/spec/containers/0/livenessProbe", "/metadata/annotations"])) {
        let mut whole = json!({
            "metadata": {"annotations": {}},
            "spec": {"containers": [{"name": "a", "livenessProbe": {"httpGet": {"port": 1}}}]},
        });
        *whole.pointer_mut(place).unwrap() = pod;
        if let Outcome::Injected { pod: injected, .. } = inject(&whole, None, &Settings::default(), NATIVE) {
            let patch = json_patch::diff(&whole, &injected);
            json_patch::patch(&mut whole, &patch).unwrap();
            prop_assert_eq!(&whole, &*injected);
        }
    }
}

/// JSON whose keys are often those of a pod.
fn json() -> impl Strategy<Value = Value> {
    let leaf = select(vec![
        json!(null),
        json!(true),
        json!(8080),
        json!(-1),
        json!(""),
        json!("web"),
        json!("Always"),
    ]);
    let key = select(vec![
        "spec",
        "metadata",
        "containers",
        "initContainers",
        "name",
        "ports",
        "env",
        "labels",
        "annotations",
        "httpGet",
        "tcpSocket",
        "port",
        "httpHeaders",
        "lifecycle",
        "preStop",
        "livenessProbe",
        "volumes",
        "securityContext",
        "mesh.weft.dev/status",
        "mesh.weft.dev/redirect",
    ]);
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::hash_map(key.clone().prop_map(str::to_owned), inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}
