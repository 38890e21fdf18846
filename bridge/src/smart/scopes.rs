//! SMART v2 system scopes (SMART App Launch 2.2, section 3.0.2): `system/Observation.rs`. Version 1's `read`, `write` and
//! `*` are read as the version 2 scopes that they mean.

use crate::ids::TypeName;

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interaction {
    Create,
    Read,
    Update,
    Delete,
    Search,
}

/// The letters of a scope, in the order that it must have them.
const LETTERS: [(char, Interaction); 5] = [
    ('c', Interaction::Create),
    ('r', Interaction::Read),
    ('u', Interaction::Update),
    ('d', Interaction::Delete),
    ('s', Interaction::Search),
];

/// One scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// None: every type.
    kind: Option<TypeName>,
    allowed: Vec<Interaction>,
}

/// Reads a scope list; a word that is no system scope of this release is refused, not ignored.
pub fn parse(text: &str) -> Result<Vec<Scope>, String> {
    let scopes: Vec<Scope> = text
        .split_ascii_whitespace()
        .map(|word| {
            one(word).ok_or_else(|| {
                format!("`{}` is no scope that this server knows; an example is `system/*.rs`", shown(word))
            })
        })
        .collect::<Result<_, _>>()?;
    if scopes.is_empty() { Err("a token needs at least one scope".into()) } else { Ok(scopes) }
}

fn shown(word: &str) -> String {
    word.chars().filter(char::is_ascii_graphic).take(60).collect()
}

fn one(word: &str) -> Option<Scope> {
    let (kind, permissions) = word.strip_prefix("system/")?.split_once('.')?;
    let kind = if kind == "*" { None } else { Some(TypeName::parse(kind)?) };
    let letters = match permissions {
        "read" => "rs",
        "write" => "cud",
        "*" => "cruds",
        letters => letters,
    };
    let allowed: Vec<Interaction> =
        letters.chars().map(|c| LETTERS.iter().find(|(l, _)| *l == c).map(|(_, i)| *i)).collect::<Option<_>>()?;
    let in_order = allowed.windows(2).all(|pair| pair[0] < pair[1]);
    (!allowed.is_empty() && in_order).then_some(Scope { kind, allowed })
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "system/{}.", self.kind.map_or("*", TypeName::as_str))?;
        let letters = LETTERS.iter().filter(|(_, interaction)| self.allowed.contains(interaction));
        letters.into_iter().try_for_each(|(letter, _)| write!(f, "{letter}"))
    }
}

/// Whether a scope list allows an interaction with a type; no type means: with every type.
pub fn allow(scopes: &[Scope], interaction: Interaction, kind: Option<TypeName>) -> bool {
    scopes.iter().any(|scope| {
        scope.allowed.contains(&interaction) && (scope.kind.is_none() || (kind.is_some() && scope.kind == kind))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_allow_what_they_say_and_no_more() {
        let patient = TypeName::parse("Patient");
        let observation = TypeName::parse("Observation");
        let scopes = parse("system/Patient.rs system/Observation.c").unwrap();
        assert!(allow(&scopes, Interaction::Read, patient) && allow(&scopes, Interaction::Create, observation));
        assert!(!allow(&scopes, Interaction::Read, observation) && !allow(&scopes, Interaction::Update, patient));
        assert!(!allow(&scopes, Interaction::Read, None));
        assert!(allow(&parse("system/*.read").unwrap(), Interaction::Search, None));
        assert_eq!(parse("system/*.read").unwrap()[0].to_string(), "system/*.rs");
    }

    #[test]
    fn what_is_no_scope_is_refused() {
        for text in [
            "",
            "system/Patient",
            "patient/Patient.rs",
            "system/Nothing.r",
            "system/Patient.sr",
            "system/Patient.x",
            "openid",
            "system/Patient.",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
