//! What clients are told, and when.

use std::time::Duration;

use tonic::Code;
use weft_control_plane::{ControlPlaneConfig, start};
use weft_identity::Grants;
use weft_proto::v1;
use weft_proto::v1::register_request::Message;
use weft_xds::client::Connection;

use crate::fixture::{Folders, config_is, join, refused, shares, soon, split};

const CARTS: &str = "shop/cart:80/*";
const CART: &str = "shop/cart:80/shop.cart~cart-1";

#[tokio::test]
async fn a_client_is_told_what_it_asks_for() {
    let folders = Folders::new();
    folders.write("shop.yaml", &split(90, 10));
    let _running = folders.start().await;
    let cart = folders.join("cart").await;
    let _cart = cart.register("cart-1", "cart", "0.0.0.0:8080").await.unwrap();
    let mut client = cart.discover("cart-1");
    let destination = client.destinations.get("cart:80").await;
    assert_eq!(shares(&destination), [90, 10]);
    client.endpoints.subscriptions.subscribe(CARTS);
    let endpoint =
        client.endpoints.until(|held| held.resources.contains_key(CART)).await.resources[CART].clone();
    // The proxy listens everywhere, and is reached where it came from.
    assert_eq!((endpoint.address.as_str(), endpoint.port), ("127.0.0.1", 8080));
    assert_eq!(endpoint.identities, [cart.identity().as_str()]);
    assert_eq!(client.inbounds.get("cart-1").await.ports[0].port, 80);
    let bundle = client.bundles.get("cluster.local").await;
    let roots: Vec<_> = cart.generation.bundle().roots(&cart.identity().trust_domain()).to_vec();
    assert_eq!(bundle.roots.iter().map(|root| root.to_vec()).collect::<Vec<_>>(), [roots[0].to_vec()]);
    client.destinations.subscriptions.subscribe("nothing:80");
    client.destinations.until(|held| held.absent.contains(&"nothing:80".to_owned())).await;
}

#[tokio::test]
async fn an_edited_file_is_in_force_without_a_restart() {
    let folders = Folders::new();
    let _running = folders.start().await;
    let cart = folders.join("cart").await;
    let _cart = cart.register("cart-1", "cart", "10.0.0.1:8080").await.unwrap();
    let mut client = cart.discover("cart-1");
    assert_eq!(shares(&client.destinations.get("cart:80").await), [0; 0]);
    for wanted in [[90, 10], [50, 50], [0, 100]] {
        folders.write("shop.yaml", &split(wanted[0], wanted[1]));
        client.destinations.until(|held| shares(&held.resources["cart:80"]) == wanted).await;
    }
    std::fs::remove_file(folders.config().join("shop.yaml")).unwrap();
    client.destinations.until(|held| shares(&held.resources["cart:80"]).is_empty()).await;
}

#[tokio::test]
async fn a_folder_that_is_replaced_is_still_followed() {
    let folders = Folders::new();
    folders.write("shop.yaml", &split(1, 2));
    let running = folders.start().await;
    let resources = |config: &serde_json::Value| config["resources"].as_array().unwrap().len();
    let before = config_is(&running, |_| true).await["version"].clone();
    let old = folders.state().join("old");
    std::fs::rename(folders.config(), &old).unwrap();
    std::fs::create_dir(folders.config()).unwrap();
    folders.write("shop.yaml", &split(3, 4));
    config_is(&running, |config| resources(config) == 3 && config["version"] != before).await;
}

#[tokio::test]
async fn a_workload_says_whether_it_takes_requests_and_when_it_ends() {
    let folders = Folders::new();
    let _running = folders.start().await;
    let cart = folders.join("cart").await;
    let mut registration = cart.register("cart-1", "cart", "10.0.0.1:8080").await.unwrap();
    let mut client = folders.join("web").await.discover("web-1");
    client.endpoints.subscriptions.subscribe(CARTS);
    client.endpoints.until(|held| held.resources.contains_key(CART)).await;
    registration.say(Message::Health(v1::Health::NotReady.into())).await;
    client.endpoints.until(|held| held.resources[CART].health() == v1::Health::NotReady).await;
    registration.say(Message::Withdraw(v1::Withdraw {})).await;
    assert_eq!(soon(registration.answers.message()).await.unwrap(), None, "the end is answered by the end");
    client.endpoints.until(|held| held.resources.is_empty()).await;
}

