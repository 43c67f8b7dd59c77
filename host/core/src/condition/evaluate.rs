//! Evaluates a checked expression on an event, within a budget of steps.
//!
//! Nothing here recurses deeper than the expression and its values are nested, both of which are
//! bounded, and everything that grows is charged before it is made.

use std::cell::OnceCell;
use std::cmp::Ordering;
use std::fmt;
use std::rc::Rc;

use super::document::Document;
use super::functions;
use super::syntax::{Calculation, CompareOperator, Fact, MacroWalk, Syntax, WalkKind};
use super::value::{CelValue, Text};
use crate::event::{Category, EventFacts};
use crate::reserved_headers::QUERY_HEADER;

/// Most steps of one evaluation: a step is one operation, or some bytes or entries looked at.
pub const STEPS_MAX: u32 = 200_000;
/// Most items of a list, or keys of a map, that a macro walks over.
pub const ITEMS_MAX: usize = 10_000;

/// Entries of a map that are looked through in one step.
const ENTRIES_PER_STEP: usize = 8;
/// Bytes that are copied or compared in one step.
pub(super) const BYTES_PER_STEP: usize = 64;
/// Bytes that are searched in one step.
pub(super) const SEARCHED_PER_STEP: usize = 256;

/// The reason, for people, that an expression has no value on an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EvaluationFailure {
    pub(super) what: Box<str>,
    /// True if a field, key or item that it names does not exist.
    pub(super) is_missing: bool,
}

impl EvaluationFailure {
    fn missing(what: String) -> Self {
        Self { what: what.into(), is_missing: true }
    }
}

impl<T: Into<Box<str>>> From<T> for EvaluationFailure {
    fn from(what: T) -> Self {
        Self { what: what.into(), is_missing: false }
    }
}

impl fmt::Display for EvaluationFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// An event whose body and query are parsed at most once, when an expression first reads them.
#[derive(Debug)]
pub struct LazyEvent<'f> {
    facts: EventFacts<'f>,
    body: OnceCell<Result<Document<'f>, EvaluationFailure>>,
    query: OnceCell<Result<Document<'f>, EvaluationFailure>>,
}

impl<'f> LazyEvent<'f> {
    #[must_use]
    pub fn new(facts: EventFacts<'f>) -> Self {
        Self { facts, body: OnceCell::new(), query: OnceCell::new() }
    }

    #[must_use]
    pub fn facts(&self) -> &EventFacts<'f> {
        &self.facts
    }

    /// True if an expression has made it parse the body.
    #[must_use]
    pub fn has_parsed_body(&self) -> bool {
        self.body.get().is_some()
    }

    fn fact<'e>(&'e self, fact: Fact) -> Result<CelValue<'e>, EvaluationFailure> {
        let facts = &self.facts;
        let unread = || format!("{} is not at hand here", fact.as_str());
        let payload = || facts.payload.ok_or_else(unread);
        let optional = |text: Option<&'f str>| {
            text.map_or(CelValue::Null, |text| CelValue::Text(Text::Borrowed(text)))
        };
        Ok(match fact {
            Fact::Id => facts.id.map_or(CelValue::Null, |id| CelValue::text(id.to_string())),
            Fact::Source => optional(Some(facts.source.as_str())),
            Fact::Type => optional(Some(facts.kind.as_str())),
            Fact::Category => optional(facts.category.map(Category::as_str)),
            Fact::DeliveryId => optional(facts.delivery_id),
            Fact::ReceivedAt => CelValue::text(facts.received_at.to_string()),
            Fact::Headers => CelValue::Headers(payload()?),
            Fact::Query => {
                let payload = payload()?;
                let read = || {
                    let query = payload.header(QUERY_HEADER).map_or(&b""[..], |query| query);
                    Document::of_form(query).map_err(EvaluationFailure::from)
                };
                whole(self.query.get_or_init(read))?
            }
            Fact::Body => {
                let payload = payload()?;
                whole(
                    self.body.get_or_init(|| {
                        Document::of_body(payload).map_err(EvaluationFailure::from)
                    }),
                )?
            }
        })
    }
}

