//! One value that is asked for, read by the kind of its parameter, and its exact comparison with a value of a resource.

use super::number::Asked;
use super::span::{Prefix, Span, moment};
use super::table::{Component, Kind, Leaf, Parameter};
use super::text::{fold, split, unescape};
use super::value::{Value, select, values};
use crate::consent::labels::Rules;
use crate::ids::{Name, TypeName};
use notary::canonical::Json;

/// What is asked for.
#[derive(Clone, PartialEq, Eq)]
pub enum Criterion {
    Token(Token),
    Text {
        folded: String,
        raw: String,
        how: TextMatch,
    },
    Date(Prefix, Span),
    Number(Prefix, Asked),
    Quantity {
        prefix: Prefix,
        asked: Asked,
        unit: Token,
    },
    Uri(String),
    Reference(Target),
    /// The identifier of a reference (`:identifier`).
    Identifier(Token),
    Composite(Vec<Criterion>),
}

/// `system|code` in any of its forms (R4 3.1.1.4.10).
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    pub system: System,
    pub code: Option<String>,
}

/// The system of a token.
#[derive(Clone, PartialEq, Eq)]
pub enum System {
    Any,
    /// `|code`: there must be none.
    Without,
    Is(String),
}

/// How a string is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextMatch {
    Starts,
    Exact,
    Contains,
}

/// What a reference is to point to.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// Any of these resources of this server.
    Local(Vec<Name>),
    /// Something elsewhere, or a canonical URL.
    Url(String),
}

crate::redacted_debug!(Criterion, Token, System, Target);

/// What comparisons need to know beside the values.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'s> {
    /// This server's address, without a slash at its end: references that begin with it are local.
    pub base: &'s str,
    /// Microseconds since 1970.
    pub now: i64,
    /// By what a resource is labelled where scopes ask for labels. Without it they find none.
    pub labels: Option<&'s Rules>,
}

impl Token {
    /// Reads `system|code`, `|code`, `system|` or `code`.
    pub fn parse(text: &str) -> Option<Self> {
        let some = |part: &str| (!part.is_empty()).then(|| unescape(part));
        let token = match split(text, '|').as_slice() {
            [code] => Self { system: System::Any, code: some(code) },
            ["", code] => Self { system: System::Without, code: some(code) },
            [system, code] => Self { system: System::Is(unescape(system)), code: some(code) },
            _ => return None,
        };
        (token.code.is_some() || matches!(token.system, System::Is(_))).then_some(token)
    }

    /// Whether a system and code are what it asks for.
    pub fn accepts(&self, system: Option<&str>, code: Option<&str>) -> bool {
        let same_system = match &self.system {
            System::Any => true,
            System::Without => system.is_none(),
            System::Is(wanted) => system == Some(wanted),
        };
        same_system && self.code.as_deref().is_none_or(|wanted| code == Some(wanted))
    }
}

impl Criterion {
    /// Reads one alternative of a parameter without a modifier.
    pub fn parse(parameter: &Parameter, text: &str, around: &Surroundings<'_>) -> Option<Self> {
        match &parameter.composite {
            None => Self::of_kind(parameter.kind, &parameter.targets, has_canonical(parameter), text, around),
            Some(composite) => {
                let parts = split(text, '$');
                if parts.len() != composite.components.len() {
                    return None;
                }
                let one = |(c, part): (&Component, &&str)| {
                    let canonical = c.paths.iter().any(|p| p.leaf == Leaf::Canonical);
                    Self::of_kind(c.kind, &[], canonical, part, around)
                };
                composite.components.iter().zip(&parts).map(one).collect::<Option<_>>().map(Self::Composite)
            }
        }
    }

    fn of_kind(kind: Kind, targets: &[&str], canonical: bool, text: &str, around: &Surroundings<'_>) -> Option<Self> {
        match kind {
            Kind::Token => Token::parse(text).map(Self::Token),
            Kind::String => Self::text(text, TextMatch::Starts),
            Kind::Date => {
                let (prefix, rest) = Prefix::split(text);
                moment(&unescape(rest)).map(|span| Self::Date(prefix, span))
            }
            Kind::Number => {
                let (prefix, rest) = Prefix::split(text);
                Asked::parse(rest).map(|asked| Self::Number(prefix, asked))
            }
            Kind::Quantity => Self::quantity(text),
            Kind::Uri => (!text.is_empty()).then(|| Self::Uri(unescape(text))),
            Kind::Reference => Target::parse(&unescape(text), targets, canonical, around).map(Self::Reference),
            Kind::Composite => None,
        }
    }

    /// A string to compare in one of the three ways.
    pub fn text(text: &str, how: TextMatch) -> Option<Self> {
        let raw = unescape(text);
        let folded = fold(&raw);
        (!folded.is_empty()).then_some(Self::Text { folded, raw, how })
    }

