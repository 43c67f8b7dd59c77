//! The identity rules of a provider file: templates over selectors, and the pointers that they
//! read.

use std::borrow::Cow;

use thiserror::Error;

use super::{BatchItem, CategoryMap, DedupRule, FanOut, RequestFacts};
use crate::json_pointer::{Pointer, PointerSet};
use crate::selector::{InvalidSelector, Selector};
use crate::template::{Piece, Unclosed, pieces};

/// The rules that identify a provider's events.
#[derive(Debug, Clone)]
pub struct IdentityRules {
    /// The templates of the type: the first whose selectors all have a value.
    pub kinds: Vec<FactTemplate>,
    /// The templates of the sender's id.
    pub ids: Vec<FactTemplate>,
    pub dedup: DedupRule,
    pub categories: CategoryMap,
    /// The provider's own type rule, if the source has another one.
    pub original: Option<OriginalTypes>,
    pub fan_out: FanOut,
    pub(crate) pointers: IdentityPointers,
}

/// The provider's own type, for events whose type the source defines: the provider's categories use
/// it.
#[derive(Debug, Clone)]
pub struct OriginalTypes {
    pub kinds: Vec<FactTemplate>,
    /// The source's own categories, by the source's type; they take precedence.
    pub own: CategoryMap,
}

/// The pointers of all templates, grouped by what they point into.
#[derive(Debug, Clone, Default)]
pub struct IdentityPointers {
    pub(crate) body: PointerSet,
    pub(crate) item: PointerSet,
    pub(crate) outer: PointerSet,
}

/// The pointers while they are collected.
#[derive(Debug, Default)]
pub(super) struct PointerLists {
    pub(super) body: Vec<Pointer>,
    pub(super) item: Vec<Pointer>,
    pub(super) outer: Vec<Pointer>,
}

impl IdentityRules {
    /// Collects the pointers of all templates, grouped by what they point into.
    pub(crate) fn collect_pointers(&mut self, extra: impl IntoIterator<Item = Pointer>) {
        let mut found = PointerLists { body: extra.into_iter().collect(), ..Default::default() };
        let fields = match &self.dedup {
            DedupRule::Fields(fields) => fields.as_slice(),
            _ => &[],
        };
        let original = self.original.iter().flat_map(|original| &original.kinds);
        let named = self.kinds.iter().chain(&self.ids).chain(fields.iter().flatten());
        for template in named.chain(self.categories.templates()).chain(original) {
            template.pointers(&mut found);
        }
        found.body.extend(self.fan_out.pointers().cloned());
        // A body that is not the expected batch is one event, whose values are read as an item's.
        found.body.extend(found.item.iter().cloned());
        self.pointers = IdentityPointers {
            body: PointerSet::new(found.body),
            item: PointerSet::new(found.item),
            outer: PointerSet::new(found.outer),
        };
    }
}

/// A value as text: one selector, or several with literal text between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactTemplate {
    parts: Vec<FactPart>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum FactPart {
    Literal(String),
    Field(Selector),
}

/// An error in the text of a template.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidTemplate {
    #[error(transparent)]
    Unclosed(#[from] Unclosed),
    /// An invalid selector.
    #[error(transparent)]
    Selector(#[from] InvalidSelector),
    /// A selector of several values, or of the signature header.
    #[error("{0} has no single value outside a signature")]
    Plural(Selector),
}

impl FactTemplate {
    /// Parses a selector such as `/type`, or a template such as `{header:X-Resource}.{/action}`.
    pub fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        let parts = if text.contains('{') {
            pieces(text)?
                .into_iter()
                .map(|piece| match piece {
                    Piece::Literal(text) => Ok(FactPart::Literal(text)),
                    Piece::Placeholder(source) => Ok(FactPart::Field(Selector::parse(&source)?)),
                })
                .collect::<Result<_, InvalidSelector>>()?
        } else {
            vec![FactPart::Field(Selector::parse(text)?)]
        };
        let template = Self { parts };
        let plural = |s: &&Selector| {
            matches!(s, Selector::Headers(_) | Selector::Each(_) | Selector::Pair(_))
        };
        if let Some(plural) = template.selectors().find(plural) {
            return Err(InvalidTemplate::Plural(plural.clone()));
        }
        Ok(template)
    }

    /// The selectors that the template reads.
    pub fn selectors(&self) -> impl Iterator<Item = &Selector> {
        self.parts.iter().filter_map(|part| match part {
            FactPart::Field(source) => Some(source),
            FactPart::Literal(_) => None,
        })
    }

    /// The text, if every selector has a value.
    pub(crate) fn fill<'a: 'i, 'i>(
        &self,
        facts: &RequestFacts<'a>,
        family: usize,
        item: Option<&BatchItem<'i>>,
    ) -> Option<Cow<'i, str>> {
        if let [FactPart::Field(source)] = self.parts.as_slice() {
            return facts.text(source, family, item);
        }
        let mut out = String::new();
        for part in &self.parts {
            match part {
                FactPart::Literal(text) => out.push_str(text),
                FactPart::Field(source) => out.push_str(&facts.text(source, family, item)?),
            }
        }
        Some(Cow::Owned(out))
    }

    /// True if the template reads the event's own JSON.
    pub(crate) fn reads_item(&self) -> bool {
        self.selectors().any(|s| matches!(s, Selector::Json(_)))
    }

    pub(super) fn pointers(&self, found: &mut PointerLists) {
        for source in self.selectors() {
            match source {
                Selector::Json(pointer) => found.item.push(pointer.clone()),
                Selector::Body(pointer) => found.body.push(pointer.clone()),
                Selector::Outer(pointer) => found.outer.push(pointer.clone()),
                _ => {}
            }
        }
    }
}
