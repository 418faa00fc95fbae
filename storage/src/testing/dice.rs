//! Decisions that follow from a seed, so that a loss can be repeated.

use super::Loss;

/// Writes are torn at the borders of sectors of this many bytes.
const SECTOR: usize = 512;

/// Decides what becomes of a change that was not synced.
#[derive(Debug)]
pub(super) struct Dice {
    loss: Loss,
    state: u64,
}

impl Dice {
    pub(super) fn new(loss: Loss) -> Self {
        let state = if let Loss::Seed(seed) = loss { seed } else { 0 };
        Self { loss, state }
    }

    /// Returns whether a change that happens wholly or not at all survives.
    pub(super) fn survives(&mut self) -> bool {
        match self.loss {
            Loss::Nothing => true,
            Loss::Everything => false,
            Loss::Seed(_) => self.below(2) == 0,
        }
    }

    /// Returns the parts of a write of `length` bytes that survive, as ranges of its bytes in ascending order.
    pub(super) fn surviving_parts(&mut self, length: usize) -> Vec<std::ops::Range<usize>> {
        let whole = 0..length;
        match self.loss {
            Loss::Nothing => vec![whole],
            Loss::Everything => Vec::new(),
            Loss::Seed(_) => match self.below(3) {
                0 => vec![whole],
                1 => Vec::new(),
                _ => self.torn(length),
            },
        }
    }

    /// Returns some sectors of the beginning of a write; the last one may be cut anywhere.
    fn torn(&mut self, length: usize) -> Vec<std::ops::Range<usize>> {
        let end = self.below(length + 1);
        let sectors = (0..end).step_by(SECTOR).map(|start| start..end.min(start + SECTOR));
        sectors.filter(|_| self.below(4) > 0).collect()
    }

    /// Returns a number less than `bound`, or 0 if that is 0.
    fn below(&mut self, bound: usize) -> usize {
        // SplitMix64: every seed gives another sequence, neighbouring ones included.
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
        usize::try_from((mixed ^ (mixed >> 31)) % bound).unwrap_or(0)
    }
}
