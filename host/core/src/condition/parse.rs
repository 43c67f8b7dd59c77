//! From text to a checked tree: the parser of the `cel` crate, then limits, names and functions.
//!
//! The parser is recursive and made by a generator. It runs on a thread of its own, so that neither
//! a deep text nor a panic in it can end the hub.

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo, operators};
use cel::parser::ParseErrors;
use regex::RegexBuilder;

use super::error::InvalidExpression;
use super::syntax::{Calculation, CompareOperator, FUNCTIONS, Fact, MacroWalk, Syntax, WalkKind};
use super::text::{TextShape, shape};

/// Longest text of an expression, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 16 * 1024;
/// Most tokens of an expression: names, literals, operators and brackets.
const TOKENS_MAX: usize = 2_000;
/// Deepest nesting of brackets, and of the tree.
const DEPTH_MAX: usize = 32;
const TREE_DEPTH_MAX: usize = 64;
/// Most levels of one expression in the parser.
const PARSER_DEPTH_MAX: u16 = 48;
/// Most mistakes after which the parser goes on.
const RECOVERIES_MAX: u32 = 4;
/// Stack of the thread that parses. Most of it is never touched.
const STACK_BYTES: usize = 64 * 1024 * 1024;
/// Largest regular expression, in bytes of text and of its compiled form.
const REGEX_BYTES_MAX: usize = 512;
const REGEX_SIZE_MAX: usize = 256 * 1024;
/// Most mistakes reported about one expression.
const MISTAKES_MAX: usize = 5;

/// The use of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExpressionUse {
    /// Evaluated before the event is stored.
    Routing,
    /// Evaluated on the stored event.
    Message,
}

/// Names that the `cel` crate reads as macros, and that are functions here.
const WALKS: &[(&str, WalkKind)] = &[
    ("all", WalkKind::All),
    ("exists", WalkKind::Exists),
    ("exists_one", WalkKind::ExistsOne),
    ("existsOne", WalkKind::ExistsOne),
    ("filter", WalkKind::Filter),
    ("map", WalkKind::Map),
];

/// An expression's clauses: those that a top-level `&&` joins, each with its text.
pub(super) fn parse_clauses(
    text: &str,
    purpose: ExpressionUse,
) -> Result<Vec<(Box<str>, Syntax)>, Vec<InvalidExpression>> {
    let shape = check_shape(text).map_err(|mistake| vec![mistake])?;
    let ranges = shape.clauses;
    on_own_stack(|| {
        let mut clauses = Vec::new();
        let mut mistakes = Vec::new();
        for range in ranges {
            let clause = &text[range.clone()];
            if clause.is_empty() {
                mistakes.push(InvalidExpression::new(range.start, "an operand of && is missing"));
                continue;
            }
            match parse_one(clause, purpose) {
                Ok(tree) => clauses.push((clause.into(), tree)),
                Err(said) => {
                    mistakes.extend(said.into_iter().map(|mistake| InvalidExpression {
                        at: range.start + mistake.at,
                        ..mistake
                    }))
                }
            }
        }
        if mistakes.is_empty() { Ok(clauses) } else { Err(first_ones(mistakes)) }
    })
}

/// An expression as a whole.
pub(super) fn parse_whole(
    text: &str,
    purpose: ExpressionUse,
) -> Result<Syntax, Vec<InvalidExpression>> {
    check_shape(text).map_err(|mistake| vec![mistake])?;
    on_own_stack(|| parse_one(text, purpose).map_err(first_ones))
}

fn first_ones(mut mistakes: Vec<InvalidExpression>) -> Vec<InvalidExpression> {
    mistakes.sort_by_key(|mistake| mistake.at);
    mistakes.dedup_by_key(|mistake| mistake.at);
    mistakes.truncate(MISTAKES_MAX);
    mistakes
}

