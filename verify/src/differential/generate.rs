//! Making exchanges out of a seed and a number, so that each can be made again alone.

use fastrand::Rng;

use super::answer::Answer;
use super::case::{Backend, Case, Coding, Door, Request, Script, Sent, Step};
use super::message::{Fields, Version};
use super::mutations::{On, answers, frames, malformed, octets, pick, requests};

/// Exchanges that neither a request nor an answer alone makes.
const SPECIAL: [&str; 3] =
    ["requests in a row", "Upgrade that is taken", "requests in a row, the first malformed"];
/// How often the well-formed ones come for each malformed one.
const OFTEN: usize = 3;

/// How many exchanges it takes until every point has come.
pub(crate) fn round() -> usize {
    OFTEN * requests::POINTS.len()
        + 2 * answers::POINTS.len()
        + SPECIAL.len()
        + malformed::POINTS.len()
        + frames::POINTS.len()
}

/// The exchange of this number.
pub(crate) fn case(seed: u64, number: u64) -> Case {
    // Neighbouring seeds give similar beginnings, so that some are thrown away.
    let mut rng =
        Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number.wrapping_mul(0xd134_2543_de82_ef95));
    (0..8).for_each(|_| _ = rng.u64(..));
    let mut index = (number % round() as u64) as usize;
    let lengths =
        [OFTEN * requests::POINTS.len(), 2 * answers::POINTS.len(), SPECIAL.len(), malformed::POINTS.len()];
    for (kind, length) in lengths.into_iter().enumerate() {
        if index < length {
            return match kind {
                0 => with_request(number, index % requests::POINTS.len(), &mut rng),
                1 => with_answer(number, index % answers::POINTS.len(), &mut rng),
                2 => special(number, SPECIAL[index], &mut rng),
                _ => with_malformed(number, index, &mut rng),
            };
        }
        index -= length;
    }
    let point = &frames::POINTS[index];
    let mut bytes = Vec::new();
    (point.apply)(&mut bytes, &mut rng);
    let case = ordinary(number, point.name, Backend::One, Sent::Frames(bytes), &mut rng);
    Case { door: door(&mut rng), ..case }
}

/// An exchange without anything out of the ordinary.
pub(crate) fn plain(backend: Backend, door: Door) -> Case {
    let mut rng = Rng::with_seed(0);
    let raw = request(backend, false, &mut rng).raw();
    Case { door, ..ordinary(0, "plain", backend, Sent::Http1(raw.script(&[])), &mut rng) }
}

fn ordinary(number: u64, point: &'static str, backend: Backend, sent: Sent, rng: &mut Rng) -> Case {
    Case { number, point, door: Door::Fixed, backend, sent, answer: answer(rng) }
}

fn door(rng: &mut Rng) -> Door {
    if rng.bool() { Door::Host } else { Door::Fixed }
}

fn speaks_http2(on: On, rng: &mut Rng) -> bool {
    match on {
        On::Both => rng.u8(..10) < 4,
        On::Http1 => false,
        On::Http2 => true,
    }
}

fn with_request(number: u64, index: usize, rng: &mut Rng) -> Case {
    let point = &requests::POINTS[index];
    let http2 = speaks_http2(point.on, rng);
    let backend = if matches!(point.name, "routes" | "body in small chunks") || rng.u8(..10) < 7 {
        Backend::One
    } else {
        Backend::Three
    };
    let mut request = request(backend, http2, rng);
    (point.apply)(&mut request, rng);
    let sent = sent(request, http2, rng);
    Case { door: door(rng), ..ordinary(number, point.name, backend, sent, rng) }
}

fn with_answer(number: u64, index: usize, rng: &mut Rng) -> Case {
    let point = &answers::POINTS[index];
    // What HTTP/2 can't say has to come from an application of HTTP/1, and directly to a client of HTTP/1.
    let http2 = point.on == On::Both && speaks_http2(point.on, rng);
    let backend = if point.on == On::Http1 || rng.u8(..10) < 7 { Backend::One } else { Backend::Three };
    let request = request(backend, http2, rng);
    let sent = sent(request, http2, rng);
    let mut case = Case { door: door(rng), ..ordinary(number, point.name, backend, sent, rng) };
    (point.apply)(&mut case.answer, rng);
    case
}

fn with_malformed(number: u64, index: usize, rng: &mut Rng) -> Case {
    let point = &malformed::POINTS[index];
    let mut raw = request(Backend::One, false, rng).raw();
    (point.apply)(&mut raw, rng);
    let sent = Sent::Http1(raw.script(&[]));
    Case { door: door(rng), ..ordinary(number, point.name, Backend::One, sent, rng) }
}

