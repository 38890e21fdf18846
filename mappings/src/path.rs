//! Source paths (`PID-3.4.2`, `CX.4`) and target paths (`participant[1].individual(Practitioner.name)`), as
//! written in the maps. Pure syntax: what they mean in a message or a resource is in `engine.rs`.

use crate::parse::Message;
use crate::tree::Mark;
use std::fmt;

/// The name of a segment: up to four capital letters and digits, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentName(u32);

impl SegmentName {
    /// Reads a name; none where it is not one.
    pub fn read(text: &str) -> Option<Self> {
        let mut name = [b' '; 4];
        name.get_mut(..text.len()).filter(|_| is_name(text))?.copy_from_slice(text.as_bytes());
        Some(Self(u32::from_be_bytes(name)))
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.to_be_bytes().iter().filter(|b| **b != b' ').try_for_each(|b| write!(f, "{}", char::from(*b)))
    }
}

impl fmt::Debug for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A place in a message as a map names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The segment itself: a rule that runs whenever it is there.
    Segment,
    /// A field, component or subcomponent (0: the whole) of a named segment.
    Field { segment: SegmentName, field: u16, component: u16, subcomponent: u16 },
    /// A component of the value that a datatype map was given.
    Part { component: u16, subcomponent: u16 },
}

/// Text that is not a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a path")]
pub struct PathError(pub String);

impl Source {
    /// Reads `PID-3.4` or, in a datatype map, `CX.4`; a row's `/n` suffix is not part of a path.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let bad = || PathError(text.to_owned());
        let body = text.split('/').next().unwrap_or("").trim();
        let number = |t: &str| t.parse::<u16>().ok().filter(|n| *n > 0).ok_or_else(bad);
        if let Some((segment, rest)) = body.split_once('-') {
            let mut parts = rest.split('.');
            let field = number(parts.next().unwrap_or(""))?;
            let component = parts.next().map_or(Ok(0), number)?;
            let subcomponent = parts.next().map_or(Ok(0), number)?;
            let segment = SegmentName::read(segment).filter(|_| parts.next().is_none()).ok_or_else(bad)?;
            return Ok(Self::Field { segment, field, component, subcomponent });
        }
        match body.split_once('.') {
            Some((name, rest)) if is_name(name) => {
                let mut parts = rest.split('.');
                let component = number(parts.next().unwrap_or(""))?;
                let subcomponent = parts.next().map_or(Ok(0), number)?;
                if parts.next().is_some() { Err(bad()) } else { Ok(Self::Part { component, subcomponent }) }
            }
            None if is_name(body) => Ok(Self::Segment),
            _ => Err(bad()),
        }
    }
}

fn is_name(text: &str) -> bool {
    (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

/// One step of a target path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Element {
        name: String,
        label: Label,
    },
    /// Through the reference just named into a resource of that type.
    Through(String),
}

/// Which instance of a repeating element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Label {
    Number(u8),
    /// `[+]`: a new one each time.
    New,
}

/// Reads a target path; `$this` is no step at all.
pub fn target(text: &str) -> Result<Vec<Step>, PathError> {
    let mut steps = Vec::new();
    let text = text.trim();
    if text == "$this" {
        return Ok(steps);
    }
    let mut rest = text;
    let mut depth = 0;
    loop {
        let end = rest.find(['.', '(', ')']).unwrap_or(rest.len());
        let word = &rest[..end];
        let into_resource = steps.last().is_some_and(|s| matches!(s, Step::Through(_)));
        if !word.is_empty() {
            steps.push(element(word).ok_or_else(|| PathError(text.to_owned()))?);
        } else if !(into_resource || rest.starts_with(')') || rest.is_empty()) {
            return Err(PathError(text.to_owned()));
        }
        rest = &rest[end..];
        match rest.as_bytes().first() {
            None => break,
            Some(b'.') => rest = &rest[1..],
            Some(b'(') => {
                depth += 1;
                let end = rest.find(['.', ')']).ok_or_else(|| PathError(text.to_owned()))?;
                steps.push(Step::Through(rest[1..end].to_owned()));
                rest = rest[end..].strip_prefix('.').unwrap_or(&rest[end..]);
            }
            _ => {
                depth -= 1;
                rest = &rest[1..];
            }
        }
    }
    if depth == 0 && !steps.is_empty() { Ok(steps) } else { Err(PathError(text.to_owned())) }
}