/// Refuses what the parser must not see.
fn check_shape(text: &str) -> Result<TextShape, InvalidExpression> {
    let refuse = |at, what: String| Err(InvalidExpression::new(at, what));
    if text.len() > TEXT_BYTES_MAX {
        let length = text.len();
        return refuse(0, format!("has {length} bytes; at most {TEXT_BYTES_MAX} are allowed"));
    }
    if text.trim().is_empty() {
        return refuse(0, "is empty".into());
    }
    let allowed = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    if let Some((at, _)) = text.char_indices().find(|(_, c)| !allowed(*c)) {
        return refuse(at, "has a control character".into());
    }
    let shape = shape(text);
    if shape.depth > DEPTH_MAX {
        let at = shape.deepest_at;
        return refuse(at, format!("nests brackets deeper than {DEPTH_MAX} levels"));
    }
    if shape.tokens > TOKENS_MAX {
        let tokens = shape.tokens;
        return refuse(0, format!("has {tokens} tokens; at most {TOKENS_MAX} are allowed"));
    }
    Ok(shape)
}

/// Runs a parse on a thread with a large stack. A panic is a mistake in the text.
fn on_own_stack<T: Send>(
    parse: impl FnOnce() -> Result<T, Vec<InvalidExpression>> + Send,
) -> Result<T, Vec<InvalidExpression>> {
    let failed = |what: &str| Err(vec![InvalidExpression::new(0, what)]);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("cel".into()).stack_size(STACK_BYTES);
        match thread.spawn_scoped(scope, parse) {
            Err(_) => failed("cannot be parsed now: this machine has no thread to spare"),
            // A panic has written its message to standard error already.
            Ok(running) => running
                .join()
                .unwrap_or_else(|_| failed("cannot be parsed; write it in a simpler way")),
        }
    })
}

fn parse_one(text: &str, purpose: ExpressionUse) -> Result<Syntax, Vec<InvalidExpression>> {
    let parser = cel::Env::default().with_optional_support(false).parser();
    let parser = parser.max_recursion_depth(PARSER_DEPTH_MAX).error_recovery_limit(RECOVERIES_MAX);
    let (tree, info) =
        parser.parse_with_source_info(text).map_err(|errors| syntax_errors(text, errors))?;
    let (variables, mistakes) = (Vec::new(), Vec::new());
    let mut checker = Checker { text, purpose, info: &info, variables, mistakes };
    let checked = checker.check(&tree, 0);
    match checked {
        Some(checked) if checker.mistakes.is_empty() => Ok(checked),
        _ => Err(checker.mistakes),
    }
}

fn syntax_errors(text: &str, errors: ParseErrors) -> Vec<InvalidExpression> {
    let mistake = |error: cel::ParseError| {
        let at = byte_of(text, error.pos.0, error.pos.1);
        if error.msg == "UNKNOWN" {
            return InvalidExpression::new(at, "is nested too deeply to be parsed");
        }
        InvalidExpression::new(at, readable(&error.msg))
    };
    errors.errors.into_iter().map(mistake).collect()
}

/// The first clause of a message of the parser, which then lists every token that may follow.
fn readable(message: &str) -> String {
    let message = message.trim_start_matches("Syntax error: ");
    let message = message.split(" expecting ").next().unwrap_or(message);
    let message = message.replace("'<EOF>'", "the end").replace("<EOF>", "the end");
    format!("is not CEL: {message}")
}

/// The byte at a line and column, both from 1; columns count characters.
fn byte_of(text: &str, line: isize, column: isize) -> usize {
    let (line, column) = (usize::try_from(line).unwrap_or(1), usize::try_from(column).unwrap_or(1));
    let begin: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = text.get(begin..).unwrap_or("");
    let into = rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at);
    begin + into
}

/// Turns the parser's tree into ours. Notes every mistake and goes on.
struct Checker<'t> {
    text: &'t str,
    purpose: ExpressionUse,
    info: &'t SourceInfo,
    variables: Vec<&'t str>,
    mistakes: Vec<InvalidExpression>,
}

impl<'t> Checker<'t> {
    fn mistake(&mut self, of: u64, what: impl Into<Box<str>>) -> Option<Syntax> {
        let at = self.info.offset_for(of).map_or(0, |(start, _)| start as usize);
        let at = self.text.floor_char_boundary(at);
        // A call stands at its bracket; its name is before that.
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let at = match self.text[at..].starts_with('(') {
            true => self.text[..at].trim_end_matches(is_name).len(),
            false => at,
        };
        self.mistakes.push(InvalidExpression::new(at, what));
        None
    }

