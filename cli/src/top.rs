//! Requests between workloads as they are now, from what the sidecars count.

use std::path::Path;
use std::time::Instant;

use anyhow::bail;
use http::Method;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use weft_control_plane::Announcement;

use crate::admin::{Admin, Place};
use crate::command::top::Args;
use crate::interrupts::Interrupts;
use crate::output::{self, Closed, Format};
use crate::screen::{self, Screen};
use crate::sidecar::Found;
use crate::table::table;
use crate::traffic::exposition::{self, Sample};
use crate::traffic::{EdgeReport, Edges, Key, milliseconds, take_reported};

/// The destination of what is for no service of the mesh, in the metrics of sidecars.
const OUTSIDE: &str = "none";
/// Who takes part without having proved who it is.
const UNKNOWN: &str = "(outside the mesh)";

/// A sidecar, or the control plane, that is asked again and again.
struct Source {
    found: Found,
    is_control_plane: bool,
    /// The connection to it, while that lasts.
    admin: Option<Admin>,
}

impl Source {
    fn sidecar(found: Found) -> Self {
        Self { found, is_control_plane: false, admin: None }
    }

    /// The control plane of this machine, which knows of all sidecars that joined it.
    fn control_plane(state: &Path) -> anyhow::Result<Self> {
        let Some(announced) = Announcement::running(state)? else {
            bail!(
                "no control plane runs here (state folder {}): start one with `weft control-plane --config DIR`, or say \
                 whose sidecars: POD, deploy/NAME, ns/NAMESPACE or --proxy ADDRESS",
                state.display()
            );
        };
        let found = Found {
            name: format!("the control plane at {}", announced.admin),
            namespace: String::new(),
            workload: String::new(),
            place: Place::Address(announced.admin),
        };
        Ok(Self { found, is_control_plane: true, admin: None })
    }

    async fn scrape(&mut self) -> anyhow::Result<String> {
        let path = if self.is_control_plane { "/traffic" } else { "/metrics" };
        if let Some(mut admin) = self.admin.take()
            && let Ok(text) = admin.text(Method::GET, path).await
        {
            self.admin = Some(admin);
            return Ok(text);
        }
        // There was no connection, or it was closed while nothing was asked.
        let mut admin = self.found.place.open().await?;
        let text = admin.text(Method::GET, path).await?;
        self.admin = Some(admin);
        Ok(text)
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
    fn new(sources: Vec<Source>, whole: Option<&str>) -> Self {
        Self { sources, edges: Edges::default(), whole: whole.map(str::to_owned) }
    }

    /// Asks all of them at once; gives who did not answer, and why.
    async fn look(&mut self) -> Vec<String> {
        let mut asking = JoinSet::new();
        for mut source in self.sources.drain(..) {
            asking.spawn(async move {
                let text = source.scrape().await;
                (source, text)
            });
        }
        let mut unanswered = Vec::new();
        while let Some(done) = asking.join_next().await {
            let Ok((source, text)) = done else { continue };
            if let Err(error) = text.and_then(|text| self.take(&source, &text)) {
                unanswered.push(format!("{}: {error:#}", source.found.name));
            }
            self.sources.push(source);
        }
        unanswered.sort();
        unanswered
    }

    fn take(&mut self, source: &Source, text: &str) -> anyhow::Result<()> {
        if source.is_control_plane {
            return take_reported(&mut self.edges, text, UNKNOWN);
        }
        let (found, whole) = (&source.found, self.whole.as_deref());
        self.edges.take(&found.name, &exposition::read(text), |sample| edge(found, whole, sample));
        Ok(())
    }

    fn picture(&self, unanswered: Vec<String>) -> Picture {
        let mut edges = self.edges.of_late(Instant::now());
        edges.sort_by(|one, other| other.rate.total_cmp(&one.rate).then_with(|| one.from.cmp(&other.from)));
        Picture { edges, unanswered }
    }
}

/// Who calls whom in a sample of a sidecar. What comes in from a namespace that is asked whole is counted by its callers.
fn edge(of: &Found, whole: Option<&str>, sample: &Sample) -> Option<Key> {
    match sample.label("direction") {
        "outbound" => {
            let service = |label| sample.service(label, &of.namespace);
            let to = service("backend").or_else(|| service("destination"))?;
            let to = if to == OUTSIDE { UNKNOWN.to_owned() } else { to };
            Some((of.workload.clone(), to, sample.label("version").to_owned()))
        }
        "inbound" => {
            let account = account(sample.label("peer"));
            if whole.is_some() && account.split_once('/').map(|(namespace, _)| namespace) == whole {
                return None;
            }
            let own = account.strip_prefix(&of.namespace).and_then(|rest| rest.strip_prefix('/'));
            let from = own.unwrap_or(&account).to_owned();
            let from = if from.is_empty() { UNKNOWN.to_owned() } else { from };
            Some((from, of.workload.clone(), String::new()))
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
    let sources = if args.sidecar.is_here() {
        vec![Source::control_plane(&args.sidecar.state())?]
    } else {
        args.sidecar.all("weft top").await?.into_iter().map(Source::sidecar).collect()
    };
    let mut watch = Watch::new(sources, args.sidecar.whole_namespace());
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
    format!("nobody answers: {}{others}", unanswered.first().map_or("", String::as_str))
}

fn show(args: &Args, picture: &Picture, sidecars: usize, screen: Option<&mut Screen>) -> Result<(), Closed> {
    match (args.output, screen) {
        (Format::Json, _) => output::json(picture),
        (Format::Text, None) => output::line(&lines(picture).join("\n")),
        (Format::Text, Some(screen)) => screen.draw(|frame| {
            let of = if args.sidecar.is_here() {
                "the local control plane".to_owned()
            } else {
                format!("{sidecars} sidecars")
            };
            let title = format!("weft top  {of}, every {:?}; Ctrl-C ends", args.interval);
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
                if edge.version.is_empty() { "-".to_owned() } else { edge.version.clone() },
                if edge.mtls { "yes" } else { "NO" }.to_owned(),
                format!("{:.1}", edge.rate),
                edge.success_percent.map_or("-".to_owned(), |percent| format!("{percent:.2} %")),
                milliseconds(edge.p50_ms),
                milliseconds(edge.p99_ms),
                edge.requests.to_string(),
                edge.retries.to_string(),
                if edge.tcp_connections == 0 {
                    "-".to_owned()
                } else {
                    format!("{} open of {}", edge.tcp_open, edge.tcp_connections)
                },
            ]
        })
        .collect();
    let head = ["FROM", "TO", "VERSION", "MTLS", "/S", "SUCCESS", "P50", "P99", "REQUESTS", "RETRIES", "TCP"];
    let mut lines = if rows.is_empty() { vec!["no requests yet".to_owned()] } else { table(head, &rows) };
    lines.extend(picture.unanswered.iter().map(|it| format!("unanswered: {it}")));
    lines
}

#[cfg(test)]
mod tests;
