//! Whether a provision's conditions fit an access. There are three answers: what is not understood may fit or may not,
//! and then a permission does not apply and a prohibition does.

use super::Coding;
use super::consent::{Actor, Data, Effect, Frame, Matter, Meaning, Who, Window};
use super::facts::Facts;
use super::terms::{CONFIDENTIALITY, RESOURCE_TYPES, degree, is_kind_of, is_sensitivity};
use crate::consent::outside::PARTICIPANT;
use crate::fhir::search::span::Span;

/// What is done (<http://terminology.hl7.org/CodeSystem/consentaction>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Collect,
    Access,
    Use,
    Disclose,
    Correct,
}

impl Action {
    /// The action of a code.
    pub fn parse(code: &str) -> Option<Self> {
        Some(match code {
            "collect" => Self::Collect,
            "access" => Self::Access,
            "use" => Self::Use,
            "disclose" => Self::Disclose,
            "correct" => Self::Correct,
            _ => return None,
        })
    }
}

/// An access that is asked for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Who asks, as everything that he is at once: `Practitioner/1`, `PractitionerRole/2`, `Organization/3`,
    /// `Device/app`.
    pub actors: Vec<String>,
    /// The same by business identifiers.
    pub identifiers: Vec<Coding>,
    /// What for, of v3-ActReason or a system of one's own.
    pub purpose: Coding,
    pub action: Action,
    /// Microseconds since 1970.
    pub now: i64,
}

/// Actors that are several people, or somebody as one of several.
const MANY: [&str; 4] = ["CareTeam/", "Group/", "HealthcareService/", "PractitionerRole/"];

/// How a condition fits, in the order of how well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    No,
    Unknown,
    Yes,
}

use Fit::{No, Unknown, Yes};

impl Fit {
    fn of(fits: bool) -> Self {
        if fits { Yes } else { No }
    }
}

/// The best of a list; a list that is empty asks for nothing.
fn any<T>(list: &[T], fit: impl FnMut(&T) -> Fit) -> Fit {
    list.iter().map(fit).max().unwrap_or(Yes)
}

impl Frame {
    /// Who, why and when.
    pub fn fit(&self, ask: &Ask) -> Fit {
        let period = self.period.map_or(Yes, |window| during(window, ask.now));
        period.min(self.fit_whenever(ask))
    }

    /// Who and why, whenever it is.
    pub fn fit_whenever(&self, ask: &Ask) -> Fit {
        let actors = any(&self.actors, |actor| actor.fit(ask));
        let actions = any(&self.actions, |action| action.map_or(Unknown, |action| Fit::of(action == ask.action)));
        let purpose = |listed: &Coding| Fit::of(is_kind_of(&ask.purpose, listed));
        let purposes = any(&self.purposes, |listed| listed.as_ref().map_or(Unknown, purpose));
        actors.min(actions).min(purposes)
    }
}

fn during(window: Window, now: i64) -> Fit {
    window.map_or(Unknown, |span| Fit::of(span.from <= now && now < span.to))
}

impl Actor {
    fn fit(&self, ask: &Ask) -> Fit {
        match &self.who {
            _ if !self.receives => Unknown,
            Who::Reference(reference) if ask.actors.contains(reference) => Yes,
            // Who is among those, nobody has told us.
            Who::Reference(reference) if MANY.iter().any(|kind| reference.starts_with(kind)) => Unknown,
            Who::Reference(_) => No,
            Who::Identifier(identifier) if ask.identifiers.contains(identifier) => Yes,
            // Organisations of the network are known by theirs; whose another one is nobody has told us.
            Who::Identifier(identifier) => {
                if identifier.system == PARTICIPANT {
                    No
                } else {
                    Unknown
                }
            }
            Who::Unknown => Unknown,
        }
    }
}

