//! What excuses a failure and what doesn't, with evidence made by hand.

use super::*;
use crate::chaos::journal::Begun;
use crate::chaos::request::{Call, Kind, When};

/// What is known of requests, of which the first is judged. Instance `a` has trouble from second 10 to 20.
struct Case {
    trouble: Trouble,
    /// Whether `b` has it as well.
    both: bool,
    /// Attempts that `a` has begun.
    begun: usize,
    /// What the log says of all attempts; `None`: nothing.
    attempts: Option<u32>,
}

const CASE: Case = Case { trouble: Trouble::Hung, both: true, begun: 0, attempts: Some(1) };

fn seconds(at: u64) -> Duration {
    Duration::from_secs(at)
}

fn request(call: Call, at: u64, outcome: Outcome) -> Sent {
    let kind = Kind { service: Service::Http1, call };
    let (at, ended) = (seconds(at), seconds(at) + Duration::from_millis(50));
    Sent { number: 1, kind, at, ended, status: None, outcome }
}

impl Case {
    fn judged(&self, request: &Sent) -> Result<Option<Unavoidable>, String> {
        self.judged_among(std::slice::from_ref(request))
    }

    fn judged_among(&self, requests: &[Sent]) -> Result<Option<Unavoidable>, String> {
        let request = &requests[0];
        let instances = ["a".to_owned(), "b".to_owned()];
        let attempt = (0, Begun { at: request.at, answering: None });
        let mut records = Records::new();
        if self.begun > 0 {
            records.insert(1, vec![attempt; self.begun]);
        }
        let window =
            |instance| FaultWindow { instance, trouble: self.trouble, from: seconds(10), to: seconds(20) };
        let windows: Vec<_> = (0..=usize::from(self.both)).map(window).collect();
        let line = |attempts| Logged { attempts, workload: "a".to_owned(), ..Logged::default() };
        let log: Lines = self.attempts.map(|attempts| (1, vec![line(attempts)])).into_iter().collect();
        let traffic = Traffic::of(requests);
        Evidence { records: &records, windows: &windows, log: &log, instances: &instances, traffic: &traffic }
            .fate(request)
    }
}

fn refused(reason: &str) -> Outcome {
    Outcome::Refused(reason.to_owned())
}

fn failed() -> Outcome {
    Outcome::Failed("status 500".to_owned())
}

#[test]
fn what_must_not_be_repeated_may_fail_while_its_instance_is_in_trouble() {
    let reset = |at| request(Call::Put, at, refused("upstream_reset"));
    let begun = Case { begun: 1, ..CASE };
    assert_eq!(begun.judged(&reset(15)), Ok(Some(Unavoidable::Begun)));
    assert_eq!(CASE.judged(&reset(15)), Ok(Some(Unavoidable::MayHaveBegun)));
    assert!(begun.judged(&reset(5)).is_err(), "its instance was well");
    assert!(begun.judged(&reset(30)).is_err(), "its instance was well again");
}

#[test]
fn what_reached_nobody_may_fail_only_when_nobody_was_well() {
    for reason in ["connect_failed", "no_endpoints"] {
        let unreached = request(Call::Put, 15, refused(reason));
        assert_eq!(
            Case { attempts: Some(6), ..CASE }.judged(&unreached),
            Ok(Some(Unavoidable::AttemptsMade))
        );
        assert_eq!(Case { attempts: Some(2), ..CASE }.judged(&unreached), Ok(Some(Unavoidable::Budget)));
        for attempts in [2, 6] {
            let avoidable = Case { attempts: Some(attempts), both: false, ..CASE }.judged(&unreached);
            assert_eq!(avoidable, Err(format!("{reason}, though b was well")));
        }
        let late = Sent { ended: unreached.at + Call::Put.time(), ..unreached };
        assert_eq!(Case { both: false, ..CASE }.judged(&late), Ok(Some(Unavoidable::TimeOver)));
    }
}

#[test]
fn what_may_be_repeated_may_fail_only_by_the_bounds() {
    let repeatable = request(Call::Get, 15, refused("upstream_reset"));
    let after = |attempts| Case { attempts: Some(attempts), ..CASE }.judged(&repeatable);
    assert_eq!(after(3), Ok(Some(Unavoidable::Budget)));
    assert_eq!(after(4), Ok(Some(Unavoidable::AttemptsMade)));
}

#[test]
fn an_application_may_answer_that_it_failed_only_while_it_does_so_with_everything() {
    let failing = Case { trouble: Trouble::Failing, ..CASE };
    assert_eq!(failing.judged(&request(Call::Put, 15, failed())), Ok(Some(Unavoidable::Answered)));
    assert_eq!(failing.judged(&request(Call::Get, 15, failed())), Ok(Some(Unavoidable::Budget)));
    assert!(failing.judged(&request(Call::Put, 5, failed())).is_err(), "it did not fail then");
    assert!(CASE.judged(&request(Call::Put, 15, failed())).is_err(), "it was hung, and failed nothing");
}

#[test]
fn the_limit_refuses_only_where_more_is_under_way() {
    let case = Case { attempts: Some(0), ..CASE };
    let mut requests = vec![request(Call::Get, 15, refused(LIMITED)); MAX_REQUESTS as usize];
    assert!(case.judged_among(&requests).is_err());
    let left = request(Call::Get, 14, Outcome::Left(When::BeforeHead));
    requests.push(Sent { ended: Duration::from_millis(14_800), ..left });
    // Who has left may still take a place.
    assert_eq!(case.judged_among(&requests), Ok(Some(Unavoidable::Limit)));
    requests[0].outcome = refused("overloaded");
    assert_ne!(case.judged_among(&requests), Ok(Some(Unavoidable::Limit)), "whoever sheds load has no limit");
}

#[test]
fn nothing_excuses_what_is_lost_mixed_up_or_processed_twice() {
    let begun = |begun| Case { begun, ..CASE };
    for outcome in [Outcome::Lost(String::new()), Outcome::Mixed(String::new())] {
        assert!(begun(1).judged(&request(Call::Get, 15, outcome)).is_err());
    }
    let answered = |call| request(call, 15, Outcome::Answered("a".to_owned()));
    assert_eq!(begun(2).judged(&answered(Call::Get)), Ok(None));
    assert!(begun(2).judged(&answered(Call::Put)).is_err());
    let mut left = request(Call::Leave(When::InBody), 15, Outcome::Left(When::InBody));
    assert_eq!(begun(2).judged(&left), Ok(None));
    left.kind.service = Service::Grpc;
    assert_eq!(begun(1).judged(&left), Ok(None));
    assert!(begun(2).judged(&left).is_err(), "a call of gRPC is no GET");
    assert!(CASE.judged(&answered(Call::Put)).is_err(), "nobody has begun it");
    let torn = |at| request(Call::Get, at, Outcome::Torn("a".to_owned()));
    assert_eq!(begun(1).judged(&torn(21)), Ok(Some(Unavoidable::AnswerBegun)));
    assert!(begun(1).judged(&torn(5)).is_err());
    assert_eq!(CASE.judged(&request(Call::Get, 15, Outcome::Reset)), Ok(Some(Unavoidable::AnswerBegun)));
    assert!(CASE.judged(&request(Call::Get, 5, Outcome::Reset)).is_err());
}

#[test]
fn a_failure_of_which_the_log_says_nothing_is_a_fault() {
    let silent = Case { attempts: None, ..CASE };
    for outcome in [refused("upstream_reset"), failed()] {
        assert!(silent.judged(&request(Call::Put, 15, outcome)).is_err());
    }
}
