//! Blocks of 4096 rows with the values that lists look for: the class of each row and one number,
//! packed to a few bytes a row.
//!
//! The class of an event is its source, type and category, and its number is its time. The class of
//! a delivery is its target and source, and its number is that of its event.
//!
//! Unpacked: a version byte, the number of classes and each class, the number of rows, the low
//! bytes of all rows' classes, the high bytes, and the differences between the numbers of
//! consecutive rows. Lengths and differences are LEB128. Packed, it is an LZ4 block.

use rustc_hash::FxHashMap;
use weir_core::event::Category;

use crate::sqlite::format::leb128;
use crate::sqlite::format::names::NameId;

/// Rows of one block.
pub(crate) const BLOCK: i64 = 4_096;

const VERSION: u8 = 1;

/// Classes of one block. Rows of further ones are [`UNLISTED`].
const CLASSES_MAX: usize = 2_000;

/// Bytes of the classes of one block.
const CLASS_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a block before it is packed.
const UNPACKED_BYTES_MAX: usize = 1024 * 1024;

/// Class of a number without a row.
pub(crate) const ABSENT: u16 = u16::MAX;

/// Class of a row whose class is not in the block.
pub(crate) const UNLISTED: u16 = u16::MAX - 1;

/// A class that can be packed.
pub(crate) trait Class: Clone + Eq + std::hash::Hash {
    fn put(&self, bytes: &mut Vec<u8>);
    fn take(rest: &mut &[u8]) -> Option<Self>;
}

/// Class of events.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct EventClass {
    pub(crate) source: NameId,
    pub(crate) kind: Box<str>,
    pub(crate) category: Option<Category>,
}

/// Class of deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct DeliveryClass {
    pub(crate) target: NameId,
    pub(crate) source: NameId,
}

impl Class for EventClass {
    fn put(&self, bytes: &mut Vec<u8>) {
        leb128::put(bytes, self.source.into());
        for text in [&*self.kind, self.category.map_or("", Category::as_str)] {
            leb128::put(bytes, text.len() as u64);
            bytes.extend(text.as_bytes());
        }
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        let source = NameId::try_from(leb128::take(rest)?).ok()?;
        let mut text = || {
            let length = usize::try_from(leb128::take(rest)?).ok()?;
            let (text, after) = rest.split_at_checked(length)?;
            *rest = after;
            std::str::from_utf8(text).ok()
        };
        let (kind, category) = (text()?.into(), Category::parse(text()?));
        Some(Self { source, kind, category })
    }
}

impl Class for DeliveryClass {
    fn put(&self, bytes: &mut Vec<u8>) {
        leb128::put(bytes, self.target.into());
        leb128::put(bytes, self.source.into());
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        let mut name = || NameId::try_from(leb128::take(rest)?).ok();
        Some(Self { target: name()?, source: name()? })
    }
}

/// A row of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockRow {
    /// Index of its class, or [`ABSENT`], or [`UNLISTED`].
    pub(crate) class: u16,
    /// Its time or event.
    pub(crate) number: i64,
}

/// The rows of one block, by their number in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block<C> {
    pub(crate) classes: Vec<C>,
    pub(crate) rows: Vec<BlockRow>,
}

impl<C: Class> Block<C> {
    /// A block of rows, each with its place in the block, in the order of places.
    pub(crate) fn of(rows: impl IntoIterator<Item = (usize, C, i64)>) -> Self {
        let mut block = Self { classes: Vec::new(), rows: Vec::new() };
        let mut known: FxHashMap<C, u16> = FxHashMap::default();
        let (mut bytes, mut packed) = (0, Vec::new());
        for (place, class, number) in rows {
            block.rows.resize(place, BlockRow { class: ABSENT, number });
            let index = match known.get(&class) {
                Some(index) => *index,
                None => {
                    packed.clear();
                    class.put(&mut packed);
                    bytes += packed.len();
                    if known.len() >= CLASSES_MAX || bytes > CLASS_BYTES_MAX {
                        UNLISTED
                    } else {
                        let index = u16::try_from(known.len()).unwrap_or(UNLISTED);
                        known.insert(class.clone(), index);
                        block.classes.push(class);
                        index
                    }
                }
            };
            block.rows.push(BlockRow { class: index, number });
        }
        block
    }

    /// The rows that exist, with their places.
    pub(crate) fn present(&self) -> impl DoubleEndedIterator<Item = (usize, &BlockRow)> {
        self.rows.iter().enumerate().filter(|(_, row)| row.class != ABSENT)
    }

