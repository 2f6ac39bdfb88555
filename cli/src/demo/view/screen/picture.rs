//! What is on the screen, from top to bottom: the load, the edges, the split, what happened, and the way in.

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table};

use crate::traffic::{EdgeReport, milliseconds};

use super::super::super::report::{Event, Ready, Second, SplitNow};

const FAINT: Style = Style::new().fg(Color::DarkGray);
const TITLE: Style = Style::new().fg(Color::Cyan).add_modifier(Modifier::BOLD);
const GOOD: Style = Style::new().fg(Color::Green);
const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
/// Width of the bars of the split.
const BAR: usize = 24;

pub(super) fn draw(frame: &mut Frame<'_>, second: &Second, events: &VecDeque<Event>, ready: &Ready) {
    let split = second.split.rows().len() as u16;
    let edges = second.edges.len() as u16;
    let areas = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(edges + 2),
        Constraint::Length(split + 2),
        Constraint::Min(3),
        Constraint::Length(4),
    ]);
    let [head, middle, below, log, foot] = areas.areas(frame.area());
    frame.render_widget(Paragraph::new(load(second)), head);
    frame.render_widget(edge_table(&second.edges), middle);
    frame.render_widget(split_table(&second.split), below);
    frame.render_widget(event_list(events, log), log);
    frame.render_widget(Paragraph::new(way_in(ready)), foot);
}

/// A style that says whether a count of what should not be is 0.
fn alarm(count: u64) -> Style {
    if count == 0 { GOOD } else { BAD }
}

fn load(second: &Second) -> Line<'static> {
    let latency = format!("   p50 {}   p99 {}", milliseconds(second.p50_ms), milliseconds(second.p99_ms));
    Line::from(vec![
        Span::styled("weft demo", TITLE),
        Span::raw(format!(
            "  {:>6.1} s   {:.0} requests/s   {} answered   ",
            second.at_s, second.rate, second.ok
        )),
        Span::styled(format!("{} lost", second.lost), alarm(second.lost)),
        Span::raw(latency),
    ])
}

fn edge_table(edges: &[EdgeReport]) -> Table<'static> {
    let rows = edges.iter().map(|edge| {
        let (tls, style) = if edge.mtls { ("mTLS", GOOD) } else { ("plain", BAD) };
        let share = if edge.requests == 0 { 0.0 } else { edge.failures as f64 / edge.requests as f64 };
        Row::new([
            Cell::from(format!("{} → {}", edge.from, edge.to)),
            Cell::from(Span::styled(tls, style)),
            Cell::from(format!("{:>6.1}", edge.rate)),
            Cell::from(Span::styled(format!("{:>6.2} %", 100.0 * (1.0 - share)), alarm(edge.failures))),
            Cell::from(format!("{:>7}", edge.retries)),
            Cell::from(format!("{:>8}", milliseconds(edge.p50_ms))),
            Cell::from(format!("{:>8}", milliseconds(edge.p99_ms))),
            Cell::from(Span::styled(edge.peer.clone(), FAINT)),
        ])
    });
    let widths = [
        Constraint::Length(26),
        Constraint::Length(6),
        Constraint::Length(7),
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Min(10),
    ];
    let header = ["edge", "", "   /s", "success", "retried", "     p50", "     p99", "peer"];
    Table::new(rows, widths)
        .header(Row::new(header).style(TITLE))
        .block(Block::new().borders(Borders::BOTTOM).border_style(FAINT))
}

fn split_table(split: &SplitNow) -> Table<'static> {
    let rows = split.rows().into_iter().map(|(version, asked, seen, count)| {
        Row::new([
            Cell::from(format!("reviews {version}")),
            Cell::from(format!("{asked:>4.0} %")),
            Cell::from(format!("{seen:>6.1} %")),
            Cell::from(format!("{count:>8}")),
            Cell::from(Span::styled(bar(seen), GOOD)),
        ])
    });
    let widths = [
        Constraint::Length(26),
        Constraint::Length(7),
        Constraint::Length(9),
        Constraint::Length(10),
        Constraint::Min(BAR as u16),
    ];
    let header = ["split", " asked", "    seen", " answers", ""];
    Table::new(rows, widths)
        .header(Row::new(header).style(TITLE))
        .block(Block::new().borders(Borders::BOTTOM).border_style(FAINT))
}

fn bar(share: f64) -> String {
    "█".repeat((share / 100.0 * BAR as f64).round() as usize)
}

/// The latest events that there is room for.
fn event_list(events: &VecDeque<Event>, area: Rect) -> Paragraph<'static> {
    let room = usize::from(area.height);
    let latest = events.iter().skip(events.len().saturating_sub(room));
    let lines = latest.map(|event| {
        let style = if event.about == "loss" { BAD } else { Style::new() };
        Line::from(vec![
            Span::styled(format!("{:>7.1} s  ", event.at_s), FAINT),
            Span::styled(event.text.clone(), style),
        ])
    });
    Paragraph::new(lines.collect::<Vec<_>>())
}

fn way_in(ready: &Ready) -> Vec<Line<'static>> {
    let line = |what: &'static str, text: &str| {
        Line::from(vec![Span::styled(format!("{what:<9}"), TITLE), Span::raw(text.to_owned())])
    };
    vec![
        line("request", &ready.curl),
        line("page", &ready.page),
        line("split", &format!("edit and save {}", ready.routes)),
        line("end", "Ctrl-C"),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::super::super::tally::Tally;
    use super::*;

    fn drawn(width: u16, height: u16) -> String {
        let mut tally = Tally::default();
        tally.ok = 1234;
        tally.asked(Duration::ZERO, [("v1".to_owned(), 50), ("v2".to_owned(), 50)].into());
        let edge = EdgeReport {
            from: "web".to_owned(),
            to: "reviews-v2".to_owned(),
            mtls: true,
            peer: "spiffe://cluster.local/ns/default/sa/reviews".to_owned(),
            requests: 10,
            retries: 1,
            rate: 5.0,
            p50_ms: Some(0.7),
            p99_ms: Some(3.0),
            ..EdgeReport::default()
        };
        let second = Second::new(Duration::from_secs(5), &tally, vec![edge]);
        let events = VecDeque::from([Event::new(Duration::from_secs(1), "kill", "killed it".to_owned())]);
        let ready = Ready::new(
            "http://127.0.0.1:1".into(),
            "http://127.0.0.1:2/".into(),
            "r.yaml".into(),
            "logs".into(),
        );
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &second, &events, &ready)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn the_screen_shows_edges_split_events_and_the_way_in() {
        let text = drawn(120, 30);
        for shown in [
            "1234 answered",
            "0 lost",
            "web → reviews-v2",
            "mTLS",
            "reviews v1",
            "killed it",
            "curl -x http",
            "r.yaml",
        ] {
            assert!(text.contains(shown), "no {shown:?} in\n{text}");
        }
    }

    #[test]
    fn a_small_terminal_is_no_reason_to_fail() {
        for (width, height) in [(1, 1), (10, 3), (40, 8)] {
            drawn(width, height);
        }
    }
}
