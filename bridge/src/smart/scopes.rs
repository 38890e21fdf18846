//! SMART v2 scopes (SMART App Launch 2.2, section 3): `system/Observation.rs?category=laboratory`. Version 1's `read`, `write`
//! and `*` are read as the version 2 scopes that they mean. Pure.

use crate::fhir::write::{Criteria, criteria};
use crate::http::query::encode;
use crate::ids::TypeName;
use crate::limits::{MAX_QUERY_TERMS, MAX_SCOPES};

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

/// Scopes that open no resource: they ask for an identity, a launch context or a refresh token.
const WORDS: &[&str] = &[
    "openid",
    "fhirUser",
    "profile",
    "launch",
    "launch/patient",
    "launch/encounter",
    "offline_access",
    "online_access",
    EMERGENCY,
];

/// The app declares emergencies for a clinician; two underscores, as SMART App Launch 2.2 section 2.0.8 has it for scopes of one's own.
pub const EMERGENCY: &str = "__emergency";

impl Interaction {
    /// Its letter in a scope.
    pub fn letter(self) -> char {
        LETTERS.iter().find(|(_, interaction)| *interaction == self).map_or('?', |(letter, _)| *letter)
    }

    /// Whether it leaves everything as it is.
    pub fn only_reads(self) -> bool {
        matches!(self, Self::Read | Self::Search)
    }
}

/// Whose rights an access goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// One patient's record: the one that the token names.
    Patient,
    /// What the user that the token names may do.
    User,
    /// A program on its own.
    System,
}

impl Context {
    const ALL: [Self; 3] = [Self::Patient, Self::User, Self::System];

    fn name(self) -> &'static str {
        match self {
            Self::Patient => "patient",
            Self::User => "user",
            Self::System => "system",
        }
    }
}

/// A scope that opens resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    pub context: Context,
    /// None: every type.
    pub kind: Option<TypeName>,
    pub allowed: Vec<Interaction>,
    /// Only resources that this search finds.
    pub only: Option<Criteria>,
}

/// One scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    Access(Access),
    /// One of the words that open no resource.
    Word(&'static str),
}

/// Reads a scope list; a word that is no scope of this release is refused, not ignored.
pub fn parse(text: &str) -> Result<Vec<Scope>, String> {
    let words = text.split_ascii_whitespace();
    let scopes: Vec<Scope> = words.take(MAX_SCOPES + 1).map(known).collect::<Result<_, _>>()?;
    match scopes.len() {
        0 => Err("a token needs at least one scope".into()),
        1..=MAX_SCOPES => Ok(scopes),
        _ => Err(format!("at most {MAX_SCOPES} scopes")),
    }
}

fn known(word: &str) -> Result<Scope, String> {
    let unknown = || format!("`{}` is no scope that this server knows; an example is `system/*.rs`", shown(word));
    one(word).ok_or_else(unknown)
}

/// Those of a list that this server knows: what an authorization server is asked for it may grant in part (RFC 6749, section
/// 3.3).
pub fn parse_known(text: &str) -> Vec<Scope> {
    text.split_ascii_whitespace().take(MAX_SCOPES).filter_map(one).collect()
}

fn shown(word: &str) -> String {
    word.chars().filter(char::is_ascii_graphic).take(60).collect()
}

fn one(word: &str) -> Option<Scope> {
    if let Some(word) = WORDS.iter().find(|known| **known == word) {
        return Some(Scope::Word(word));
    }
    let (word, only) = word.split_once('?').map_or((word, None), |(word, only)| (word, Some(only)));
    let (context, rest) = word.split_once('/')?;
    let context = Context::ALL.into_iter().find(|known| known.name() == context)?;
    let (kind, permissions) = rest.split_once('.')?;
    let kind = if kind == "*" { None } else { Some(TypeName::parse(kind)?) };
    let only = match only {
        Some(text) => Some(constraint(kind, text)?),
        None => None,
    };
    Some(Scope::Access(Access { context, kind, allowed: letters(permissions)?, only }))
}

fn letters(permissions: &str) -> Option<Vec<Interaction>> {
    let letters = match permissions {
        "read" => "rs",
        "write" => "cud",
        "*" => "cruds",
        letters => letters,
    };
    let letter = |c| LETTERS.iter().find(|(l, _)| *l == c).map(|(_, interaction)| *interaction);
    let allowed: Vec<Interaction> = letters.chars().map(letter).collect::<Option<_>>()?;
    let in_order = allowed.windows(2).all(|pair| pair[0] < pair[1]);
    (!allowed.is_empty() && in_order).then_some(allowed)
}

