//! Requests between workloads as they are now, from what the sidecars count.

use std::time::Instant;

use anyhow::bail;
use http::Method;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::admin::Admin;
use crate::command::top::Args;
use crate::interrupts::Interrupts;
use crate::output::{self, Closed, Format};
use crate::screen::{self, Screen};
use crate::sidecar::Found;
use crate::table::table;
use crate::traffic::exposition::{self, Sample};
use crate::traffic::{EdgeReport, Edges, milliseconds};

/// Who takes part without having proved who it is.
const UNKNOWN: &str = "(outside the mesh)";

/// A sidecar that is asked again and again.
struct Source {
    found: Found,
    /// The connection to it, while that lasts.
    admin: Option<Admin>,
}

impl Source {
    async fn scrape(&mut self) -> anyhow::Result<Vec<Sample>> {
        let mut admin = match self.admin.take() {
            Some(admin) => admin,
            None => self.found.place.open().await?,
        };
        let text = admin.text(Method::GET, "/metrics").await?;
        self.admin = Some(admin);
        Ok(exposition::read(&text))
    }
}

/// What is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Picture {
    /// The busiest first.
    edges: Vec<EdgeReport>,
    /// Sidecars that did not answer, with the reason.
    unanswered: Vec<String>,
}

/// All sidecars that are looked at.
struct Watch {
    sources: Vec<Source>,
    edges: Edges,
    /// The namespace all of whose sidecars are asked: what its workloads call is counted there.
    whole: Option<String>,
}

impl Watch {
    fn new(found: Vec<Found>, whole: Option<&str>) -> Self {
        let sources = found.into_iter().map(|found| Source { found, admin: None }).collect();
        Self { sources, edges: Edges::default(), whole: whole.map(str::to_owned) }
    }

    /// Asks all of them at once; gives who did not answer, and why.
    async fn look(&mut self) -> Vec<String> {
        let mut asking = JoinSet::new();
        for mut source in self.sources.drain(..) {
            asking.spawn(async move {
                let samples = source.scrape().await;
                (source, samples)
            });
        }
        let mut unanswered = Vec::new();
        while let Some(done) = asking.join_next().await {
            let Ok((source, samples)) = done else { continue };
            match samples {
                Ok(samples) => {
                    let (found, whole) = (&source.found, self.whole.as_deref());
                    self.edges.take(&found.name, &samples, |sample| edge(found, whole, sample));
                }
                Err(error) => unanswered.push(format!("{}: {error:#}", source.found.name)),
            }
            self.sources.push(source);
        }
        unanswered.sort();
        unanswered
    }

    fn picture(&self, unanswered: Vec<String>) -> Picture {
        let mut edges = self.edges.of_late(Instant::now());
        edges.sort_by(|one, other| other.rate.total_cmp(&one.rate).then_with(|| one.from.cmp(&other.from)));
        Picture { edges, unanswered }
    }
}

/// Who calls whom in a sample of a sidecar. What comes in from a namespace that is asked whole is counted by its callers.
fn edge(of: &Found, whole: Option<&str>, sample: &Sample) -> Option<(String, String)> {
    match sample.label("direction") {
        "outbound" => Some((of.workload.clone(), sample.service("backend", &of.namespace)?)),
        "inbound" => {
            let account = account(sample.label("peer"));
            if whole.is_some() && account.split_once('/').map(|(namespace, _)| namespace) == whole {
                return None;
            }
            let own = account.strip_prefix(&of.namespace).and_then(|rest| rest.strip_prefix('/'));
            let from = own.unwrap_or(&account).to_owned();
            Some((if from.is_empty() { UNKNOWN.to_owned() } else { from }, of.workload.clone()))
        }
        _ => None,
    }
}

/// `shop/web` of `spiffe://cluster.local/ns/shop/sa/web`.
fn account(identity: &str) -> String {
    let path = identity.split_once("/ns/").map_or("", |(_, path)| path);
    path.replacen("/sa/", "/", 1)
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    let mut watch = Watch::new(args.sidecar.all("weft top").await?, args.sidecar.whole_namespace());
    let unanswered = watch.look().await;
    if unanswered.len() == watch.sources.len() {
        bail!("{}", nobody(&unanswered));
    }
    watch.edges.tick(Instant::now());
    let live = args.output == Format::Text && !args.once && screen::is_there();
    let ends = args.once || (args.output == Format::Text && !live);
    let mut interrupts = Interrupts::listen()?;
    let mut screen = if live { Some(Screen::take()?) } else { None };
    let mut ticks = interval(args.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = interrupts.next() => return Ok(()),
        }
        let unanswered = watch.look().await;
        let picture = watch.picture(unanswered);
        watch.edges.tick(Instant::now());
        if show(args, &picture, watch.sources.len(), screen.as_mut()) == Err(Closed) {
            return Ok(());
        }
        if ends {
            if picture.unanswered.len() == watch.sources.len() {
                bail!("{}", nobody(&picture.unanswered));
            }
            return Ok(());
        }
    }
}

/// That nobody answers, and why the first one does not: the others seldom say anything else.
fn nobody(unanswered: &[String]) -> String {
    let others = match unanswered.len().saturating_sub(1) {
        0 => String::new(),
        more => format!(", and {more} more don't either"),
    };
    format!("no sidecar answers: {}{others}", unanswered.first().map_or("", String::as_str))
}

fn show(args: &Args, picture: &Picture, sidecars: usize, screen: Option<&mut Screen>) -> Result<(), Closed> {
    match (args.output, screen) {
        (Format::Json, _) => output::json(picture),
        (Format::Text, None) => output::line(&lines(picture).join("\n")),
        (Format::Text, Some(screen)) => screen.draw(|frame| {
            let title = format!("weft top  {sidecars} sidecars, every {:?}; Ctrl-C ends", args.interval);
            frame.render_widget(drawn(title, picture), frame.area());
        }),
    }
}

fn drawn(title: String, picture: &Picture) -> Text<'static> {
    let bold = Style::new().fg(Color::Cyan).add_modifier(Modifier::BOLD);
    let mut text = vec![Line::styled(title, bold), Line::default()];
    let failing = |row: usize| {
        let edge = row.checked_sub(1).and_then(|row| picture.edges.get(row));
        edge.and_then(|edge| edge.success_percent).is_some_and(|percent| percent < 100.0)
    };
    for (row, line) in lines(picture).into_iter().enumerate() {
        let style = match row {
            0 => bold,
            row if failing(row) => Style::new().fg(Color::Red),
            _ => Style::new(),
        };
        text.push(Line::styled(line, style));
    }
    Text::from(text)
}

fn lines(picture: &Picture) -> Vec<String> {
    let rows: Vec<_> = picture
        .edges
        .iter()
        .map(|edge| {
            [
                edge.from.clone(),
                edge.to.clone(),
                if edge.mtls { "yes" } else { "NO" }.to_owned(),
                format!("{:.1}", edge.rate),
                edge.success_percent.map_or("-".to_owned(), |percent| format!("{percent:.2} %")),
                milliseconds(edge.p50_ms),
                milliseconds(edge.p99_ms),
                edge.requests.to_string(),
                edge.retries.to_string(),
            ]
        })
        .collect();
    let head = ["FROM", "TO", "MTLS", "/S", "SUCCESS", "P50", "P99", "REQUESTS", "RETRIES"];
    let mut lines = if rows.is_empty() { vec!["no requests yet".to_owned()] } else { table(head, &rows) };
    lines.extend(picture.unanswered.iter().map(|it| format!("unanswered: {it}")));
    lines
}

#[cfg(test)]
mod tests;
