//! Bytes as hexadecimal digits.

#[cfg(feature = "std")]
use alloc::vec::Vec;
use core::fmt;

/// Prints bytes as lower-case digits.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The bytes that `text` spells with two digits each, of either case; `None` if it is anything else.
#[cfg(feature = "std")]
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    match text.as_chunks() {
        (pairs, []) => pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect(),
        _ => None,
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_pairs_of_digits_are_bytes() {
        assert_eq!(decode(b"00fFA9"), Some(vec![0x00, 0xFF, 0xA9]));
        assert_eq!(decode(b""), Some(vec![]));
        for text in ["0", "0g", "+1", " 1", "0\u{660}"] {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn decode_undoes_print(bytes: Vec<u8>) {
            prop_assert_eq!(decode(Hex(&bytes).to_string().as_bytes()), Some(bytes));
        }
    }
}
