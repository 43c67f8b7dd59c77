//! Sets of pointers: all of them are looked up in one walk over the document.

use serde::de::{DeserializeSeed, IgnoredAny};
use serde_json::value::RawValue;

use super::visitors::{FoundValues, Walk};
use super::{JsonError, Pointer, reader};

/// A lookup method of [`PointerSet`].
pub(super) type LookUp =
    for<'a> fn(&PointerSet, &'a [u8]) -> Result<Vec<Option<&'a RawValue>>, JsonError>;

/// Several pointers that are looked up together in one pass.
#[derive(Debug, Clone, Default)]
pub struct PointerSet {
    pointers: Vec<Pointer>,
    root: Node,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    /// The index of the pointer that ends here.
    pub(super) slot: Option<usize>,
    pub(super) children: Vec<(Box<str>, Node)>,
}

impl PointerSet {
    /// A set of these pointers without duplicates.
    #[must_use]
    pub fn new(pointers: impl IntoIterator<Item = Pointer>) -> Self {
        let mut set = Self::default();
        for pointer in pointers {
            set.insert(pointer);
        }
        set
    }

    fn insert(&mut self, pointer: Pointer) {
        let slot = self.pointers.len();
        let mut node = &mut self.root;
        for segment in &pointer.segments {
            let at = match node.children.iter().position(|(key, _)| key == segment) {
                Some(at) => at,
                None => {
                    node.children.push((segment.clone(), Node::default()));
                    node.children.len() - 1
                }
            };
            node = &mut node.children[at].1;
        }
        if node.slot.is_none() {
            node.slot = Some(slot);
            self.pointers.push(pointer);
        }
    }

    /// The index of `pointer` in the result of [`PointerSet::lookup`].
    #[must_use]
    pub fn index_of(&self, pointer: &Pointer) -> Option<usize> {
        self.pointers.iter().position(|p| p == pointer)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pointers.is_empty()
    }

    /// Walks the document once and returns the value of each pointer, in the set's order.
    ///
    /// An unreadable value hides no other: a pointer finds the same value in a set as alone, so
    /// that the value a signature was read from is present when the event is identified.
    pub fn lookup<'a>(&self, json: &'a [u8]) -> Result<Vec<Option<&'a RawValue>>, JsonError> {
        self.read(json, false)
    }

    /// Like [`PointerSet::lookup`], but refuses a document in which a key on the path of a pointer
    /// occurs twice.
    pub(crate) fn lookup_unique<'a>(
        &self,
        json: &'a [u8],
    ) -> Result<Vec<Option<&'a RawValue>>, JsonError> {
        self.read(json, true)
    }

    fn read<'a>(&self, json: &'a [u8], once: bool) -> Result<Vec<Option<&'a RawValue>>, JsonError> {
        match self.walk(json) {
            Ok(found) if once && found.repeated => return Err(JsonError::Repeated),
            Ok(found) => return Ok(found.values),
            Err(error) if self.pointers.len() < 2 || !is_skippable(json) => return Err(error),
            Err(_) => {}
        }
        let alone = |pointer: &Pointer| Self::new([pointer.clone()]).read(json, once);
        let alone: Vec<_> = self.pointers.iter().map(alone).collect();
        if alone.iter().any(|found| matches!(found, Err(JsonError::Repeated))) {
            return Err(JsonError::Repeated);
        }
        match alone.iter().any(Result::is_ok) {
            true => Ok(alone.into_iter().map(|found| found.ok()?.pop().flatten()).collect()),
            false => Err(JsonError::Malformed),
        }
    }

    fn walk<'a>(&self, json: &'a [u8]) -> Result<FoundValues<'a>, JsonError> {
        let mut found = FoundValues { values: vec![None; self.pointers.len()], repeated: false };
        let mut reader = reader(json);
        Walk { node: &self.root, found: &mut found }
            .deserialize(&mut reader)
            .map_err(|_| JsonError::Malformed)?;
        reader.end().map_err(|_| JsonError::Malformed)?;
        Ok(found)
    }
}

/// True if the bytes are a JSON document, whatever its strings and numbers contain.
fn is_skippable(json: &[u8]) -> bool {
    let mut reader = reader(json);
    serde::Deserialize::deserialize(&mut reader)
        .map(|IgnoredAny| reader.end())
        .is_ok_and(|end| end.is_ok())
}