/// The search after the question mark: what every type has, where every type is meant.
fn constraint(kind: Option<TypeName>, text: &str) -> Option<Criteria> {
    let of = kind.or_else(|| TypeName::parse("Basic"))?;
    // With its question mark: one inside a value must not be taken for it.
    let criteria = criteria(of, &format!("?{text}")).ok()?;
    (kind.is_some() || criteria.pairs.iter().all(|(name, _)| name.starts_with('_'))).then_some(criteria)
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Access(access) => access.fmt(f),
        }
    }
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}.", self.context.name(), self.kind.map_or("*", TypeName::as_str))?;
        self.allowed.iter().try_for_each(|interaction| write!(f, "{}", interaction.letter()))?;
        let pairs = self.only.iter().flat_map(|only| &only.pairs);
        pairs.enumerate().try_for_each(|(n, (name, value))| {
            write!(f, "{}{}={}", if n == 0 { '?' } else { '&' }, plain(name), plain(value))
        })
    }
}

/// As clients write it: only what no scope may hold (RFC 6749, appendix A.4) or a query would part is percent-encoded.
fn plain(text: &str) -> String {
    let stays = |c: char| c.is_ascii_graphic() && !"%&+\"\\".contains(c);
    text.chars().map(|c| if stays(c) { c.to_string() } else { encode(&c.to_string()) }).collect()
}

/// The list as a token bears it.
pub fn text(scopes: &[Scope]) -> String {
    scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// The scopes that speak for an interaction with a type; no type means: with every type.
pub fn for_this(scopes: &[Scope], interaction: Interaction, kind: Option<TypeName>) -> impl Iterator<Item = &Access> {
    scopes.iter().filter_map(move |scope| match scope {
        Scope::Access(access) if access.speaks_for(interaction, kind) => Some(access),
        Scope::Access(_) | Scope::Word(_) => None,
    })
}

/// What of the wanted scopes is covered by the held ones, narrowed to both.
pub fn narrowed(wanted: &[Scope], held: &[Scope]) -> Vec<Scope> {
    let mut common: Vec<Scope> = Vec::new();
    for wanted in wanted {
        for held in held {
            if let Some(scope) = wanted.and(held)
                && !common.iter().any(|known| known.covers(&scope))
            {
                common.retain(|known| !scope.covers(known));
                common.push(scope);
            }
        }
    }
    common.truncate(MAX_SCOPES);
    common
}

impl Scope {
    fn and(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Access(one), Self::Access(other)) => one.and(other).map(Self::Access),
            (Self::Word(one), Self::Word(other)) => (one == other).then_some(Self::Word(one)),
            _ => None,
        }
    }

    fn covers(&self, other: &Self) -> bool {
        self.and(other).as_ref() == Some(other)
    }

    /// Whether it opens resources to a program on its own.
    pub fn is_system(&self) -> bool {
        matches!(self, Self::Access(Access { context: Context::System, .. }))
    }
}

impl Access {
    fn speaks_for(&self, interaction: Interaction, kind: Option<TypeName>) -> bool {
        self.allowed.contains(&interaction) && (self.kind.is_none() || (kind.is_some() && self.kind == kind))
    }

