//! Sets of row numbers, as bits by block: small for few numbers, and an eighth of a byte each for
//! many.

use std::collections::BTreeMap;

use crate::sqlite::format::block::BLOCK;

const WORDS: usize = 64;

/// A set of row numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct NumberSet(BTreeMap<i64, Bits>);

#[derive(Debug, Clone)]
struct Bits {
    count: u32,
    words: Box<[u64; WORDS]>,
}

impl NumberSet {
    pub(crate) fn insert(&mut self, n: i64) {
        let (block, word, bit) = place(n);
        let empty = || Bits { count: 0, words: Box::new([0; WORDS]) };
        let bits = self.0.entry(block).or_insert_with(empty);
        if bits.words[word] & bit == 0 {
            bits.words[word] |= bit;
            bits.count += 1;
        }
    }

    pub(crate) fn remove(&mut self, n: i64) {
        let (block, word, bit) = place(n);
        let Some(bits) = self.0.get_mut(&block) else { return };
        if bits.words[word] & bit != 0 {
            bits.words[word] &= !bit;
            bits.count -= 1;
            if bits.count == 0 {
                self.0.remove(&block);
            }
        }
    }

    pub(crate) fn contains(&self, n: i64) -> bool {
        let (block, word, bit) = place(n);
        self.0.get(&block).is_some_and(|bits| bits.words[word] & bit != 0)
    }

    /// The blocks with numbers of the set.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = i64> {
        self.0.keys().copied()
    }
}

/// The block of a number, and its word and bit there.
fn place(n: i64) -> (i64, usize, u64) {
    let (block, place) = (n.div_euclid(BLOCK), n.rem_euclid(BLOCK));
    let place = usize::try_from(place).unwrap_or(0);
    (block, place / 64, 1 << (place % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_inserted_and_not_removed() {
        let mut set = NumberSet::default();
        for n in [1, 63, 64, 4_095, 4_096, 9_000_000] {
            set.insert(n);
            set.insert(n);
        }
        set.remove(63);
        set.remove(63);
        set.remove(5);
        assert!([1, 64, 4_095, 4_096, 9_000_000].into_iter().all(|n| set.contains(n)));
        assert!(!set.contains(63) && !set.contains(5));
        assert_eq!(set.blocks().collect::<Vec<_>>(), [0, 1, 9_000_000 / BLOCK]);
        set.remove(4_096);
        assert_eq!(set.blocks().count(), 2, "an empty block takes no memory");
    }
}