fn whole<'e>(
    document: &'e Result<Document<'e>, EvaluationFailure>,
) -> Result<CelValue<'e>, EvaluationFailure> {
    document.as_ref().map(|document| CelValue::of(document, 0)).map_err(Clone::clone)
}

/// Evaluates an expression.
pub(super) fn evaluate<'e>(
    syntax: &'e Syntax,
    event: &'e LazyEvent<'_>,
) -> Result<CelValue<'e>, EvaluationFailure> {
    Evaluation { event, left: STEPS_MAX, variables: Vec::new() }.value(syntax)
}

/// One evaluation.
pub(super) struct Evaluation<'e, 'f> {
    event: &'e LazyEvent<'f>,
    left: u32,
    variables: Vec<CelValue<'e>>,
}

impl<'e> Evaluation<'e, '_> {
    pub(super) fn charge(&mut self, steps: usize) -> Result<(), EvaluationFailure> {
        match u32::try_from(steps).ok().and_then(|steps| self.left.checked_sub(steps)) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(format!("it needs more than {STEPS_MAX} steps on this event").into())
            }
        }
    }

    pub(super) fn value(&mut self, syntax: &'e Syntax) -> Result<CelValue<'e>, EvaluationFailure> {
        self.charge(1)?;
        Ok(match syntax {
            Syntax::Null => CelValue::Null,
            Syntax::Bool(value) => CelValue::Bool(*value),
            Syntax::Int(value) => CelValue::Int(*value),
            Syntax::Double(value) => CelValue::Double(*value),
            Syntax::Text(text) => CelValue::Text(Text::Borrowed(text)),
            Syntax::Fact(fact) => self.event.fact(*fact)?,
            Syntax::Variable(place, _) => {
                self.variables.get(*place).cloned().unwrap_or(CelValue::Null)
            }
            Syntax::Field(of, name) => self.field(of, name)?,
            Syntax::Has(of, name) => {
                let map = self.value(of)?;
                self.charge_lookup(&map)?;
                match map.get(name) {
                    Some(found) => CelValue::Bool(found.is_some()),
                    None if matches!(map, CelValue::Null) => CelValue::Bool(false),
                    None => return Err(no_fields(of, &map)),
                }
            }
            Syntax::Index(of, at) => self.index(of, at)?,
            Syntax::List(parts) => {
                let values: Result<Vec<_>, _> = parts.iter().map(|part| self.value(part)).collect();
                CelValue::List(values?.into())
            }
            Syntax::Map(entries) => self.map(entries)?,
            Syntax::Not(of) => CelValue::Bool(!self.truth(of)?),
            Syntax::Negate(of) => functions::negate(self.value(of)?)?,
            Syntax::And(parts) => CelValue::Bool(self.decided(parts.iter(), false)?),
            Syntax::Or(parts) => CelValue::Bool(self.decided(parts.iter(), true)?),
            Syntax::If(parts) => {
                let [test, yes, no] = &**parts;
                let chosen = if self.truth(test)? { yes } else { no };
                self.value(chosen)?
            }
            Syntax::Compare(how, two) => self.compare(*how, two)?,
            Syntax::Calculate(how, two) => self.calculate(*how, two)?,
            Syntax::In(two) => self.contains(two)?,
            Syntax::Call(function, parts) => {
                let values: Result<Vec<_>, _> = parts.iter().map(|part| self.value(part)).collect();
                functions::call(self, *function, parts, values?)?
            }
            Syntax::Matches(of, regex) => {
                let text = self.value(of)?;
                let CelValue::Text(text) = &text else { return Err(not_a("a string", of, &text)) };
                self.charge(text.len().saturating_mul(functions::REGEX_STEPS_PER_BYTE))?;
                CelValue::Bool(regex.is_match(text))
            }
            Syntax::Walk(walk) => self.walk(walk)?,
        })
    }

    fn truth(&mut self, syntax: &'e Syntax) -> Result<bool, EvaluationFailure> {
        match self.value(syntax)? {
            CelValue::Bool(value) => Ok(value),
            other => Err(not_a("a bool", syntax, &other)),
        }
    }

    /// True or false as soon as one part is `decisive`, also if another part has no value.
    fn decided(
        &mut self,
        parts: impl Iterator<Item = &'e Syntax>,
        decisive: bool,
    ) -> Result<bool, EvaluationFailure> {
        let mut failure = None;
        for part in parts {
            match self.truth(part) {
                Ok(value) if value == decisive => return Ok(decisive),
                Ok(_) => {}
                Err(_) if self.left == 0 => return self.charge(1).map(|()| decisive),
                Err(what) => failure = failure.or(Some(what)),
            }
        }
        failure.map_or(Ok(!decisive), Err)
    }

    fn charge_lookup(&mut self, map: &CelValue<'e>) -> Result<(), EvaluationFailure> {
        self.charge(map.length().unwrap_or(0) / ENTRIES_PER_STEP)
    }

    fn field(&mut self, of: &'e Syntax, name: &str) -> Result<CelValue<'e>, EvaluationFailure> {
        let map = self.value(of)?;
        self.charge_lookup(&map)?;
        match map.get(name) {
            Some(Some(value)) => Ok(value),
            Some(None) => {
                Err(EvaluationFailure::missing(format!("{} has no field `{name}`", named(of))))
            }
            None if matches!(map, CelValue::Null) => Err(EvaluationFailure::missing(format!(
                "{} is null, so it has no field `{name}`",
                named(of)
            ))),
            None => Err(format!("{}, so it has no field `{name}`", is_a(of, &map)).into()),
        }
    }

    fn index(&mut self, of: &'e Syntax, at: &'e Syntax) -> Result<CelValue<'e>, EvaluationFailure> {
        let (from, at) = (self.value(of)?, self.value(at)?);
        self.charge_lookup(&from)?;
        match (&at, from.length()) {
            (CelValue::Text(key), _) => match from.get(key) {
                Some(Some(value)) => Ok(value),
                Some(None) => Err(EvaluationFailure::missing(format!(
                    "{} has no key {:?}",
                    named(of),
                    cut(key)
                ))),
                None => Err(no_fields(of, &from)),
            },
            (CelValue::Int(index), Some(length)) if from.get("").is_none() => {
                let place = usize::try_from(*index).ok().filter(|place| *place < length);
                let found = place.and_then(|place| from.items()?.nth(place));
                found.ok_or_else(|| {
                    EvaluationFailure::missing(format!(
                        "{} has {length} items, so none at {index}",
                        named(of)
                    ))
                })
            }
            _ => {
                let (of, at) = (is_a(of, &from), at.kind());
                Err(format!("{of}, which {at} cannot be the index of").into())
            }
        }
    }

    fn map(&mut self, entries: &'e [(Syntax, Syntax)]) -> Result<CelValue<'e>, EvaluationFailure> {
        let mut made = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let key = match self.value(key)? {
                CelValue::Text(text) => text,
                other => return Err(not_a("a string", key, &other)),
            };
            self.charge(made.len() / ENTRIES_PER_STEP)?;
            if made.iter().any(|(known, _): &(Text<'_>, _)| **known == *key) {
                return Err(format!("the map has the key {:?} twice", cut(&key)).into());
            }
            made.push((key, self.value(value)?));
        }
        Ok(CelValue::Map(made.into()))
    }

    fn compare(
        &mut self,
        how: CompareOperator,
        two: &'e [Syntax; 2],
    ) -> Result<CelValue<'e>, EvaluationFailure> {
        let [left, right] = two;
        let (a, b) = (self.value(left)?, self.value(right)?);
        let holds = match how {
            CompareOperator::Equal => self.equal(&a, &b)?,
            CompareOperator::NotEqual => !self.equal(&a, &b)?,
            _ => {
                if let (CelValue::Text(a), CelValue::Text(b)) = (&a, &b) {
                    self.charge(a.len().min(b.len()) / BYTES_PER_STEP)?;
                }
                let order = functions::order(&a, &b).map_err(|what| {
                    let (left, right) = (is_a(left, &a), is_a(right, &b));
                    format!("{what}: {left} and {right}")
                })?;
                match how {
                    CompareOperator::Less => order == Some(Ordering::Less),
                    CompareOperator::LessOrEqual => order.is_some_and(Ordering::is_le),
                    CompareOperator::Greater => order == Some(Ordering::Greater),
                    _ => order.is_some_and(Ordering::is_ge),
                }
            }
        };
        Ok(CelValue::Bool(holds))
    }

    /// Equality. Values of different types are not equal, except numbers.
    pub(super) fn equal(
        &mut self,
        a: &CelValue<'e>,
        b: &CelValue<'e>,
    ) -> Result<bool, EvaluationFailure> {
        self.charge(1)?;
        Ok(match (a, b) {
            (CelValue::Null, CelValue::Null) => true,
            (CelValue::Bool(a), CelValue::Bool(b)) => a == b,
            (CelValue::Text(a), CelValue::Text(b)) => {
                self.charge(a.len().min(b.len()) / BYTES_PER_STEP)?;
                **a == **b
            }
            (CelValue::Int(_) | CelValue::Double(_), CelValue::Int(_) | CelValue::Double(_)) => {
                functions::order(a, b)? == Some(Ordering::Equal)
            }
            _ => {
                if a.length() != b.length() {
                    return Ok(false);
                }
                match ((a.items(), b.items()), (a.entries(), b.entries())) {
                    ((Some(one), Some(other)), _) => {
                        for (one, other) in one.zip(other) {
                            if !self.equal(&one, &other)? {
                                return Ok(false);
                            }
                        }
                        true
                    }
                    (_, (Some(entries), Some(_))) => {
                        for (key, one) in entries {
                            self.charge_lookup(b)?;
                            match b.get(&key).flatten() {
                                Some(other) if self.equal(&one, &other)? => {}
                                _ => return Ok(false),
                            }
                        }
                        true
                    }
                    _ => false,
                }
            }
        })
    }

    fn calculate(
        &mut self,
        how: Calculation,
        two: &'e [Syntax; 2],
    ) -> Result<CelValue<'e>, EvaluationFailure> {
        let [left, right] = two;
        let (a, b) = (self.value(left)?, self.value(right)?);
        match (&a, &b, how) {
            (CelValue::Text(a), CelValue::Text(b), Calculation::Add) => {
                self.charge((a.len() + b.len()) / BYTES_PER_STEP)?;
                let mut joined = String::with_capacity(a.len() + b.len());
                joined.push_str(a);
                joined.push_str(b);
                return Ok(CelValue::text(joined));
            }
            (_, _, Calculation::Add) => {
                if let (Some(one), Some(other)) = (a.items(), b.items()) {
                    self.charge(a.length().unwrap_or(0) + b.length().unwrap_or(0))?;
                    return Ok(CelValue::List(one.chain(other).collect::<Vec<_>>().into()));
                }
            }
            _ => {}
        }
        functions::calculate(how, &a, &b).map_err(|what| {
            let (left, right) = (is_a(left, &a), is_a(right, &b));
            format!("{what}: {left} and {right}").into()
        })
    }

    fn contains(&mut self, two: &'e [Syntax; 2]) -> Result<CelValue<'e>, EvaluationFailure> {
        let [item, within] = two;
        let (item, values) = (self.value(item)?, self.value(within)?);
        if let Some(mut items) = values.items() {
            return loop {
                let Some(other) = items.next() else { break Ok(CelValue::Bool(false)) };
                if self.equal(&item, &other)? {
                    break Ok(CelValue::Bool(true));
                }
            };
        }
        self.charge_lookup(&values)?;
        match (&item, values.entries().is_some()) {
            (CelValue::Text(key), true) => Ok(CelValue::Bool(values.get(key).flatten().is_some())),
            (_, true) => Ok(CelValue::Bool(false)),
            (_, false) => Err(not_a("a list or a map", within, &values)),
        }
    }

    fn walk(&mut self, walk: &'e MacroWalk) -> Result<CelValue<'e>, EvaluationFailure> {
        let range = self.value(&walk.range)?;
        let length = range.length().unwrap_or(0);
        if length > ITEMS_MAX {
            let what = format!(
                "{} has {length} items; at most {ITEMS_MAX} are walked over",
                named(&walk.range)
            );
            return Err(what.into());
        }
        if let Some(items) = range.items() {
            return self.walk_over(walk, items);
        }
        match range.entries() {
            Some(entries) => self.walk_over(walk, entries.map(|(key, _)| CelValue::Text(key))),
            None => Err(not_a("a list or a map", &walk.range, &range)),
        }
    }

    fn walk_over(
        &mut self,
        walk: &'e MacroWalk,
        items: impl Iterator<Item = CelValue<'e>>,
    ) -> Result<CelValue<'e>, EvaluationFailure> {
        let (mut kept, mut found, mut failure) = (Vec::new(), 0_usize, None);
        for item in items {
            self.charge(1)?;
            self.variables.push(item.clone());
            let test = walk.test.as_ref().map_or(Ok(true), |test| self.truth(test));
            let value = match (&test, &walk.value) {
                (Ok(true), Some(value)) => self.value(value).map(Some),
                _ => Ok(None),
            };
            self.variables.pop();
            let (test, value) = match (walk.kind, test) {
                (_, Ok(test)) => (test, value?),
                (WalkKind::All | WalkKind::Exists, Err(what)) if self.left > 0 => {
                    failure = failure.or(Some(what));
                    continue;
                }
                (_, Err(what)) => return Err(what),
            };
            match walk.kind {
                WalkKind::All if !test => return Ok(CelValue::Bool(false)),
                WalkKind::Exists if test => return Ok(CelValue::Bool(true)),
                WalkKind::Filter if test => kept.push(item),
                WalkKind::Map => kept.extend(value),
                _ => found += usize::from(test),
            }
        }
        if let Some(what) = failure {
            return Err(what);
        }
        Ok(match walk.kind {
            WalkKind::All => CelValue::Bool(true),
            WalkKind::Exists => CelValue::Bool(false),
            WalkKind::ExistsOne => CelValue::Bool(found == 1),
            WalkKind::Filter | WalkKind::Map => CelValue::List(Rc::from(kept)),
        })
    }
}

/// A part of an expression, by its path if it has one.
pub(super) fn named(syntax: &Syntax) -> String {
    syntax.path().unwrap_or_else(|| "the value".into())
}

fn is_a(syntax: &Syntax, value: &CelValue<'_>) -> String {
    format!("{} is {}", named(syntax), value.kind())
}

pub(super) fn not_a(wanted: &str, syntax: &Syntax, value: &CelValue<'_>) -> EvaluationFailure {
    format!("{}, not {wanted}", is_a(syntax, value)).into()
}

fn no_fields(of: &Syntax, value: &CelValue<'_>) -> EvaluationFailure {
    format!("{}, which has no fields", is_a(of, value)).into()
}

/// The beginning of a key, for a message.
fn cut(text: &str) -> &str {
    text.char_indices().nth(60).map_or(text, |(end, _)| &text[..end])
}
