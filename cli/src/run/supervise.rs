//! Signals, and the end of the program.

use rustix::process::Signal;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

use crate::process::Child;

use super::sidecar::Sidecar;

/// The signals that a program may get, and that are passed on to it.
const PASSED_ON: [Signal; 6] =
    [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// The signals that this process gets.
#[derive(Debug)]
pub(super) struct Stops([Signals; PASSED_ON.len()]);

impl Stops {
    pub(super) fn listen() -> std::io::Result<Self> {
        let listen = |signal_: Signal| signal(SignalKind::from_raw(signal_.as_raw()));
        let [term, int, hup, quit, usr1, usr2] = PASSED_ON;
        Ok(Self([listen(term)?, listen(int)?, listen(hup)?, listen(quit)?, listen(usr1)?, listen(usr2)?]))
    }

    /// The next signal.
    pub(super) async fn next(&mut self) -> Stop {
        let [term, int, hup, quit, usr1, usr2] = &mut self.0;
        let signal = tokio::select! {
            _ = term.recv() => Signal::TERM,
            _ = int.recv() => Signal::INT,
            _ = hup.recv() => Signal::HUP,
            _ = quit.recv() => Signal::QUIT,
            _ = usr1.recv() => Signal::USR1,
            _ = usr2.recv() => Signal::USR2,
        };
        Stop(signal)
    }
}

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stop(Signal);

/// What a signal means for the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reaction {
    /// It gets the signal.
    PassOn,
    /// It gets the signal once what is on its way to it has ended.
    DrainThenPassOn,
    /// It has got the signal already; the sidecar finishes meanwhile.
    Drain,
    /// It has got the signal already.
    Nothing,
}

impl Stop {
    /// What ends with this signal ends with this code.
    pub(super) fn exit_code(self) -> u8 {
        128_u8.saturating_add(self.0.as_raw() as u8)
    }

    /// Whether the signal is a wish to end in order.
    pub(super) fn is_orderly(self) -> bool {
        matches!(self.0, Signal::TERM | Signal::INT)
    }

    /// `shares_terminal`: the program is in the same process group, to which the terminal sends what its keys mean.
    fn reaction(self, shares_terminal: bool, offers_something: bool) -> Reaction {
        let by_key = matches!(self.0, Signal::INT | Signal::QUIT | Signal::HUP);
        match (self.is_orderly(), shares_terminal && by_key) {
            // Who offers nothing gets no requests that could be finished first.
            (true, false) if offers_something => Reaction::DrainThenPassOn,
            (_, false) => Reaction::PassOn,
            (true, true) if offers_something => Reaction::Drain,
            (_, true) => Reaction::Nothing,
        }
    }
}

/// Passes signals on until the program has ended.
pub(super) async fn until_ended(
    child: &mut Child,
    sidecar: &Sidecar,
    stops: &mut Stops,
    shares_terminal: bool,
) {
    let mut drained = false;
    loop {
        let stop = tokio::select! {
            biased;
            () = child.ended() => return,
            stop = stops.next() => stop,
        };
        match stop.reaction(shares_terminal, sidecar.offers_something() && !drained) {
            Reaction::PassOn => child.signal(stop.0),
            Reaction::Nothing => {}
            reaction @ (Reaction::Drain | Reaction::DrainThenPassOn) => {
                drained = true;
                // Whoever sends another signal does not want to wait.
                let next = tokio::select! {
                    biased;
                    () = child.ended() => return,
                    stop = stops.next() => Some(stop),
                    () = sidecar.drain_arriving() => None,
                };
                if reaction == Reaction::DrainThenPassOn {
                    child.signal(stop.0);
                }
                if let Some(next) =
                    next.filter(|next| next.reaction(shares_terminal, false) == Reaction::PassOn)
                {
                    child.signal(next.0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_requests_finishes_them_before_it_is_told_to_end() {
        assert_eq!(Stop(Signal::TERM).reaction(false, true), Reaction::DrainThenPassOn);
        assert_eq!(Stop(Signal::INT).reaction(false, true), Reaction::DrainThenPassOn);
        assert_eq!(Stop(Signal::TERM).reaction(false, false), Reaction::PassOn);
        assert_eq!(Stop(Signal::TERM).reaction(true, true), Reaction::DrainThenPassOn);
    }

    #[test]
    fn other_signals_go_on_at_once() {
        for signal in [Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2] {
            assert_eq!(Stop(signal).reaction(false, true), Reaction::PassOn);
        }
    }

    #[test]
    fn what_the_terminal_has_sent_is_not_sent_again() {
        assert_eq!(Stop(Signal::INT).reaction(true, true), Reaction::Drain);
        assert_eq!(Stop(Signal::INT).reaction(true, false), Reaction::Nothing);
        assert_eq!(Stop(Signal::HUP).reaction(true, true), Reaction::Nothing);
        assert_eq!(Stop(Signal::USR1).reaction(true, true), Reaction::PassOn);
    }

    #[test]
    fn the_exit_code_of_a_signal_is_the_shell_s() {
        assert_eq!(Stop(Signal::TERM).exit_code(), 143);
        assert_eq!(Stop(Signal::INT).exit_code(), 130);
    }
}