    /// What both allow. Two constraints must both hold: a search with the parameters of both.
    fn and(&self, other: &Self) -> Option<Self> {
        let kind = match (self.kind, other.kind) {
            (one, None) => one,
            (None, other) => other,
            (one, other) => (one == other).then_some(one)?,
        };
        let allowed: Vec<Interaction> = self.allowed.iter().copied().filter(|i| other.allowed.contains(i)).collect();
        let mut pairs: Vec<_> = [&self.only, &other.only].into_iter().flatten().flat_map(|o| o.pairs.clone()).collect();
        pairs.sort();
        pairs.dedup();
        let fits = self.context == other.context && !allowed.is_empty() && pairs.len() <= MAX_QUERY_TERMS;
        let only = (!pairs.is_empty()).then_some(Criteria { pairs });
        fits.then_some(Self { context: self.context, kind, allowed, only })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn allow(scopes: &str, interaction: Interaction, kind: &str) -> bool {
        for_this(&parse(scopes).unwrap(), interaction, TypeName::parse(kind)).next().is_some()
    }

    #[test]
    fn scopes_allow_what_they_say_and_no_more() {
        let scopes = "system/Patient.rs system/Observation.c openid";
        assert!(allow(scopes, Interaction::Read, "Patient") && allow(scopes, Interaction::Create, "Observation"));
        assert!(!allow(scopes, Interaction::Read, "Observation") && !allow(scopes, Interaction::Update, "Patient"));
        assert!(!allow(scopes, Interaction::Read, "no type: every type"));
        assert!(allow("system/*.read", Interaction::Search, "no type: every type"));
        assert!(!allow("openid fhirUser launch/patient offline_access", Interaction::Read, "Patient"));
    }

    /// What a scope list is printed as: version 1 as version 2, and what is in a constraint encoded.
    const FORMS: &[(&str, &str)] = &[
        ("system/*.read", "system/*.rs"),
        ("patient/Patient.write", "patient/Patient.cud"),
        ("user/*.*", "user/*.cruds"),
        ("openid launch/patient", "openid launch/patient"),
        (
            "system/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory",
            "system/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory",
        ),
        ("system/*.r?_tag=a&_security=b", "system/*.r?_security=b&_tag=a"),
        ("system/Patient.r?name=a%20b%26%2B%25%C3%A9%22", "system/Patient.r?name=a%20b%26%2B%25%C3%A9%22"),
    ];

    // meets smart 369 370
    #[test]
    fn what_is_printed_is_read_again() {
        for (given, printed) in FORMS {
            let scopes = parse(given).unwrap();
            assert_eq!(text(&scopes), *printed);
            assert_eq!(parse(printed).unwrap(), scopes);
        }
    }

    #[test]
    fn what_is_no_scope_is_refused() {
        for text in [
            "",
            "system/Patient",
            "practitioner/Patient.rs",
            "system/Nothing.r",
            "system/Patient.sr",
            "system/Patient.rr",
            "system/Patient.x",
            "offline",
            "system/Patient.",
            "Patient.r",
            "system/Observation.r?",
            "system/Observation.r?color=red",
            "system/Observation.r?_count=1",
            "system/Observation.r?subject.name=x",
            "system/Observation.r?_has:Provenance:target:agent=x",
            "system/*.r?category=x",
            &"system/*.r ".repeat(MAX_SCOPES + 1),
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    /// Wanted, held, and what is common to both.
    const COMMON: &[(&str, &str, &str)] = &[
        ("system/*.rs", "system/Patient.cruds", "system/Patient.rs"),
        ("system/Patient.rs", "system/*.r", "system/Patient.r"),
        ("system/Patient.rs", "system/Observation.rs", ""),
        ("system/Patient.c", "system/Patient.rs", ""),
        ("patient/Patient.rs user/Patient.rs", "system/Patient.rs", ""),
        ("system/*.cruds openid", "system/*.rs", "system/*.rs"),
        ("system/Observation.rs", "system/Observation.rs?code=a", "system/Observation.rs?code=a"),
        (
            "system/Observation.rs?status=final",
            "system/Observation.r?code=a",
            "system/Observation.r?code=a&status=final",
        ),
        ("system/Patient.r system/Patient.rs", "system/*.rs", "system/Patient.rs"),
        ("system/*.rs", "system/*.r?_tag=a system/*.r", "system/*.r"),
    ];

    /// A few scopes of few types and parameters, so that they often have something in common.
    fn any_scopes() -> impl Strategy<Value = Vec<Scope>> {
        let kinds = prop::sample::select(vec!["*", "Patient", "Observation"]);
        let letters = prop::sample::select(vec!["r", "rs", "cruds", "cud", "s"]);
        let only = prop::sample::select(vec!["", "?_tag=a", "?_tag=b", "?_tag=a&_id=x"]);
        let contexts = prop::sample::select(vec!["system", "patient"]);
        let one = (contexts, kinds, letters, only).prop_map(|(c, k, l, o)| format!("{c}/{k}.{l}{o}"));
        prop::collection::vec(one, 1..5).prop_map(|all| parse(&all.join(" ")).unwrap())
    }

    /// Whether one of the scopes lets everything through that another does.
    fn has_room_for(scopes: &[Scope], scope: &Scope) -> bool {
        scopes.iter().any(|one| one.covers(scope))
    }

    proptest! {
        #[test]
        fn narrowing_never_widens(wanted in any_scopes(), held in any_scopes()) {
            let common = narrowed(&wanted, &held);
            for scope in &common {
                prop_assert!(has_room_for(&wanted, scope) && has_room_for(&held, scope), "{scope}");
            }
            let again = narrowed(&held, &wanted);
            prop_assert!(again.iter().all(|scope| has_room_for(&common, scope)), "whoever asks");
            let own = narrowed(&wanted, &wanted);
            prop_assert!(wanted.iter().all(|scope| has_room_for(&own, scope)), "nothing is lost");
        }

        #[test]
        fn a_constraint_is_read_as_it_was_written(value in "\\PC{1,20}") {
            let written = format!("system/Patient.r?name={}", encode(&value));
            if let Ok(scopes) = parse(&written) {
                prop_assert_eq!(parse(&text(&scopes)).unwrap(), scopes);
            }
        }
    }

    #[test]
    fn nobody_gets_more_than_both_allow() {
        for (wanted, held, common) in COMMON {
            let (wanted, held) = (parse(wanted).unwrap(), parse(held).unwrap());
            assert_eq!(text(&narrowed(&wanted, &held)), *common);
        }
    }
}
