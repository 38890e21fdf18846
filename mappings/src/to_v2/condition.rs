//! Conditions over FHIR paths, in the language of the forward maps: `gender VALUED`, `name.use EQUALS "maiden"`,
//! `system BEGINS "urn:oid:"`, `subject REFERS TO Patient`, joined by AND, OR, NOT and parentheses. Two things differ: a path
//! may yield many values, and a test holds if it holds for one of them; EQUALS may compare with another path.

use super::path::{Path, Reader, SyntaxError, Types, type_named};
use std::cmp::Ordering;

/// A compiled condition.
#[derive(Debug)]
pub(crate) enum Condition {
    Valued(Path),
    In(Path, Vec<String>),
    /// One of the left values is one of the right ones.
    Same(Path, Path),
    Begins(Path, String),
    Contains(Path, String),
    /// In the order of characters: a version or a date before another.
    Before(Path, String),
    /// A reference there leads to the resource of that type that the message stands at; where it stands at none, to any.
    Refers(Path, &'static str),
    Length(Path, Ordering, usize),
    Count(Path, Ordering, usize),
    Not(Box<Condition>),
    All(Vec<Condition>),
    Any(Vec<Condition>),
}

impl Condition {
    /// Reads a condition.
    pub fn parse(text: &str, types: Types<'_>) -> Result<Self, SyntaxError> {
        let mut reader = Reader::new(text);
        let condition = any(&mut reader, types)?;
        reader.end()?;
        Ok(condition)
    }
}

pub(super) fn any(reader: &mut Reader<'_>, types: Types<'_>) -> Result<Condition, SyntaxError> {
    let mut list = vec![all(reader, types)?];
    while reader.take("OR") {
        list.push(all(reader, types)?);
    }
    Ok(if list.len() == 1 { list.remove(0) } else { Condition::Any(list) })
}

fn all(reader: &mut Reader<'_>, types: Types<'_>) -> Result<Condition, SyntaxError> {
    let mut list = vec![one(reader, types)?];
    while reader.take("AND") {
        list.push(one(reader, types)?);
    }
    Ok(if list.len() == 1 { list.remove(0) } else { Condition::All(list) })
}

fn one(reader: &mut Reader<'_>, types: Types<'_>) -> Result<Condition, SyntaxError> {
    if reader.take("NOT") {
        reader.enter()?;
        let inner = one(reader, types)?;
        reader.exit();
        return Ok(Condition::Not(Box::new(inner)));
    }
    reader.space();
    if reader.mark('(') {
        reader.enter()?;
        let inner = any(reader, types)?;
        reader.leave(')')?;
        return Ok(inner);
    }
    let path = reader.path(types)?;
    test(reader, types, path)
}

fn test(reader: &mut Reader<'_>, types: Types<'_>, path: Path) -> Result<Condition, SyntaxError> {
    let not = reader.take("NOT");
    let condition = if reader.take("VALUED") {
        Condition::Valued(path)
    } else if reader.take("IN") {
        Condition::In(path, list(reader)?)
    } else if reader.take("BEGINS") {
        Condition::Begins(path, reader.quoted()?)
    } else if reader.take("CONTAINS") {
        Condition::Contains(path, reader.quoted()?)
    } else if reader.take("BEFORE") {
        Condition::Before(path, reader.quoted()?)
    } else if reader.take("REFERS") {
        Condition::Refers(path, referred(reader)?)
    } else if reader.take("LENGTH") {
        let order = compare(reader)?;
        Condition::Length(path, order, reader.number()?)
    } else if reader.take("COUNT") {
        let order = compare(reader)?;
        Condition::Count(path, order, reader.number()?)
    } else if reader.take("EQUALS") {
        equals(reader, types, path)?
    } else {
        return Err(reader.fail("a test is missing"));
    };
    Ok(if not { Condition::Not(Box::new(condition)) } else { condition })
}

fn equals(reader: &mut Reader<'_>, types: Types<'_>, path: Path) -> Result<Condition, SyntaxError> {
    if reader.is_quoted_next() {
        return Ok(Condition::In(path, vec![reader.quoted()?]));
    }
    Ok(Condition::Same(path, reader.path(types)?))
}

fn list(reader: &mut Reader<'_>) -> Result<Vec<String>, SyntaxError> {
    reader.space();
    if !reader.mark('(') {
        return Err(reader.fail("a list is missing"));
    }
    let mut list = vec![reader.quoted()?];
    while reader.mark(',') {
        list.push(reader.quoted()?);
    }
    if reader.mark(')') { Ok(list) } else { Err(reader.fail("`)` is missing")) }
}

fn referred(reader: &mut Reader<'_>) -> Result<&'static str, SyntaxError> {
    if !reader.take("TO") {
        return Err(reader.fail("`TO` is missing"));
    }
    reader.space();
    let name = reader.word();
    type_named(name).ok_or_else(|| reader.fail(format!("{name} is no type")))
}

fn compare(reader: &mut Reader<'_>) -> Result<Ordering, SyntaxError> {
    let order = if reader.take("EQUALS") {
        return Ok(Ordering::Equal);
    } else if reader.take("GREATER") {
        Ordering::Greater
    } else if reader.take("LESS") {
        Ordering::Less
    } else {
        return Err(reader.fail("a comparison is missing"));
    };
    if reader.take("THAN") { Ok(order) } else { Err(reader.fail("`THAN` is missing")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Condition, SyntaxError> {
        Condition::parse(text, Types { here: "Patient", own: "Patient" })
    }

    #[test]
    fn the_words_of_the_language_are_read() {
        for text in [
            "gender VALUED",
            "name.use NOT EQUALS \"maiden\"",
            "gender IN (\"male\", \"female\") AND NOT (deceasedBoolean EQUALS \"true\" OR active VALUED)",
            "identifier.system BEGINS \"urn:oid:\" OR name.text CONTAINS \"\n\"",
            "birthDate BEFORE \"1900\"",
            "birthDate LENGTH GREATER THAN 4",
            "address.line COUNT EQUALS 3",
            "managingOrganization REFERS TO Organization",
            "name.family EQUALS RelatedPerson.name.family",
            "NOT (Coverage.subscriber REFERS TO RelatedPerson)",
        ] {
            assert!(parse(text).is_ok(), "{text}: {:?}", parse(text));
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_place() {
        for text in [
            "",
            "gender",
            "gender VALUED name",
            "gender IN \"male\"",
            "(gender VALUED",
            "gender LENGTH 8",
            "gender EQUALS",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"NOT ".repeat(100)).unwrap_err().to_string().contains("nests too deep"));
    }
}
