//! PostgreSQL's own compression (`common/pg_lzcompress.c`).

use alloc::vec::Vec;

/// Appends what `bytes` were made of to `out`, which must be empty: exactly `len` bytes, or `None`. Never appends more.
pub(crate) fn decompress(bytes: &[u8], len: usize, out: &mut Vec<u8>) -> Option<()> {
    let mut rest = bytes;
    while out.len() < len {
        let mut control = take(&mut rest)?;
        for _ in 0..8 {
            if out.len() == len {
                break;
            }
            match control & 1 {
                0 => out.push(take(&mut rest)?),
                _ => copy(&mut rest, len, out)?,
            }
            control >>= 1;
        }
    }
    rest.is_empty().then_some(())
}

/// Repeats bytes that came before: 12 bits say how long ago, 4 bits how many, and another byte where these are not enough.
fn copy(rest: &mut &[u8], len: usize, out: &mut Vec<u8>) -> Option<()> {
    const SHORTEST: usize = 3;
    const LONGEST_SHORT: usize = 18;
    let (first, second) = (take(rest)?, take(rest)?);
    let back = usize::from(first & 0xF0) << 4 | usize::from(second);
    let mut count = usize::from(first & 0x0F) + SHORTEST;
    if count == LONGEST_SHORT {
        count += usize::from(take(rest)?);
    }
    let start = out.len().checked_sub(back).filter(|_| back != 0)?;
    // One by one: what is copied may be what this appends.
    for from in (start..).take(count.min(len - out.len())) {
        out.push(*out.get(from)?);
    }
    Some(())
}

fn take(rest: &mut &[u8]) -> Option<u8> {
    let (byte, behind) = rest.split_first()?;
    *rest = behind;
    Some(*byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, len in 0..2000usize) {
            let mut out = Vec::new();
            let whole = decompress(&bytes, len, &mut out).is_some();
            prop_assert!(out.len() <= len && (!whole || out.len() == len));
        }
    }
}
