//! The functions of expressions, and arithmetic. Each is charged for the bytes that it looks at.

use std::cmp::Ordering;

use super::evaluate::{BYTES_PER_STEP, Evaluation, EvaluationFailure, SEARCHED_PER_STEP};
use super::syntax::{Calculation, Function, Syntax};
use super::value::CelValue;

/// A regular expression may look at each byte in as many states as it has.
pub(super) const REGEX_STEPS_PER_BYTE: usize = 4;

/// Whole numbers are those of JSON and CEL: from the least `int` to the greatest `uint`.
fn whole(value: Option<i128>) -> Result<CelValue<'static>, EvaluationFailure> {
    let range = i128::from(i64::MIN)..=i128::from(u64::MAX);
    match value.filter(|value| range.contains(value)) {
        Some(value) => Ok(CelValue::Int(value)),
        None => Err("the result is too large for a whole number".into()),
    }
}

pub(super) fn negate(value: CelValue<'_>) -> Result<CelValue<'static>, EvaluationFailure> {
    match value {
        CelValue::Int(value) => whole(value.checked_neg()),
        CelValue::Double(value) => Ok(CelValue::Double(-value)),
        other => Err(format!("{} cannot be negated", other.kind()).into()),
    }
}

/// The order of two numbers, strings or bools; none if one of them is not a number (NaN).
pub(super) fn order(
    a: &CelValue<'_>,
    b: &CelValue<'_>,
) -> Result<Option<Ordering>, EvaluationFailure> {
    Ok(match (a, b) {
        (CelValue::Int(a), CelValue::Int(b)) => Some(a.cmp(b)),
        (CelValue::Double(a), CelValue::Double(b)) => a.partial_cmp(b),
        (CelValue::Int(a), CelValue::Double(b)) => order_mixed(*a, *b),
        (CelValue::Double(a), CelValue::Int(b)) => order_mixed(*b, *a).map(Ordering::reverse),
        (CelValue::Text(a), CelValue::Text(b)) => Some((**a).cmp(&**b)),
        (CelValue::Bool(a), CelValue::Bool(b)) => Some(a.cmp(b)),
        _ => return Err("these have no order".into()),
    })
}

/// Exact also where a double cannot hold the whole number.
fn order_mixed(a: i128, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        return None;
    }
    // Saturates beyond all whole numbers that occur.
    #[expect(clippy::cast_possible_truncation, reason = "a saturated bound orders as well")]
    let floor = b.floor() as i128;
    Some(a.cmp(&floor).then(if b > b.floor() { Ordering::Less } else { Ordering::Equal }))
}

#[expect(clippy::cast_precision_loss, reason = "as CEL converts an int to a double")]
fn as_double(value: &CelValue<'_>) -> Option<f64> {
    match value {
        CelValue::Int(value) => Some(*value as f64),
        CelValue::Double(value) => Some(*value),
        _ => None,
    }
}

/// Arithmetic. A whole number and a double give a double.
pub(super) fn calculate(
    how: Calculation,
    a: &CelValue<'_>,
    b: &CelValue<'_>,
) -> Result<CelValue<'static>, EvaluationFailure> {
    if let (CelValue::Int(a), CelValue::Int(b)) = (a, b) {
        if *b == 0 && matches!(how, Calculation::Divide | Calculation::Remainder) {
            return Err("a division by zero".into());
        }
        return whole(match how {
            Calculation::Add => a.checked_add(*b),
            Calculation::Subtract => a.checked_sub(*b),
            Calculation::Multiply => a.checked_mul(*b),
            Calculation::Divide => a.checked_div(*b),
            Calculation::Remainder => a.checked_rem(*b),
        });
    }
    let (Some(a), Some(b)) = (as_double(a), as_double(b)) else {
        return Err("these cannot be calculated with".into());
    };
    Ok(CelValue::Double(match how {
        Calculation::Add => a + b,
        Calculation::Subtract => a - b,
        Calculation::Multiply => a * b,
        Calculation::Divide => a / b,
        Calculation::Remainder => return Err("% takes whole numbers".into()),
    }))
}