#[tokio::test]
async fn a_workload_that_says_what_it_can_not_say_of_itself_is_refused() {
    let folders = Folders::new();
    let _running = folders.start().await;
    let cart = folders.join("cart").await;
    for health in [v1::Health::Unknown.into(), 17] {
        let mut registration = cart.register("cart-1", "cart", "10.0.0.1:8080").await.unwrap();
        registration.say(Message::Health(health)).await;
        let said = refused(soon(registration.answers.message()).await, Code::InvalidArgument);
        assert_eq!(said, format!("health: \"{health}\": say that it is ready, not ready or draining"));
    }
}

#[tokio::test]
async fn a_broken_stream_takes_nothing_away_from_who_comes_back() {
    let folders = Folders::new();
    let _running = folders.start().await;
    let cart = folders.join("cart").await;
    let mut client = folders.join("web").await.discover("web-1");
    client.endpoints.subscriptions.subscribe(CARTS);
    for _ in 0..3 {
        let registration = cart.register("cart-1", "cart", "10.0.0.1:8080").await.unwrap();
        client.endpoints.until(|held| held.resources.contains_key(CART)).await;
        drop(registration);
    }
    let _moved = cart.register("cart-1", "cart", "10.0.0.2:8080").await.unwrap();
    let held = client.endpoints.until(|held| held.resources[CART].address == "10.0.0.2").await;
    assert_eq!(held.sent.iter().filter(|name| name.starts_with(&format!("-{CART}"))).count(), 0, "{held:?}");
}

#[tokio::test]
async fn who_does_not_come_back_is_gone_after_the_grace() {
    let folders = Folders::new();
    let settings = ControlPlaneConfig { grace: Duration::from_millis(20), ..folders.settings() };
    let _running = start(settings).await.unwrap();
    let registration = folders.join("cart").await.register("cart-1", "cart", "10.0.0.1:8080").await.unwrap();
    let mut client = folders.join("web").await.discover("web-1");
    client.endpoints.subscriptions.subscribe(CARTS);
    client.endpoints.until(|held| held.resources.contains_key(CART)).await;
    drop(registration);
    client.endpoints.until(|held| held.resources.is_empty()).await;
}

#[tokio::test]
async fn a_service_is_offered_by_whom_it_was_granted_to_and_by_nobody_else() {
    let folders = Folders::new();
    folders.write("shop.yaml", &split(90, 10));
    let _running = folders.start().await;
    let evil = folders.join("evil").await;
    let problem =
        refused(evil.register("evil-1", "cart", "10.0.0.66:80").await.map(|_| ()), Code::PermissionDenied);
    assert!(
        problem.contains("services[0].service: \"cart\"") && problem.contains("may offer evil"),
        "{problem}"
    );
    let cart = folders.join("cart").await;
    let _cart = cart.register("cart-1", "cart", "10.0.0.1:80").await.unwrap();
    // Labels are words of its own: a Service that selects by them is served by whom it was granted to.
    let _evil = evil.register_labelled("evil-1", "evil", "10.0.0.66:80", "cart-v1").await.unwrap();
    let granted = Grants::new(Some(vec!["cart-*".to_owned()]), vec!["10.0.0.0/8".parse().unwrap()]).unwrap();
    let second = join(&folders.token_granting("second", granted)).await.unwrap();
    let _second = second.register_labelled("v1", "cart-v1", "10.0.0.2:80", "cart-v1").await.unwrap();
    let mut client = folders.join("web").await.discover("web-1");
    for collection in [CARTS, "shop/cart-v1:80/*"] {
        client.endpoints.subscriptions.subscribe(collection);
    }
    let held = client.endpoints.until(|held| held.resources.len() == 2).await;
    let served: Vec<_> =
        held.resources.values().map(|it| (it.address.as_str(), it.identities[0].as_str())).collect();
    let (second, cart) = (second.identity().as_str(), cart.identity().as_str());
    assert_eq!(served, [("10.0.0.2", second), ("10.0.0.1", cart)]);
}

