use std::time::SystemTime;

use serde_json::json;
use weft_identity::CaMaterial;

use super::super::tests::Server;
use super::*;

const PATH: &str = "/api/v1/namespaces/weft-system/secrets/weft-trust";

fn domain() -> TrustDomain {
    "cluster.local".parse().unwrap()
}

fn root() -> TrustBundle {
    let made = CaMaterial::generate(&domain(), SystemTime::now()).unwrap();
    TrustBundle::from_pem(&domain(), &made.certificate_pem).unwrap()
}

fn both(first: &TrustBundle, second: &TrustBundle) -> TrustBundle {
    let mut both = first.clone();
    both.merge(second);
    both
}

fn print(root: &TrustBundle) -> Fingerprint {
    root.fingerprints(&domain())[0]
}

/// A replica that has read the list, with an authority that has these roots.
async fn replica(server: &Server, roots: &TrustBundle) -> Trust {
    let trust = Trust::open(&server.client(), &domain()).await.unwrap();
    trust.want(roots);
    trust
}

async fn write(server: &Server, writer: &Trust) {
    writer.write_once(&Api::namespaced(server.client(), SYSTEM_NAMESPACE)).await.unwrap();
}

async fn held(server: &Server) -> TrustBundle {
    let found = Trust::open(&server.client(), &domain()).await.unwrap();
    let list = found.watch();
    let believed = list.borrow();
    believed.roots.clone()
}

#[tokio::test]
async fn whoever_writes_adds_its_roots_and_takes_none_of_others_away() {
    let (server, old, new) = (Server::default(), root(), root());
    let first = replica(&server, &old).await;
    write(&server, &first).await;
    assert_eq!(held(&server).await, old);
    // Another replica, with another authority, comes to write.
    let second = replica(&server, &new).await;
    write(&server, &second).await;
    assert_eq!(held(&server).await, both(&old, &new));
    // And the first again, which has not heard of it: nobody undoes what another one did.
    let version = server.objects.lock()[PATH]["metadata"]["resourceVersion"].clone();
    write(&server, &first).await;
    write(&server, &second).await;
    assert_eq!(
        server.objects.lock()[PATH]["metadata"]["resourceVersion"],
        version,
        "nothing is written twice"
    );
    assert_eq!(first.watch().borrow().roots, both(&old, &new));
}

#[tokio::test]
async fn a_root_goes_only_when_it_is_retired_and_no_longer_in_use() {
    let (server, old, new) = (Server::default(), root(), root());
    let writer = replica(&server, &both(&old, &new)).await;
    write(&server, &writer).await;
    // It was taken out of the authority's Secret, and out of the list: that is no decision to end it.
    writer.want(&new);
    write(&server, &writer).await;
    server.objects.lock().get_mut(PATH).unwrap()["data"]["roots.pem"] =
        json!(ByteString(new.to_pem(&domain()).into_bytes()));
    write(&server, &writer).await;
    assert_eq!(held(&server).await, both(&new, &old));
    let retire = |text: String| {
        server.objects.lock().get_mut(PATH).unwrap()["data"]["retired"] =
            json!(ByteString(text.into_bytes()));
    };
    // The one in use stays, whoever retires it.
    retire(format!("{}, {}", print(&old), print(&new)));
    write(&server, &writer).await;
    assert_eq!(held(&server).await, new);
    assert_eq!(writer.watch().borrow().roots, new);
    // A replica that had it in memory does not bring it back.
    let restarted = replica(&server, &new).await;
    write(&server, &restarted).await;
    assert_eq!(held(&server).await, new);
}

#[tokio::test]
async fn a_list_that_is_lost_or_cannot_be_read_is_made_anew_from_what_is_known() {
    let (server, old, new) = (Server::default(), root(), root());
    let writer = replica(&server, &both(&old, &new)).await;
    write(&server, &writer).await;
    writer.want(&new);
    server.objects.lock().remove(PATH);
    write(&server, &writer).await;
    assert_eq!(held(&server).await, both(&old, &new));
    server.objects.lock().get_mut(PATH).unwrap()["data"]["roots.pem"] =
        json!(ByteString(b"nonsense".to_vec()));
    let error = Trust::open(&server.client(), &domain()).await.err().unwrap().to_string();
    assert!(
        error.contains("Secret weft-trust in namespace weft-system") && error.contains("roots.pem"),
        "{error}"
    );
    write(&server, &writer).await;
    assert_eq!(held(&server).await, both(&old, &new));
}
