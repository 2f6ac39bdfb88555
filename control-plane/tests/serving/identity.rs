//! Who gets a certificate, and what it is good for.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tonic::{Code, Request};
use weft_control_plane::{Revocable, restore, revoke};
use weft_identity::tls::{ALPN_H2, pinned_client};
use weft_identity::{ExpectedIdentities, Generation, KeyAndCsr};
use weft_proto::v1;
use weft_proto::v1::revocation::What;
use weft_proto::v1::telemetry_client::TelemetryClient;
use weft_xds::client::Connection;

use crate::fixture::{Folders, Member, channel, issue, join, refused, soon, stranger};

const DAY: Duration = Duration::from_hours(24);

#[tokio::test]
async fn a_token_gives_a_certificate_for_its_own_identity_and_a_day_at_most() {
    let folders = Folders::new();
    let _running = folders.start().await;
    let token = folders.token("cart");
    let key = KeyAndCsr::generate().unwrap();
    let issued =
        issue(stranger(&token).await, Some(token.as_str()), &key, 365 * DAY).await.expect("a certificate");
    assert_eq!(issued.spiffe_id, "spiffe://cluster.local/ns/shop/sa/cart");
    let not_after = SystemTime::try_from(issued.not_after.unwrap()).unwrap();
    assert!(not_after <= SystemTime::now() + DAY);
    let short = Duration::from_mins(10);
    let issued = issue(stranger(&token).await, Some(token.as_str()), &key, short).await.unwrap();
    let not_after = SystemTime::try_from(issued.not_after.unwrap()).unwrap();
    assert!(not_after <= SystemTime::now() + short);
}

#[tokio::test]
async fn a_certificate_renews_itself_and_a_token_makes_its_holder_somebody_else() {
    let folders = Folders::new();
    let _running = folders.start().await;
    let cart = folders.join("cart").await;
    let key = KeyAndCsr::generate().unwrap();
    let renewed = issue(cart.channel().await.unwrap(), None, &key, Duration::ZERO).await.unwrap();
    assert_eq!(renewed.spiffe_id, cart.identity().as_str());
    let web = folders.token("web");
    let other = issue(cart.channel().await.unwrap(), Some(web.as_str()), &key, Duration::ZERO).await.unwrap();
    assert_eq!(other.spiffe_id, "spiffe://cluster.local/ns/shop/sa/web");
}

#[tokio::test]
async fn who_proves_nothing_gets_nothing() {
    let (folders, others) = (Folders::new(), Folders::new());
    let _running = folders.start().await;
    let _other = others.start().await;
    let token = folders.token("cart");
    let hour = Duration::from_hours(1);
    let expired = folders.token_in("shop", "cart", hour, SystemTime::now() - 2 * hour);
    let key = KeyAndCsr::generate().unwrap();
    let channel = stranger(&token).await;
    let ask = |bearer: Option<String>| {
        let (channel, key) = (channel.clone(), &key);
        async move {
            let answer = issue(channel, bearer.as_deref(), key, Duration::ZERO).await;
            refused(answer, Code::Unauthenticated)
        }
    };
    assert!(ask(None).await.contains("a client certificate is needed"));
    assert!(ask(Some("nonsense".to_owned())).await.contains("token"));
    assert!(ask(Some(expired.as_str().to_owned())).await.contains("expired"));
    assert!(ask(Some(others.token("cart").as_str().to_owned())).await.contains("token"));
    let mut changed = token.as_str().to_owned();
    let last = changed.pop();
    changed.push(if last == Some('A') { 'Q' } else { 'A' });
    ask(Some(changed)).await;
}

#[tokio::test]
async fn a_request_that_is_none_is_refused() {
    let folders = Folders::new();
    let _running = folders.start().await;
    let token = folders.token("cart");
    let mut request = Request::new(v1::IssueRequest { csr: vec![1, 2, 3].into(), ttl_seconds: 0 });
    let bearer = format!("Bearer {}", token.as_str());
    request.metadata_mut().insert("authorization", bearer.parse().unwrap());
    let mut client = v1::identity_client::IdentityClient::new(stranger(&token).await);
    refused(soon(client.issue(request)).await, Code::InvalidArgument);
}