/// Calls a function with its arguments, of which `parts` are the expressions.
pub(super) fn call<'e>(
    evaluation: &mut Evaluation<'e, '_>,
    function: Function,
    parts: &[Syntax],
    values: Vec<CelValue<'e>>,
) -> Result<CelValue<'e>, EvaluationFailure> {
    match (function, &values[..]) {
        (Function::ToDyn, [_]) => values.into_iter().next().ok_or_else(|| "no value".into()),
        (Function::Size, [CelValue::Text(text)]) => {
            evaluation.charge(text.len() / BYTES_PER_STEP)?;
            Ok(size(text.chars().count()))
        }
        (Function::Size, [value]) => match value.length() {
            Some(length) => Ok(size(length)),
            None => Err(wrong("size()", parts, &values)),
        },
        (Function::ToInt, [value]) => to_int(value).map_err(|what| about(what, parts, &values)),
        (Function::ToDouble, [value]) => {
            let parsed = match value {
                CelValue::Text(text) => text.trim().parse().ok(),
                other => as_double(other),
            };
            parsed.map(CelValue::Double).ok_or_else(|| wrong("double()", parts, &values))
        }
        (Function::ToBool, [value]) => match value {
            CelValue::Bool(value) => Ok(CelValue::Bool(*value)),
            CelValue::Text(text) if matches!(&**text, "true" | "false") => {
                Ok(CelValue::Bool(&**text == "true"))
            }
            _ => Err(wrong("bool()", parts, &values)),
        },
        (Function::ToText, [value]) => {
            to_text(value).ok_or_else(|| wrong("string()", parts, &values))
        }
        (Function::Join, [list, rest @ ..]) if list.items().is_some() => {
            join(evaluation, list, rest).map_err(|what| about(what, parts, &values))
        }
        _ => of_texts(evaluation, function, parts, &values),
    }
}

/// Functions whose receiver is a string.
fn of_texts<'e>(
    evaluation: &mut Evaluation<'e, '_>,
    function: Function,
    parts: &[Syntax],
    values: &[CelValue<'e>],
) -> Result<CelValue<'e>, EvaluationFailure> {
    let [CelValue::Text(text), args @ ..] = values else {
        return Err(wrong(name(function), parts, values));
    };
    let copied = text.len() / BYTES_PER_STEP;
    Ok(match (function, args) {
        (Function::Contains, [CelValue::Text(part)]) => {
            evaluation.charge((text.len() + part.len()) / SEARCHED_PER_STEP)?;
            let found = memchr::memmem::find(text.as_bytes(), part.as_bytes());
            CelValue::Bool(found.is_some())
        }
        (Function::StartsWith, [CelValue::Text(part)]) => {
            evaluation.charge(part.len() / BYTES_PER_STEP)?;
            CelValue::Bool(text.starts_with(&**part))
        }
        (Function::EndsWith, [CelValue::Text(part)]) => {
            evaluation.charge(part.len() / BYTES_PER_STEP)?;
            CelValue::Bool(text.ends_with(&**part))
        }
        (Function::LowerAscii, []) => {
            evaluation.charge(copied)?;
            CelValue::text(text.to_ascii_lowercase())
        }
        (Function::UpperAscii, []) => {
            evaluation.charge(copied)?;
            CelValue::text(text.to_ascii_uppercase())
        }
        (Function::Trim, []) => {
            evaluation.charge(copied)?;
            CelValue::text(text.trim().to_owned())
        }
        (Function::Replace, [CelValue::Text(from), CelValue::Text(to)]) => {
            let most = (text.len() + 1).saturating_mul(to.len().max(1));
            evaluation.charge(copied + most / BYTES_PER_STEP)?;
            CelValue::text(text.replace(&**from, to))
        }
        (Function::Split, [CelValue::Text(by)]) => {
            evaluation.charge(copied)?;
            let mut list = Vec::new();
            for part in text.split(&**by).filter(|part| !by.is_empty() || !part.is_empty()) {
                evaluation.charge(1)?;
                list.push(CelValue::text(part.to_owned()));
            }
            CelValue::List(list.into())
        }
        (Function::Substring, [CelValue::Int(from)]) => {
            evaluation.charge(copied)?;
            substring(text, *from, None)?
        }
        (Function::Substring, [CelValue::Int(from), CelValue::Int(to)]) => {
            evaluation.charge(copied)?;
            substring(text, *from, Some(*to))?
        }
        _ => return Err(wrong(name(function), parts, values)),
    })
}

