//! A Consent as far as it was understood.

use crate::fhir::search::span::Span;

/// A code of a code system.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Coding {
    pub system: String,
    pub code: String,
}

impl Coding {
    /// A code of a code system.
    pub fn new(system: &str, code: &str) -> Self {
        Self { system: system.to_owned(), code: code.to_owned() }
    }
}

/// What a provision does where it applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Permit,
    Deny,
}

/// A Consent that has something to say: active, and of patient privacy.
#[derive(Debug, Clone)]
pub struct Consent {
    /// `Consent/id`.
    pub(super) name: String,
    /// When it was given, in microseconds since 1970; unknown times are the oldest.
    pub(super) given: i64,
    pub(super) rule: Rule,
}

impl Consent {
    /// Stands for Consents of a patient that cannot be known: it forbids everything, whatever else there is.
    pub fn unknown(what: &'static str) -> Self {
        let dark = Dark { path: "all of them".to_owned(), what };
        Self { name: "Consents".to_owned(), given: i64::MAX, rule: Rule::Dark(dark) }
    }
}

/// What it says.
#[derive(Debug, Clone)]
pub(super) enum Rule {
    /// `closed`: whatever the provision does not permit is refused (OPTOUT).
    Provisions { root: Box<Provision>, closed: bool },
    /// Something in it is not understood, and might forbid anything.
    Dark(Dark),
}

/// What is not understood, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dark {
    /// Where, from the Consent on: `provision.provision[1].modifierExtension`.
    pub path: String,
    pub what: &'static str,
}

/// A provision, with those that make exceptions to it.
#[derive(Debug, Clone)]
pub(super) struct Provision {
    /// `provision.provision[1]`.
    pub path: String,
    pub effect: Effect,
    pub frame: Frame,
    pub matter: Matter,
    pub exceptions: Vec<Provision>,
}

/// Who, why and when: what holds for a provision and all its exceptions. An empty list is no condition.
#[derive(Debug, Clone, Default)]
pub(super) struct Frame {
    pub period: Option<Window>,
    pub actors: Vec<Actor>,
    /// Not understood: a code of another system.
    pub actions: Vec<Option<super::Action>>,
    pub purposes: Vec<Option<Coding>>,
}

/// Which resources: an exception has that of its provision, but for what it says itself. An empty list is no condition.
/// Labels and period are understood by the effect of the provision that says them, also where an exception has them
/// from there.
#[derive(Debug, Clone, Default)]
pub(super) struct Matter {
    pub labels: Option<(Effect, Vec<Option<Coding>>)>,
    pub classes: Vec<Option<Coding>>,
    /// Each is a list of codings that mean the same.
    pub codes: Vec<Vec<Coding>>,
    pub period: Option<(Effect, Window)>,
    pub data: Vec<Data>,
}

/// A period; nothing where it cannot be read.
pub(super) type Window = Option<Span>;

/// A recipient.
#[derive(Debug, Clone)]
pub(super) struct Actor {
    /// Whether the role is one of who receives.
    pub receives: bool,
    pub who: Who,
}

/// Who is meant.
#[derive(Debug, Clone)]
pub(super) enum Who {
    /// `Type/id`, or an address elsewhere.
    Reference(String),
    Identifier(Coding),
    Unknown,
}

/// A resource that is named, or others by it.
#[derive(Debug, Clone)]
pub(super) struct Data {
    pub meaning: Meaning,
    pub reference: Option<String>,
}

/// How other resources stand to the one that is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Instance,
    Related,
    Dependents,
    AuthoredBy,
    Unknown,
}

impl Matter {
    /// With what is missing here taken from `other`.
    pub fn or(&self, other: &Self) -> Self {
        fn own<T: Clone>(own: &[T], other: &[T]) -> Vec<T> {
            if own.is_empty() { other.to_vec() } else { own.to_vec() }
        }
        Self {
            labels: self.labels.clone().or_else(|| other.labels.clone()),
            classes: own(&self.classes, &other.classes),
            codes: own(&self.codes, &other.codes),
            period: self.period.or(other.period),
            data: own(&self.data, &other.data),
        }
    }
}
