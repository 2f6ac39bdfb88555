//! Against an API server that keeps Secrets and reviews one token.

use std::collections::BTreeMap;
use std::convert::Infallible;

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

#[derive(Clone, Default)]
pub(super) struct Server {
    pub(super) objects: Arc<Mutex<BTreeMap<String, Value>>>,
    /// What another replica makes while this one does.
    rival: Arc<Mutex<Option<(String, Value)>>>,
    version: Arc<Mutex<u64>>,
}

impl Server {
    pub(super) fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let (status, value) = server.answer(&head.method, head.uri.path(), &body);
                let bytes = serde_json::to_vec(&value).unwrap();
                Ok::<_, Infallible>(Response::builder().status(status).body(Body::from(bytes)).unwrap())
            }
        });
        Client::new(service, "default")
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> (StatusCode, Value) {
        let failed = |code: u16, reason: &str| {
            let status = json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason});
            (StatusCode::from_u16(code).unwrap(), status)
        };
        let mut objects = self.objects.lock();
        if *method == Method::GET {
            return objects
                .get(path)
                .map_or_else(|| failed(404, "NotFound"), |found| (StatusCode::OK, found.clone()));
        }
        let mut object: Value = serde_json::from_slice(body).unwrap();
        if path.ends_with("/tokenreviews") {
            let known = object.pointer("/spec/token") == Some(&json!("a.pod.token"));
            object["status"] = json!({
                "authenticated": known,
                "audiences": ["weft"],
                "user": {"username": "system:serviceaccount:shop:web"},
            });
            return (StatusCode::CREATED, object);
        }
        if *method == Method::PUT {
            let held = objects.get(path).map(|held| held["metadata"]["resourceVersion"].clone());
            if held != Some(object["metadata"]["resourceVersion"].clone()) {
                return failed(409, "Conflict");
            }
            return (StatusCode::OK, self.keep(&mut objects, path, object));
        }
        let path = format!("{path}/{}", object["metadata"]["name"].as_str().unwrap());
        if let Some((of, rival)) = self.rival.lock().take() {
            objects.insert(of, rival);
        }
        if objects.contains_key(&path) {
            return failed(409, "AlreadyExists");
        }
        (StatusCode::CREATED, self.keep(&mut objects, &path, object))
    }

    fn keep(&self, objects: &mut BTreeMap<String, Value>, path: &str, mut object: Value) -> Value {
        let mut version = self.version.lock();
        *version += 1;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        objects.insert(path.to_owned(), object.clone());
        object
    }
}

fn trust_domain() -> TrustDomain {
    "cluster.local".parse().unwrap()
}

async fn open(server: &Server, ca_secret: Option<&str>) -> Result<Cluster, Error> {
    let settings =
        KubernetesConfig { ca_secret: ca_secret.map(str::to_owned), ..KubernetesConfig::default() };
    Cluster::with(server.client(), &settings, &trust_domain()).await
}

const CA: &str = "/api/v1/namespaces/weft-system/secrets/weft-ca";

#[tokio::test]
async fn replicas_and_restarts_share_authority_and_tokens() {
    let server = Server::default();
    let (first, second) = (open(&server, None).await.unwrap(), open(&server, None).await.unwrap());
    assert_eq!(*first.authority().lock(), *second.authority().lock());
    let new = weft_identity::NewToken {
        identity: "spiffe://cluster.local/ns/shop/sa/vm".parse().unwrap(),
        roots: vec![weft_identity::Fingerprint::of(&b"root".to_vec().into())],
        control_plane: None,
        grants: weft_identity::Grants::default(),
        ttl: Duration::from_mins(1),
    };
    let now = std::time::SystemTime::now();
    let token = first.tokens().mint(&new, now).unwrap();
    assert!(second.tokens().verify(&token, now).is_ok());
}

#[tokio::test]
async fn of_two_that_start_at_once_one_gives_way() {
    let (server, other) = (Server::default(), Server::default());
    let winner = open(&other, None).await.unwrap().authority().lock().clone().unwrap();
    let made = other.objects.lock().get(CA).unwrap().clone();
    *server.rival.lock() = Some((CA.to_owned(), made));
    let loser = open(&server, None).await.unwrap();
    assert_eq!(*loser.authority().lock(), Ok(winner));
}

#[tokio::test]
async fn a_secret_of_somebody_else_is_taken_as_it_is_or_named_in_the_error() {
    let server = Server::default();
    let error = open(&server, Some("issuer")).await.err().unwrap().to_string();
    assert!(error.contains("no Secret issuer in namespace weft-system"), "{error}");
    let made = open(&server, None).await.unwrap().authority().lock().clone().unwrap();
    let encoded = |text: &str| json!(k8s_openapi::ByteString(text.as_bytes().to_vec()));
    let mut secret = json!({
        "metadata": {"name": "issuer"},
        "data": {"tls.crt": encoded(&made.own.certificate_pem), "tls.key": encoded(&made.own.key_pem)},
    });
    let path = "/api/v1/namespaces/weft-system/secrets/issuer";
    server.objects.lock().insert(path.to_owned(), secret.clone());
    let error = open(&server, Some("issuer")).await.err().unwrap().to_string();
    assert!(error.contains("Secret issuer") && error.contains("it has no ca.crt"), "{error}");
    secret["data"]["ca.crt"] = encoded(&made.own.certificate_pem);
    server.objects.lock().insert(path.to_owned(), secret);
    let cluster = open(&server, Some("issuer")).await.unwrap();
    assert_eq!(cluster.authority().lock().clone().unwrap().own, made.own);
}

#[tokio::test]
async fn a_pods_token_proves_its_service_account() {
    let server = Server::default();
    let accounts = open(&server, None).await.unwrap().accounts();
    let (identity, _) = accounts.review("a.pod.token").await.unwrap();
    assert_eq!(identity.as_str(), "spiffe://cluster.local/ns/shop/sa/web");
    assert!(matches!(accounts.review("another").await, Err(Problem::Refused(_))));
}
