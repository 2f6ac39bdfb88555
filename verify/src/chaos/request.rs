//! What clients ask for, and what became of it.

use std::time::Duration;

/// A service, by what is spoken to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Service {
    Http1,
    Http2,
    Grpc,
    /// The calls of gRPC that may be repeated.
    Reads,
}

impl Service {
    pub(super) const COUNT: usize = 4;
    pub(super) const ALL: [Self; Self::COUNT] = [Self::Http1, Self::Http2, Self::Grpc, Self::Reads];

    /// Its name in the mesh.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Reads => "reads",
        }
    }

    /// Its name and port in the mesh. What a workload takes is told by port.
    pub(super) fn authority(self) -> &'static str {
        match self {
            Self::Http1 => "http1:80",
            Self::Http2 => "http2:81",
            Self::Grpc => "grpc:82",
            Self::Reads => "reads:83",
        }
    }

    /// What it is declared to speak.
    pub(super) fn protocol(self) -> &'static str {
        match self {
            Self::Http1 => "http",
            Self::Http2 => "http2",
            Self::Grpc | Self::Reads => "grpc",
        }
    }

    pub(super) fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc | Self::Reads)
    }

    /// The value of the labels `destination` and `backend`.
    pub(super) fn label(self) -> String {
        format!("default/{}", self.authority())
    }
}

/// When a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum When {
    BeforeHead,
    /// Without having read anything of the body.
    AfterHead,
    InBody,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    /// What the routes let be repeated.
    Get,
    /// What has a body and must not be repeated.
    Put,
    /// An answer that is longer than every window, of which the client reads nothing for a while.
    Large,
    /// An answer that the client does not wait for: it cancels.
    Leave(When),
}

impl Call {
    const ALL: [Self; 6] = [
        Self::Get,
        Self::Put,
        Self::Large,
        Self::Leave(When::BeforeHead),
        Self::Leave(When::AfterHead),
        Self::Leave(When::InBody),
    ];

    /// For paths: the name of the method, as gRPC has it.
    fn name(self) -> &'static str {
        match self {
            Self::Get => "Get",
            Self::Put => "Put",
            Self::Large => "Large",
            Self::Leave(When::BeforeHead) => "Silent",
            Self::Leave(When::AfterHead) => "Endless",
            Self::Leave(When::InBody) => "Longest",
        }
    }

    /// Where it is asked for, whatever is spoken.
    pub(super) fn path(self) -> String {
        format!("/chaos.Chaos/{}", self.name())
    }

    /// What is asked for at a path.
    pub(super) fn of_path(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next()?;
        Self::ALL.into_iter().find(|call| call.name() == name)
    }

    /// How long it may take by its route.
    pub(super) fn time(self) -> Duration {
        Duration::from_secs(match self {
            Self::Get => 5,
            Self::Put => 3,
            Self::Large | Self::Leave(_) => 8,
        })
    }

    /// Whether its route lets it be repeated though an application may have begun it.
    pub(super) fn is_retriable(self) -> bool {
        self == Self::Get
    }

    /// For reports.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Get => "may be repeated",
            Self::Put => "must not be repeated",
            Self::Large => "large, read late",
            Self::Leave(When::BeforeHead) => "cancelled before the head",
            Self::Leave(When::AfterHead) => "cancelled after the head",
            Self::Leave(When::InBody) => "cancelled in the middle of the body",
        }
    }
}

/// A call to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub(super) service: Service,
    pub(super) call: Call,
}

impl Kind {
    /// For messages.
    pub(super) fn describe(self) -> String {
        format!("{}: {}", self.service.name(), self.call.describe())
    }

    /// Whether there is such a call to the service.
    fn is_made(self) -> bool {
        match self.service {
            Service::Http1 | Service::Http2 => true,
            Service::Grpc => self.call != Call::Get,
            Service::Reads => self.call == Call::Get,
        }
    }

    /// Whether it must not be begun twice. A GET may be where a connection that is kept for later turns out to be closed
    /// (RFC 9110 section 9.2.2).
    pub(super) fn is_once(self) -> bool {
        self.call == Call::Put || self.service == Service::Grpc
    }

    /// What is sent again and again: of each service several that are read at once, one for each way to leave, and once in a
    /// while one that is read late.
    pub(super) fn mix() -> Vec<Self> {
        let leaving = [When::BeforeHead, When::AfterHead, When::InBody].map(Call::Leave);
        let ordinary = [[Call::Get; 5], [Call::Put; 5]].concat();
        let once = [ordinary, leaving.into()].concat();
        let calls = [once.clone(), once.clone(), once, vec![Call::Large]].concat();
        to_all(calls).collect()
    }

    /// What comes in bursts.
    pub(super) fn ordinary() -> impl Iterator<Item = Self> + Clone {
        to_all(vec![Call::Get, Call::Put])
    }
}

/// Calls to each service that has them.
fn to_all(calls: Vec<Call>) -> impl Iterator<Item = Kind> + Clone {
    let all = calls.into_iter().flat_map(|call| Service::ALL.map(|service| Kind { service, call }));
    all.filter(|kind| kind.is_made())
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The whole answer of this instance.
    Answered(String),
    /// The whole answer of an application that says that it failed: with this status of HTTP, or of gRPC.
    Failed(String),
    /// An answer that a proxy gave, with the reason that it says.
    Refused(String),
    /// The answer of this instance began and broke off.
    Torn(String),
    /// The proxy reset the stream, or closed the connection, before the client had got a head.
    Reset,
    /// The client left, as it had meant to.
    Left(When),
    /// Nothing came, or not in time.
    Lost(String),
    /// Something came that is not the answer to this request.
    Mixed(String),
}

/// A request that was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) number: u64,
    pub(super) kind: Kind,
    pub(super) at: Duration,
    pub(super) ended: Duration,
    /// Of the answer's head; `None`: the client has got none.
    pub(super) status: Option<u16>,
    pub(super) outcome: Outcome,
}

impl Sent {
    /// How long it took.
    pub(super) fn took(&self) -> Duration {
        self.ended.saturating_sub(self.at)
    }

    /// Whether its client has got what it wanted, if that was to leave.
    pub(super) fn is_well(&self) -> bool {
        matches!(self.outcome, Outcome::Answered(_) | Outcome::Left(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_is_known_by_its_path() {
        for call in Call::ALL {
            assert_eq!(Call::of_path(&call.path()), Some(call));
        }
        assert_eq!(Call::of_path("/"), None);
    }

    #[test]
    fn every_call_to_every_service_is_in_the_mix() {
        let mix: std::collections::BTreeSet<_> = Kind::mix().into_iter().collect();
        assert_eq!(mix.len(), 2 * Call::ALL.len() + (Call::ALL.len() - 1) + 1);
    }
}
