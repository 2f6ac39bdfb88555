//! What is asked of the sidecars while the load runs.

use std::net::SocketAddr;

use http::Method;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;

use super::mesh::Mesh;
use crate::request::ask;
use crate::traffic::exposition::{self, Sample};

/// What sidecars have answered.
pub(super) enum News {
    /// The counters of an instance of the service `from`; none if it didn't answer.
    Counters { instance: &'static str, from: String, samples: Vec<Sample> },
    /// What became of the rotations that were asked for, by instance.
    Rotated(Vec<(&'static str, Result<(), String>)>),
}

/// Asks all sidecars for their counters. Gives the number of answers to come.
pub(super) fn read_counters(mesh: &Mesh, news: &Sender<News>) -> usize {
    let mut asked = 0;
    for (spec, admin) in mesh.sidecars() {
        asked += 1;
        let (instance, from, news) = (spec.name, spec.label(), news.clone());
        tokio::spawn(async move {
            let answer = ask(Method::GET, admin, "/metrics").await;
            let text = answer.map(|answer| answer.text).unwrap_or_default();
            let samples = exposition::read(&text);
            // Fails only when the story is over.
            let _ = news.send(News::Counters { instance, from, samples }).await;
        });
    }
    asked
}

/// Has the sidecars of these services get new certificates.
pub(super) fn rotate(mesh: &Mesh, services: &[&str], news: &Sender<News>) {
    let sidecars = mesh.sidecars().filter(|(spec, _)| services.contains(&spec.service));
    let mut rotations: JoinSet<_> = sidecars.map(|(spec, admin)| rotate_one(spec.name, admin)).collect();
    let news = news.clone();
    tokio::spawn(async move {
        let mut outcomes = Vec::new();
        while let Some(Ok(outcome)) = rotations.join_next().await {
            outcomes.push(outcome);
        }
        outcomes.sort_unstable_by_key(|(instance, _)| *instance);
        let _ = news.send(News::Rotated(outcomes)).await;
    });
}

/// Waits until the new certificate is in use.
async fn rotate_one(instance: &'static str, admin: SocketAddr) -> (&'static str, Result<(), String>) {
    let outcome = match ask(Method::POST, admin, "/rotate").await {
        Ok(answer) if answer.status.is_success() => Ok(()),
        Ok(answer) => Err(format!("{} {}", answer.status, answer.text.trim())),
        Err(error) => Err(format!("{error:#}")),
    };
    (instance, outcome)
}
