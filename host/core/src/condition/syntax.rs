//! The tree of a checked expression. `parse` makes it, `evaluate` walks it.

use std::sync::Arc;

use regex::Regex;

/// A part of an expression.
#[derive(Debug)]
pub(super) enum Syntax {
    Null,
    Bool(bool),
    Int(i128),
    Double(f64),
    Text(Arc<str>),
    Fact(Fact),
    /// The variable of a macro: its place among those in scope.
    Variable(usize, Box<str>),
    Field(Box<Syntax>, Box<str>),
    /// `has(x.name)`.
    Has(Box<Syntax>, Box<str>),
    Index(Box<Syntax>, Box<Syntax>),
    List(Vec<Syntax>),
    Map(Vec<(Syntax, Syntax)>),
    Not(Box<Syntax>),
    Negate(Box<Syntax>),
    And(Vec<Syntax>),
    Or(Vec<Syntax>),
    If(Box<[Syntax; 3]>),
    Compare(CompareOperator, Box<[Syntax; 2]>),
    Calculate(Calculation, Box<[Syntax; 2]>),
    In(Box<[Syntax; 2]>),
    Call(Function, Vec<Syntax>),
    Matches(Box<Syntax>, Regex),
    Walk(Box<MacroWalk>),
}

/// A macro over the items of a list or the keys of a map.
#[derive(Debug)]
pub(super) struct MacroWalk {
    pub(super) kind: WalkKind,
    pub(super) range: Syntax,
    /// The predicate; none for a `map` without one.
    pub(super) test: Option<Syntax>,
    /// The value of each item; only for `map`.
    pub(super) value: Option<Syntax>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WalkKind {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CompareOperator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Calculation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// A fact of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fact {
    Id,
    Source,
    Type,
    Category,
    DeliveryId,
    ReceivedAt,
    Headers,
    Query,
    Body,
}

impl Fact {
    pub(super) const ALL: [Self; 9] = [
        Self::Id,
        Self::Source,
        Self::Type,
        Self::Category,
        Self::DeliveryId,
        Self::ReceivedAt,
        Self::Headers,
        Self::Query,
        Self::Body,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Id => "event.id",
            Self::Source => "event.source",
            Self::Type => "event.type",
            Self::Category => "event.category",
            Self::DeliveryId => "event.delivery_id",
            Self::ReceivedAt => "event.received_at",
            Self::Headers => "event.headers",
            Self::Query => "event.query",
            Self::Body => "event.body",
        }
    }

    /// True if it is read from the stored headers and body.
    pub(super) fn is_in_payload(self) -> bool {
        matches!(self, Self::Headers | Self::Query | Self::Body)
    }
}

/// A function. A receiver is its first argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    LowerAscii,
    UpperAscii,
    Trim,
    Replace,
    Split,
    Join,
    Substring,
    ToInt,
    ToDouble,
    ToText,
    ToBool,
    ToDyn,
}

/// A function with its name, whether it has a receiver, and its number of arguments with it.
pub(super) const FUNCTIONS: &[(Function, &str, bool, std::ops::RangeInclusive<usize>)] = &[
    (Function::Size, "size", false, 1..=1),
    (Function::Size, "size", true, 1..=1),
    (Function::Contains, "contains", true, 2..=2),
    (Function::StartsWith, "startsWith", true, 2..=2),
    (Function::EndsWith, "endsWith", true, 2..=2),
    (Function::LowerAscii, "lowerAscii", true, 1..=1),
    (Function::UpperAscii, "upperAscii", true, 1..=1),
    (Function::Trim, "trim", true, 1..=1),
    (Function::Replace, "replace", true, 3..=3),
    (Function::Split, "split", true, 2..=2),
    (Function::Join, "join", true, 1..=2),
    (Function::Substring, "substring", true, 2..=3),
    (Function::ToInt, "int", false, 1..=1),
    (Function::ToInt, "uint", false, 1..=1),
    (Function::ToDouble, "double", false, 1..=1),
    (Function::ToText, "string", false, 1..=1),
    (Function::ToBool, "bool", false, 1..=1),
    (Function::ToDyn, "dyn", false, 1..=1),
];

