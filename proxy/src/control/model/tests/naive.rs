//! The model between a mesh that changes and a client that is slow, against the mesh itself.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
/// Fewer than there are names, so that they have to make room for each other.
const ROOM: usize = 3;

/// What happens.
#[derive(Clone, Debug)]
enum Step {
    /// In the mesh, a name leads to a service from now on, or to none.
    Lead(usize, Option<usize>),
    /// In the mesh, a service has this endpoint from now on, or not.
    Endpoint(usize, u8, bool),
    /// A request asks for a name.
    Ask(usize),
    /// The client takes note of what is to be subscribed to.
    Subscribe,
    /// The client is told one thing that it does not know yet.
    Tell(usize),
    /// Time goes by, and what nobody uses is looked for.
    Sweep(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let which = || 0..NAMES.len();
    prop_oneof![
        2 => (which(), prop::option::of(which())).prop_map(|(name, to)| Step::Lead(name, to)),
        2 => (which(), 0..3_u8, any::<bool>()).prop_map(|(service, id, is)| Step::Endpoint(service, id, is)),
        3 => which().prop_map(Step::Ask),
        3 => Just(Step::Subscribe),
        6 => (0..8_usize).prop_map(Step::Tell),
        1 => (0..900_u64).prop_map(Step::Sweep),
    ]
}

/// The truth.
#[derive(Default)]
struct Mesh {
    leads: BTreeMap<usize, usize>,
    endpoints: BTreeMap<usize, BTreeSet<u8>>,
}

/// What a client was told of a name.
#[derive(Clone, Copy, Default, PartialEq)]
enum Heard {
    #[default]
    Nothing,
    LeadsTo(Option<usize>),
}

/// What a client is subscribed to, and what it was told of it.
#[derive(Default)]
struct Client {
    names: BTreeMap<usize, Heard>,
    services: BTreeMap<usize, Option<BTreeSet<u8>>>,
}

fn number(name: &str) -> usize {
    NAMES.iter().position(|known| *known == &name[..1]).unwrap()
}

impl Client {
    /// As the real one: of several wishes for one name the last counts.
    fn subscribe(&mut self, model: &mut Model) {
        let (mut names, mut services) = (BTreeMap::new(), BTreeMap::new());
        for wish in model.take_wishes() {
            match wish {
                Wish::Destination(name, begin) => names.insert(number(&name), begin),
                Wish::Endpoints(service, begin) => services.insert(number(service.service.name()), begin),
            };
        }
        for (name, begin) in names {
            if begin {
                self.names.entry(name).or_default();
            } else if self.names.remove(&name).is_some() {
                model.forget_destination(&dialled(name));
            }
        }
        for (service, begin) in services {
            if begin {
                self.services.entry(service).or_default();
            } else if self.services.remove(&service).is_some() {
                model.forget_endpoints(&port(NAMES[service]));
            }
        }
    }

    /// Tells one of the things that are to be told; false if there is none.
    fn tell(&mut self, which: usize, mesh: &Mesh, model: &mut Model) -> bool {
        let stale = |name: &usize, heard: Heard| heard != Heard::LeadsTo(mesh.leads.get(name).copied());
        let names: Vec<usize> =
            self.names.iter().filter(|(name, heard)| stale(name, **heard)).map(|it| *it.0).collect();
        let stale = |service: &usize, told: &Option<BTreeSet<u8>>| {
            told.as_ref() != Some(&mesh.endpoints.get(service).cloned().unwrap_or_default())
        };
        let services: Vec<usize> =
            self.services.iter().filter(|(service, told)| stale(service, told)).map(|it| *it.0).collect();
        let count = names.len() + services.len();
        if count == 0 {
            return false;
        }
        match names.get(which % count) {
            Some(name) => self.tell_name(*name, mesh, model),
            None => self.tell_service(services[which % count - names.len()], mesh, model),
        }
        true
    }

