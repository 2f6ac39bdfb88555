//! A live picture on the terminal.

use std::collections::VecDeque;

use crate::output::Closed;
use crate::screen;

use super::super::report::{Event, Ready, Second};

mod picture;
#[cfg(test)]
mod svg;

/// Events that are kept to be shown; no screen has more lines.
const EVENTS: usize = 100;

/// The terminal, which is taken when everything runs and given back when dropped.
#[derive(Debug, Default)]
pub(in super::super) struct Screen {
    taken: Option<screen::Screen>,
    ready: Option<Ready>,
    events: VecDeque<Event>,
}

impl Screen {
    pub(super) fn ready(&mut self, ready: &Ready) -> Result<(), Closed> {
        self.taken = Some(screen::Screen::take().map_err(|_| Closed)?);
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
        taken.draw(|frame| picture::draw(frame, second, &self.events, ready))
    }

    /// Gives the terminal back, with what was on it before.
    pub(super) fn leave(&mut self) {
        self.taken = None;
    }
}
