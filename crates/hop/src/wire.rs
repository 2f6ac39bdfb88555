//! Reading and writing the numbers and strings that blocks are made of.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error::HeadError;

/// A bounds-checked cursor over one received block.
///
/// What it hands out are slices of the block, so reading copies nothing.
pub(crate) struct Reader<'a> {
    source: &'a Bytes,
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(source: &'a Bytes) -> Self {
        Self { source, at: 0, end: source.len() }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.end - self.at
    }

    pub(crate) fn octet(&mut self) -> Result<u8, HeadError> {
        let octet = *self.bytes(1)?.first().ok_or(HeadError::Truncated)?;
        Ok(octet)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, HeadError> {
        Ok(self.bytes(2)?.get_u16())
    }

    pub(crate) fn u32(&mut self) -> Result<u32, HeadError> {
        Ok(self.bytes(4)?.get_u32())
    }

    /// The next `count` octets.
    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], HeadError> {
        let range = self.advance(count)?;
        self.source.get(range).ok_or(HeadError::Truncated)
    }

    /// The next `count` octets as a slice that shares the block's memory.
    pub(crate) fn shared(&mut self, count: usize) -> Result<Bytes, HeadError> {
        let range = self.advance(count)?;
        Ok(self.source.slice(range))
    }

    /// A reader over the next `count` octets, which this one then skips.
    pub(crate) fn nested(&mut self, count: usize) -> Result<Reader<'a>, HeadError> {
        let range = self.advance(count)?;
        Ok(Reader { source: self.source, at: range.start, end: range.end })
    }

    /// A number of 7 bits an octet, least significant first; the top bit says that more follow.
    pub(crate) fn varint(&mut self) -> Result<u64, HeadError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let octet = self.octet()?;
            let bits = u64::from(octet & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(HeadError::Malformed("a number of more than 64 bits"));
            }
            value |= bits << shift;
            if octet & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(HeadError::Malformed("a number of more than ten octets"))
    }

    /// A length that fits into what is left of the block.
    pub(crate) fn length(&mut self) -> Result<usize, HeadError> {
        let length = usize::try_from(self.varint()?).map_err(|_| HeadError::Truncated)?;
        if length > self.remaining() { Err(HeadError::Truncated) } else { Ok(length) }
    }

    /// A length and as many octets.
    pub(crate) fn string(&mut self) -> Result<Bytes, HeadError> {
        let length = self.length()?;
        self.shared(length)
    }

    fn advance(&mut self, count: usize) -> Result<std::ops::Range<usize>, HeadError> {
        if count > self.remaining() {
            return Err(HeadError::Truncated);
        }
        let range = self.at..self.at + count;
        self.at = range.end;
        Ok(range)
    }
}

/// Writes `value` in the form that [`Reader::varint`] reads.
pub(crate) fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Writes a length and the octets.
pub(crate) fn put_string(out: &mut BytesMut, string: &[u8]) {
    put_varint(out, string.len() as u64);
    out.put_slice(string);
}

/// The number of octets that [`put_varint`] writes for `value`.
pub(crate) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_reads_as_it_was_written(value: u64, shift in 0_u32..64) {
            let value = value >> shift;
            let mut out = BytesMut::new();
            put_varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_len(value));
            let block = out.freeze();
            let mut reader = Reader::new(&block);
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert_eq!(reader.remaining(), 0);
        }
    }

    #[test]
    fn a_number_that_does_not_fit_is_refused() {
        for octets in [[0xff_u8; 10], [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2]] {
            let block = Bytes::copy_from_slice(&octets);
            assert!(matches!(Reader::new(&block).varint(), Err(HeadError::Malformed(_))));
        }
    }

    #[test]
    fn reading_past_the_end_is_refused_and_moves_nothing() {
        let block = Bytes::from_static(&[5, 1, 2]);
        let mut reader = Reader::new(&block);
        assert_eq!(reader.bytes(4), Err(HeadError::Truncated));
        assert_eq!(reader.string(), Err(HeadError::Truncated));
        assert_eq!(reader.remaining(), 2);
    }
}