    fn check(&mut self, tree: &'t IdedExpr, depth: usize) -> Option<Syntax> {
        if depth > TREE_DEPTH_MAX {
            let what = format!("chains more than {TREE_DEPTH_MAX} operations");
            return self.mistake(tree.id, what);
        }
        let depth = depth + 1;
        match &tree.expr {
            Expr::Unspecified => self.mistake(tree.id, "is not an expression"),
            Expr::Literal(literal) => self.literal(tree.id, literal),
            Expr::Ident(name) => self.name(tree.id, name),
            Expr::Select(select) => {
                if let Expr::Ident(root) = &select.operand.expr
                    && root == "event"
                    && !self.variables.contains(&"event")
                {
                    return self.fact(tree.id, &select.field);
                }
                let of = self.check(&select.operand, depth)?;
                Some(Syntax::Field(Box::new(of), select.field.as_str().into()))
            }
            Expr::List(list) => Some(Syntax::List(self.all(&list.elements, depth)?)),
            Expr::Map(map) => {
                let entry = |entry: &'t cel::common::ast::IdedEntryExpr| match &entry.expr {
                    EntryExpr::MapEntry(entry) => {
                        self.check(&entry.key, depth).zip(self.check(&entry.value, depth))
                    }
                    EntryExpr::StructField(_) => None,
                };
                let entries: Vec<_> = map.entries.iter().map(entry).collect();
                Some(Syntax::Map(entries.into_iter().collect::<Option<_>>()?))
            }
            Expr::Struct(_) => self.mistake(tree.id, "messages do not exist here; write a map"),
            Expr::Comprehension(_) => self.mistake(tree.id, "is not an expression"),
            Expr::Call(call) => match &call.target {
                Some(target) => self.method(tree.id, target, &call.func_name, &call.args, depth),
                None => self.call(tree.id, &call.func_name, &call.args, depth),
            },
        }
    }

    /// All parts, so that the mistakes of each are noted.
    fn all(&mut self, parts: &'t [IdedExpr], depth: usize) -> Option<Vec<Syntax>> {
        let checked: Vec<_> = parts.iter().map(|part| self.check(part, depth)).collect();
        checked.into_iter().collect()
    }

    fn two(&mut self, parts: &'t [IdedExpr], depth: usize) -> Option<Box<[Syntax; 2]>> {
        self.all(parts, depth)?.try_into().ok().map(Box::new)
    }

    fn literal(&mut self, id: u64, literal: &LiteralValue) -> Option<Syntax> {
        Some(match literal {
            LiteralValue::Null => Syntax::Null,
            LiteralValue::Boolean(value) => Syntax::Bool(*value.inner()),
            LiteralValue::Int(value) => Syntax::Int((*value.inner()).into()),
            LiteralValue::UInt(value) => Syntax::Int((*value.inner()).into()),
            LiteralValue::Double(value) => Syntax::Double(*value.inner()),
            LiteralValue::String(value) => Syntax::Text(value.inner().into()),
            LiteralValue::Bytes(_) => {
                return self.mistake(id, "bytes are not supported; write a string");
            }
        })
    }

    fn name(&mut self, id: u64, name: &str) -> Option<Syntax> {
        if let Some(place) = self.variables.iter().rposition(|variable| *variable == name) {
            return Some(Syntax::Variable(place, name.into()));
        }
        let what = match name {
            "event" => format!("`event` alone has no value; its fields are {}", facts()),
            _ => {
                format!("there is no `{name}`; write event.body.{name}, or another of {}", facts())
            }
        };
        self.mistake(id, what)
    }

    fn fact(&mut self, id: u64, field: &str) -> Option<Syntax> {
        let fact = Fact::ALL.into_iter().find(|fact| fact.as_str()[6..] == *field);
        match fact {
            Some(Fact::Id) if self.purpose == ExpressionUse::Routing => self
                .mistake(id, "event.id is not known yet: an event is routed before it is stored"),
            Some(fact) => Some(Syntax::Fact(fact)),
            None => {
                let what = format!("an event has no `{field}`; its fields are {}", facts());
                self.mistake(id, what)
            }
        }
    }

    fn call(&mut self, id: u64, name: &str, args: &'t [IdedExpr], depth: usize) -> Option<Syntax> {
        if let Some(operator) = self.operator(name, args, depth) {
            return operator;
        }
        if name == "has" {
            let Some((operand, field)) = selection(args) else {
                let what = "has() takes a field, such as has(event.body.id)";
                return self.mistake(id, what);
            };
            if let Expr::Ident(root) = &operand.expr
                && root == "event"
                && self.variables.iter().all(|name| *name != "event")
            {
                return self.fact(id, field).map(|_| Syntax::Bool(true));
            }
            return Some(Syntax::Has(Box::new(self.check(operand, depth)?), field.into()));
        }
        if name == "matches" && args.len() == 2 {
            return self.matches(id, &args[0], &args[1], depth);
        }
        self.function(id, name, None, args, depth)
    }

    /// An operator, which the parser writes as a function. The outer option is none for others.
    fn operator(
        &mut self,
        name: &str,
        args: &'t [IdedExpr],
        depth: usize,
    ) -> Option<Option<Syntax>> {
        let comparison = match name {
            operators::EQUALS => Some(CompareOperator::Equal),
            operators::NOT_EQUALS => Some(CompareOperator::NotEqual),
            operators::LESS => Some(CompareOperator::Less),
            operators::LESS_EQUALS => Some(CompareOperator::LessOrEqual),
            operators::GREATER => Some(CompareOperator::Greater),
            operators::GREATER_EQUALS => Some(CompareOperator::GreaterOrEqual),
            _ => None,
        };
        if let Some(comparison) = comparison {
            return Some(self.two(args, depth).map(|two| Syntax::Compare(comparison, two)));
        }
        let calculation = match name {
            operators::ADD => Some(Calculation::Add),
            operators::SUBSTRACT => Some(Calculation::Subtract),
            operators::MULTIPLY => Some(Calculation::Multiply),
            operators::DIVIDE => Some(Calculation::Divide),
            operators::MODULO => Some(Calculation::Remainder),
            _ => None,
        };
        if let Some(calculation) = calculation {
            return Some(self.two(args, depth).map(|two| Syntax::Calculate(calculation, two)));
        }
        Some(match name {
            operators::LOGICAL_AND => {
                self.all(args, depth).map(|parts| Syntax::And(flat(parts, true)))
            }
            operators::LOGICAL_OR => {
                self.all(args, depth).map(|parts| Syntax::Or(flat(parts, false)))
            }
            operators::LOGICAL_NOT => self.one(args, depth).map(|of| Syntax::Not(Box::new(of))),
            operators::NEGATE => self.one(args, depth).map(|of| Syntax::Negate(Box::new(of))),
            operators::CONDITIONAL => self
                .all(args, depth)
                .and_then(|parts| parts.try_into().ok())
                .map(|parts| Syntax::If(Box::new(parts))),
            operators::INDEX => self.two(args, depth).map(|two| {
                let [of, at] = *two;
                Syntax::Index(Box::new(of), Box::new(at))
            }),
            operators::IN => self.two(args, depth).map(Syntax::In),
            _ => return None,
        })
    }

    fn one(&mut self, args: &'t [IdedExpr], depth: usize) -> Option<Syntax> {
        self.all(args, depth)?.pop()
    }

    fn method(
        &mut self,
        id: u64,
        target: &'t IdedExpr,
        name: &str,
        args: &'t [IdedExpr],
        depth: usize,
    ) -> Option<Syntax> {
        if let Some((_, kind)) = WALKS.iter().find(|(walk, _)| *walk == name) {
            return self.walk(id, *kind, target, args, depth);
        }
        if name == "matches" && args.len() == 1 {
            return self.matches(id, target, &args[0], depth);
        }
        self.function(id, name, Some(target), args, depth)
    }

    fn function(
        &mut self,
        id: u64,
        name: &str,
        target: Option<&'t IdedExpr>,
        args: &'t [IdedExpr],
        depth: usize,
    ) -> Option<Syntax> {
        let count = args.len() + usize::from(target.is_some());
        let known =
            |(_, known, method, counts): &&(_, &str, bool, std::ops::RangeInclusive<usize>)| {
                *known == name && *method == target.is_some() && counts.contains(&count)
            };
        let Some((function, ..)) = FUNCTIONS.iter().find(known) else {
            return self.mistake(id, unknown_function(name, target.is_some()));
        };
        let target = target.map(|target| self.check(target, depth));
        let args = self.all(args, depth)?;
        let parts = target.into_iter().chain(args.into_iter().map(Some)).collect::<Option<_>>()?;
        Some(Syntax::Call(*function, parts))
    }

    fn matches(
        &mut self,
        id: u64,
        of: &'t IdedExpr,
        pattern: &'t IdedExpr,
        depth: usize,
    ) -> Option<Syntax> {
        let of = self.check(of, depth);
        let Expr::Literal(LiteralValue::String(text)) = &pattern.expr else {
            let what = "the pattern of matches() must be a string in quotes, to be compiled once";
            return self.mistake(id, what);
        };
        let text = text.inner();
        if text.len() > REGEX_BYTES_MAX {
            let what = format!("the pattern has more than {REGEX_BYTES_MAX} bytes");
            return self.mistake(pattern.id, what);
        }
        let built = RegexBuilder::new(text)
            .size_limit(REGEX_SIZE_MAX)
            .dfa_size_limit(REGEX_SIZE_MAX)
            .nest_limit(32)
            .build();
        match built {
            Ok(regex) => Some(Syntax::Matches(Box::new(of?), regex)),
            Err(regex::Error::CompiledTooBig(_)) => {
                self.mistake(pattern.id, "the pattern is too large; use smaller repetitions")
            }
            Err(error) => {
                let said = error.to_string();
                let last = said.lines().last().unwrap_or_default().trim_start_matches("error: ");
                self.mistake(pattern.id, format!("the pattern is not valid: {last}"))
            }
        }
    }

    fn walk(
        &mut self,
        id: u64,
        kind: WalkKind,
        range: &'t IdedExpr,
        args: &'t [IdedExpr],
        depth: usize,
    ) -> Option<Syntax> {
        let (variable, parts) = match args {
            [variable, parts @ ..] if parts.len() == 1 => (variable, parts),
            [variable, parts @ ..] if parts.len() == 2 && kind == WalkKind::Map => {
                (variable, parts)
            }
            _ => return self.mistake(id, "takes a variable and a predicate, such as (x, x > 1)"),
        };
        let Expr::Ident(variable) = &variable.expr else {
            return self.mistake(variable.id, "is not a name for each item");
        };
        if !self.variables.is_empty() && !matches!(range.expr, Expr::List(_)) {
            let what = "is a walk over a list inside another walk, whose cost has no bound; \
                        only a list that is written out may be walked there";
            return self.mistake(id, what);
        }
        let range = self.check(range, depth);
        self.variables.push(variable);
        let parts = self.all(parts, depth);
        self.variables.pop();
        let (range, mut parts) = (range?, parts?);
        let last = parts.pop();
        let (test, value) = if kind == WalkKind::Map { (parts.pop(), last) } else { (last, None) };
        Some(Syntax::Walk(Box::new(MacroWalk { kind, range, test, value })))
    }
}

