//! `docs/demo.svg`: the screen of the demo as a picture, drawn by what draws it on a terminal.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};
use weft_testkit::generated::assert_follows;

use super::super::super::report::{Event, Ready, Second, SplitNow};
use super::super::super::tally::Tally;
use super::picture;
use crate::traffic::EdgeReport;

const WIDTH: u16 = 126;
const HEIGHT: u16 = 27;
/// Size of a cell, in units of the picture.
const CELL: (f64, f64) = (8.4, 18.0);
const MARGIN: f64 = 14.0;

fn colour(colour: Color) -> &'static str {
    match colour {
        Color::DarkGray => "#7d8590",
        Color::Cyan => "#56d4dd",
        Color::Green => "#3fb950",
        Color::Red => "#f85149",
        _ => "#e6edf3",
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The cells of a terminal as text in SVG: one element for each run of cells that look the same.
fn svg(buffer: &Buffer) -> String {
    let (width, height) =
        (f64::from(WIDTH) * CELL.0 + 2.0 * MARGIN, f64::from(HEIGHT) * CELL.1 + 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" \
         aria-label=\"weft demo in a terminal\">\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#0d1117\"/>\n\
         <g font-family=\"ui-monospace,SFMono-Regular,Menlo,Consolas,monospace\" font-size=\"14\">\n"
    );
    for y in 0..HEIGHT {
        let style = |x: u16| (buffer[(x, y)].fg, buffer[(x, y)].modifier.contains(Modifier::BOLD));
        let is_blank = |x: u16| x >= WIDTH || buffer[(x, y)].symbol() == " ";
        let mut x = 0;
        while x < WIDTH {
            let (begin, looks) = (x, style(x));
            let mut text = String::new();
            // Two blanks are a gap between columns: what follows is placed by itself, whatever the font.
            while x < WIDTH && style(x) == looks && !(is_blank(x) && is_blank(x + 1)) {
                text += buffer[(x, y)].symbol();
                x += 1;
            }
            if text.trim().is_empty() {
                x = x.max(begin + 1);
                continue;
            }
            let begin = begin + (text.chars().count() - text.trim_start().chars().count()) as u16;
            let weight = if looks.1 { " font-weight=\"bold\"" } else { "" };
            let (left, base) = (MARGIN + f64::from(begin) * CELL.0, MARGIN + (f64::from(y) + 0.75) * CELL.1);
            let length = text.trim().chars().count() as f64 * CELL.0;
            writeln!(
                svg,
                "<text x=\"{left:.1}\" y=\"{base:.1}\" textLength=\"{length:.1}\" fill=\"{}\"{weight}>{}</text>",
                colour(looks.0),
                escaped(text.trim())
            )
            .unwrap();
        }
    }
    svg + "</g>\n</svg>\n"
}

fn edge(from: &str, to: &str, requests: u64, rate: f64, latency: (f64, f64), retries: u64) -> EdgeReport {
    EdgeReport {
        from: from.to_owned(),
        to: to.to_owned(),
        mtls: true,
        peer: format!("spiffe://cluster.local/ns/default/sa/{}", to.split('-').next().unwrap()),
        requests,
        retries,
        rate,
        p50_ms: Some(latency.0),
        p99_ms: Some(latency.1),
        ..EdgeReport::default()
    }
}

#[test]
fn the_picture_of_the_demo_is_what_the_demo_draws() {
    let mut tally = Tally::default();
    tally.ok = 1_412;
    let edges = vec![
        edge("load", "web", 1_412, 50.0, (2.0, 9.3), 0),
        edge("web", "reviews-v1", 289, 9.9, (0.4, 2.4), 0),
        edge("web", "reviews-v2", 430, 15.2, (1.7, 8.5), 1),
        edge("web", "reviews-v3", 694, 24.9, (1.7, 7.6), 0),
        edge("reviews-v3", "ratings", 694, 24.9, (0.6, 2.6), 0),
    ];
    let events = VecDeque::from(
        [
            (9.0, "split", "reviews is split 20 : 30 : 50 from now on"),
            (14.0, "kill", "killed an instance of reviews v2; requests go to the other one"),
            (19.0, "rotation", "all certificates are replaced"),
            (24.0, "control-plane", "killed the control plane; sidecars go on with what they know"),
        ]
        .map(|(at, about, text)| Event::new(Duration::from_secs_f64(at), about, text.to_owned())),
    );
    let ready = Ready::new(
        "http://127.0.0.1:41893".into(),
        "http://127.0.0.1:41895/".into(),
        "/tmp/weft-demo/mesh/routes.yaml".into(),
        "/tmp/weft-demo/logs".into(),
    );
    let mut second = Second::new(Duration::from_secs_f64(28.2), &tally, edges);
    (second.rate, second.p50_ms, second.p99_ms) = (50.0, Some(2.0), Some(9.3));
    second.split = SplitNow {
        asked: [("v1", 20), ("v2", 30), ("v3", 50)]
            .map(|(version, share)| (version.to_owned(), share))
            .into(),
        seen: [("v1", 181), ("v2", 268), ("v3", 449)]
            .map(|(version, count)| (version.to_owned(), count))
            .into(),
    };
    let mut terminal = Terminal::new(TestBackend::new(WIDTH, HEIGHT)).unwrap();
    terminal.draw(|frame| picture::draw(frame, &second, &events, &ready)).unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/demo.svg");
    assert_follows(&file, &svg(terminal.backend().buffer()), "-p weft --bins picture_of_the_demo");
}
