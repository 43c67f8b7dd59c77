//! The identity part of a provider file, checked: templates over sources, and what they need to be read.

use std::borrow::Cow;

use thiserror::Error;

use super::{CategoryMap, DedupRule, FanOut, Item, RequestFacts};
use crate::json_pointer::{Pointer, PointerSet};
use crate::provider::{InvalidSelector, Piece, Selector, Unclosed, pieces};

/// How events of a provider are identified.
#[derive(Debug, Clone)]
pub struct IdentityRules {
    /// The type: the first template whose parts are all there.
    pub kinds: Vec<FactTemplate>,
    /// The delivery's id, likewise.
    pub ids: Vec<FactTemplate>,
    /// What makes two requests the same.
    pub dedup: DedupRule,
    /// Types and their categories.
    pub categories: CategoryMap,
    /// Where the provider's own file has the type, if the source has it elsewhere.
    pub plain: Option<OriginalTypes>,
    /// Where the events of a batch stand.
    pub fan_out: FanOut,
    pub(crate) pointers: IdentityPointers,
}

/// The provider's own type of events whose source makes another one: the provider's categories go by it.
#[derive(Debug, Clone)]
pub struct OriginalTypes {
    /// Where it stands.
    pub kinds: Vec<FactTemplate>,
    /// The source's own categories, which go by the source's type and come first.
    pub own: CategoryMap,
}

/// The pointers of all templates, by what they point into.
#[derive(Debug, Clone, Default)]
pub struct IdentityPointers {
    pub(crate) body: PointerSet,
    pub(crate) item: PointerSet,
    pub(crate) outer: PointerSet,
}

/// The same, while they are collected.
#[derive(Debug, Default)]
pub(super) struct PointerLists {
    pub(super) body: Vec<Pointer>,
    pub(super) item: Vec<Pointer>,
    pub(super) outer: Vec<Pointer>,
}

/// A fact as text: one source, or several with text between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactTemplate {
    parts: Vec<FactPart>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum FactPart {
    Literal(String),
    Field(Selector),
}

/// A text that describes no fact.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidTemplate {
    /// A placeholder without an end.
    #[error(transparent)]
    Unclosed(#[from] Unclosed),
    /// Not a source.
    #[error(transparent)]
    Selector(#[from] InvalidSelector),
    /// A source with several values, or of the signature header only.
    #[error("{0} has no one value outside a signature")]
    Plural(Selector),
}

impl FactTemplate {
    /// Parses a source such as `/type`, or a template such as `{header:X-Resource}.{/action}`.
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
        if let Some(plural) = template.sources().find(plural) {
            return Err(InvalidTemplate::Plural(plural.clone()));
        }
        Ok(template)
    }

    /// The sources it reads.
    pub fn sources(&self) -> impl Iterator<Item = &Selector> {
        self.parts.iter().filter_map(|part| match part {
            FactPart::Field(source) => Some(source),
            FactPart::Literal(_) => None,
        })
    }

    /// The text, if every source has a value.
    pub(crate) fn fill<'a: 'i, 'i>(
        &self,
        facts: &RequestFacts<'a>,
        family: usize,
        item: Option<&Item<'i>>,
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

    /// True if it reads the event's own JSON.
    pub(crate) fn reads_item(&self) -> bool {
        self.sources().any(|s| matches!(s, Selector::Json(_)))
    }

    pub(super) fn pointers(&self, found: &mut PointerLists) {
        for source in self.sources() {
            match source {
                Selector::Json(pointer) => found.item.push(pointer.clone()),
                Selector::Body(pointer) => found.body.push(pointer.clone()),
                Selector::Outer(pointer) => found.outer.push(pointer.clone()),
                _ => {}
            }
        }
    }
}
