//! What entries consist of: numbers, and bytes that have a number of them before.

/// Puts the fields of an entry together.
#[derive(Debug, Default)]
pub(crate) struct FieldWriter {
    bytes: Vec<u8>,
}

impl FieldWriter {
    /// Adds a number: seven bits a byte, low ones first, the highest bit set on all bytes but the last (LEB128). Most numbers
    /// are small or differ little from one that is there already.
    pub(crate) fn number(&mut self, mut number: u64) -> &mut Self {
        loop {
            let [low, ..] = (number & 0x7F).to_le_bytes();
            number >>= 7;
            self.bytes.push(if number == 0 { low } else { low | 0x80 });
            if number == 0 {
                return self;
            }
        }
    }

    /// Adds a number that may be negative.
    pub(crate) fn signed(&mut self, number: i64) -> &mut Self {
        self.number((number << 1 ^ number >> 63).cast_unsigned())
    }

    /// Adds a number that may be missing, and is less than the greatest there is.
    pub(crate) fn optional(&mut self, number: Option<u64>) -> &mut Self {
        self.number(number.map_or(0, |number| number.saturating_add(1)))
    }

    /// Adds bytes and how many they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// The entry.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Takes the fields of an entry apart. `None` from any method: the entry is not what its reader expects.
#[derive(Debug)]
pub(crate) struct FieldReader<'a>(&'a [u8]);

impl<'a> FieldReader<'a> {
    pub(crate) fn new(entry: &'a [u8]) -> Self {
        Self(entry)
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7F);
            // The tenth byte has one bit left.
            if bits << shift >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(crate) fn small(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    pub(crate) fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    #[allow(clippy::option_option, reason = "a number that is missing is not an entry that cannot be read")]
    pub(crate) fn optional(&mut self) -> Option<Option<u64>> {
        self.number().map(|number| number.checked_sub(1))
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}
