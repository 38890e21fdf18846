//! The functions of `eval`, a closed list: read and checked when the maps are compiled, evaluated where a rule stands.

use super::look::{Frame, Look};
use super::path::{Path, Reader, SyntaxError, Types};
use super::resources::Item;
use super::text;
use jiff::Timestamp;

/// One of the closed list of functions.
#[derive(Debug)]
pub(crate) enum Function {
    /// All of them together; nothing where one is missing.
    Concat(Vec<Piece>),
    /// The first that is there.
    First(Vec<Piece>),
    /// All values of all of them, with a text between.
    Join(String, Vec<Piece>),
    /// What follows a prefix; nothing where it does not begin so.
    After(Piece, String),
    /// Split from the right into `of` parts: the n-th, nothing where there are fewer parts.
    Split { piece: Piece, separator: String, of: usize, nth: usize },
    /// The date of a time.
    Day(Path),
    /// The whole minutes from one time to another.
    Minutes(Path, Path),
    /// Which of the segments of its name in its group it is, from 1.
    Nth,
}

/// An argument of a function.
#[derive(Debug)]
pub(crate) enum Piece {
    Path(Path),
    Text(String),
    Call(Box<Function>),
}

impl Function {
    /// Reads a call.
    pub fn parse(text: &str, types: Types<'_>) -> Result<Self, SyntaxError> {
        let mut reader = Reader::new(text);
        let function = call(&mut reader, types)?;
        reader.end()?;
        Ok(function)
    }

    /// Its text, if there is any; what it reads counts as used.
    pub fn evaluate<'i, 'v: 'i>(&self, look: &Look<'_, 'v>, frame: &Frame<'_, 'i>, nth: usize) -> Option<String> {
        let one = |piece| texts(look, piece, frame, nth).into_iter().next();
        match self {
            Self::Nth => Some(nth.to_string()),
            Self::Concat(pieces) => pieces.iter().map(one).collect(),
            Self::First(pieces) => pieces.iter().find_map(one),
            Self::Join(separator, pieces) => {
                let all: Vec<String> = pieces.iter().flat_map(|piece| texts(look, piece, frame, nth)).collect();
                Some(all.join(separator))
            }
            Self::After(piece, prefix) => one(piece)?.strip_prefix(prefix.as_str()).map(str::to_owned),
            Self::Split { piece, separator, of, nth } => split(&one(piece)?, separator, *of, *nth),
            Self::Minutes(start, end) => minutes(&instant(look, start, frame)?, &instant(look, end, frame)?),
            // A DTM's first eight digits are its date.
            Self::Day(path) => values(look, path, frame).into_iter().next().map(|time| time.chars().take(8).collect()),
        }
    }
}

/// The closed list of functions. No element of R4 has one of these names, so that a call may stand where a path may.
const FUNCTIONS: &[&str] = &["concat", "first", "join", "after", "split", "day", "minutes", "nth"];

fn call(reader: &mut Reader<'_>, types: Types<'_>) -> Result<Function, SyntaxError> {
    let name = reader.word();
    reader.enter()?;
    let arguments = arguments(reader, types)?;
    reader.exit();
    named(name, arguments).ok_or_else(|| {
        let list = "concat(...), first(...), join(\"x\", ...), after(a, \"x\"), split(a, \"x\", \"3\", \"1\"), day(a), \
                    minutes(a, b), nth()";
        reader.fail(format!("not one of {list}"))
    })
}

fn named(name: &str, arguments: Vec<Piece>) -> Option<Function> {
    match name {
        "concat" => return Some(Function::Concat(arguments)),
        "first" => return Some(Function::First(arguments)),
        _ => {}
    }
    let mut rest = arguments.into_iter();
    let mut next = || rest.next();
    let function = match (name, next(), next(), next(), next()) {
        ("nth", None, ..) => Function::Nth,
        ("day", Some(Piece::Path(path)), None, ..) => Function::Day(path),
        ("minutes", Some(Piece::Path(start)), Some(Piece::Path(end)), None, _) => Function::Minutes(start, end),
        ("after", Some(piece), Some(Piece::Text(prefix)), None, _) => Function::After(piece, prefix),
        ("join", Some(Piece::Text(separator)), a, b, c) => {
            Function::Join(separator, [a, b, c].into_iter().flatten().chain(rest).collect())
        }
        ("split", Some(piece), Some(Piece::Text(separator)), Some(Piece::Text(of)), Some(Piece::Text(nth))) => {
            Function::Split { piece, separator, of: of.parse().ok()?, nth: nth.parse().ok()? }
        }
        _ => return None,
    };
    Some(function)
}

