//! The suite that `weft-verify hostile` sends to real processes, in memory: every case on both sides of a proxy.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_testkit::hostile::{self, Case, Seen, Version, answer, cases, end_of_request};

use super::network;
use super::side::both;
use super::world::*;
use crate::transport::within::Within;

/// An application that writes down the whole requests that it gets, and answers as the suite wants it.
fn application_of_the_suite() -> Rc<RefCell<Vec<Vec<u8>>>> {
    let seen = Rc::<RefCell<Vec<Vec<u8>>>>::default();
    let told = Rc::clone(&seen);
    network::listen(application_at(2), move |mut stream| {
        let told = Rc::clone(&told);
        async move {
            let mut bytes = Vec::new();
            while let Ok(1..) = stream.read_buf(&mut bytes).await {
                while let Some(end) = end_of_request(&bytes) {
                    let request: Vec<u8> = bytes.drain(..end).collect();
                    let (answer, ends) = answer(&request);
                    told.borrow_mut().push(request);
                    if stream.write_all(answer).await.is_err() || ends {
                        return;
                    }
                }
            }
        }
    });
    seen
}

/// What comes back for a case within some seconds.
async fn exchange(stream: Within, version: Version, case: &Case) -> Seen {
    let mut seen = Seen::default();
    let talk = hostile::exchange(stream, version, case, &mut seen);
    let _ended = tokio::time::timeout(Duration::from_secs(10), talk).await;
    seen
}

async fn all(version: Version) {
    both(async |side| {
        let requests = application_of_the_suite();
        let mut wrong = Vec::new();
        for case in cases(version) {
            let seen = exchange(side.connect().await, version, &case).await;
            let arrived = std::mem::take(&mut *requests.borrow_mut());
            if let Err(problem) = case.expected.verdict(&seen, &arrived) {
                wrong.push(format!("{}: {problem}; came: {seen}", case.name));
            }
        }
        assert!(wrong.is_empty(), "{:?}\n{}", side.direction, wrong.join("\n"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_case_of_http1_ends_as_its_standard_says() {
    all(Version::Http1).await;
}

#[tokio::test(start_paused = true)]
async fn every_case_of_http2_ends_as_its_standard_says() {
    assert!(cases(Version::Http2).len() > 43);
    all(Version::Http2).await;
}