    /// `5.4`, `5.4|system|code` or `5.4||code`.
    fn quantity(text: &str) -> Option<Self> {
        let (prefix, rest) = Prefix::split(text);
        let parts = split(rest, '|');
        let asked = Asked::parse(parts.first()?)?;
        let some = |part: &&str| (!part.is_empty()).then(|| unescape(part));
        let unit = match parts.as_slice() {
            [_] => Token { system: System::Any, code: None },
            [_, system, code] => Token { system: some(system).map_or(System::Any, System::Is), code: some(code) },
            _ => return None,
        };
        Some(Self::Quantity { prefix, asked, unit })
    }

    /// Whether a value is what is asked for.
    pub fn accepts(&self, value: &Value<'_>, around: &Surroundings<'_>) -> bool {
        match (self, value) {
            (Self::Token(token), Value::Token { system, code }) => token.accepts(*system, *code),
            (Self::Token(token), Value::Text(text) | Value::Uri(text)) => token.accepts(None, Some(text)),
            (Self::Text { folded, raw, how }, Value::Text(text)) => match how {
                TextMatch::Starts => fold(text).starts_with(folded.as_str()),
                TextMatch::Exact => text == raw,
                TextMatch::Contains => fold(text).contains(folded.as_str()),
            },
            (Self::Date(prefix, asked), Value::Span(span)) => asked.accepts(*prefix, *span, around.now),
            (Self::Number(prefix, asked), Value::Number(number)) => asked.accepts(*prefix, *number),
            (Self::Quantity { prefix, asked, unit }, Value::Quantity { number, system, code, unit: shown }) => {
                let fits = unit.accepts(*system, *code)
                    || (matches!(unit.system, System::Any) && shown.is_some() && unit.accepts(None, *shown));
                fits && asked.accepts(*prefix, *number)
            }
            (Self::Uri(wanted), Value::Uri(uri)) => wanted == uri || is_version_of(uri, wanted),
            (Self::Reference(target), Value::Reference { literal, .. }) => {
                literal.is_some_and(|literal| target.accepts(literal, around))
            }
            (Self::Reference(target), Value::Uri(uri)) => target.accepts(uri, around),
            (Self::Reference(Target::Local(names)), Value::Entry { kind, id }) => {
                names.iter().any(|n| n.kind.as_str() == *kind && n.id.as_str() == *id)
            }
            (Self::Identifier(token), Value::Reference { identifier: Some(identifier), .. }) => {
                token.accepts(identifier.text("system"), identifier.text("value"))
            }
            _ => false,
        }
    }

    /// Whether the components hold together in one of the bases.
    pub fn holds_together(&self, resource: &Json, parameter: &Parameter, around: &Surroundings<'_>) -> bool {
        let (Self::Composite(parts), Some(composite)) = (self, &parameter.composite) else { return false };
        let mut holds = false;
        for steps in &composite.bases {
            select(resource, steps, &mut |base| {
                holds = holds
                    || composite.components.iter().zip(parts).all(|(component, part)| {
                        let root = if component.absolute { resource } else { base };
                        component.paths.iter().any(|p| values(root, p).iter().any(|v| part.accepts(v, around)))
                    });
            });
        }
        holds
    }
}

fn has_canonical(parameter: &Parameter) -> bool {
    parameter.paths.iter().any(|p| matches!(p.leaf, Leaf::Canonical | Leaf::Uri))
}

/// `http://x|2` is a version of `http://x`.
fn is_version_of(uri: &str, wanted: &str) -> bool {
    uri.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('|'))
}

impl Target {
    /// `Type/id`, `id`, an address on this server or elsewhere, a canonical URL.
    pub fn parse(text: &str, targets: &[&str], canonical: bool, around: &Surroundings<'_>) -> Option<Self> {
        let local = normal(text, around.base);
        if let Some(name) = Name::parse(local) {
            return Some(Self::Local(vec![name]));
        }
        if text.contains(':') || (canonical && !text.is_empty()) {
            // A version of what lies here: `{base}/Questionnaire/a|1`.
            return Some(Self::Url(local.to_owned()));
        }
        // An id alone: of any type that the reference may have.
        let every = || mappings::r4::model().resource_types();
        let types = if targets.is_empty() { every() } else { targets.to_vec() };
        let names: Vec<Name> = types.into_iter().filter_map(|t| Name::parse(&format!("{t}/{text}"))).collect();
        (!names.is_empty()).then_some(Self::Local(names))
    }

