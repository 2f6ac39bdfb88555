//! A live picture on the terminal.

use std::collections::VecDeque;
use std::io::{self, Stdout};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::output::Closed;

use super::super::report::{Event, Ready, Second};

mod picture;

/// Events that are kept to be shown; no screen has more lines.
const EVENTS: usize = 100;

/// The terminal, which is taken when everything runs and given back when dropped.
#[derive(Debug, Default)]
pub(in super::super) struct Screen {
    taken: Option<Taken>,
    ready: Option<Ready>,
    events: VecDeque<Event>,
}

impl Screen {
    pub(super) fn ready(&mut self, ready: &Ready) -> Result<(), Closed> {
        self.taken = Some(Taken::take().map_err(|_| Closed)?);
        self.ready = Some(ready.clone());
        Ok(())
    }

    /// Shows it at the next drawing.
    pub(super) fn event(&mut self, event: &Event) {
        self.events.push_back(event.clone());
        if self.events.len() > EVENTS {
            self.events.pop_front();
        }
    }

    pub(super) fn draw(&mut self, second: &Second) -> Result<(), Closed> {
        let (Some(taken), Some(ready)) = (&mut self.taken, &self.ready) else { return Ok(()) };
        let drawn = taken.terminal.draw(|frame| picture::draw(frame, second, &self.events, ready));
        // A terminal that can't be written to has gone.
        drawn.map(|_| ()).map_err(|_| Closed)
    }

    /// Gives the terminal back, with what was on it before.
    pub(super) fn leave(&mut self) {
        self.taken = None;
    }
}

/// The terminal while it shows the picture. Keys are not echoed into it; Ctrl-C stays a signal.
#[derive(Debug)]
struct Taken {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    before: Option<Termios>,
}

impl Taken {
    fn take() -> io::Result<Self> {
        let before = tcgetattr(rustix::stdio::stdin()).ok();
        if let Some(before) = &before {
            let mut quiet = before.clone();
            quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON;
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &quiet);
        }
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
        if let Some(before) = &self.before {
            // With the keys that were typed meanwhile thrown away.
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, before);
        }
    }
}
