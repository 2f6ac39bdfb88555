mod naive;
mod pushes;

use weft_proto::v1;

use super::*;
use crate::snapshot::{TlsMode, convert};

fn port(name: &str) -> ServicePort {
    format!("shop/{name}:80").parse().unwrap()
}

fn leading_to(name: &str) -> Destination {
    let service = Some(v1::ServicePort { namespace: "shop".into(), name: name.into(), port: 80 });
    let wire = v1::Destination {
        service: service.clone(),
        backend: Some(v1::Backend { service, ..v1::Backend::default() }),
        ..v1::Destination::default()
    };
    convert::destination(name, &wire).unwrap()
}

fn endpoint(id: &str) -> Endpoint {
    let wire = v1::Endpoint { address: "10.0.0.1".into(), port: 80, ..v1::Endpoint::default() };
    convert::endpoint(id, &wire).unwrap()
}

fn model() -> Model {
    Model::new(10_000)
}

/// The service that a name leads to; `-` for a name that is not in the mesh.
fn leads_to(publication: &Publication, name: &str) -> Option<String> {
    let known = publication.snapshot.as_ref()?.destinations.get(name)?;
    let service = |destination: &Arc<Destination>| destination.service.service.name().to_owned();
    Some(known.as_ref().map_or_else(|| "-".to_owned(), service))
}

#[test]
fn a_name_is_answered_once_its_endpoints_are_whole() {
    let (mut model, now) = (model(), Instant::now());
    let (answered, mut answer) = oneshot::channel();
    assert_eq!(model.look_up("a:80", answered, now), Asked::Waiting);
    assert_eq!(model.take_wishes(), [Wish::Destination("a:80".into(), true)]);
    model.destination("a:80", leading_to("a"));
    assert_eq!(model.take_wishes(), [Wish::Endpoints(port("a"), true)]);
    model.endpoint(&port("a"), endpoint("1"));
    assert!(model.publish(now).answered.is_empty());
    model.endpoints_complete(&port("a"));
    let publication = model.publish(now);
    assert_eq!(leads_to(&publication, "a:80"), Some("a".into()));
    assert_eq!(publication.snapshot.as_ref().unwrap().endpoints[&port("a")].endpoints().len(), 1);
    for answered in publication.answered {
        answered.send(()).unwrap();
    }
    assert!(answer.try_recv().is_ok());
}

#[test]
fn a_changed_destination_comes_into_force_with_the_endpoints_of_its_new_backend() {
    let (mut model, now) = (model(), Instant::now());
    model.pin("a:80", now);
    model.destination("a:80", leading_to("a"));
    model.endpoints_complete(&port("a"));
    model.publish(now);
    model.destination("a:80", leading_to("b"));
    assert_eq!(leads_to(&model.publish(now), "a:80"), Some("a".into()));
    model.endpoints_complete(&port("b"));
    assert_eq!(leads_to(&model.publish(now), "a:80"), Some("b".into()));
}

#[test]
fn a_name_that_is_not_in_the_mesh_is_answered_at_once() {
    let (mut model, now) = (model(), Instant::now());
    let (answered, _answer) = oneshot::channel();
    model.look_up("nowhere:80", answered, now);
    model.no_destination("nowhere:80");
    let publication = model.publish(now);
    assert_eq!(leads_to(&publication, "nowhere:80"), Some("-".into()));
    assert_eq!(publication.answered.len(), 1);
}

#[test]
fn what_nobody_uses_is_followed_no_longer_and_what_leads_nowhere_neither() {
    let (mut model, now) = (model(), Instant::now());
    let (answered, _answer) = oneshot::channel();
    model.look_up("a:80", answered, now);
    model.destination("a:80", leading_to("a"));
    model.endpoints_complete(&port("a"));
    model.publish(now);
    model.take_wishes();
    let later = now + NAME_IDLE;
    model.sweep(later);
    assert_eq!(model.take_wishes(), [Wish::Destination("a:80".into(), false)]);
    model.forget_destination("a:80");
    model.sweep(later);
    model.sweep(later + SERVICE_IDLE);
    assert_eq!(model.take_wishes(), [Wish::Endpoints(port("a"), false)]);
    model.forget_endpoints(&port("a"));
    assert!(model.publish(later).snapshot.unwrap().endpoints.is_empty());
}

