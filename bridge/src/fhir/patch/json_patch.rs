//! JSON Patch (RFC 6902) over JSON that keeps the digits of its numbers.

use super::{fits, numbered};
use crate::error::Issue;
use crate::limits::MAX_PATCH_COPY;
use notary::canonical::Json;

/// One operation.
#[derive(Clone)]
pub enum Operation {
    Add(Pointer, Json),
    Remove(Pointer),
    Replace(Pointer, Json),
    Move { from: Pointer, to: Pointer },
    Copy { from: Pointer, to: Pointer },
    Test(Pointer, Json),
}

/// A JSON Pointer (RFC 6901), decoded.
#[derive(Clone, PartialEq)]
pub struct Pointer(Vec<String>);

impl Operation {
    /// Reads an operation; what it has beside its own members is ignored (RFC 6902 section 4).
    pub fn read(json: &Json) -> Result<Self, Issue> {
        let pointer = |name: &str| {
            let text = json.text(name).ok_or_else(|| Issue::new("required", format!("{name} is missing")))?;
            Pointer::parse(text).ok_or_else(|| Issue::new("value", format!("{name} is no JSON Pointer")))
        };
        let value = || json.get("value").cloned().ok_or_else(|| Issue::new("required", "value is missing"));
        let path = pointer("path")?;
        Ok(match json.text("op") {
            Some("add") => Self::Add(path, value()?),
            Some("remove") => Self::Remove(path),
            Some("replace") => Self::Replace(path, value()?),
            Some("move") => Self::Move { from: pointer("from")?, to: path },
            Some("copy") => Self::Copy { from: pointer("from")?, to: path },
            Some("test") => Self::Test(path, value()?),
            _ => return Err(Issue::new("value", "op must be add, remove, replace, move, copy or test")),
        })
    }
}

/// Applies all operations in their order.
pub fn apply(operations: &[Operation], json: &mut Json) -> Result<(), Issue> {
    let kind = json.text("resourceType").unwrap_or("").to_owned();
    let mut copied = 0;
    for (n, operation) in operations.iter().enumerate() {
        one(operation, json, &mut copied).map_err(|(pointer, issue)| {
            let expression = issue.expression.clone().unwrap_or_else(|| pointer.expression(&kind));
            numbered(Issue { expression: Some(expression), ..issue }, n)
        })?;
    }
    Ok(())
}

/// A fault is told at the pointer that it concerns.
fn one<'o>(operation: &'o Operation, json: &mut Json, copied: &mut usize) -> Result<(), (&'o Pointer, Issue)> {
    match operation {
        Operation::Add(to, value) => add(json, to, value.clone()).map_err(|issue| (to, issue)),
        Operation::Remove(at) => remove(json, at).map(|_| ()).map_err(|issue| (at, issue)),
        Operation::Replace(at, value) => replace(json, at, value.clone()).map_err(|issue| (at, issue)),
        Operation::Move { from, to } => {
            if to.0.len() > from.0.len() && to.0.starts_with(&from.0) {
                return Err((to, Issue::new("value", "a value cannot be moved into itself")));
            }
            let value = remove(json, from).map_err(|issue| (from, issue))?;
            add(json, to, value).map_err(|issue| (to, issue))
        }
        Operation::Copy { from, to } => {
            let value = get(json, &from.0).cloned().ok_or_else(|| (from, missing()))?;
            // A value copied into itself again and again doubles each time.
            *copied += value.canonical().len();
            if *copied > MAX_PATCH_COPY {
                return Err((from, Issue::new("too-costly", "the patch copies too much")));
            }
            add(json, to, value).map_err(|issue| (to, issue))
        }
        Operation::Test(at, value) => match get(json, &at.0) {
            Some(found) if same(found, value) => Ok(()),
            Some(_) => Err((at, Issue::new("processing", "the test does not hold"))),
            None => Err((at, missing())),
        },
    }
}

fn missing() -> Issue {
    Issue::new("not-found", "there is nothing at this place")
}