fn arguments(reader: &mut Reader<'_>, types: Types<'_>) -> Result<Vec<Piece>, SyntaxError> {
    let mut pieces = Vec::new();
    if !reader.mark('(') {
        return Err(reader.fail("`(` is missing"));
    }
    reader.space();
    while !reader.mark(')') {
        pieces.push(argument(reader, types)?);
        reader.space();
        if !reader.mark(',') && !reader.is_next(')') {
            return Err(reader.fail("`,` is missing"));
        }
        reader.space();
    }
    Ok(pieces)
}

fn argument(reader: &mut Reader<'_>, types: Types<'_>) -> Result<Piece, SyntaxError> {
    if reader.is_quoted_next() {
        return reader.quoted().map(Piece::Text);
    }
    if FUNCTIONS.iter().any(|name| reader.is_call(name)) {
        return call(reader, types).map(|function| Piece::Call(Box::new(function)));
    }
    primitive(reader, types)
}

fn primitive(reader: &mut Reader<'_>, types: Types<'_>) -> Result<Piece, SyntaxError> {
    let path = reader.path(types)?;
    match path.is_primitive() {
        true => Ok(Piece::Path(path)),
        false => Err(reader.fail(format!("{} is no single value", path.type_name))),
    }
}

fn instant<'i, 'v: 'i>(look: &Look<'_, 'v>, path: &Path, frame: &Frame<'_, 'i>) -> Option<Timestamp> {
    let item = look.items(path, frame).into_iter().next()?;
    look.mark(item);
    item.value.as_str()?.parse().ok()
}

fn minutes(start: &Timestamp, end: &Timestamp) -> Option<String> {
    let seconds = end.as_second() - start.as_second();
    (seconds > 0).then(|| (seconds / 60).to_string())
}

fn split(text: &str, separator: &str, of: usize, nth: usize) -> Option<String> {
    let parts: Vec<&str> = text.rsplitn(of, separator).collect();
    let number = of.checked_sub(nth)?;
    (parts.len() == of).then(|| parts.get(number).map(|part| (*part).to_owned()))?
}

fn texts<'i, 'v: 'i>(look: &Look<'_, 'v>, piece: &Piece, frame: &Frame<'_, 'i>, nth: usize) -> Vec<String> {
    match piece {
        Piece::Text(text) => vec![text.clone()],
        Piece::Path(path) => values(look, path, frame),
        Piece::Call(function) => function.evaluate(look, frame, nth).into_iter().collect(),
    }
}

/// The v2 texts of a path's values, which count as used.
fn values<'i, 'v: 'i>(look: &Look<'_, 'v>, path: &Path, frame: &Frame<'_, 'i>) -> Vec<String> {
    let items = look.items(path, frame).into_iter();
    let text = |item: Item<'i>| {
        let (text, _) = text::v2(item.value, path.type_name).ok()?;
        look.mark(item);
        Some(text)
    };
    items.filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Function, SyntaxError> {
        Function::parse(text, Types { here: "Patient", own: "Patient" })
    }

    #[test]
    fn calls_are_read_and_others_refused() {
        for good in [
            "nth()",
            "first(gender, \"x\")",
            "join(\" \", name.given)",
            "split(split(id, \".\", \"2\", \"1\"), \"-\", \"2\", \"2\")",
        ] {
            assert!(parsed(good).is_ok(), "{good}: {:?}", parsed(good));
        }
        for bad in [
            "upper(gender)",
            "nth(gender)",
            "day(\"x\")",
            "split(gender, \"-\")",
            "first(name)",
            "first(gender",
            "nth() x",
        ] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_text_is_split_from_the_right_and_the_first_part_keeps_the_rest() {
        let part = |of, nth| split("W-3-312-B", "-", of, nth);
        assert_eq!(
            (part(3, 1).as_deref(), part(3, 2).as_deref(), part(3, 3).as_deref()),
            (Some("W-3"), Some("312"), Some("B"))
        );
        assert_eq!(part(5, 1), None, "there are not so many");
        assert_eq!(split("", "-", 0, 1), None);
    }
}