impl Syntax {
    /// The path that this is, such as `event.body.issue`; none if it is something else.
    pub(super) fn path(&self) -> Option<String> {
        match self {
            Self::Fact(fact) => Some(fact.as_str().into()),
            Self::Variable(_, name) => Some(name.to_string()),
            Self::Field(of, name) => Some(format!("{}.{name}", of.path()?)),
            Self::Index(of, at) => match &**at {
                Self::Text(key) => Some(format!("{}[\"{key}\"]", of.path()?)),
                Self::Int(index) => Some(format!("{}[{index}]", of.path()?)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The kind of its value, if it is the same for every event.
    pub(super) fn kind(&self) -> Option<&'static str> {
        Some(match self {
            Self::Null => "null",
            Self::Bool(_)
            | Self::Has(..)
            | Self::Not(_)
            | Self::And(_)
            | Self::Or(_)
            | Self::Compare(..)
            | Self::In(_)
            | Self::Matches(..)
            | Self::Call(
                Function::Contains | Function::StartsWith | Function::EndsWith | Function::ToBool,
                _,
            ) => "bool",
            Self::Int(_) | Self::Call(Function::Size | Function::ToInt, _) => "int",
            Self::Double(_) | Self::Call(Function::ToDouble, _) => "double",
            Self::Negate(_) => "a number",
            Self::Text(_)
            | Self::Fact(Fact::Source | Fact::Type | Fact::ReceivedAt | Fact::Id)
            | Self::Call(
                Function::LowerAscii
                | Function::UpperAscii
                | Function::Trim
                | Function::Replace
                | Function::Join
                | Function::Substring
                | Function::ToText,
                _,
            ) => "string",
            Self::List(_) | Self::Call(Function::Split, _) => "list",
            Self::Map(_) | Self::Fact(Fact::Headers | Fact::Query) => "map",
            Self::Walk(walk) => match walk.kind {
                WalkKind::Filter | WalkKind::Map => "list",
                _ => "bool",
            },
            Self::If(parts) => {
                let [_, yes, no] = &**parts;
                return yes.kind().filter(|kind| no.kind() == Some(*kind));
            }
            Self::Calculate(..)
            | Self::Fact(_)
            | Self::Variable(..)
            | Self::Field(..)
            | Self::Index(..)
            | Self::Call(..) => return None,
        })
    }

    /// Calls `f` with every fact that it reads.
    pub(super) fn facts(&self, f: &mut impl FnMut(Fact)) {
        if let Self::Fact(fact) = self {
            f(*fact);
        }
        self.children(&mut |child| child.facts(f));
    }

    fn children(&self, f: &mut dyn FnMut(&Self)) {
        match self {
            Self::Field(of, _) | Self::Has(of, _) | Self::Matches(of, _) => f(of),
            Self::Not(of) | Self::Negate(of) => f(of),
            Self::Index(of, at) => {
                f(of);
                f(at);
            }
            Self::List(parts) | Self::And(parts) | Self::Or(parts) | Self::Call(_, parts) => {
                parts.iter().for_each(f);
            }
            Self::Map(entries) => {
                for (key, value) in entries {
                    f(key);
                    f(value);
                }
            }
            Self::If(parts) => parts.iter().for_each(f),
            Self::Compare(_, parts) | Self::Calculate(_, parts) | Self::In(parts) => {
                parts.iter().for_each(f);
            }
            Self::Walk(walk) => {
                f(&walk.range);
                walk.test.iter().chain(&walk.value).for_each(f);
            }
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Double(_)
            | Self::Text(_)
            | Self::Fact(_)
            | Self::Variable(..) => {}
        }
    }
}
