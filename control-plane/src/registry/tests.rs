use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{advance, sleep};

use weft_identity::Revoked;

use super::{OF_IDENTITY_MAX, Refusal, Registry};
use crate::discovery::Discovery;
use crate::index::tests::workload;
use crate::index::{Health, Workload};

const GRACE: Duration = Duration::from_secs(10);
const STARTUP_GRACE: Duration = Duration::from_secs(40);

struct Fixture {
    folder: TempDir,
    registry: Arc<Registry>,
}

fn open(folder: TempDir) -> Fixture {
    let discovery = Arc::new(Discovery::new("cluster.local".parse().unwrap()));
    let path = folder.path().join("registrations.jsonl");
    let registry = Arc::new(Registry::open(&path, discovery, GRACE, STARTUP_GRACE));
    let reaped = Arc::clone(&registry);
    tokio::spawn(async move { reaped.reap().await });
    Fixture { folder, registry }
}

fn fixture() -> Fixture {
    open(tempfile::tempdir().unwrap())
}

fn cart() -> Workload {
    workload("shop", "cart-1", &[("cart", 80)], 1)
}

fn there(registry: &Registry) -> bool {
    registry.discovery.counts().endpoints == 1 && registry.is_registered(&cart().identity, "cart-1")
}

#[tokio::test(start_paused = true)]
async fn a_broken_stream_is_forgiven_within_the_grace() {
    let Fixture { registry, .. } = fixture();
    let session = registry.register(cart()).unwrap();
    assert!(there(&registry));
    registry.leave("shop.w~cart-1", session);
    sleep(GRACE.saturating_sub(Duration::from_millis(1))).await;
    assert!(there(&registry));
    registry.register(cart()).unwrap();
    sleep(10 * GRACE).await;
    assert!(there(&registry));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_come_back_is_removed_after_the_grace() {
    let Fixture { registry, .. } = fixture();
    let session = registry.register(cart()).unwrap();
    registry.leave("shop.w~cart-1", session);
    sleep(GRACE + Duration::from_millis(2)).await;
    assert!(!there(&registry));
    assert_eq!(registry.workloads().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_withdraws_is_removed_at_once() {
    let Fixture { registry, .. } = fixture();
    let session = registry.register(cart()).unwrap();
    registry.withdraw("shop.w~cart-1", session);
    assert!(!there(&registry));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_replaced_has_no_say() {
    let Fixture { registry, .. } = fixture();
    let old = registry.register(cart()).unwrap();
    let new = registry.register(cart()).unwrap();
    registry.leave("shop.w~cart-1", old);
    registry.withdraw("shop.w~cart-1", old);
    registry.set_health("shop.w~cart-1", old, Health::NotReady);
    sleep(2 * GRACE).await;
    assert!(there(&registry));
    registry.set_health("shop.w~cart-1", new, Health::Draining);
    assert_eq!(registry.workloads()[0].workload.health, Health::Draining);
}

#[tokio::test(start_paused = true)]
async fn a_name_of_another_identity_is_another_workload() {
    let Fixture { registry, .. } = fixture();
    registry.register(cart()).unwrap();
    let other = workload("web", "cart-1", &[("cart", 80)], 2);
    let session = registry.register(other.clone()).unwrap();
    assert_eq!(registry.workloads().len(), 2);
    registry.withdraw(&other.id, session);
    assert!(there(&registry), "the first is what it was");
}

#[tokio::test(start_paused = true)]
async fn one_identity_takes_no_place_from_the_others() {
    let Fixture { registry, .. } = fixture();
    for number in 0..OF_IDENTITY_MAX {
        registry.register(workload("shop", &format!("n-{number}"), &[], 1)).unwrap();
    }
    assert_eq!(registry.register(workload("shop", "more", &[], 1)), Err(Refusal::FullOfIdentity));
    let session = registry.register(workload("shop", "n-0", &[], 1)).unwrap();
    registry.register(workload("web", "n-0", &[], 1)).unwrap();
    registry.withdraw("shop.w~n-0", session);
    registry.register(workload("shop", "more", &[], 1)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_revoked_is_removed_at_once_and_stays_so_over_a_restart() {
    let Fixture { folder, registry } = fixture();
    let with = |workload: Workload, token: &str| Workload { token: Some(token.to_owned()), ..workload };
    registry.register(with(cart(), "stolen")).unwrap();
    registry.register(with(workload("shop", "pay-1", &[("pay", 80)], 2), "good")).unwrap();
    registry.register(with(workload("web", "web-1", &[("web", 80)], 3), "good")).unwrap();
    let mut revoked = Revoked::new();
    revoked.token("stolen");
    drop(registry);
    let Fixture { registry, .. } = open(folder);
    assert_eq!(registry.workloads().len(), 3);
    registry.revoke(&revoked);
    assert!(!registry.is_registered(&cart().identity, "cart-1"));
    revoked.identity(workload("web", "web-1", &[], 3).identity, None);
    registry.revoke(&revoked);
    let left = registry.workloads();
    assert_eq!(left.iter().map(|left| &*left.workload.name).collect::<Vec<_>>(), ["pay-1"]);
    assert_eq!(registry.discovery.counts().endpoints, 1);
}

#[tokio::test(start_paused = true)]
async fn grants_outlive_a_restart_and_what_was_never_granted_does_not() {
    let Fixture { folder, registry } = fixture();
    registry.register(cart()).unwrap();
    drop(registry);
    let path = folder.path().join("registrations.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    // As an earlier version wrote it: the name is the id, and nothing is said of grants.
    let mut line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(line["put"]["grants"]["svc"][0], "*");
    line["put"].as_object_mut().unwrap().remove("grants");
    line["put"]["id"] = "old-1".into();
    let gone = text.replace("cart-1", "gone-1");
    std::fs::write(&path, format!("{text}{gone}{{\"remove\":\"gone-1\"}}\n{line}\n")).unwrap();
    let Fixture { registry, .. } = open(folder);
    let offers: Vec<_> = registry
        .workloads()
        .iter()
        .map(|it| (it.workload.name.to_string(), it.workload.offers.len()))
        .collect();
    assert_eq!(offers, [("cart-1".to_owned(), 1), ("old-1".to_owned(), 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_keeps_everyone_until_they_had_time_to_come_back() {
    let Fixture { folder, registry } = fixture();
    registry.register(cart()).unwrap();
    let gone = registry.register(workload("shop", "gone-1", &[("gone", 80)], 2)).unwrap();
    registry.withdraw("shop.w~gone-1", gone);
    let lost = registry.register(workload("shop", "lost-1", &[("lost", 80)], 3)).unwrap();
    registry.set_health("shop.w~lost-1", lost, Health::NotReady);
    // Killed: nothing is said to anyone.
    drop(registry);
    let Fixture { registry, .. } = open(folder);
    let ids = |registry: &Registry| -> Vec<String> {
        registry.workloads().iter().map(|registered| registered.workload.name.to_string()).collect()
    };
    assert_eq!(ids(&registry), ["cart-1", "lost-1"]);
    assert_eq!(*registry.workloads()[0].workload, cart());
    assert_eq!(registry.workloads()[1].workload.health, Health::NotReady);
    assert!(!registry.workloads()[0].connected);
    advance(STARTUP_GRACE / 2).await;
    registry.register(cart()).unwrap();
    sleep(STARTUP_GRACE).await;
    assert_eq!(ids(&registry), ["cart-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_line_that_was_cut_off_costs_only_itself() {
    let Fixture { folder, registry } = fixture();
    registry.register(cart()).unwrap();
    drop(registry);
    let path = folder.path().join("registrations.jsonl");
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str("{\"put\":{\"id\":\"half");
    std::fs::write(&path, text).unwrap();
    let Fixture { registry, .. } = open(folder);
    assert!(there(&registry));
    assert_eq!(registry.workloads().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_written_down_is_once_that_works_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registrations.jsonl");
    // Nothing can take the place of a folder that is not empty.
    std::fs::create_dir_all(path.join("in the way")).unwrap();
    let Fixture { folder, registry } = open(folder);
    registry.register(cart()).unwrap();
    std::fs::remove_dir_all(&path).unwrap();
    registry.register(workload("shop", "pay-1", &[("pay", 80)], 2)).unwrap();
    drop(registry);
    let Fixture { registry, .. } = open(folder);
    assert_eq!(registry.workloads().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_written_down_stays_short() {
    let Fixture { folder, registry } = fixture();
    let session = registry.register(cart()).unwrap();
    for _ in 0..2_000 {
        registry.set_health("shop.w~cart-1", session, Health::NotReady);
        registry.set_health("shop.w~cart-1", session, Health::Ready);
    }
    let lines = std::fs::read_to_string(folder.path().join("registrations.jsonl")).unwrap().lines().count();
    assert!(lines < 1_100, "{lines}");
}
