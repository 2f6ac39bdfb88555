//! Whatever happens, and in whatever order: in the end a client has what the source has, of what it subscribes to.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::sleep;
use weft_xds::{is_collection, server};

use crate::fixture::{FRUIT, Mesh, TestClient};

const COLLECTIONS: [&str; 3] = ["a/*", "b/*", "*"];

#[derive(Clone, Debug)]
enum Step {
    Set(String, String),
    SetBad(String),
    Remove(String),
    Collect(&'static str),
    Scatter(&'static str),
    Subscribe(usize, String),
    Unsubscribe(usize, String),
    Cut,
    Replace,
    Pending(bool),
    /// Lets this many milliseconds pass: none lets everyone run a little.
    Pass(u64),
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..4_u8).prop_map(|n| format!("a/{n}")),
        (0..4_u8).prop_map(|n| format!("b/{n}")),
        (0..3_u8).prop_map(|n| n.to_string()),
    ]
}

fn subscription() -> impl Strategy<Value = String> {
    prop_oneof![name(), prop::sample::select(&COLLECTIONS[..]).prop_map(str::to_owned)]
}

fn step() -> impl Strategy<Value = Step> {
    let collection = || prop::sample::select(&COLLECTIONS[..]);
    prop_oneof![
        8 => (name(), 0..4_u8).prop_map(|(name, value)| Step::Set(name, value.to_string())),
        1 => name().prop_map(Step::SetBad),
        4 => name().prop_map(Step::Remove),
        2 => collection().prop_map(Step::Collect),
        2 => collection().prop_map(Step::Scatter),
        6 => (0..2_usize, subscription()).prop_map(|(client, name)| Step::Subscribe(client, name)),
        3 => (0..2_usize, subscription()).prop_map(|(client, name)| Step::Unsubscribe(client, name)),
        1 => Just(Step::Cut),
        1 => Just(Step::Replace),
        1 => any::<bool>().prop_map(Step::Pending),
        8 => prop_oneof![Just(0_u64), 1..700_u64].prop_map(Step::Pass),
    ]
}

fn config(batch_bytes: usize) -> server::Config {
    server::Config { batch_bytes, max_age: Some(Duration::from_secs(20)), ..server::Config::default() }
}

fn take(
    step: Step,
    mesh: &mut Mesh,
    clients: &[TestClient],
    wanted: &mut [BTreeSet<String>],
    batch_bytes: usize,
) {
    match step {
        Step::Set(name, value) => mesh.store.set(FRUIT, &name, &value),
        Step::SetBad(name) => mesh.store.set(FRUIT, &name, "bad"),
        Step::Remove(name) => mesh.store.remove(FRUIT, &name),
        Step::Collect(name) => mesh.store.collect(FRUIT, name),
        Step::Scatter(name) => mesh.store.scatter(FRUIT, name),
        Step::Subscribe(client, name) => {
            clients[client].fruits.subscribe(&name);
            wanted[client].insert(name);
        }
        Step::Unsubscribe(client, name) => {
            clients[client].fruits.unsubscribe(&name);
            wanted[client].remove(&name);
        }
        Step::Cut => mesh.wire.cut(),
        Step::Replace => {
            mesh.replace(config(batch_bytes));
            mesh.wire.cut();
        }
        Step::Pending(pending) => mesh.store.pending(pending),
        Step::Pass(_) => {}
    }
}

/// The naive form: what a client should have of the store.
fn check(mesh: &Mesh, client: &TestClient, wanted: &BTreeSet<String>) -> Result<(), TestCaseError> {
    let view = client.view();
    let mut expected = BTreeSet::new();
    for name in wanted {
        if is_collection(name) {
            let exists = mesh.store.exists(FRUIT, name);
            prop_assert_eq!(view.complete.contains(name), exists, "{}", name);
            prop_assert_eq!(view.absent.contains(name), !exists, "{}", name);
            let members = if exists { mesh.store.all(FRUIT, name) } else { Vec::new() };
            expected.extend(members.iter().map(|member| member.name().to_string()));
        } else if mesh.store.value(FRUIT, name).is_some() {
            expected.insert(name.clone());
        } else {
            prop_assert!(view.absent.contains(name), "{} is not told as absent", name);
        }
    }
    let refused = |name: &String| mesh.store.text(FRUIT, name) == "bad";
    for name in &expected {
        // Of a refused one an older value may be there, or none.
        if !refused(name) {
            prop_assert_eq!(view.resources.get(name), Some(&mesh.store.text(FRUIT, name)), "{}", name);
        }
    }
    for name in view.resources.keys() {
        prop_assert!(expected.contains(name), "{} is there and should not be", name);
    }
    Ok(())
}

async fn run(steps: Vec<Step>, batch_bytes: usize) -> Result<(), TestCaseError> {
    // The jitter of a case is the same whenever it is run again.
    fastrand::seed(0);
    let mut mesh = Mesh::with(config(batch_bytes));
    mesh.store.collect(FRUIT, "a/*");
    let clients = [mesh.client("0"), mesh.client("1")];
    let mut wanted = [BTreeSet::new(), BTreeSet::new()];
    for step in steps {
        match step {
            Step::Pass(0) => tokio::task::yield_now().await,
            Step::Pass(milliseconds) => sleep(Duration::from_millis(milliseconds)).await,
            step => take(step, &mut mesh, &clients, &mut wanted, batch_bytes),
        }
    }
    mesh.store.pending(false);
    sleep(Duration::from_mins(3)).await;
    for (client, wanted) in clients.iter().zip(&wanted) {
        check(&mesh, client, wanted)?;
        let subscribed: usize = mesh.store.notifier.subscribers(FRUIT, "a/*");
        prop_assert!(subscribed <= clients.len());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn clients_converge_to_the_source(
        steps in prop::collection::vec(step(), 0..120),
        batch_bytes in prop_oneof![Just(1_usize), Just(200), Just(1 << 20)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime without I/O").block_on(run(steps, batch_bytes))?;
    }
}
