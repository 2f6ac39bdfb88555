//! Metadata as tags, lengths and values.

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    Destination, EndpointLoad, FaultMarks, RequestMetadata, ResponseMarks, ResponseMetadata, RetryState,
    Route, Text, TraceContext,
};
use crate::error::HeadError;
use crate::wire::{Reader, put_varint, varint_len};

const DESTINATION: u8 = 1;
const ROUTE: u8 = 2;
const ATTEMPT: u8 = 3;
const DEADLINE: u8 = 4;
const TRACE: u8 = 5;
const SAMPLED: u8 = 6;
const FAULTS: u8 = 7;
const RETRY: u8 = 8;
const MIRRORED: u8 = 9;
const ANSWER_CREDIT: u8 = 10;
const BODY_CREDIT: u8 = 11;

const LOAD: u8 = 32;
const MARKS: u8 = 33;
const ATTEMPTS: u8 = 34;

/// Octets of a tag and a length below 128.
const SHORT_ITEM: usize = 2;

fn put_item(out: &mut BytesMut, tag: u8, length: usize) {
    out.put_u8(tag);
    put_varint(out, length as u64);
}

fn put_number(out: &mut BytesMut, tag: u8, value: u64) {
    put_item(out, tag, varint_len(value));
    put_varint(out, value);
}

fn put_octet(out: &mut BytesMut, tag: u8, value: u8) {
    put_item(out, tag, 1);
    out.put_u8(value);
}

fn put_named(out: &mut BytesMut, tag: u8, number: u16, name: &Text) {
    put_item(out, tag, 2 + name.as_bytes().len());
    out.put_u16(number);
    out.put_slice(name.as_bytes());
}

fn named_len(name: &Text) -> usize {
    let value = 2 + name.as_bytes().len();
    1 + varint_len(value as u64) + value
}

fn number_len(value: u64) -> usize {
    SHORT_ITEM + varint_len(value)
}

impl RequestMetadata {
    /// Appends the metadata to `out`, with its length in front.
    pub fn encode(&self, out: &mut BytesMut) {
        put_varint(out, self.encoded_len() as u64);
        if let Some(destination) = &self.destination {
            put_named(out, DESTINATION, destination.port, &destination.service);
        }
        if let Some(route) = &self.route {
            put_named(out, ROUTE, route.rule, &route.name);
        }
        if let Some(attempt) = self.attempt {
            put_number(out, ATTEMPT, attempt.into());
        }
        if let Some(deadline) = self.deadline_micros {
            put_number(out, DEADLINE, deadline);
        }
        if let Some(trace) = &self.trace {
            put_item(out, TRACE, 25);
            out.put_slice(&trace.trace);
            out.put_slice(&trace.span);
            out.put_u8(trace.flags);
        }
        if self.sampled {
            put_octet(out, SAMPLED, 1);
        }
        if !self.faults.is_empty() {
            put_octet(out, FAULTS, self.faults.bits());
        }
        if !self.retry.is_empty() {
            put_octet(out, RETRY, self.retry.bits());
        }
        if self.mirrored {
            put_octet(out, MIRRORED, 1);
        }
        if let Some(credit) = self.answer_credit {
            put_number(out, ANSWER_CREDIT, credit.into());
        }
        if let Some(credit) = self.body_credit {
            put_number(out, BODY_CREDIT, credit.into());
        }
    }

    fn encoded_len(&self) -> usize {
        let octets = [self.sampled, !self.faults.is_empty(), !self.retry.is_empty(), self.mirrored];
        self.destination.as_ref().map_or(0, |destination| named_len(&destination.service))
            + self.route.as_ref().map_or(0, |route| named_len(&route.name))
            + self.attempt.map_or(0, |attempt| number_len(attempt.into()))
            + self.deadline_micros.map_or(0, number_len)
            + self.trace.map_or(0, |_| SHORT_ITEM + 25)
            + self.answer_credit.map_or(0, |credit| number_len(credit.into()))
            + self.body_credit.map_or(0, |credit| number_len(credit.into()))
            + octets.into_iter().filter(|present| *present).count() * (SHORT_ITEM + 1)
    }

    /// Reads what [`RequestMetadata::encode`] writes, and nothing behind it. Names share the memory of `octets`.
    pub fn decode(octets: &Bytes) -> Result<Self, HeadError> {
        Self::read(&mut Reader::new(octets))
    }

