//! Reads what a rule's `eval` says.

use super::{Action, Piece, PlanError, fault};
use crate::path::Source;
use crate::r4::{self, Kind};

/// The closed list of functions.
pub(super) fn function(text: &str, id: &str) -> Result<Action, PlanError> {
    let bad = || fault(id, format!("`{text}` is not one of {FUNCTIONS}"));
    let (name, rest) = text.split_once('(').ok_or_else(bad)?;
    let inside = rest.trim_end().strip_suffix(')').ok_or_else(bad)?;
    if name.trim() == "the" {
        let kind = r4::model().get(inside.trim()).filter(|t| t.kind == Kind::Resource);
        return kind.map(|t| Action::The(t.number)).ok_or_else(bad);
    }
    let mut pieces = arguments(inside).into_iter().map(|a| piece(&a, id)).collect::<Result<Vec<_>, _>>()?;
    match (name.trim(), pieces.len()) {
        ("concat", 1..) => Ok(Action::Concat(pieces)),
        ("first", 1..) => Ok(Action::First(pieces)),
        ("gather", 1..) => Ok(Action::Gather(pieces)),
        ("join", 2..) => match pieces.remove(0) {
            Piece::Text(between) => Ok(Action::Join(between, pieces)),
            Piece::Path(_) => Err(bad()),
        },
        ("base64", 1) => Ok(Action::Base64(pieces.remove(0))),
        ("digits", 1) => Ok(Action::Digits(pieces.remove(0))),
        ("letters", 1) => Ok(Action::Letters(pieces.remove(0))),
        ("number", 1) => Ok(Action::Number(pieces.remove(0))),
        ("minutes", 2) => <[Piece; 2]>::try_from(pieces).map(Action::Minutes).map_err(|_| bad()),
        ("lines", 1) => match pieces.remove(0) {
            Piece::Path(path @ Source::Field { .. }) => Ok(Action::Lines(path)),
            _ => Err(bad()),
        },
        ("whole", 1) => Ok(Action::Whole(pieces.remove(0))),
        ("add", 3) => <[Piece; 3]>::try_from(pieces).map(Action::Add).map_err(|_| bad()),
        ("now", 0) => Ok(Action::Now),
        ("maps", 0) => Ok(Action::Maps),
        ("event", 0) => Ok(Action::Event),
        _ => Err(bad()),
    }
}

const FUNCTIONS: &str = "concat(...), first(...), gather(...), join(\"between\", ...), base64(a), whole(a), lines(field), digits(a), letters(a), \
     number(a), add(time, number, unit), minutes(number, unit), the(Type), now(), maps(), event()";

/// Splits at commas outside quotes.
fn arguments(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        quoted ^= c == '"';
        match (c, quoted) {
            (',', false) => out.push(String::new()),
            _ => out.last_mut().into_iter().for_each(|s| s.push(c)),
        }
    }
    out.into_iter().map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect()
}

fn piece(text: &str, id: &str) -> Result<Piece, PlanError> {
    match text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        Some(text) => Ok(Piece::Text(text.to_owned())),
        None => Source::parse(text).map(|path| Piece::Path(at_hand(path))).map_err(|e| fault(id, e)),
    }
}

/// A datatype map names its whole value by its own name: `from: PL`, `whole(FT)`.
pub(super) fn at_hand(path: Source) -> Source {
    match path {
        Source::Segment => Source::Part { component: 0, subcomponent: 0 },
        path => path,
    }
}