impl Matter {
    /// Which resources.
    pub fn fit(&self, facts: &Facts) -> Fit {
        let period = self.period.map_or(Yes, |(effect, window)| when(window, effect, facts.span));
        let labels = self.labels.as_ref().map_or(Yes, |(effect, listed)| labels(listed, *effect, facts));
        labels
            .min(any(&self.classes, |class| class.as_ref().map_or(Unknown, |class| kind(class, facts))))
            .min(any(&self.codes, |concept| code(concept, facts)))
            .min(period)
            .min(any(&self.data, |data| data.fit(facts)))
    }
}

fn kind(class: &Coding, facts: &Facts) -> Fit {
    match class.system == RESOURCE_TYPES {
        true if class.code == facts.kind => Yes,
        // One that it holds: what is said of that is not said of the whole, and cannot be done to a part.
        true if !facts.inside.iter().any(|(kind, _)| *kind == class.code) => No,
        _ => Unknown,
    }
}

fn code(concept: &[Coding], facts: &Facts) -> Fit {
    // A text without a code.
    if concept.is_empty() { Unknown } else { Fit::of(concept.iter().any(|coding| facts.codes.contains(coding))) }
}

/// A permission is for what lies wholly inside, a prohibition for what touches it.
fn when(window: Window, effect: Effect, span: Option<Span>) -> Fit {
    let (Some(window), Some(span)) = (window, span) else { return Unknown };
    Fit::of(match effect {
        Effect::Permit => window.from <= span.from && span.to <= window.to,
        Effect::Deny => window.from < span.to && span.from < window.to,
    })
}

impl Data {
    fn fit(&self, facts: &Facts) -> Fit {
        let Some(reference) = &self.reference else { return Unknown };
        match self.meaning {
            Meaning::Instance if facts.inside.iter().any(|(_, name)| name == reference) => Unknown,
            Meaning::Instance => Fit::of(facts.name == *reference),
            // PCF names an Encounter, and means what was done in it.
            Meaning::Related | Meaning::Dependents => {
                Fit::of(facts.name == *reference || facts.references.contains(reference))
            }
            Meaning::AuthoredBy => Fit::of(facts.authors.contains(reference)),
            Meaning::Unknown => Unknown,
        }
    }
}

/// A permission is for what is no more confidential and no otherwise sensitive than it says. A prohibition is for what
/// is as confidential, or as sensitive in one of the ways that it says.
fn labels(listed: &[Option<Coding>], effect: Effect, facts: &Facts) -> Fit {
    let known: Vec<&Coding> = listed.iter().flatten().collect();
    let (degrees, others): (Vec<&Coding>, Vec<&Coding>) =
        known.iter().copied().partition(|label| label.system == CONFIDENTIALITY);
    let degrees: Vec<Option<usize>> = degrees.into_iter().map(degree).collect();
    let dark = listed.len() > known.len() || degrees.contains(&None);
    let degrees = degrees.into_iter().flatten();
    let fits = match effect {
        Effect::Permit => {
            degrees.max().is_none_or(|most| facts.degree() <= most) && (others.is_empty() || covers(&others, facts))
        }
        Effect::Deny => {
            let least = degrees.min();
            least.is_some_and(|least| facts.degree() >= least) || others.iter().any(|label| bears(label, facts))
        }
    };
    match (fits, dark, effect) {
        (true, false, _) | (true, true, Effect::Deny) => Yes,
        (_, true, _) => Unknown,
        (false, false, _) => No,
    }
}

/// Whether the resource has a label of this kind.
fn bears(label: &Coding, facts: &Facts) -> bool {
    facts.labels.iter().any(|own| is_kind_of(own, label))
}

/// Whether it has one of them, and is sensitive in no other way.
fn covers(listed: &[&Coding], facts: &Facts) -> bool {
    let mut sensitive = facts.labels.iter().filter(|own| is_sensitivity(own));
    listed.iter().any(|label| bears(label, facts))
        && sensitive.all(|own| listed.iter().any(|label| is_kind_of(own, label)))
}