    /// Reads what [`RequestMetadata::encode`] writes, skipping unknown tags.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, HeadError> {
        let mut metadata = Self::default();
        items(reader, |tag, value| {
            match tag {
                DESTINATION => {
                    let (port, service) = named(value)?;
                    metadata.destination = Some(Destination { service, port });
                }
                ROUTE => {
                    let (rule, name) = named(value)?;
                    metadata.route = Some(Route { name, rule });
                }
                ATTEMPT => metadata.attempt = Some(small_number(value)?),
                DEADLINE => metadata.deadline_micros = Some(value.varint()?),
                TRACE => metadata.trace = Some(trace(value)?),
                SAMPLED => metadata.sampled = value.octet()? != 0,
                FAULTS => metadata.faults = FaultMarks::from_bits(value.octet()?),
                RETRY => metadata.retry = RetryState::from_bits(value.octet()?),
                MIRRORED => metadata.mirrored = value.octet()? != 0,
                ANSWER_CREDIT => metadata.answer_credit = Some(small_number(value)?),
                BODY_CREDIT => metadata.body_credit = Some(small_number(value)?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(metadata)
    }
}

impl ResponseMetadata {
    /// Appends the metadata to `out`, with its length in front.
    pub fn encode(&self, out: &mut BytesMut) {
        let length = self.load.map_or(0, |_| SHORT_ITEM + 8)
            + if self.marks.is_empty() { 0 } else { SHORT_ITEM + 1 }
            + self.attempts.map_or(0, |attempts| number_len(attempts.into()));
        put_varint(out, length as u64);
        if let Some(load) = self.load {
            put_item(out, LOAD, 8);
            out.put_u32(load.in_flight);
            out.put_u32(load.latency_micros);
        }
        if !self.marks.is_empty() {
            put_octet(out, MARKS, self.marks.bits());
        }
        if let Some(attempts) = self.attempts {
            put_number(out, ATTEMPTS, attempts.into());
        }
    }

    /// Reads what [`ResponseMetadata::encode`] writes, and nothing behind it. Names share the memory of `octets`.
    pub fn decode(octets: &Bytes) -> Result<Self, HeadError> {
        Self::read(&mut Reader::new(octets))
    }

    /// Reads what [`ResponseMetadata::encode`] writes, skipping unknown tags.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, HeadError> {
        let mut metadata = Self::default();
        items(reader, |tag, value| {
            match tag {
                LOAD => {
                    let in_flight = value.u32()?;
                    metadata.load = Some(EndpointLoad { in_flight, latency_micros: value.u32()? });
                }
                MARKS => metadata.marks = ResponseMarks::from_bits(value.octet()?),
                ATTEMPTS => metadata.attempts = Some(small_number(value)?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(metadata)
    }
}

/// Skips metadata where no tag has a meaning yet.
pub(crate) fn skip(reader: &mut Reader<'_>) -> Result<(), HeadError> {
    items(reader, |_, _| Ok(()))
}

/// Calls `item` with each tag and a reader over its value.
fn items<'a>(
    reader: &mut Reader<'a>,
    mut item: impl FnMut(u8, &mut Reader<'a>) -> Result<(), HeadError>,
) -> Result<(), HeadError> {
    let length = reader.length()?;
    let mut items = reader.nested(length)?;
    while items.remaining() > 0 {
        let tag = items.octet()?;
        let length = items.length()?;
        item(tag, &mut items.nested(length)?)?;
    }
    Ok(())
}

fn named(value: &mut Reader<'_>) -> Result<(u16, Text), HeadError> {
    let number = value.u16()?;
    let name = value.shared(value.remaining())?;
    let name = Text::try_from(name).map_err(|_| HeadError::Malformed("a name that is not UTF-8"))?;
    Ok((number, name))
}

fn small_number(value: &mut Reader<'_>) -> Result<u32, HeadError> {
    u32::try_from(value.varint()?).map_err(|_| HeadError::Malformed("a count of more than 32 bits"))
}

fn trace(value: &mut Reader<'_>) -> Result<TraceContext, HeadError> {
    let (trace, span) = (value.bytes(16)?, value.bytes(8)?);
    Ok(TraceContext {
        trace: trace.try_into().map_err(|_| HeadError::Truncated)?,
        span: span.try_into().map_err(|_| HeadError::Truncated)?,
        flags: value.octet()?,
    })
}