    /// Removes rows by their places. True if none is left.
    pub(crate) fn remove(&mut self, places: impl IntoIterator<Item = usize>) -> bool {
        for place in places {
            if let Some(row) = self.rows.get_mut(place) {
                row.class = ABSENT;
            }
        }
        self.present().next().is_none()
    }

    pub(crate) fn pack(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        leb128::put(&mut bytes, self.classes.len() as u64);
        for class in &self.classes {
            class.put(&mut bytes);
        }
        leb128::put(&mut bytes, self.rows.len() as u64);
        bytes.extend(self.rows.iter().map(|row| row.class.to_le_bytes()[0]));
        bytes.extend(self.rows.iter().map(|row| row.class.to_le_bytes()[1]));
        let mut last = 0_i64;
        for row in &self.rows {
            let by = row.number.wrapping_sub(last);
            leb128::put(&mut bytes, (by.wrapping_shl(1) ^ (by >> 63)).cast_unsigned());
            last = row.number;
        }
        lz4_flex::block::compress_prepend_size(&bytes)
    }

    /// None for bytes that are damaged, or of a later version.
    pub(crate) fn unpack(packed: &[u8]) -> Option<Self> {
        let size = packed.first_chunk::<4>().map(|size| u32::from_le_bytes(*size))?;
        if size as usize > UNPACKED_BYTES_MAX {
            return None;
        }
        let bytes = lz4_flex::block::decompress_size_prepended(packed).ok()?;
        let (version, mut rest) = bytes.split_first()?;
        if *version != VERSION {
            return None;
        }
        let length = usize::try_from(leb128::take(&mut rest)?).ok()?;
        if length > CLASSES_MAX {
            return None;
        }
        let classes = (0..length).map(|_| C::take(&mut rest)).collect::<Option<Vec<C>>>()?;
        let length = i64::try_from(leb128::take(&mut rest)?).ok().filter(|n| *n <= BLOCK)?;
        let length = usize::try_from(length).ok()?;
        let (low, after) = rest.split_at_checked(length)?;
        let (high, mut rest) = after.split_at_checked(length)?;
        let mut rows = Vec::with_capacity(length);
        let mut number = 0_i64;
        for (low, high) in low.iter().zip(high) {
            let class = u16::from_le_bytes([*low, *high]);
            if usize::from(class) >= classes.len() && class < UNLISTED {
                return None;
            }
            let by = leb128::take(&mut rest)?;
            number = number.wrapping_add((by >> 1).cast_signed() ^ -(by & 1).cast_signed());
            rows.push(BlockRow { class, number });
        }
        Some(Self { classes, rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(source: NameId, kind: &str) -> EventClass {
        EventClass { source, kind: kind.into(), category: Category::parse("payment.received") }
    }

    #[test]
    fn a_block_is_the_same_after_packing() {
        let rows = (0..4_096).filter(|n| n % 7 != 3).map(|n| {
            (n, class(u32::try_from(n % 300).unwrap(), "push"), 1_760_000_000_000 - n as i64 * 3)
        });
        let block = Block::of(rows);
        assert_eq!(block.classes.len(), 300);
        assert_eq!(block.rows[3].class, ABSENT);
        assert_eq!(Block::unpack(&block.pack()), Some(block));
    }

    #[test]
    fn a_usual_block_takes_less_than_three_bytes_a_row() {
        let rows = (0..4_096_usize).map(|n| (n, class(1, ["push", "issues"][n % 2]), n as i64 / 8));
        assert!(Block::of(rows).pack().len() < 3 * 4_096);
    }

    #[test]
    fn classes_beyond_the_limit_are_not_listed() {
        let rows = (0..4_096).map(|n| (n, class(1, &format!("type {n} {}", "x".repeat(100))), 0));
        let block = Block::of(rows);
        assert!(block.classes.len() < 700, "{}", block.classes.len());
        assert_eq!(block.rows[4_095].class, UNLISTED);
        assert_eq!(Block::unpack(&block.pack()), Some(block));
    }

    #[test]
    fn damaged_bytes_are_not_read() {
        let block = Block::of([(0, DeliveryClass { target: 1, source: 2 }, 9)]);
        let packed = block.pack();
        for cut in 0..packed.len() {
            assert_eq!(Block::<DeliveryClass>::unpack(&packed[..cut]), None);
        }
        assert_eq!(Block::<DeliveryClass>::unpack(&[0xff; 64]), None);
    }

    #[test]
    fn removed_rows_are_absent() {
        let rows = (0..3).map(|n| (n, DeliveryClass { target: 1, source: 2 }, 9));
        let mut block = Block::of(rows);
        assert!(!block.remove([0, 2, 4_000]));
        assert_eq!(block.present().map(|(place, _)| place).collect::<Vec<_>>(), [1]);
        assert!(block.remove([1]));
    }
}