#[test]
fn pinned_names_stay_and_are_waited_for() {
    let (mut model, now) = (model(), Instant::now());
    model.pin("a:80", now);
    assert_eq!(model.unanswered().len(), 1);
    model.sweep(now + NAME_IDLE * 2);
    assert_eq!(model.take_wishes(), [Wish::Destination("a:80".into(), true)]);
    model.no_destination("a:80");
    model.publish(now);
    assert!(model.unanswered().is_empty());
}

#[test]
fn names_that_do_not_exist_make_room_for_others() {
    let (mut model, now) = (Model::new(2), Instant::now());
    for name in ["a:80", "b:80"] {
        assert_eq!(model.look_up(name, oneshot::channel().0, now), Asked::Waiting);
    }
    assert_eq!(model.look_up("c:80", oneshot::channel().0, now), Asked::Full);
    model.no_destination("b:80");
    model.publish(now);
    model.take_wishes();
    assert_eq!(model.look_up("c:80", oneshot::channel().0, now), Asked::Waiting);
    assert_eq!(
        model.take_wishes(),
        [Wish::Destination("b:80".into(), false), Wish::Destination("c:80".into(), true)]
    );
    assert_eq!(model.look_up(&"x".repeat(NAME_LENGTH_MAX + 1), oneshot::channel().0, now), Asked::Full);
}

/// A model that follows names that lead to a service each, `s0:80` the one that was used longest ago.
fn following(model: &mut Model, count: u64, now: Instant) {
    for index in 0..count {
        let name = format!("s{index}:80");
        let asked = model.look_up(&name, oneshot::channel().0, now + Duration::from_secs(index));
        assert_eq!(asked, Asked::Waiting, "{name}");
        model.destination(&name, leading_to(&format!("s{index}")));
        model.endpoints_complete(&port(&format!("s{index}")));
    }
    model.publish(now);
}

#[test]
fn no_more_is_subscribed_to_than_the_control_plane_takes() {
    let (mut model, now) = (model(), Instant::now());
    model.limit_subscriptions(12);
    following(&mut model, 5, now);
    assert_eq!(model.fullness(), None);
    assert_eq!(model.look_up("one-more:80", oneshot::channel().0, now), Asked::Full);
    let said = model.fullness().unwrap();
    assert!(
        said.contains("5 destinations are in use") && said.contains("10 subscriptions of at most 11"),
        "{said}"
    );
    model.sweep(now);
    assert_eq!(model.fullness(), None, "it is said as long as it goes on");
}

#[test]
fn who_has_too_many_subscriptions_ends_those_that_were_not_used_for_longest() {
    let (mut model, now) = (model(), Instant::now());
    model.pin("pinned:80", now);
    model.no_destination("pinned:80");
    following(&mut model, 20, now);
    model.take_wishes();
    // What the client does: it ends what is wished, and says so.
    let settle = |model: &mut Model| {
        for wish in model.take_wishes() {
            match wish {
                Wish::Destination(name, false) => model.forget_destination(&name),
                Wish::Endpoints(service, false) => model.forget_endpoints(&service),
                Wish::Destination(_, true) | Wish::Endpoints(_, true) => {}
            }
        }
        model.publish(now);
    };
    model.limit_subscriptions(12);
    while model.subscriptions() > 11 || model.names.values().any(|name| name.leaving) {
        settle(&mut model);
    }
    settle(&mut model);
    let mut names: Vec<&str> = model.names.keys().map(|name| &**name).collect();
    names.sort_unstable();
    assert_eq!(names, ["pinned:80", "s15:80", "s16:80", "s17:80", "s18:80", "s19:80"]);
    assert_eq!(model.subscriptions(), 11);
}