    /// The same, of one type only (`subject:Patient=1`).
    pub fn of_type(text: &str, kind: TypeName, around: &Surroundings<'_>) -> Option<Self> {
        let target = Self::parse(text, &[kind.as_str()], false, around)?;
        match &target {
            Self::Local(names) if names.iter().all(|n| n.kind == kind) => Some(target),
            _ => None,
        }
    }

    fn accepts(&self, literal: &str, around: &Surroundings<'_>) -> bool {
        match self {
            Self::Local(names) => {
                Name::parse(unversioned(normal(literal, around.base))).is_some_and(|name| names.contains(&name))
            }
            Self::Url(url) => {
                let local = normal(literal, around.base);
                literal == url || local == url || is_version_of(local, url)
            }
        }
    }
}

/// A canonical without the version that may stand behind it.
pub fn unversioned(url: &str) -> &str {
    url.split('|').next().unwrap_or(url)
}

/// A literal reference without this server's address and without a version.
pub fn normal<'t>(literal: &'t str, base: &str) -> &'t str {
    let path = literal.split("/_history/").next().unwrap_or(literal);
    match path.strip_prefix(base) {
        Some(rest) if !base.is_empty() => rest.strip_prefix('/').unwrap_or(path),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::search::table::parameter;

    const AROUND: Surroundings<'static> = Surroundings { base: "http://here/fhir", now: 0, labels: None };

    fn asks(kind: &str, name: &str, text: &str) -> Option<Criterion> {
        Criterion::parse(parameter(TypeName::parse(kind).unwrap(), name).unwrap(), text, &AROUND)
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        for (kind, name, text) in [
            ("Patient", "identifier", "|"),
            ("Patient", "identifier", "a|b|c"),
            ("Patient", "name", "  "),
            ("Patient", "birthdate", "yesterday"),
            ("Patient", "birthdate", "xx2020"),
            ("RiskAssessment", "probability", "much"),
            ("Observation", "value-quantity", "5|mg"),
            ("Observation", "subject", "Nothing/1"),
            ("Observation", "code-value-quantity", "c"),
            ("Observation", "code-value-quantity", "c$x"),
        ] {
            assert!(asks(kind, name, text).is_none(), "{name}={text}");
        }
    }

    #[test]
    fn references_are_compared_by_what_they_point_to() {
        let literal = |text| Value::Reference { literal: Some(text), identifier: None };
        for (asked, value, expected) in [
            ("Patient/1", "Patient/1", true),
            ("1", "Patient/1", true),
            ("1", "Group/1", true),
            ("1", "Organization/1", false),
            ("http://here/fhir/Patient/1", "Patient/1", true),
            ("Patient/1", "http://here/fhir/Patient/1/_history/3", true),
            ("Patient/1", "http://there/fhir/Patient/1", false),
            ("http://there/fhir/Patient/1", "http://there/fhir/Patient/1", true),
            ("http://there/fhir/Patient/1", "http://there/fhir/Patient/1/_history/3", true),
        ] {
            let asked = asks("Observation", "subject", asked).unwrap();
            assert_eq!(asked.accepts(&literal(value), &AROUND), expected, "{value}");
        }
    }

    #[test]
    fn canonicals_of_this_server_are_found_with_and_without_their_version() {
        let literal = |text| Value::Reference { literal: Some(text), identifier: None };
        for (asked, value, expected) in [
            ("http://here/fhir/Questionnaire/a|1", "http://here/fhir/Questionnaire/a|1", true),
            ("http://here/fhir/Questionnaire/a", "http://here/fhir/Questionnaire/a|1", true),
            ("Questionnaire/a", "http://here/fhir/Questionnaire/a|1", true),
            ("http://here/fhir/Questionnaire/a|2", "http://here/fhir/Questionnaire/a|1", false),
            ("http://there/q|1", "http://there/q|1", true),
            ("http://there/q", "http://there/q|1", true),
        ] {
            let asked = asks("QuestionnaireResponse", "questionnaire", asked).unwrap();
            assert_eq!(asked.accepts(&literal(value), &AROUND), expected, "{value}");
        }
    }

    #[test]
    fn a_composite_holds_in_one_element_only() {
        let resource = Json::parse(
            br#"{"resourceType":"Observation","component":[
            {"code":{"coding":[{"code":"a"}]},"valueQuantity":{"value":1}},
            {"code":{"coding":[{"code":"b"}]},"valueQuantity":{"value":2}}]}"#,
        )
        .unwrap();
        let kind = TypeName::parse("Observation").unwrap();
        let parameter = parameter(kind, "component-code-value-quantity").unwrap();
        let holds =
            |text| Criterion::parse(parameter, text, &AROUND).unwrap().holds_together(&resource, parameter, &AROUND);
        assert!(holds("a$1") && holds("b$gt1") && !holds("a$2"));
    }
}
