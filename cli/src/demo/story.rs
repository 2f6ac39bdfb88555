//! What happens while the load runs.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::ChildStdout;
use tokio::sync::mpsc;
use tokio::time::{interval, timeout};
use weft_examples::load::{Kind, Report};

use crate::command::demo::Args;
use crate::interrupts::Interrupts;
use crate::output::Closed;
use crate::process::replace_file;
use crate::traffic::{Edges, Key, exposition::Sample};

use super::connected::Connected;
use super::instance::{ENTRANCE, LOAD, VICTIM};
use super::mesh::{CONTROL_PLANE, Mesh};
use super::report::{Event, Ready, Second, Summary};
use super::scenario::{Action, Step, Weights};
use super::sidecars::{self, News};
use super::split::{self, Split};
use super::tally::Tally;
use super::view::{self, View};

/// The edge that a sidecar of the service `from` has counted.
fn called(from: &str, sample: &Sample) -> Option<Key> {
    let to = sample.service("backend", "default")?;
    // Each version is a service here.
    (sample.label("direction") == "outbound").then(|| (from.to_owned(), to, String::new()))
}

/// How long a scenario takes when the demo has no end.
const SCENARIO: Duration = Duration::from_secs(30);
/// How often files and processes are looked at. An edit shows after this time and what the mesh takes.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often the counters of the sidecars are read.
const READ_EVERY: Duration = Duration::from_millis(500);
/// The share of the time after which an edit waits no longer.
const LATEST_EDIT: f64 = 0.95;
/// How long the load may take to end: its requests fail after 3 s.
const END_MAX: Duration = Duration::from_secs(5);
/// How long the last reading of the counters may take.
const LAST_READ_MAX: Duration = Duration::from_secs(1);
/// Answers of sidecars that may wait to be looked at.
const NEWS_MAX: usize = 64;

/// The demo while it runs.
pub(super) struct Story {
    mesh: Mesh,
    steps: VecDeque<Step>,
    length: Option<Duration>,
    began: Instant,
    load: Lines<BufReader<ChildStdout>>,
    tally: Tally,
    edges: Edges,
    events: Vec<Event>,
    /// The YAML as it was last seen.
    texts: BTreeMap<String, String>,
    split: Split,
    scenario_ends: Option<Duration>,
    connected: Connected,
    news: (mpsc::Sender<News>, mpsc::Receiver<News>),
    /// Readings of counters that are under way.
    reading: usize,
}

/// How it ended.
pub(super) struct Ended {
    pub(super) mesh: Mesh,
    pub(super) summary: Summary,
}

/// An error, with the processes that are to be ended because of it.
type Failure = (Mesh, anyhow::Error);

/// Why the loop goes on or not.
enum Next {
    On,
    End,
}

impl Story {
    /// Starts the load.
    pub(super) async fn begin(mut mesh: Mesh, args: &Args, view: &mut View) -> Result<Self, Failure> {
        match prepare(&mut mesh, args, view).await {
            Ok((load, texts)) => {
                let length = args.length.unwrap_or(SCENARIO);
                let steps = args.scenario.steps(length);
                Ok(Self {
                    mesh,
                    scenario_ends: (!steps.is_empty() && args.length.is_none()).then_some(length),
                    steps: steps.into(),
                    length: args.length,
                    began: Instant::now(),
                    load,
                    tally: Tally::default(),
                    edges: Edges::default(),
                    events: Vec::new(),
                    split: split::asked(texts.values()).unwrap_or_default(),
                    texts,
                    connected: Connected::default(),
                    news: mpsc::channel(NEWS_MAX),
                    reading: 0,
                })
            }
            Err(error) => Err((mesh, error)),
        }
    }

