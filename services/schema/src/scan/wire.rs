//! Reading the protobuf wire format, as strictly as its specification allows.
//!
//! **Source:** <https://protobuf.dev/programming-guides/encoding/>.

/// The largest field number.
const FIELD_NUMBER_MAX: u64 = (1 << 29) - 1;

/// How a value lies on the wire. Groups are absent: proto3 has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WireType {
    Varint,
    Fixed64,
    Len,
    Fixed32,
}

/// A field's number and wire type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag {
    pub(super) number: u32,
    pub(super) wire: WireType,
}

/// Why bytes cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// A value runs past the end of its message.
    Truncated,
    /// A varint takes more than ten bytes or 64 bits.
    VarintOverflow,
    /// A field number is zero or above 2^29 - 1.
    FieldNumber,
    /// A group, or one of the two wire types that nothing defines.
    WireType,
}

/// A place in a payload.
#[derive(Clone, Copy)]
pub(super) struct Reader<'b> {
    bytes: &'b [u8],
    /// How far it was read. **Units:** bytes.
    pub(super) at: usize,
}

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Reads a tag that ends before `end`.
    pub(super) fn tag(&mut self, end: usize) -> Result<Tag, Broken> {
        let tag = self.varint(end)?;
        let number = tag >> 3;
        if number == 0 || number > FIELD_NUMBER_MAX {
            return Err(Broken::FieldNumber);
        }
        let wire = match tag & 7 {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            2 => WireType::Len,
            5 => WireType::Fixed32,
            _ => return Err(Broken::WireType),
        };
        Ok(Tag { number: u32::try_from(number).expect("it was just compared with the maximum"), wire })
    }

    /// Reads a varint that ends before `end`. Superfluous zero groups are allowed, as in protobuf.
    #[inline]
    pub(super) fn varint(&mut self, end: usize) -> Result<u64, Broken> {
        let rest = &self.bytes[self.at..end];
        match rest.first() {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            Some(_) => self.long_varint(rest),
            None => Err(Broken::Truncated),
        }
    }

    fn long_varint(&mut self, rest: &[u8]) -> Result<u64, Broken> {
        let mut value = 0;
        for (index, &byte) in rest.iter().take(10).enumerate() {
            if index == 9 && byte > 1 {
                return Err(Broken::VarintOverflow);
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.at += index + 1;
                return Ok(value);
            }
        }
        Err(Broken::Truncated)
    }

    /// Reads a length and gives where what follows it ends, at most `end`.
    pub(super) fn len_end(&mut self, end: usize) -> Result<usize, Broken> {
        let len = self.varint(end)?;
        match usize::try_from(len).ok().and_then(|len| self.at.checked_add(len)) {
            Some(inner_end) if inner_end <= end => Ok(inner_end),
            Some(_) | None => Err(Broken::Truncated),
        }
    }

    /// Passes over a value of the given wire type.
    pub(super) fn skip(&mut self, wire: WireType, end: usize) -> Result<(), Broken> {
        match wire {
            WireType::Varint => self.varint(end).map(|_| ()),
            WireType::Fixed64 => self.fixed(8, end),
            WireType::Fixed32 => self.fixed(4, end),
            WireType::Len => {
                self.at = self.len_end(end)?;
                Ok(())
            }
        }
    }

    /// Takes the bytes up to `end`.
    pub(super) fn take(&mut self, end: usize) -> &'b [u8] {
        let taken = &self.bytes[self.at..end];
        self.at = end;
        taken
    }

    fn fixed(&mut self, width: usize, end: usize) -> Result<(), Broken> {
        if end - self.at < width {
            return Err(Broken::Truncated);
        }
        self.at += width;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn varint(bytes: &[u8]) -> Result<u64, Broken> {
        Reader::new(bytes, 0).varint(bytes.len())
    }

    #[test]
    fn varints_are_read_up_to_64_bits() {
        assert_eq!(varint(&[0]), Ok(0));
        assert_eq!(varint(&[0x96, 0x01]), Ok(150));
        assert_eq!(varint(&[0x80, 0x80, 0x00]), Ok(0));
        let mut max = [0xff; 10];
        max[9] = 1;
        assert_eq!(varint(&max), Ok(u64::MAX));
        max[9] = 2;
        assert_eq!(varint(&max), Err(Broken::VarintOverflow));
        assert_eq!(varint(&[0x80; 11]), Err(Broken::VarintOverflow));
        assert_eq!(varint(&[0x80; 9]), Err(Broken::Truncated));
        assert_eq!(varint(&[]), Err(Broken::Truncated));
    }

    #[test]
    fn tags_are_numbers_in_range_with_a_wire_type() {
        let tag = |bytes: &[u8]| Reader::new(bytes, 0).tag(bytes.len());
        assert_eq!(tag(&[0x0a]).unwrap().number, 1);
        assert_eq!(tag(&[0xfa, 0xff, 0xff, 0xff, 0x0f]).unwrap().number, (1 << 29) - 1);
        assert_eq!(tag(&[0x82, 0x80, 0x80, 0x80, 0x10]).unwrap_err(), Broken::FieldNumber);
        assert_eq!(tag(&[0x02]).unwrap_err(), Broken::FieldNumber);
        for wire in [3, 4, 6, 7] {
            assert_eq!(tag(&[0x08 | wire]).unwrap_err(), Broken::WireType);
        }
    }

    #[test]
    fn a_length_stays_within_its_message() {
        let len_end = |bytes: &[u8], end| Reader::new(bytes, 0).len_end(end);
        assert_eq!(len_end(&[2, 0, 0], 3), Ok(3));
        assert_eq!(len_end(&[2, 0, 0], 2), Err(Broken::Truncated));
        let mut huge = [0xff; 10];
        huge[9] = 1;
        assert_eq!(len_end(&huge, 10), Err(Broken::Truncated));
    }
}
