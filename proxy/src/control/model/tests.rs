use std::collections::BTreeMap;

use proptest::prelude::*;
use weft_proto::v1;

use super::*;
use crate::snapshot::convert;

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

fn leads_to(publication: &Publication, name: &str) -> Option<Option<String>> {
    let known = publication.snapshot.destinations.get(name)?;
    Some(known.as_ref().map(|destination| destination.service.service.name().to_owned()))
}

#[test]
fn a_name_is_answered_once_its_endpoints_are_whole() {
    let (mut model, now) = (Model::default(), Instant::now());
    let (answered, mut answer) = oneshot::channel();
    assert_eq!(model.look_up("a:80", answered, now), Asked::Waiting);
    assert_eq!(model.take_wishes(), [Wish::Destination("a:80".into(), true)]);
    model.destination("a:80", leading_to("a"));
    assert_eq!(model.take_wishes(), [Wish::Endpoints(port("a"), true)]);
    model.endpoint(&port("a"), endpoint("1"));
    assert!(model.publish(now).answered.is_empty());
    model.endpoints_complete(&port("a"));
    let publication = model.publish(now);
    assert_eq!(leads_to(&publication, "a:80"), Some(Some("a".into())));
    assert_eq!(publication.snapshot.endpoints[&port("a")].endpoints.len(), 1);
    for answered in publication.answered {
        answered.send(()).unwrap();
    }
    assert!(answer.try_recv().is_ok());
}

#[test]
fn a_changed_destination_comes_into_force_with_the_endpoints_of_its_new_backend() {
    let (mut model, now) = (Model::default(), Instant::now());
    model.pin("a:80", now);
    model.destination("a:80", leading_to("a"));
    model.endpoints_complete(&port("a"));
    model.publish(now);
    model.destination("a:80", leading_to("b"));
    assert_eq!(leads_to(&model.publish(now), "a:80"), Some(Some("a".into())));
    model.endpoints_complete(&port("b"));
    assert_eq!(leads_to(&model.publish(now), "a:80"), Some(Some("b".into())));
}

#[test]
fn a_name_that_is_not_in_the_mesh_is_answered_at_once() {
    let (mut model, now) = (Model::default(), Instant::now());
    let (answered, _answer) = oneshot::channel();
    model.look_up("nowhere:80", answered, now);
    model.no_destination("nowhere:80");
    let publication = model.publish(now);
    assert_eq!(leads_to(&publication, "nowhere:80"), Some(None));
    assert_eq!(publication.answered.len(), 1);
}

#[test]
fn what_nobody_uses_is_followed_no_longer_and_what_leads_nowhere_neither() {
    let (mut model, now) = (Model::default(), Instant::now());
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
    assert!(model.publish(later).snapshot.endpoints.is_empty());
}

#[test]
fn pinned_names_stay_and_are_waited_for() {
    let (mut model, now) = (Model::default(), Instant::now());
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
    let (mut model, now) = (Model::default(), Instant::now());
    for number in 0..NAMES_MAX {
        let name = format!("x{number}:80");
        assert_eq!(model.look_up(&name, oneshot::channel().0, now), Asked::Waiting);
    }
    assert_eq!(model.look_up("one-more:80", oneshot::channel().0, now), Asked::Full);
    model.no_destination("x7:80");
    model.publish(now);
    assert_eq!(model.look_up("one-more:80", oneshot::channel().0, now), Asked::Waiting);
    assert_eq!(model.look_up(&"x".repeat(NAME_LENGTH_MAX + 1), oneshot::channel().0, now), Asked::Full);
}

#[derive(Clone, Debug)]
enum Step {
    Told(usize, Option<usize>),
    Endpoint(usize, u8),
    Gone(usize, u8),
    Complete(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0..3_usize;
    prop_oneof![
        (which.clone(), prop::option::of(which.clone())).prop_map(|(name, to)| Step::Told(name, to)),
        (which.clone(), 0..4_u8).prop_map(|(service, id)| Step::Endpoint(service, id)),
        (which.clone(), 0..4_u8).prop_map(|(service, id)| Step::Gone(service, id)),
        which.prop_map(Step::Complete),
    ]
}

proptest! {
    #[test]
    fn whatever_is_told_in_whatever_order_nothing_leads_to_unknown_endpoints(
        steps in prop::collection::vec(step(), 0..60),
    ) {
        const NAMES: [&str; 3] = ["a", "b", "c"];
        let (mut model, now) = (Model::default(), Instant::now());
        for name in NAMES {
            model.pin(name, now);
        }
        // What was told last, and the endpoints of what was followed.
        let mut endpoints: BTreeMap<usize, BTreeMap<u8, ()>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Told(name, Some(to)) => {
                    model.destination(NAMES[name], leading_to(NAMES[to]));
                    endpoints.entry(to).or_default();
                }
                Step::Told(name, None) => model.no_destination(NAMES[name]),
                Step::Endpoint(service, id) => {
                    model.endpoint(&port(NAMES[service]), endpoint(&id.to_string()));
                    if let Some(known) = endpoints.get_mut(&service) {
                        known.insert(id, ());
                    }
                }
                Step::Gone(service, id) => {
                    model.no_endpoint(&port(NAMES[service]), &id.to_string());
                    if let Some(known) = endpoints.get_mut(&service) {
                        known.remove(&id);
                    }
                }
                Step::Complete(service) => model.endpoints_complete(&port(NAMES[service])),
            }
            let snapshot = model.publish(now).snapshot;
            for destination in snapshot.destinations.values().flatten() {
                for service in destination.services() {
                    prop_assert!(snapshot.endpoints.contains_key(&service));
                }
            }
            for (service, known) in &endpoints {
                if let Some(set) = snapshot.endpoints.get(&port(NAMES[*service])) {
                    let ids: Vec<String> = set.endpoints.iter().map(|it| it.id.to_string()).collect();
                    let expected: Vec<String> = known.keys().map(ToString::to_string).collect();
                    prop_assert_eq!(ids, expected);
                }
            }
        }
    }
}