fn special(number: u64, name: &'static str, rng: &mut Rng) -> Case {
    if name == "Upgrade that is taken" {
        let mut request = request(Backend::One, false, rng);
        request.method = "GET".into();
        request.coding = Coding::None;
        let token = pick(rng, &["websocket", "something/1"]);
        request.fields.push("Connection", "Upgrade");
        request.fields.push("Upgrade", token);
        let mut script = request.raw().script(&[]);
        let length = rng.usize(1..3000);
        script.tunnel = octets(rng, length);
        let mut case = ordinary(number, name, Backend::One, Sent::Http1(script), rng);
        case.answer = Answer { status: 101, reason: "Switching Protocols".to_owned(), ..Answer::default() };
        case.answer.coding = Coding::None;
        case.answer.fields = Fields::of(&[("Upgrade", token), ("Connection", "Upgrade")]);
        return case;
    }
    let count = rng.usize(2..5);
    let mut row: Vec<_> = (0..count).map(|_| request(Backend::One, false, rng).raw()).collect();
    if name != SPECIAL[0]
        && let Some(first) = row.first_mut()
    {
        first.line = b"POST /plain HTTP/1.1".to_vec();
        first.framed(&["Content-Length: 5", "Transfer-Encoding: chunked"], "0\r\n\r\n");
    }
    let heads = row.iter().map(|raw| raw.is_head).collect();
    let bytes = row.iter().flat_map(|raw| [raw.head(), raw.body.clone()].concat()).collect();
    let script = Script { steps: vec![Step::Send(bytes)], heads, tunnel: Vec::new(), probes: true };
    ordinary(number, name, Backend::One, Sent::Http1(script), rng)
}

fn sent(request: Request, http2: bool, rng: &mut Rng) -> Sent {
    if http2 {
        return Sent::Http2(request);
    }
    let cuts: Vec<usize> = (0..rng.usize(..3)).map(|_| rng.usize(1..200)).collect();
    Sent::Http1(request.raw().script(&cuts))
}

/// A request as there are many.
fn request(backend: Backend, http2: bool, rng: &mut Rng) -> Request {
    let posts = rng.u8(..10) < 3;
    let length = if posts { rng.usize(1..2000) } else { 0 };
    let mut fields = Fields::default();
    fields.push("User-Agent", "differ");
    fields.push("Accept", "*/*");
    for _ in 0..rng.usize(..4) {
        let (name, value) = pick(
            rng,
            &[
                ("X-Plain", "1"),
                ("Accept-Encoding", "gzip"),
                ("X-User", "tester"),
                ("Cache-Control", "no-cache"),
            ],
        );
        fields.push(name, value);
    }
    Request {
        version: if http2 { Version::Http2 } else { Version::Http11 },
        method: if posts { "POST" } else { "GET" }.to_owned(),
        target: pick(rng, &["/plain", "/plain/deeper", "/plain?a=b", "/other"]).to_owned(),
        authority: backend.name().to_owned(),
        fields,
        body: octets(rng, length),
        coding: match (posts, rng.bool()) {
            (false, _) => Coding::None,
            (true, true) => Coding::Length,
            (true, false) => Coding::Chunked,
        },
        trailers: Fields::default(),
        pieces: vec![rng.usize(1..1000), rng.usize(1..5000)],
        expects: false,
    }
}

/// An answer as there are many.
fn answer(rng: &mut Rng) -> Answer {
    let length = rng.usize(1..3000);
    let mut answer = Answer { body: octets(rng, length), ..Answer::default() };
    answer.fields.push("Content-Type", "application/octet-stream");
    answer.fields.push("X-App", "1");
    answer.fields.push("X-Gone", "1");
    answer.pieces = vec![rng.usize(1..1500), rng.usize(1..1500)];
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_can_be_made_again_and_every_point_comes_in_a_round() {
        let mut points = std::collections::BTreeSet::new();
        for number in 0..round() as u64 {
            let case = case(7, number);
            assert_eq!(format!("{case:?}"), format!("{:?}", super::case(7, number)));
            points.insert(case.point);
        }
        let named = requests::POINTS
            .iter()
            .map(|point| point.name)
            .chain(answers::POINTS.iter().map(|point| point.name));
        let named = named.chain(malformed::POINTS.iter().map(|point| point.name));
        let named = named.chain(frames::POINTS.iter().map(|point| point.name)).chain(SPECIAL);
        let missing: Vec<_> = named.filter(|name| !points.contains(name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
