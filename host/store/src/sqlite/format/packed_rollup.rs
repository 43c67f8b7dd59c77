//! Roll-ups as stored bytes: a version byte, then three lists, each as its length and numbers in
//! LEB128.

use crate::rollup::{ROLLUP_NUMBERS_MAX, Rollup};
use crate::sqlite::format::leb128::{put, take};

const VERSION: u8 = 1;

pub(crate) fn pack(rollup: &Rollup) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    for list in rollup.lists() {
        // Zeros at the end need no space.
        let used = list.iter().rposition(|n| *n != 0).map_or(0, |last| last + 1);
        let list = &list[..used.min(ROLLUP_NUMBERS_MAX)];
        put(&mut bytes, list.len() as u64);
        for n in list {
            put(&mut bytes, *n);
        }
    }
    bytes
}

/// None for bytes that another program wrote.
pub(crate) fn unpack(bytes: &[u8]) -> Option<Rollup> {
    let (version, mut rest) = bytes.split_first()?;
    if *version != VERSION {
        return None;
    }
    let mut list = || -> Option<Vec<u64>> {
        let length = take(&mut rest)?;
        let length = usize::try_from(length).ok().filter(|n| *n <= ROLLUP_NUMBERS_MAX)?;
        (0..length).map(|_| take(&mut rest)).collect()
    };
    Some(Rollup { sums: list()?, peaks: list()?, latency: list()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollup_is_the_same_after_packing() {
        let rollup = Rollup { sums: vec![0, 300, u64::MAX], peaks: vec![], latency: vec![1, 0, 7] };
        assert_eq!(unpack(&pack(&rollup)), Some(rollup));
    }

    #[test]
    fn bytes_of_a_later_version_or_a_cut_row_are_not_read() {
        let mut bytes = pack(&Rollup { sums: vec![5], ..Rollup::default() });
        assert_eq!(unpack(&bytes[..bytes.len() - 1]), None);
        bytes[0] = 2;
        assert_eq!(unpack(&bytes), None);
        assert_eq!(unpack(&[VERSION, 0xff, 0xff, 0xff, 0xff, 0x0f]), None, "a list of 4 billion");
    }
}
