//! The guide's conditions. They were written by many hands: `IF PID-33 AND PID-34 VALUED`, `IF HD-3 = "ISO"`.

use crate::condition::Condition;

/// What a condition of the guide stands in: a path may be left out, or have the wrong sign in it.
#[derive(Debug, Clone, Copy)]
pub struct Place<'p> {
    /// `PID`, `CX`.
    pub source: &'p str,
    /// What stands between the source's name and a number: `-` in a segment, `.` in a datatype.
    pub sign: char,
    /// The row's own field.
    pub field: &'p str,
}

/// How a condition of the guide reads.
#[derive(Debug, PartialEq, Eq)]
pub enum Reading {
    AsItStands(Condition),
    Normalised(Condition),
    Unreadable,
}

impl Reading {
    /// Reads it as it stands if that means the same as with the spelling put right.
    pub fn of(text: &str, place: Place<'_>) -> Self {
        match (meaning(text), meaning(&normal(text, place))) {
            (Some(plain), Some(normal)) if plain == normal => Self::AsItStands(normal),
            (_, Some(normal)) => Self::Normalised(normal),
            _ => Self::Unreadable,
        }
    }

    /// What it means, where it means something.
    pub fn condition(&self) -> Option<&Condition> {
        match self {
            Self::AsItStands(condition) | Self::Normalised(condition) => Some(condition),
            Self::Unreadable => None,
        }
    }
}

/// What a condition means, without parentheses that change nothing and without what is said twice.
pub fn meaning(text: &str) -> Option<Condition> {
    Condition::parse(text).ok().map(plain)
}

fn plain(condition: Condition) -> Condition {
    let (list, all) = match condition {
        Condition::All(list) => (list, true),
        Condition::Any(list) => (list, false),
        Condition::Not(inner) => return Condition::Not(Box::new(plain(*inner))),
        other => return other,
    };
    let mut parts = Vec::new();
    for part in list.into_iter().map(plain).flat_map(|part| match part {
        Condition::All(inner) if all => inner,
        Condition::Any(inner) if !all => inner,
        other => vec![other],
    }) {
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    if all { Condition::All(parts) } else { Condition::Any(parts) }
}

/// A part of a condition.
#[derive(Debug)]
enum Piece {
    /// A path, which may be left out, and the words of what is asked of it.
    Clause { path: String, test: Vec<String> },
    /// AND, OR, or a parenthesis around clauses.
    Sign(String),
}

/// The condition in our spelling, as far as that can be told.
fn normal(text: &str, place: Place<'_>) -> String {
    let mut text = normal_words(&words(text), place);
    let open = text.matches('(').count().saturating_sub(text.matches(')').count());
    text.extend(std::iter::repeat_n(')', open));
    text
}

fn normal_words(words: &[String], place: Place<'_>) -> String {
    let pieces = pieces(words);
    let mut last = place.field.to_owned();
    let mut normal: Vec<String> = Vec::new();
    for (n, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Sign(sign) => normal.push(sign.clone()),
            Piece::Clause { path, .. } => {
                if !path.is_empty() {
                    last = put_right(path, place);
                }
                normal.push(last.clone());
                normal.extend_from_slice(test(&pieces[n..]));
            }
        }
    }
    normal.join(" ")
}

/// A clause without a test shares that of the next one: `PID-33 AND PID-34 VALUED`.
fn test(pieces: &[Piece]) -> &[String] {
    let tests = pieces.iter().filter_map(|piece| match piece {
        Piece::Clause { test, .. } => Some(test.as_slice()),
        Piece::Sign(_) => None,
    });
    tests.into_iter().find(|test| !test.is_empty()).unwrap_or_default()
}

fn pieces(words: &[String]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut in_list = false;
    for word in words {
        let before = pieces.last().map_or("", last_word);
        let inside = in_list || before == "IN" || before == "THAN";
        in_list = (in_list || before == "IN") && word != ")";
        match pieces.last_mut() {
            _ if !inside && matches!(word.as_str(), "AND" | "OR" | "(" | ")") => pieces.push(Piece::Sign(word.clone())),
            Some(Piece::Clause { test, .. }) => test.push(word.clone()),
            _ if is_test(word) => pieces.push(Piece::Clause { path: String::new(), test: vec![word.clone()] }),
            _ => pieces.push(Piece::Clause { path: word.clone(), test: vec![] }),
        }
    }
    pieces
}

fn last_word(piece: &Piece) -> &str {
    match piece {
        Piece::Clause { test, .. } => test.last().map_or("", String::as_str),
        Piece::Sign(_) => "",
    }
}

fn is_test(word: &str) -> bool {
    word.starts_with('"')
        || matches!(word, "NOT" | "VALUED" | "EQUALS" | "IN" | "NUMERIC" | "OID" | "LENGTH" | "LST.COUNT")
}