    fn tell_name(&mut self, name: usize, mesh: &Mesh, model: &mut Model) {
        let to = mesh.leads.get(&name).copied();
        match to {
            Some(to) => model.destination(&dialled(name), leading_to(NAMES[to])),
            None => model.no_destination(&dialled(name)),
        }
        self.names.insert(name, Heard::LeadsTo(to));
    }

    fn tell_service(&mut self, service: usize, mesh: &Mesh, model: &mut Model) {
        let now = mesh.endpoints.get(&service).cloned().unwrap_or_default();
        let before = self.services.insert(service, Some(now.clone())).flatten();
        let port = port(NAMES[service]);
        for id in &now {
            model.endpoint(&port, endpoint(&id.to_string()));
        }
        for id in before.iter().flatten().filter(|id| !now.contains(id)) {
            model.no_endpoint(&port, &id.to_string());
        }
        if before.is_none() {
            model.endpoints_complete(&port);
        }
    }
}

fn dialled(name: usize) -> String {
    format!("{}:80", NAMES[name])
}

/// The snapshot in force, told by what it is made of.
#[derive(Default)]
struct Force {
    leads: BTreeMap<usize, Option<usize>>,
    endpoints: BTreeMap<usize, BTreeSet<u8>>,
}

impl Force {
    fn publish(&mut self, model: &mut Model, now: Instant) {
        let publication = model.publish(now);
        if let Some(snapshot) = publication.snapshot {
            let leads = snapshot.destinations.iter().map(|(name, to)| {
                (number(name), to.as_ref().map(|to| number(to.backend.service.service.name())))
            });
            self.leads = leads.collect();
            let endpoints = snapshot.endpoints.iter().map(|(service, set)| {
                let ids = set.endpoints().iter().map(|endpoint| endpoint.id.parse().unwrap());
                (number(service.service.name()), ids.collect())
            });
            self.endpoints = endpoints.collect();
        }
        for answered in publication.answered {
            let _ = answered.send(());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn in_the_end_every_question_is_answered_and_the_mesh_is_in_force(
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let (mut model, mut mesh) = (Model::new(ROOM), Mesh::default());
        let (mut client, mut force) = (Client::default(), Force::default());
        let mut now = Instant::now();
        let mut questions = Vec::new();
        for step in steps {
            match step {
                Step::Lead(name, Some(to)) => drop(mesh.leads.insert(name, to)),
                Step::Lead(name, None) => drop(mesh.leads.remove(&name)),
                Step::Endpoint(service, id, true) => {
                    mesh.endpoints.entry(service).or_default().insert(id);
                }
                Step::Endpoint(service, id, false) => {
                    mesh.endpoints.entry(service).or_default().remove(&id);
                }
                Step::Ask(name) => {
                    let (answered, answer) = oneshot::channel();
                    if model.look_up(&dialled(name), answered, now) == Asked::Waiting {
                        questions.push(answer);
                    }
                }
                Step::Subscribe => client.subscribe(&mut model),
                Step::Tell(which) => drop(client.tell(which, &mesh, &mut model)),
                Step::Sweep(seconds) => {
                    now += Duration::from_secs(seconds);
                    model.sweep(now);
                }
            }
            force.publish(&mut model, now);
            for to in force.leads.values().flatten() {
                prop_assert!(force.endpoints.contains_key(to), "{} leads nowhere", NAMES[*to]);
            }
        }
        loop {
            client.subscribe(&mut model);
            let told = client.tell(0, &mesh, &mut model);
            force.publish(&mut model, now);
            if !told && model.wishes.is_empty() {
                break;
            }
        }
        for mut question in questions {
            prop_assert!(question.try_recv().is_ok());
        }
        let expected: BTreeMap<usize, Option<usize>> =
            client.names.keys().map(|name| (*name, mesh.leads.get(name).copied())).collect();
        prop_assert_eq!(&force.leads, &expected);
        for to in expected.values().flatten() {
            prop_assert_eq!(&force.endpoints[to], &mesh.endpoints.get(to).cloned().unwrap_or_default());
        }
    }
}
