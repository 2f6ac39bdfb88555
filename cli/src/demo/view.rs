//! Showing it: live in a terminal, as plain lines, or as JSON.

mod plain;
mod screen;

use std::io::{self, Write as _};

use crate::output::{self, Closed, Format};
use crate::screen::is_there as screen_is_there;

use self::plain::Plain;
use self::screen::Screen;
use super::report::{Event, Ready, Second, Summary};

/// Says how far it is while there is nothing to show yet. On stderr, since on stdout programs want JSON.
pub(super) fn progress(text: &str) {
    let _ = writeln!(io::stderr(), "weft demo: {text}");
}

/// One of the ways to show it.
#[derive(Debug)]
pub(super) enum View {
    Json,
    Plain(Plain),
    Screen(Box<Screen>),
}

impl View {
    pub(super) fn new(format: Format) -> Self {
        match format {
            Format::Json => Self::Json,
            Format::Text if screen_is_there() => Self::Screen(Box::default()),
            Format::Text => Self::Plain(Plain::default()),
        }
    }

    /// Everything runs.
    pub(super) fn ready(&mut self, ready: &Ready) -> Result<(), Closed> {
        match self {
            Self::Json => output::json(ready),
            Self::Plain(_) => plain::ready(ready),
            Self::Screen(screen) => screen.ready(ready),
        }
    }

    pub(super) fn event(&mut self, event: &Event) -> Result<(), Closed> {
        match self {
            Self::Json => output::json(event),
            Self::Plain(_) => plain::event(event),
            Self::Screen(screen) => {
                screen.event(event);
                Ok(())
            }
        }
    }

    /// A second has passed.
    pub(super) fn second(&mut self, second: &Second) -> Result<(), Closed> {
        match self {
            Self::Json => output::json(second),
            Self::Plain(plain) => plain.second(second),
            Self::Screen(_) => Ok(()),
        }
    }

    /// Some of a second has passed, for what moves.
    pub(super) fn moment(&mut self, second: &Second) -> Result<(), Closed> {
        match self {
            Self::Screen(screen) => screen.draw(second),
            Self::Json | Self::Plain(_) => Ok(()),
        }
    }

    /// Gives the terminal back.
    pub(super) fn leave(&mut self) {
        if let Self::Screen(screen) = self {
            screen.leave();
        }
    }

    /// It is over.
    pub(super) fn finish(&mut self, summary: &Summary) -> Result<(), Closed> {
        self.leave();
        match self {
            Self::Json => output::json(summary),
            Self::Plain(_) | Self::Screen(_) => plain::summary(summary),
        }
    }
}