    /// Goes on until its time is over, or somebody interrupts it.
    pub(super) async fn run(
        mut self,
        view: &mut View,
        interrupts: &mut Interrupts,
    ) -> Result<Ended, Failure> {
        self.tally.asked(Duration::ZERO, self.split.clone());
        let ran = match self.until_over(view, interrupts).await {
            Ok(()) => self.end(interrupts).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ran {
            return Err((self.mesh, error));
        }
        let length = self.began.elapsed();
        let summary = Summary::new(length, &self.tally, self.edges.in_all(length), self.events);
        Ok(Ended { mesh: self.mesh, summary })
    }

    async fn until_over(&mut self, view: &mut View, interrupts: &mut Interrupts) -> anyhow::Result<()> {
        let (mut look, mut read, mut second) =
            (interval(LOOK_EVERY), interval(READ_EVERY), interval(Duration::from_secs(1)));
        // The first ticks come at once, when there is nothing to tell.
        second.tick().await;
        loop {
            let shown = tokio::select! {
                () = interrupts.next() => return Ok(()),
                line = self.load.next_line() => {
                    let line = line?.context("the load has ended by itself")?;
                    self.take_line(&line, view)?
                }
                Some(news) = self.news.1.recv() => self.take_news(news, view),
                _ = look.tick() => match self.look(view).await? {
                    (Next::End, _) => return Ok(()),
                    (Next::On, shown) => shown,
                },
                _ = read.tick() => {
                    self.reading += sidecars::read_counters(&self.mesh, &self.news.0);
                    let now = Instant::now();
                    self.edges.tick(now);
                    view.moment(&self.now())
                }
                _ = second.tick() => view.second(&self.now()),
            };
            // Nobody looks any more.
            if shown == Err(Closed) {
                return Ok(());
            }
        }
    }

    fn now(&self) -> Second {
        Second::new(self.began.elapsed(), &self.tally, self.edges.of_late(Instant::now()))
    }

    fn tell(&mut self, view: &mut View, event: &'static str, text: String) -> Result<(), Closed> {
        let event = Event::new(self.began.elapsed(), event, text);
        let shown = view.event(&event);
        self.events.push(event);
        shown
    }

    /// A line of the load.
    fn take_line(&mut self, line: &str, view: &mut View) -> anyhow::Result<Result<(), Closed>> {
        let report: Report = serde_json::from_str(line).with_context(|| format!("the load says {line:?}"))?;
        let lost = (report.kind == Kind::Interval && report.failed > 0)
            .then(|| (report.failed, report.failures.clone()));
        self.tally.take(self.began.elapsed(), report);
        let Some((count, reasons)) = lost else { return Ok(Ok(())) };
        let reasons: Vec<_> =
            reasons.into_iter().map(|(reason, count)| format!("{count} with {reason}")).collect();
        let lost =
            if count == 1 { "1 request was lost".to_owned() } else { format!("{count} requests were lost") };
        Ok(self.tell(view, "loss", format!("{lost}: {}", reasons.join(", "))))
    }

    fn take_news(&mut self, news: News, view: &mut View) -> Result<(), Closed> {
        match news {
            News::Counters { instance, from, samples } => {
                self.reading = self.reading.saturating_sub(1);
                // What was asked of an instance before it was killed must not count for the one after it.
                if self.mesh.info(instance).is_none() {
                    return Ok(());
                }
                self.edges.take(instance, &samples, |sample| called(&from, sample));
                let all = self.mesh.sidecars().map(|(spec, _)| spec.name);
                let Some(took) = self.connected.take(Instant::now(), instance, &samples, all) else {
                    return Ok(());
                };
                let text =
                    format!("all sidecars are connected to it again, {:.1} s later", took.as_secs_f64());
                self.tell(view, "restart", text)
            }
            News::Rotated(outcomes) => {
                let renewed = outcomes.iter().filter(|(_, outcome)| outcome.is_ok());
                let renewed: Vec<_> = renewed.map(|(instance, _)| *instance).collect();
                let mut shown = Ok(());
                if !renewed.is_empty() {
                    let text = format!("new certificates in use: {}", renewed.join(", "));
                    shown = self.tell(view, "rotate", text);
                }
                for (instance, outcome) in outcomes {
                    if let Err(error) = outcome {
                        shown = shown.and(self.tell(
                            view,
                            "rotate",
                            format!("{instance} has no new certificate: {error}"),
                        ));
                    }
                }
                shown
            }
        }
    }

    /// Looks at time, files and processes.
    async fn look(&mut self, view: &mut View) -> anyhow::Result<(Next, Result<(), Closed>)> {
        let at = self.began.elapsed();
        let mut shown = Ok(());
        while let Some(step) = self.due(at) {
            shown = shown.and(self.act(step.action, view)?);
        }
        if self.scenario_ends.is_some_and(|end| at >= end) {
            self.scenario_ends = None;
            let text = "the scenario is over; the mesh stays as it is until Ctrl-C".to_owned();
            shown = shown.and(self.tell(view, "over", text));
        }
        for (name, took) in self.mesh.look().await? {
            if name == CONTROL_PLANE {
                self.connected.control_plane_back(Instant::now());
            }
            let text = format!("{name} is back, {:.1} s after its start", took.as_secs_f64());
            shown = shown.and(self.tell(view, "restart", text));
        }
        shown = shown.and(self.look_at_yaml(view)?);
        let over = self.length.is_some_and(|length| at >= length);
        Ok((if over { Next::End } else { Next::On }, shown))
    }

    /// The next step, if its time has come. An edit waits for the sidecars that have not yet come back to a control
    /// plane that was away, so that it shows.
    fn due(&mut self, at: Duration) -> Option<Step> {
        let late = self.length.unwrap_or(SCENARIO).mul_f64(LATEST_EDIT);
        let reaches_all = self.connected.all() || at >= late;
        self.steps
            .pop_front_if(|step| step.at <= at && (reaches_all || !matches!(step.action, Action::Split(_))))
    }

    fn act(&mut self, action: Action, view: &mut View) -> anyhow::Result<Result<(), Closed>> {
        let (event, text) = match action {
            Action::Split(weights) => return self.edit(weights, view),
            Action::KillInstance => {
                self.mesh.kill_victim()?;
                self.edges.forget(VICTIM);
                ("kill", format!("killed {VICTIM} (SIGKILL to service and sidecar)"))
            }
            Action::RestartInstance => {
                self.mesh.restart_victim()?;
                ("restart", format!("starting {VICTIM} again"))
            }
            Action::Rotate(services) => {
                sidecars::rotate(&self.mesh, services, &self.news.0);
                ("rotate", format!("asking for new certificates for {}", services.join(", ")))
            }
            Action::KillControlPlane => {
                self.mesh.kill_control_plane()?;
                self.connected.control_plane_gone();
                ("kill", "killed the control plane (SIGKILL); sidecars go on with what they know".to_owned())
            }
            Action::RestartControlPlane => {
                self.mesh.restart_control_plane()?;
                ("restart", "starting the control plane again".to_owned())
            }
        };
        Ok(self.tell(view, event, text))
    }

    /// Edits the weights in the YAML, as a person would.
    fn edit(&mut self, weights: Weights, view: &mut View) -> anyhow::Result<Result<(), Closed>> {
        let routes = self.mesh.folder.routes();
        let text = fs::read_to_string(&routes).unwrap_or_default();
        if let Some(text) = split::edited(&text, weights) {
            replace_file(&routes, text.as_bytes())
                .with_context(|| format!("cannot edit {}", routes.display()))?;
            return self.look_at_yaml(view);
        }
        let text = format!("{} was changed by hand; the scenario leaves it alone", routes.display());
        Ok(self.tell(view, "yaml", text))
    }

    /// Looks whether the YAML asks for another split than before.
    fn look_at_yaml(&mut self, view: &mut View) -> anyhow::Result<Result<(), Closed>> {
        let folder = self.mesh.folder.config();
        // A file may vanish between being listed and being read, while an editor saves it.
        let Ok(texts) = split::texts(&folder) else { return Ok(Ok(())) };
        if texts == self.texts {
            return Ok(Ok(()));
        }
        self.texts = texts;
        let report = weft_control_plane::check(&folder)?;
        if let Some(error) = report.errors.first() {
            let text = format!("the YAML is refused, the last good one stays in force: {error}");
            return Ok(self.tell(view, "yaml", text));
        }
        let asked = split::asked(self.texts.values()).unwrap_or_default();
        if asked == self.split {
            return Ok(Ok(()));
        }
        let text =
            format!("the YAML asks for {} (before: {})", split::short(&asked), split::short(&self.split));
        self.split = asked;
        self.tally.asked(self.began.elapsed(), self.split.clone());
        Ok(self.tell(view, "split", text))
    }

    /// Lets the load finish what it has sent, and reads the counters a last time.
    async fn end(&mut self, interrupts: &mut Interrupts) -> anyhow::Result<()> {
        if let Some(load) = self.mesh.instance(LOAD.name) {
            load.end_program();
        }
        let summary = async {
            while self.tally.summary.is_none() {
                let line = self
                    .load
                    .next_line()
                    .await?
                    .ok_or_else(|| anyhow!("the load ended without a summary"))?;
                self.tally.take(self.began.elapsed(), serde_json::from_str(&line)?);
            }
            anyhow::Ok(())
        };
        tokio::select! {
            // Whoever interrupts again does not want to wait.
            () = interrupts.next() => return Ok(()),
            ended = timeout(END_MAX, summary) => ended.context("the load does not end")??,
        }
        self.reading += sidecars::read_counters(&self.mesh, &self.news.0);
        let readings = async {
            while self.reading > 0
                && let Some(news) = self.news.1.recv().await
            {
                if let News::Counters { instance, from, samples } = news {
                    self.reading -= 1;
                    self.edges.take(instance, &samples, |sample| called(&from, sample));
                }
            }
        };
        // Without the last counts the edges are a little behind, which harms nobody.
        let _ = timeout(LAST_READ_MAX, readings).await;
        Ok(())
    }
}

async fn prepare(
    mesh: &mut Mesh,
    args: &Args,
    view: &mut View,
) -> anyhow::Result<(Lines<BufReader<ChildStdout>>, BTreeMap<String, String>)> {
    view::progress(&format!("starting the load, {} requests a second", args.rate));
    mesh.start_load(args.rate).await?;
    let texts = split::texts(&mesh.folder.config())?;
    let load = mesh
        .instance(LOAD.name)
        .and_then(|load| load.child.take_stdout())
        .context("the load has no stdout")?;
    let load = BufReader::new(ChildStdout::from_std(load)?).lines();
    // A reader that has gone already shows at the first second.
    let _ = view.ready(&way_in(mesh)?);
    Ok((load, texts))
}

fn way_in(mesh: &Mesh) -> anyhow::Result<Ready> {
    let entrance = mesh.info(ENTRANCE).context("there is no way in")?;
    let proxy = entrance.outbound.map(|proxy| format!("http://{proxy}")).context("there is no proxy")?;
    let page = entrance
        .upstreams
        .values()
        .next()
        .map(|page| format!("http://{page}/"))
        .context("there is no page")?;
    let shown = |path: std::path::PathBuf| path.display().to_string();
    Ok(Ready::new(proxy, page, shown(mesh.folder.routes()), shown(mesh.folder.logs())))
}
