//! Sets of row numbers, as bits by block: small for few numbers, and an eighth of a byte each for
//! many.

use std::collections::BTreeMap;

use crate::sqlite::format::block::BLOCK;

const WORDS: usize = 64;

type Words = [u64; WORDS];

/// A set of row numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct NumberSet(BTreeMap<i64, Box<Words>>);

/// The numbers of a set in one block, by their places.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InBlock<'s>(Option<&'s Words>);

/// Inserts many numbers, which are mostly near to each other.
pub(crate) struct Inserting {
    set: NumberSet,
    block: i64,
    words: Words,
}

impl NumberSet {
    pub(crate) fn insert(&mut self, n: i64) {
        let (block, word, bit) = place(n);
        self.0.entry(block).or_insert_with(|| Box::new([0; WORDS]))[word] |= bit;
    }

    pub(crate) fn remove(&mut self, n: i64) {
        let (block, word, bit) = place(n);
        let Some(words) = self.0.get_mut(&block) else { return };
        words[word] &= !bit;
        if words[word] == 0 && words.iter().all(|word| *word == 0) {
            self.0.remove(&block);
        }
    }

    /// The blocks with numbers of the set.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = i64> {
        self.0.keys().copied()
    }

    pub(crate) fn in_block(&self, block: i64) -> InBlock<'_> {
        InBlock(self.0.get(&block).map(|words| &**words))
    }

    /// Begins to insert many numbers.
    pub(crate) fn inserting() -> Inserting {
        Inserting { set: Self::default(), block: 0, words: [0; WORDS] }
    }
}

impl InBlock<'_> {
    pub(crate) fn has(self, place: usize) -> bool {
        self.0.is_some_and(|words| words[place / 64 % WORDS] & (1 << (place % 64)) != 0)
    }
}

impl Inserting {
    pub(crate) fn insert(&mut self, n: i64) {
        let (block, word, bit) = place(n);
        if block != self.block {
            self.flush();
            self.block = block;
        }
        self.words[word] |= bit;
    }

    fn flush(&mut self) {
        if self.words.iter().any(|word| *word != 0) {
            let words = self.set.0.entry(self.block).or_insert_with(|| Box::new([0; WORDS]));
            words.iter_mut().zip(&self.words).for_each(|(to, from)| *to |= from);
            self.words = [0; WORDS];
        }
    }

    pub(crate) fn done(mut self) -> NumberSet {
        self.flush();
        self.set
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

    fn has(set: &NumberSet, n: i64) -> bool {
        set.in_block(n / BLOCK).has(usize::try_from(n % BLOCK).unwrap())
    }

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
        assert!([1, 64, 4_095, 4_096, 9_000_000].into_iter().all(|n| has(&set, n)));
        assert!(!has(&set, 63) && !has(&set, 5));
        assert_eq!(set.blocks().collect::<Vec<_>>(), [0, 1, 9_000_000 / BLOCK]);
        set.remove(4_096);
        assert_eq!(set.blocks().count(), 2, "an empty block takes no memory");
    }

    #[test]
    fn many_numbers_are_inserted_in_any_order() {
        let mut inserting = NumberSet::inserting();
        let numbers = [5, 9_000, 6, 9_001, 5, 0];
        numbers.into_iter().for_each(|n| inserting.insert(n));
        let set = inserting.done();
        assert!(numbers.into_iter().all(|n| has(&set, n)) && !has(&set, 7));
        assert_eq!(set.blocks().collect::<Vec<_>>(), [0, 2]);
    }
}
