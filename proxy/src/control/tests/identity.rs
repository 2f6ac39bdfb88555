use super::*;

#[tokio::test(start_paused = true)]
async fn a_workload_joins_with_its_token_and_renews_with_its_certificate() {
    let plane = Plane::start();
    let sidecar = Sidecar::start(&plane).await;
    assert_eq!(plane.issued(), ["token"]);
    assert!(sidecar.shared.is_ready(), "{:?}", sidecar.status.waiting_for());
    let (first, number) = (sidecar.serial(), sidecar.snapshot().tls.as_ref().unwrap().number);
    sleep(Duration::from_mins(25)).await;
    assert_eq!(plane.issued(), ["token"]);
    sleep(Duration::from_mins(10)).await;
    assert_eq!(plane.issued(), ["token", "certificate"]);
    assert_ne!(sidecar.serial(), first);
    assert!(sidecar.snapshot().tls.as_ref().unwrap().number > number);
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_final_and_says_why() {
    let plane = Plane::start();
    plane.refuse(Some(tonic::Status::unauthenticated("the join token is of another mesh")), None);
    let sidecar = Sidecar::start(&plane).await;
    let failure = sidecar.status.failure().unwrap();
    assert!(
        failure.contains("weft.example:15012 refused the join token: the join token is of another mesh"),
        "{failure}"
    );
    assert!(!sidecar.shared.is_ready());
    // Somebody may still mend it.
    plane.refuse(None, None);
    sleep(Duration::from_secs(5)).await;
    assert!(sidecar.shared.is_ready());
    assert_eq!(sidecar.status.failure(), None);
}

#[tokio::test(start_paused = true)]
async fn whoever_has_not_the_root_that_the_token_names_is_not_the_control_plane() {
    let (plane, impostor) = (Plane::start(), Plane::start());
    let sidecar = Sidecar::start_with(&impostor, config(&plane), Vec::new()).await;
    let failure = sidecar.status.failure().unwrap();
    assert!(failure.contains("is not the control plane of this mesh"), "{failure}");
    assert!(impostor.issued().is_empty(), "it did not get the token");
}

#[tokio::test(start_paused = true)]
async fn a_proxy_without_a_control_plane_waits_and_says_so() {
    let plane = Plane::start();
    plane.down();
    let sidecar = Sidecar::start(&plane).await;
    sleep(Duration::from_mins(5)).await;
    assert_eq!(sidecar.status.failure(), None, "it may come");
    let reasons = sidecar.status.waiting_for().join("\n");
    assert!(
        reasons.contains("no certificate yet: cannot connect to the control plane at weft.example:15012")
    );
    plane.up();
    sleep(Duration::from_mins(2)).await;
    assert!(sidecar.shared.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_refused_certificate_is_replaced_by_way_of_the_token() {
    let plane = Plane::start();
    let sidecar = Sidecar::start(&plane).await;
    plane.refuse(None, Some(tonic::Status::unauthenticated("unknown certificate")));
    sleep(Duration::from_mins(35)).await;
    assert_eq!(plane.issued(), ["token", "token"]);
    assert!(sidecar.shared.is_ready());
    assert!(sidecar.status.troubles().is_empty(), "{:?}", sidecar.status.troubles());
}

#[tokio::test(start_paused = true)]
async fn an_expired_certificate_ends_readiness_until_there_is_a_new_one() {
    let plane = Plane::start();
    let sidecar = Sidecar::start(&plane).await;
    plane.down();
    sleep(Duration::from_mins(50)).await;
    assert!(sidecar.shared.is_ready(), "what is in force stays in force");
    let troubles = sidecar.status.troubles().join("\n");
    assert!(troubles.contains("can't be renewed: cannot connect"), "{troubles}");
    assert!(troubles.contains("has not been reached for"), "{troubles}");
    sleep(Duration::from_mins(15)).await;
    assert!(!sidecar.shared.is_ready());
    let reasons = sidecar.status.waiting_for().join("\n");
    assert!(reasons.contains("the certificate expired at 20"), "{reasons}");
}

#[tokio::test(start_paused = true)]
async fn a_rotation_on_demand_keeps_every_stream() {
    let plane = Plane::start();
    let sidecar = Sidecar::start(&plane).await;
    let first = sidecar.serial();
    plane.registration();
    let (status, body) = sidecar.ask(Method::POST, "/rotate").await;
    assert_eq!(status, StatusCode::OK);
    settle().await;
    assert_eq!(body.trim(), sidecar.serial());
    assert_ne!(first, sidecar.serial());
    assert_eq!(plane.registration(), [""; 0], "the registration goes on as it was");
    plane.down();
    let (status, body) = sidecar.ask(Method::POST, "/rotate").await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(body.contains("cannot connect"), "{body}");
    assert!(sidecar.shared.is_ready());
}

#[tokio::test(start_paused = true)]
async fn roots_change_without_a_restart() {
    let plane = Plane::start();
    let sidecar = Sidecar::start(&plane).await;
    let roots = |sidecar: &Sidecar| {
        let snapshot = sidecar.snapshot();
        let tls = snapshot.tls.as_ref().unwrap();
        tls.generation().bundle().roots(&"mesh.example".parse().unwrap()).len()
    };
    assert_eq!(roots(&sidecar), 1);
    plane.set("mesh.example", &plane.bundle_with_another_root());
    settle().await;
    assert_eq!(roots(&sidecar), 2);
    let none = v1::TrustBundle { trust_domain: "mesh.example".into(), ..v1::TrustBundle::default() };
    plane.set("mesh.example", &none);
    settle().await;
    assert_eq!(roots(&sidecar), 2);
    assert_eq!(plane.nacks(), ["mesh.example: roots: there is none, and so nobody could be believed"]);
    sidecar.ask(Method::POST, "/rotate").await;
    settle().await;
    assert_eq!(roots(&sidecar), 2, "what came with a certificate does not undo it");
}

/// A service account of `shop/web` whose files are in this folder, where the token is.
fn account(folder: &std::path::Path, roots: &str) -> config::ServiceAccount {
    let account = config::ServiceAccount {
        identity: "spiffe://mesh.example/ns/shop/sa/web".parse().unwrap(),
        token: folder.join("token"),
        roots: folder.join("roots.pem"),
    };
    std::fs::write(&account.token, "header.claims.signature\n").unwrap();
    std::fs::write(&account.roots, roots).unwrap();
    account
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_was_lost_and_made_anew_is_found_through_the_roots_that_kubernetes_keeps() {
    let (plane, anew) = (Plane::start(), Plane::start());
    let folder = tempfile::tempdir().unwrap();
    let account = account(folder.path(), &plane.roots());
    let roots = account.roots.clone();
    let config = ProxyConfig { proof: config::Proof::ServiceAccount(account), ..config(&plane) };
    let sidecar = Sidecar::start_with(&plane, config, Vec::new()).await;
    plane.set("mesh.example", &plane.bundle_with_another_root());
    settle().await;
    let before = sidecar.serial();
    plane.replace(&anew);
    sleep(Duration::from_mins(5)).await;
    assert_eq!(sidecar.serial(), before, "nobody has told of the new root yet");
    let troubles = sidecar.status.troubles().join("\n");
    assert!(troubles.contains("is not the control plane of this mesh"), "{troubles}");
    std::fs::write(roots, anew.roots()).unwrap();
    sleep(Duration::from_mins(5)).await;
    assert_ne!(sidecar.serial(), before);
    assert_eq!(anew.issued(), ["token"]);
    anew.set("mesh.example", &anew.bundle_with_another_root());
    settle().await;
    assert!(sidecar.status.troubles().is_empty(), "{:?}", sidecar.status.troubles());
    assert!(sidecar.shared.is_ready());
}

#[tokio::test(start_paused = true)]
async fn roots_of_a_join_token_are_believed_no_longer_once_there_are_others() {
    let plane = Plane::start();
    let sidecar = Sidecar::start(&plane).await;
    let mut bundle = plane.bundle_with_another_root();
    bundle.roots.remove(0);
    plane.set("mesh.example", &bundle);
    settle().await;
    let before = sidecar.serial();
    plane.cut();
    sleep(Duration::from_mins(40)).await;
    assert_eq!((sidecar.serial(), plane.issued().len()), (before, 1), "its root was retired");
}

#[tokio::test(start_paused = true)]
async fn a_pod_proves_itself_with_its_service_account_and_does_not_register() {
    let plane = Plane::start();
    let folder = tempfile::tempdir().unwrap();
    let account = config::ServiceAccount {
        identity: "spiffe://mesh.example/ns/shop/sa/web".parse().unwrap(),
        token: folder.path().join("token"),
        roots: folder.path().join("roots.pem"),
    };
    let (token, roots) = (account.token.clone(), account.roots.clone());
    let config = ProxyConfig { proof: config::Proof::ServiceAccount(account), ..config(&plane) };
    let sidecar = Sidecar::start_with(&plane, config, vec![offer("127.0.0.1:1".parse().unwrap())]).await;
    let reasons = sidecar.status.waiting_for().join("\n");
    assert!(reasons.contains("the service account's token in") && reasons.contains("token: "), "{reasons}");
    std::fs::write(token, "header.claims.signature\n").unwrap();
    std::fs::write(&roots, "").unwrap();
    sleep(Duration::from_mins(2)).await;
    let reasons = sidecar.status.waiting_for().join("\n");
    assert!(reasons.contains("roots.pem: the file is empty"), "{reasons}");
    assert_eq!(sidecar.status.failure(), None, "Kubernetes may still bring it");
    std::fs::write(roots, plane.roots()).unwrap();
    sleep(Duration::from_mins(2)).await;
    assert!(sidecar.shared.is_ready(), "{:?}", sidecar.status.waiting_for());
    assert_eq!(plane.issued(), ["token"]);
    assert!(plane.registration().is_empty());
    // Each renewal proves the account again, over the connection that it has.
    sleep(Duration::from_mins(35)).await;
    assert_eq!(plane.issued(), ["token", "token by certificate"]);
    // The account is gone: the certificate, which is good for less than the half of an hour still, does not renew itself.
    plane.refuse(Some(tonic::Status::unauthenticated("the account is gone")), None);
    sleep(Duration::from_mins(15)).await;
    assert_eq!(plane.issued(), ["token", "token by certificate"]);
    let troubles = sidecar.status.troubles().join("\n");
    assert!(troubles.contains("the account is gone"), "{troubles}");
    sleep(Duration::from_mins(35)).await;
    assert!(!sidecar.shared.is_ready());
}

#[tokio::test(start_paused = true)]
async fn what_is_revoked_is_believed_no_longer_from_the_first_certificate_on() {
    let plane = Plane::start();
    let revoked = |sidecar: &Sidecar| {
        let snapshot = sidecar.snapshot();
        let bundle = snapshot.tls.as_ref().unwrap().generation().bundle().clone();
        bundle.revoked().tokens().map(str::to_owned).collect::<Vec<_>>()
    };
    plane.revoke("first");
    let sidecar = Sidecar::start(&plane).await;
    assert_eq!(revoked(&sidecar), ["first"], "it came with the certificate");
    let mut bundle = plane.bundle_with_another_root();
    let token = |id: &str| v1::Revocation {
        what: Some(v1::revocation::What::Token(id.to_owned())),
        issued_before: None,
    };
    // One of a kind that is not known here keeps nothing of the others.
    bundle.revoked = vec![token("first"), v1::Revocation::default(), token("second")];
    plane.set("mesh.example", &bundle);
    settle().await;
    assert_eq!(revoked(&sidecar), ["first", "second"]);
}