/// The sign that belongs into a path of the map's own source: `HD-3` is `HD.3`.
fn put_right(path: &str, place: Place<'_>) -> String {
    match path.strip_prefix(place.source) {
        Some(rest) if rest.starts_with(['-', '.']) => format!("{}{}{}", place.source, place.sign, &rest[1..]),
        _ => path.to_owned(),
    }
}

/// The words in our spelling: text in double quotes, signs for themselves, the rest in capitals.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' | '\'' => {
                words.push(format!("\"{}\"", chars.by_ref().take_while(|next| *next != c).collect::<String>()))
            }
            '=' => words.push("EQUALS".to_owned()),
            '>' => words.extend(["GREATER".to_owned(), "THAN".to_owned()]),
            '(' | ')' | ',' => words.push(c.to_string()),
            c if c.is_whitespace() => {}
            c => {
                let mut word = String::from(c.to_ascii_uppercase());
                while let Some(next) = chars.next_if(|n| !n.is_whitespace() && !"()=>,\"".contains(*n)) {
                    word.push(next.to_ascii_uppercase());
                }
                words.extend(spelled(&word).iter().map(|w| (*w).to_owned()));
            }
        }
    }
    words
}

/// Our words for one of the guide's: none for mere grammar.
fn spelled(word: &str) -> Vec<&str> {
    match word {
        "IF" | "IF:" | "IS" | "ARE" | "AREA" | "DOES" | "TO" => vec![],
        "VALUE" | "EXIST" => vec!["VALUED"],
        "EMPTY" => vec!["NOT", "VALUED"],
        "EQUAL" => vec!["EQUALS"],
        "COUNT" => vec!["LST.COUNT"],
        word => vec![word],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PID: Place<'_> = Place { source: "PID", sign: '-', field: "PID-3" };
    const HD: Place<'_> = Place { source: "HD", sign: '.', field: "HD.2" };

    #[test]
    fn conditions_of_many_hands_get_one_spelling() {
        for (place, guide, ours) in [
            (PID, "IF PID-33 AND PID-34 VALUED", "PID-33 VALUED AND PID-34 VALUED"),
            (PID, "IF PRT-4 IS IN (\"AD\", \"AP\")", "PRT-4 IN ( \"AD\" , \"AP\" )"),
            (PID, "IF OBX-33 COUNT>1", "OBX-33 LST.COUNT GREATER THAN 1"),
            (PID, "IF OBX-5 LST.count LESS THAN OR EQUALS 1", "OBX-5 LST.COUNT LESS THAN OR EQUALS 1"),
            (PID, "IF TQ1-3.9 IS EMPTY", "TQ1-3.9 NOT VALUED"),
            (PID, "IF XCN.19 DOES NOT EXIST AND IF XCN.20 DOES NOT EXIST", "XCN.19 NOT VALUED AND XCN.20 NOT VALUED"),
            (PID, "IF IAM-15 VALUED AND NOT \"SEL\"", "IAM-15 VALUED AND IAM-15 NOT \"SEL\""),
            (PID, "IF IN1-17 IS NOT 'patient'", "IN1-17 NOT \"patient\""),
            (PID, "IF ORC VALUED", "ORC VALUED"),
            (PID, "IF (OBX-2 EQUALS \"SN\" AND PID.1 VALUE", "( OBX-2 EQUALS \"SN\" AND PID-1 VALUED)"),
            (HD, "IF HD-3 = \"ISO\"", "HD.3 EQUALS \"ISO\""),
            (HD, "IF NOT VALUED OR NOT IN (\"ISO\", \"URI\")", "HD.2 NOT VALUED OR HD.2 NOT IN ( \"ISO\" , \"URI\" )"),
        ] {
            assert_eq!(normal(guide, place), ours);
            assert!(Condition::parse(ours).is_ok(), "{ours}");
        }
    }

    #[test]
    fn a_condition_that_stands_has_to_mean_what_it_says() {
        assert!(matches!(Reading::of("IF PID-3 IS VALUED", PID), Reading::AsItStands(_)));
        assert!(matches!(Reading::of("IF HD-3 IS \"ISO\"", HD), Reading::Normalised(_)), "no segment HD");
        assert_eq!(Reading::of("IF CX.4 IN http://hl7.org/registry", HD), Reading::Unreadable);
        assert_eq!(Reading::of("IF PID-11.9 IS VALUED NOT EQUAL PID-12", PID), Reading::Unreadable);
    }

    #[test]
    fn parentheses_and_repeats_change_no_meaning() {
        let (theirs, ours) = ("(PID-3 VALUED AND PID-4 VALUED) AND PID-4 VALUED", "PID-3 VALUED AND PID-4 VALUED");
        assert_eq!(meaning(theirs), meaning(ours));
        assert_ne!(meaning("(PID-3 VALUED OR PID-4 VALUED) AND PID-4 VALUED"), meaning(ours));
    }
}