#[test]
fn what_changes_nothing_makes_no_snapshot() {
    let (mut model, now) = (model(), Instant::now());
    model.look_up("nowhere:80", oneshot::channel().0, now);
    assert!(model.publish(now).snapshot.is_none());
    model.no_destination("nowhere:80");
    assert_eq!(model.publish(now).snapshot.unwrap().number, 1);
    let (answered, _answer) = oneshot::channel();
    model.look_up("nowhere:80", answered, now);
    model.sweep(now);
    let publication = model.publish(now);
    assert!(publication.snapshot.is_none());
    assert_eq!(publication.answered.len(), 1, "it is known, and so answered at once");
}

#[test]
fn nobody_is_let_in_before_it_is_known_who_may() {
    let (mut model, now) = (model(), Instant::now());
    model.look_up("nowhere:80", oneshot::channel().0, now);
    model.no_destination("nowhere:80");
    let inbound = &model.publish(now).snapshot.unwrap().inbound;
    assert_eq!(inbound.port(80).tls_mode, TlsMode::Strict);
    let wire = v1::Inbound::default();
    model.set_inbound(convert::inbound(&wire, &"mesh".parse().unwrap()).unwrap());
    let inbound = &model.publish(now).snapshot.unwrap().inbound;
    assert_eq!(inbound.port(80).tls_mode, TlsMode::Permissive);
}

#[test]
fn who_is_asked_before_requests_are_let_in_is_followed() {
    let (mut model, now) = (model(), Instant::now());
    let limits = v1::ServicePort { namespace: "shop".into(), name: "limits".into(), port: 80 };
    let backend = v1::Backend { service: Some(limits), ..v1::Backend::default() };
    let global = v1::GlobalRateLimit {
        service: Some(v1::global_rate_limit::Service::Backend(backend)),
        ..v1::GlobalRateLimit::default()
    };
    let rate_limit = v1::RateLimit { global: Some(global), ..v1::RateLimit::default() };
    let port = v1::InboundPort { rate_limit: Some(rate_limit), ..v1::InboundPort::default() };
    let wire = v1::Inbound { default_port: Some(port), ..v1::Inbound::default() };
    model.set_inbound(convert::inbound(&wire, &"mesh".parse().unwrap()).unwrap());
    assert_eq!(model.take_wishes(), [Wish::Endpoints(self::port("limits"), true)]);
    model.endpoint(&self::port("limits"), endpoint("1"));
    model.endpoints_complete(&self::port("limits"));
    assert_eq!(model.publish(now).snapshot.unwrap().endpoints[&self::port("limits")].endpoints().len(), 1);
    model.sweep(now + SERVICE_IDLE);
    assert_eq!(model.take_wishes(), []);
    model.set_inbound(convert::inbound(&v1::Inbound::default(), &"mesh".parse().unwrap()).unwrap());
    model.sweep(now);
    model.sweep(now + SERVICE_IDLE);
    assert_eq!(model.take_wishes(), [Wish::Endpoints(self::port("limits"), false)]);
}

#[test]
fn a_client_that_begins_late_is_told_what_is_followed_and_nothing_else() {
    let (mut model, now) = (model(), Instant::now());
    model.pin("a:80", now);
    model.look_up("b:80", oneshot::channel().0, now);
    let later = now + NAME_IDLE;
    model.sweep(later);
    model.begin();
    assert_eq!(model.take_wishes(), [Wish::Destination("a:80".into(), true)]);
    assert_eq!(model.look_up("b:80", oneshot::channel().0, later), Asked::Waiting);
    assert_eq!(model.take_wishes(), [Wish::Destination("b:80".into(), true)]);
}