impl Pointer {
    fn parse(text: &str) -> Option<Self> {
        let Some(rest) = text.strip_prefix('/') else { return text.is_empty().then(|| Self(Vec::new())) };
        let unescape = |part: &str| part.replace("~1", "/").replace("~0", "~");
        Some(Self(rest.split('/').map(unescape).collect()))
    }

    /// `/name/0/family` is `Patient.name[0].family`.
    fn expression(&self, kind: &str) -> String {
        self.0.iter().fold(kind.to_owned(), |path, part| match part.parse::<usize>() {
            Ok(n) => format!("{path}[{n}]"),
            Err(_) if part.len() <= 64 && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') => {
                format!("{path}.{part}")
            }
            Err(_) => path,
        })
    }
}

fn get<'j>(json: &'j Json, path: &[String]) -> Option<&'j Json> {
    path.iter().try_fold(json, |json, part| match json {
        Json::Array(items) => items.get(index(part)?),
        other => other.get(part),
    })
}

fn get_mut<'j>(json: &'j mut Json, path: &[String]) -> Option<&'j mut Json> {
    path.iter().try_fold(json, |json, part| match json {
        Json::Array(items) => items.get_mut(index(part)?),
        other => other.get_mut(part),
    })
}

/// An index has no leading zeros (RFC 6901 section 4).
fn index(part: &str) -> Option<usize> {
    part.parse().ok().filter(|n: &usize| n.to_string() == part)
}

fn add(json: &mut Json, to: &Pointer, value: Json) -> Result<(), Issue> {
    fits(to.0.len(), &value)?;
    let Some((last, parent)) = to.0.split_last() else {
        *json = value;
        return Ok(());
    };
    match get_mut(json, parent).ok_or_else(missing)? {
        Json::Array(items) if last == "-" => items.push(value),
        Json::Array(items) => match index(last).filter(|n| *n <= items.len()) {
            Some(n) => items.insert(n, value),
            None => return Err(missing()),
        },
        object @ Json::Object(_) => object.set(last, value),
        _ => return Err(missing()),
    }
    Ok(())
}

fn remove(json: &mut Json, at: &Pointer) -> Result<Json, Issue> {
    let (last, parent) =
        at.0.split_last().ok_or_else(|| Issue::new("value", "the whole resource cannot be removed"))?;
    let removed = match get_mut(json, parent) {
        Some(Json::Array(items)) => index(last).filter(|n| *n < items.len()).map(|n| items.remove(n)),
        Some(object) => object.remove(last),
        None => None,
    };
    removed.ok_or_else(missing)
}

fn replace(json: &mut Json, at: &Pointer, value: Json) -> Result<(), Issue> {
    fits(at.0.len(), &value)?;
    *get_mut(json, &at.0).ok_or_else(missing)? = value;
    Ok(())
}

/// Equal as RFC 6902 section 4.6 has it: objects in any order, numbers by value.
fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => a == b || value(a) == value(b),
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Json::Object(members)) => {
            a.len() == members.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

/// Sign, digits without zeros at the ends, and the power of ten of the last one.
fn value(lexeme: &str) -> (bool, String, i64) {
    let (negative, rest) = lexeme.strip_prefix('-').map_or((false, lexeme), |rest| (true, rest));
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let power = exponent.parse::<i64>().unwrap_or(i64::MAX).saturating_sub(fraction.len() as i64);
    let plain = digits.trim_start_matches('0').trim_end_matches('0');
    let trailing = digits.len() - digits.trim_end_matches('0').len();
    if plain.is_empty() {
        (false, String::new(), 0)
    } else {
        (negative, plain.to_owned(), power.saturating_add(trailing as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_by_value() {
        for (a, b, expected) in [
            ("1", "1.00", true),
            ("1e2", "100", true),
            ("-0", "0.0", true),
            ("0.10", "1E-1", true),
            ("1", "-1", false),
            ("10", "1", false),
            ("9007199254740993", "9007199254740992", false),
        ] {
            assert_eq!(value(a) == value(b), expected, "{a} {b}");
        }
    }
}