/// The operand and field of `has(operand.field)`.
fn selection(args: &[IdedExpr]) -> Option<(&IdedExpr, &str)> {
    match args {
        [IdedExpr { expr: Expr::Select(select), .. }] => Some((&select.operand, &select.field)),
        _ => None,
    }
}

/// The parser makes pairs of `a && b && c`.
fn flat(parts: Vec<Syntax>, and: bool) -> Vec<Syntax> {
    let mut flat = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Syntax::And(more) if and => flat.extend(more),
            Syntax::Or(more) if !and => flat.extend(more),
            other => flat.push(other),
        }
    }
    flat
}

fn facts() -> String {
    Fact::ALL.map(Fact::as_str).join(", ")
}

fn unknown_function(name: &str, is_method: bool) -> String {
    let mut names: Vec<_> = FUNCTIONS.iter().map(|(_, known, ..)| *known).collect();
    names.extend(WALKS.iter().map(|(walk, _)| *walk));
    names.extend(["has", "matches"]);
    names.dedup();
    if names.contains(&name) {
        let how = if is_method { "x.{name}(…)" } else { "{name}(…)" }.replace("{name}", name);
        return format!("{how} does not take these arguments");
    }
    let near = names.iter().min_by_key(|known| strsim::levenshtein(known, name));
    match near.filter(|near| strsim::levenshtein(near, name) <= 2) {
        Some(near) => format!("there is no function `{name}`; did you mean `{near}`?"),
        None => format!("there is no function `{name}`; there are {}", names.join(", ")),
    }
}