fn size(length: usize) -> CelValue<'static> {
    CelValue::Int(i128::try_from(length).unwrap_or(i128::MAX))
}

fn to_int(value: &CelValue<'_>) -> Result<CelValue<'static>, EvaluationFailure> {
    match value {
        CelValue::Int(value) => Ok(CelValue::Int(*value)),
        #[expect(clippy::cast_possible_truncation, reason = "the range is checked after it")]
        CelValue::Double(value) if value.is_finite() => whole(Some(value.trunc() as i128)),
        CelValue::Text(text) => match text.trim().parse() {
            Ok(value) => whole(Some(value)),
            Err(_) => Err("int() takes a whole number".into()),
        },
        _ => Err("int() takes a number, or a string that is one".into()),
    }
}

fn to_text<'e>(value: &CelValue<'e>) -> Option<CelValue<'e>> {
    Some(CelValue::text(match value {
        CelValue::Text(text) => return Some(CelValue::Text(text.clone())),
        CelValue::Int(value) => value.to_string(),
        CelValue::Double(value) => value.to_string(),
        CelValue::Bool(value) => value.to_string(),
        _ => return None,
    }))
}

fn join<'e>(
    evaluation: &mut Evaluation<'e, '_>,
    list: &CelValue<'e>,
    rest: &[CelValue<'e>],
) -> Result<CelValue<'e>, EvaluationFailure> {
    let by = match rest {
        [] => "",
        [CelValue::Text(by)] => by,
        _ => return Err("join() takes a string".into()),
    };
    let mut joined = String::new();
    for (index, item) in list.items().into_iter().flatten().enumerate() {
        let CelValue::Text(item) = item else {
            return Err(format!("item {index} of join() is {}, not a string", item.kind()).into());
        };
        evaluation.charge(1 + (item.len() + by.len()) / BYTES_PER_STEP)?;
        if index > 0 {
            joined.push_str(by);
        }
        joined.push_str(&item);
    }
    Ok(CelValue::text(joined))
}

/// Positions count characters.
fn substring(
    text: &str,
    from: i128,
    to: Option<i128>,
) -> Result<CelValue<'static>, EvaluationFailure> {
    let byte_of = |position: i128| {
        let position = usize::try_from(position).ok()?;
        let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        ends.into_iter().nth(position)
    };
    let outside = || EvaluationFailure::from("substring() is outside of the string");
    let begin = byte_of(from).ok_or_else(outside)?;
    let end = to.map_or(Some(text.len()), byte_of).ok_or_else(outside)?;
    text.get(begin..end).map(|part| CelValue::text(part.to_owned())).ok_or_else(outside)
}

fn name(function: Function) -> &'static str {
    let listed = super::syntax::FUNCTIONS.iter().find(|(listed, ..)| *listed == function);
    listed.map_or("the function", |(_, name, ..)| name)
}

/// The failure of a function that does not take these types.
fn wrong(function: &str, parts: &[Syntax], values: &[CelValue<'_>]) -> EvaluationFailure {
    about(format!("{}() does not take this", function.trim_end_matches("()")).into(), parts, values)
}

fn about(what: EvaluationFailure, parts: &[Syntax], values: &[CelValue<'_>]) -> EvaluationFailure {
    let of = parts.iter().zip(values).map(|(part, value)| {
        let kind = value.kind();
        part.path().map_or_else(|| kind.to_owned(), |path| format!("{path} is {kind}"))
    });
    format!("{what}: {}", of.collect::<Vec<_>>().join(", ")).into()
}