#[tokio::test]
async fn a_client_that_expects_another_root_or_identity_does_not_stay() {
    let (folders, others) = (Folders::new(), Folders::new());
    let running = folders.start().await;
    let _other = others.start().await;
    let address = running.address.to_string();
    let control_plane: ExpectedIdentities =
        ExpectedIdentities::one("spiffe://cluster.local/ns/weft-system/sa/control-plane".parse().unwrap());
    let foreign = pinned_client(others.token("cart").roots().to_vec(), control_plane, &[ALPN_H2]);
    assert!(channel(&address, foreign).await.is_err());
    let somebody = ExpectedIdentities::one("spiffe://cluster.local/ns/shop/sa/cart".parse().unwrap());
    let wrong = pinned_client(folders.token("cart").roots().to_vec(), somebody, &[ALPN_H2]);
    assert!(channel(&address, wrong).await.is_err());
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_worth_nothing() {
    let (folders, others) = (Folders::new(), Folders::new());
    let _running = folders.start().await;
    let _other = others.start().await;
    let ours = folders.join("cart").await;
    let theirs = others.join("cart").await;
    let bundle = Arc::clone(ours.generation.bundle());
    let generation = Generation::new(theirs.generation.certificate().clone(), bundle);
    let forged = Member { generation, ..ours };
    // In TLS 1.3 a client is done before it hears that it was refused.
    if let Ok(channel) = forged.channel().await {
        let key = KeyAndCsr::generate().unwrap();
        assert!(issue(channel, None, &key, Duration::ZERO).await.is_err());
    }
}

#[tokio::test]
async fn only_operators_see_everybody() {
    let folders = Folders::new();
    let _running = folders.start().await;
    let request = || Request::new(v1::WatchRequest { interval_ms: 100 });
    let mut cart = TelemetryClient::new(folders.join("cart").await.channel().await.unwrap());
    let problem = refused(soon(cart.watch(request())).await, Code::PermissionDenied);
    assert!(problem.contains("weft-system"), "{problem}");
    let mut nobody = TelemetryClient::new(stranger(&folders.token("cart")).await);
    refused(soon(nobody.watch(request())).await, Code::Unauthenticated);
    let mut operator = TelemetryClient::new(folders.operator().await.channel().await.unwrap());
    let mut summaries = soon(operator.watch(request())).await.unwrap().into_inner();
    assert!(soon(summaries.message()).await.unwrap().is_some());
}

#[tokio::test]
async fn discovery_is_for_the_certified() {
    let folders = Folders::new();
    let _running = folders.start().await;
    let token = folders.token("cart");
    let builder = weft_xds::client::Builder::new(weft_xds::client::Config::new("nobody"));
    let bundles = builder.subscriptions("type.googleapis.com/weft.v1.TrustBundle");
    bundles.subscribe("cluster.local");
    let client = builder_without_certificate(builder, token);
    let mut connection = client.connection();
    let task = tokio::spawn(client.run());
    let refused = |connection: &Connection| match connection {
        Connection::Disconnected { error: Some(error), .. } => {
            error.contains("a client certificate is needed")
        }
        _ => false,
    };
    soon(connection.wait_for(refused)).await.unwrap();
    task.abort();
    assert!(join(&folders.token("cart")).await.is_ok());
}

fn builder_without_certificate(
    builder: weft_xds::client::Builder,
    token: weft_identity::JoinToken,
) -> weft_xds::client::Client<impl weft_xds::client::Connect> {
    builder.build(move || {
        let token = token.clone();
        async move { Ok::<_, tonic::transport::Error>(stranger(&token).await) }
    })
}

/// Whether what is asked for is refused as revoked. A connection that is cut off under a call says nothing more.
async fn revoked(member: &Member) -> bool {
    let key = KeyAndCsr::generate().unwrap();
    match member.channel().await {
        Ok(channel) => issue(channel, None, &key, Duration::ZERO).await.is_err(),
        Err(_) => true,
    }
}

#[tokio::test]
async fn what_descends_from_a_revoked_token_is_refused_everywhere_and_over_a_restart() {
    let folders = Folders::new();
    let running = folders.start().await;
    let token = folders.token("cart");
    let (stolen, honest) = (join(&token).await.unwrap(), folders.join("cart").await);
    let mut registration = stolen.register("cart-1", "cart", "10.0.0.1:8080").await.unwrap();
    let _honest = honest.register("cart-2", "cart", "10.0.0.2:8080").await.unwrap();
    // A renewal hands on what it descends from.
    let key = KeyAndCsr::generate().unwrap();
    let renewed = issue(stolen.channel().await.unwrap(), None, &key, Duration::ZERO).await.unwrap();
    let chain = renewed.chain.iter().map(|der| der.to_vec().into()).collect();
    let bundle = Arc::clone(stolen.generation.bundle());
    let generation = Generation::new(key.into_certificate(chain).unwrap(), bundle);
    let renewed = Member { generation, ..stolen.clone() };
    let mut client = honest.discover("cart-2");
    client.endpoints.subscriptions.subscribe("shop/cart:80/*");
    client.endpoints.until(|held| held.resources.len() == 2).await;
    assert!(client.bundles.get("cluster.local").await.revoked.is_empty());

    let id = Revocable::token(token.as_str()).unwrap();
    assert!(revoke(&folders.state(), &id, SystemTime::now()).unwrap());
    let told = client.bundles.until(|held| !held.resources["cluster.local"].revoked.is_empty()).await;
    let told = &told.resources["cluster.local"].revoked;
    assert_eq!(told[0].what, Some(What::Token(token.claims().id.clone())));
    // The registration goes at once, and the connection with it.
    client.endpoints.until(|held| held.resources.len() == 1).await;
    soon(async { while let Ok(Some(_)) = registration.answers.message().await {} }).await;
    let key = KeyAndCsr::generate().unwrap();
    let again = issue(stranger(&token).await, Some(token.as_str()), &key, Duration::ZERO).await;
    assert!(refused(again, Code::Unauthenticated).contains("is revoked"));
    assert!(revoked(&stolen).await && revoked(&renewed).await);
    assert!(!revoked(&honest).await, "another token of the same identity is not concerned");
    running.stop().await;
    let running = folders.start().await;
    let at = |member: &Member| Member { address: running.address.to_string(), ..member.clone() };
    assert!(revoked(&at(&renewed)).await);
    assert!(!revoked(&at(&honest)).await);
}

#[tokio::test]
async fn a_revoked_identity_is_refused_until_it_is_given_back_and_then_needs_what_is_new() {
    let folders = Folders::new();
    let _running = folders.start().await;
    let old = folders.token("cart");
    let cart = join(&old).await.unwrap();
    let mut client = folders.join("web").await.discover("web-1");
    client.bundles.get("cluster.local").await;
    let identity: Revocable = cart.identity().as_str().parse().unwrap();
    revoke(&folders.state(), &identity, SystemTime::now()).unwrap();
    client.bundles.until(|held| held.resources["cluster.local"].revoked.len() == 1).await;
    assert!(revoked(&cart).await);
    let problem = refused(join(&folders.token("cart")).await, Code::Unauthenticated);
    assert!(problem.contains("sa/cart is revoked"), "{problem}");
    restore(&folders.state(), &identity, SystemTime::now()).unwrap();
    client.bundles.until(|held| held.resources["cluster.local"].revoked[0].issued_before.is_some()).await;
    assert!(revoked(&cart).await, "its certificate is from before");
    assert!(join(&old).await.is_err(), "so is its token");
    // Moments are whole seconds: one made within the same as the end of the revocation counts as from before.
    let later = SystemTime::now() + Duration::from_secs(2);
    let new = folders.token_in("shop", "cart", Duration::from_hours(1), later);
    assert!(join(&new).await.is_ok());
}

#[tokio::test]
async fn nobody_gets_the_identity_by_which_the_control_plane_is_known() {
    let folders = Folders::new();
    let _running = folders.start().await;
    let token = folders.token_in("weft-system", "control-plane", Duration::from_hours(1), SystemTime::now());
    let problem = refused(join(&token).await, Code::InvalidArgument);
    assert!(problem.contains("is the control plane's own"), "{problem}");
}