fn element(word: &str) -> Option<Step> {
    let (name, label) = match word.split_once('[') {
        None => (word, Label::Number(0)),
        Some((name, "+]")) => (name, Label::New),
        Some((name, rest)) => (name, Label::Number(rest.strip_suffix(']')?.parse().ok()?)),
    };
    let ok = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric());
    ok.then(|| Step::Element { name: name.to_owned(), label })
}

/// A place in a message where something really stands: 0-based segment and repetition, 1-based rest,
/// 0 where the whole is meant. Printed as `PID[0]-3[1].4`, in the manner of the ERR segment's ERL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Place {
    pub segment: u32,
    pub field: u16,
    pub repetition: u16,
    pub component: u16,
    pub subcomponent: u16,
}

impl Place {
    /// The place of a mark in a message.
    pub(crate) fn of(message: &Message<'_>, mark: Mark) -> Self {
        let offset = mark.offset() as usize;
        let (segment, field, start) = message.field_at(offset);
        let mut place = Self { segment: segment as u32, ..Self::default() };
        if mark.level() == 0 || field == 0 {
            return place;
        }
        let before = message.text().get(start..offset).unwrap_or("").as_bytes();
        let separators = message.separators();
        let count = |bytes: &[u8], sign: Option<u8>| bytes.iter().filter(|b| Some(**b) == sign).count() as u16;
        let after =
            |bytes: &'_ [u8], sign: Option<u8>| bytes.iter().rposition(|b| Some(*b) == sign).map_or(0, |at| at + 1);
        (place.field, place.repetition) = (field as u16, count(before, Some(separators.repetition)));
        let inside = &before[after(before, Some(separators.repetition))..];
        if mark.level() >= 2 {
            place.component = count(inside, Some(separators.component)) + 1;
        }
        if mark.level() >= 3 {
            let inside = &inside[after(inside, Some(separators.component))..];
            place.subcomponent = count(inside, separators.subcomponent) + 1;
        }
        place
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {}", self.segment + 1)?;
        if self.field > 0 {
            write!(f, " field {}[{}]", self.field, self.repetition + 1)?;
        }
        if self.component > 0 {
            write!(f, ".{}", self.component)?;
        }
        if self.subcomponent > 0 {
            write!(f, ".{}", self.subcomponent)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_paths() {
        let field = |f, c, s| Source::Field {
            segment: SegmentName::read("PID").unwrap(),
            field: f,
            component: c,
            subcomponent: s,
        };
        assert_eq!(Source::parse("PID-3"), Ok(field(3, 0, 0)));
        assert_eq!(Source::parse("PID-3.4.2/2"), Ok(field(3, 4, 2)));
        assert_eq!(Source::parse("CX.4"), Ok(Source::Part { component: 4, subcomponent: 0 }));
        assert_eq!(Source::parse("PID/2"), Ok(Source::Segment));
        for bad in ["", "PID-0", "PID-x", "PID-3.1.2.3", "pid-3", "CX."] {
            assert!(Source::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn target_paths_go_through_references() {
        let element = |name: &str, n| Step::Element { name: name.into(), label: Label::Number(n) };
        assert_eq!(target("$this"), Ok(vec![]));
        assert_eq!(target("name[2].given"), Ok(vec![element("name", 2), element("given", 0)]));
        assert_eq!(
            target("performer[1](PractitionerRole.practitioner(Practitioner))"),
            Ok(vec![
                element("performer", 1),
                Step::Through("PractitionerRole".into()),
                element("practitioner", 0),
                Step::Through("Practitioner".into()),
            ])
        );
        assert_eq!(
            target("assigner(Organization).display").map(|s| s.len()),
            Ok(3),
            "what stands behind the bracket goes on in the resource"
        );
        for bad in ["", "name[", "name[x]", "a..b", "a(B", "a)b("] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }
}
