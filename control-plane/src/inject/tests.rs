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
    assert_eq!(names(&pod, "initContainers"), [REDIRECT, PROXY, "migrate"]);
    assert_eq!(names(&pod, "containers"), ["app"]);
    assert_eq!(pod["spec"]["initContainers"][1]["restartPolicy"], "Always");
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
    assert_eq!(names(&injected(&job, NATIVE), "initContainers"), [REDIRECT, PROXY]);
    let Outcome::Left(reason) = inject(&job, None, &Settings::default(), PLAIN) else { panic!() };
    assert!(reason.contains("would never end"), "{reason}");
}

#[test]
fn the_proxy_satisfies_the_restricted_standard() {
    let pod = injected(&pod(SIMPLE), NATIVE);
    let context = &pod["spec"]["initContainers"][1]["securityContext"];
    assert_eq!(context["runAsNonRoot"], true);
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(context["readOnlyRootFilesystem"], true);
    let redirect = &pod["spec"]["initContainers"][0]["securityContext"];
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
    let args = pod["spec"]["initContainers"][0]["args"].to_string();
    assert!(
        args.contains(r#""--skip-outbound-ports","3306,6379","--skip-outbound-addresses","10.9.0.0/16""#),
        "{args}"
    );
    let proxy = &pod["spec"]["initContainers"][1];
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
            "{spec: {containers: [{name: a}, {name: weft-proxy}]}}",
            "has a container weft-proxy that the injector",
        ),
        (
            "{spec: {initContainers: [{name: weft-redirect}], containers: [{name: a}]}}",
            "has a container weft-redirect that the injector",
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
fn nothing_but_the_sidecar_may_have_the_user_or_the_group_that_is_not_redirected() {
    let container =
        |context: Value| json!({"spec": {"containers": [{"name": "a", "securityContext": context}]}});
    let init = |context: Value| json!({"spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "i", "securityContext": context}]}});
    // A container that has another user itself does not make the pod's one harmless: ephemeral containers would get it.
    let whole = |context: Value| json!({"spec": {"securityContext": context, "containers": [{"name": "a", "securityContext": {"runAsUser": 1, "runAsGroup": 1}}]}});
    let refused = [
        (container(json!({"runAsUser": 2102})), "container \"a\" has 2102 as its runAsUser"),
        (container(json!({"runAsGroup": 2102})), "container \"a\" has 2102 as its runAsGroup"),
        (init(json!({"runAsGroup": 2102})), "container \"i\" has 2102 as its runAsGroup"),
        (whole(json!({"runAsUser": 2102})), "the pod has 2102 as its runAsUser"),
        (whole(json!({"runAsGroup": 2102})), "the pod has 2102 as its runAsGroup"),
        (whole(json!({"fsGroup": 2102})), "the pod has 2102 as its fsGroup"),
        (whole(json!({"supplementalGroups": [5, 2102]})), "the pod has 2102 as its supplementalGroups"),
    ];
    for (pod, reason) in refused {
        match inject(&pod, None, &Settings::default(), NATIVE) {
            Outcome::Refused(said) => assert!(said.contains(reason), "{said}"),
            other => panic!("{pod}: {other:?}"),
        }
        let explicit = Settings { redirect: Redirect::None, ..Settings::default() };
        let allowed = inject(&pod, None, &explicit, NATIVE);
        assert!(matches!(allowed, Outcome::Injected { .. }), "where nothing goes by the user: {allowed:?}");
    }
    injected(&whole(json!({"runAsUser": 2103, "fsGroup": 3000, "supplementalGroups": [1]})), NATIVE);
}

/// One change of an injected pod, and what is said of it.
type Change = (&'static str, Value, &'static str);

#[test]
fn a_sidecar_that_is_not_the_injectors_is_refused_however_it_is_labelled() {
    let genuine = injected(&pod(SIMPLE), NATIVE);
    let changes: [Change; 13] = [
        ("/spec/initContainers/1/image", json!("evil/weft-proxy:1"), "image is \"evil/weft-proxy:1\""),
        ("/spec/initContainers/1/command", json!(["/bin/sh"]), "command is"),
        ("/spec/initContainers/1/args", json!([]), "args is"),
        (
            "/spec/initContainers/1/securityContext/capabilities/add",
            json!(["NET_ADMIN"]),
            "securityContext is",
        ),
        ("/spec/initContainers/1/readinessProbe", json!(null), "readinessProbe is"),
        ("/spec/initContainers/1/envFrom", json!([{"configMapRef": {"name": "mine"}}]), "envFrom is"),
        ("/spec/initContainers/1/env/0/value", json!("evil:1"), "the variable \"WEFT_CONTROL_PLANE\""),
        (
            "/spec/initContainers/1/env/20",
            json!({"name": "WEFT_PROXY_ADMIN", "value": "[::]:1"}),
            "WEFT_PROXY_ADMIN",
        ),
        ("/spec/initContainers/1/env/20", json!({"name": "LD_PRELOAD", "value": "/x"}), "LD_PRELOAD"),
        (
            "/spec/initContainers/1/volumeMounts/2",
            json!({"name": "v", "mountPath": "/weft-proxy"}),
            "\"/weft-proxy\"",
        ),
        ("/spec/initContainers/0/args/2", json!("--inbound-port"), "of its container weft-redirect, args is"),
        (
            "/spec/volumes/1",
            json!({"name": "weft-roots", "configMap": {"name": "mine"}}),
            "volume \"weft-roots\"",
        ),
        ("/spec/containers/0/securityContext", json!({"runAsUser": 2102}), "container \"app\" has 2102"),
    ];
    for (place, value, reason) in changes {
        let mut forged = genuine.clone();
        set(&mut forged, place, value);
        match inject(&forged, None, &Settings::default(), NATIVE) {
            Outcome::Refused(said) => assert!(said.contains(reason), "{place}: {said}"),
            other => panic!("{place}: {other:?}"),
        }
    }
    let mut without = genuine.clone();
    without["spec"]["initContainers"].as_array_mut().unwrap().remove(0);
    let Outcome::Refused(said) = inject(&without, None, &Settings::default(), NATIVE) else { panic!() };
    assert!(said.contains("it has no container weft-redirect; take out the annotation"), "{said}");
}

/// Sets a field that may be missing, or adds an item to a list.
fn set(pod: &mut Value, place: &str, value: Value) {
    let (parent, field) = place.rsplit_once('/').unwrap();
    match pod.pointer_mut(parent).unwrap() {
        Value::Array(items) => match items.get_mut(field.parse::<usize>().unwrap()) {
            Some(item) => *item = value,
            None => items.push(value),
        },
        other => other[field] = value,
    }
}

#[test]
fn a_status_annotation_that_says_something_else_than_the_pod_is_refused() {
    let settings = Settings { redirect: Redirect::Cni, ..Settings::default() };
    let Outcome::Injected { pod: genuine, .. } = inject(&pod(SIMPLE), None, &settings, NATIVE) else {
        panic!()
    };
    assert_eq!(inject(&genuine, None, &settings, NATIVE), Outcome::Complete);
    for (status, field) in [
        (r#"{"redirect": "none"}"#, "redirect"),
        (r#"{"redirect": "cni", "skipOutboundPorts": ["1-65535"]}"#, "skip"),
        ("nonsense", "redirect"),
    ] {
        let mut forged = genuine.clone();
        forged["metadata"]["annotations"][STATUS_ANNOTATION] = json!(status);
        let Outcome::Refused(said) = inject(&forged, None, &settings, NATIVE) else { panic!("{status}") };
        assert!(said.contains(&format!("of that annotation, {field}")), "{said}");
    }
}

#[test]
fn what_the_api_server_and_other_webhooks_add_to_a_sidecar_is_no_forgery() {
    let mut pod = injected(&pod(SIMPLE), NATIVE);
    let token = "/var/run/secrets/kubernetes.io/serviceaccount";
    let proxy = &mut pod["spec"]["initContainers"][1];
    proxy["volumeMounts"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "kube-api-access", "mountPath": token}));
    proxy["env"].as_array_mut().unwrap().push(json!({"name": "AWS_REGION", "value": "x"}));
    proxy["env"][2]["valueFrom"]["fieldRef"]["apiVersion"] = json!("v1");
    proxy["readinessProbe"]["httpGet"]["scheme"] = json!("HTTP");
    proxy["readinessProbe"]["successThreshold"] = json!(1);
    proxy["resources"]["limits"] = json!({"memory": "1Gi"});
    pod["spec"]["volumes"][1]["configMap"]["defaultMode"] = json!(420);
    assert_eq!(inject(&pod, None, &Settings::default(), NATIVE), Outcome::Complete);
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
        "runAsGroup",
        "supplementalGroups",
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