#[tokio::test]
async fn a_name_of_another_identity_is_another_workload_whatever_it_is() {
    let folders = Folders::new();
    let _running = folders.start().await;
    let both = Grants::new(Some(vec!["cart".to_owned()]), vec!["10.0.0.0/8".parse().unwrap()]).unwrap();
    let cart = folders.join("cart").await;
    let _cart = cart.register("10-0-0-1-8080", "cart", "10.0.0.1:8080").await.unwrap();
    let other = join(&folders.token_granting("other", both)).await.unwrap();
    let _other = other.register("10-0-0-1-8080", "cart", "10.0.0.2:8080").await.unwrap();
    let mut client = folders.join("web").await.discover("10-0-0-1-8080");
    client.endpoints.subscriptions.subscribe(CARTS);
    let held = client.endpoints.until(|held| held.resources.len() == 2).await;
    let names: Vec<_> = held.resources.keys().map(String::as_str).collect();
    assert_eq!(names, ["shop/cart:80/shop.cart~10-0-0-1-8080", "shop/cart:80/shop.other~10-0-0-1-8080"]);
    // Nobody hears of another's policies by asking for its name.
    client.inbounds.subscriptions.subscribe("10-0-0-1-8080");
    client.inbounds.until(|held| held.absent.contains(&"10-0-0-1-8080".to_owned())).await;
    assert_eq!(other.discover("10-0-0-1-8080").inbounds.get("10-0-0-1-8080").await.ports[0].port, 80);
}

#[tokio::test]
async fn clients_are_sent_to_no_address_that_is_not_the_workloads_own() {
    let folders = Folders::new();
    let _running = folders.start().await;
    let cart = join(&folders.token_granting("cart", Grants::default())).await.unwrap();
    for address in ["10.0.0.9:8080", "169.254.169.254:80"] {
        let problem =
            refused(cart.register("cart-1", "cart", address).await.map(|_| ()), Code::PermissionDenied);
        assert!(problem.starts_with("services[0].address"), "{problem}");
    }
    cart.register("cart-1", "cart", "127.0.0.1:8080").await.unwrap();
    let problem = refused(
        cart.register("cart-1", "no such name", "127.0.0.1:80").await.map(|_| ()),
        Code::InvalidArgument,
    );
    assert!(problem.starts_with("services[0].service"), "{problem}");
}

/// A route to a service that no file has, and that workloads offer or not.
const TO_PAY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart, namespace: shop}
spec:
  parentRefs: [{group: '', kind: Service, name: cart}]
  rules: [{backendRefs: [{name: pay, port: 80}]}]
";

#[tokio::test]
async fn a_service_that_was_offered_is_there_without_endpoints_and_no_mistake() {
    let folders = Folders::new();
    folders.write("route.yaml", TO_PAY);
    let running = folders.start().await;
    let warned = |config: &serde_json::Value| {
        config["warnings"].as_array().unwrap().iter().filter(|it| it.to_string().contains("shop/pay")).count()
    };
    config_is(&running, |config| warned(config) == 1).await;
    let pay = folders.join("pay").await;
    let _cart = folders.join("cart").await.register("cart-1", "cart", "10.0.0.1:8080").await.unwrap();
    let offered = pay.register("pay-1", "pay", "10.0.0.2:8080").await.unwrap();
    config_is(&running, |config| warned(config) == 0).await;
    let mut client = folders.join("web").await.discover("web-1");
    client.destinations.get("pay:80").await;
    client.endpoints.subscriptions.subscribe("shop/pay:80/*");
    client.endpoints.until(|held| held.resources.len() == 1).await;
    offered.say(Message::Withdraw(v1::Withdraw {})).await;
    let held = client.endpoints.until(|held| held.resources.is_empty()).await;
    assert!(!held.absent.contains(&"shop/pay:80/*".to_owned()), "the service is still there: {held:?}");
    let mut late = folders.join("web").await.discover("web-2");
    let destination = late.destinations.get("cart:80").await;
    let backend = &destination.http_routes[0].rules[0].backends[0].target;
    assert!(matches!(backend, Some(v1::weighted_backend::Target::Backend(_))), "{backend:?}");
    assert_eq!(warned(&config_is(&running, |_| true).await), 0);
}

#[tokio::test]
async fn a_client_is_told_how_many_subscriptions_it_may_have() {
    let folders = Folders::new();
    let settings = ControlPlaneConfig { max_subscriptions: 20, ..folders.settings() };
    let _running = start(settings).await.unwrap();
    let mut client = folders.join("web").await.discover("web-1");
    client.connected(true).await;
    let connection = client.connection.borrow().clone();
    assert!(
        matches!(connection, Connection::Connected { max_subscriptions: Some(20), .. }),
        "{connection:?}"
    );
}
