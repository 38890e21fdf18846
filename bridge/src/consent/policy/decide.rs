//! The decision: what each Consent says, what they say together, and what holds where they say nothing.

use super::consent::{Claim, Consent, Dark, Effect, Matter, Provision, Rule};
use super::facts::Facts;
use super::fit::{Ask, Fit};
use super::{Coding, is_kind_of};
use notary::consent::{GrantKey, Refusal};
use std::fmt;

/// What holds where no Consent speaks, and when several do.
#[derive(Debug, Clone)]
pub struct Policy {
    /// For purposes, the most special first; one that is not here has `otherwise`. Permit is opt-out, deny is opt-in.
    pub purposes: Vec<(Coding, Effect)>,
    pub otherwise: Effect,
    pub combining: Combining,
}

/// When Consents contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Combining {
    /// One that refuses is enough.
    DenyWins,
    /// The newest that says anything; of several of one time, one that refuses.
    NewestWins,
}

/// Whether an access is permitted, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub effect: Effect,
    pub because: Because,
    /// What the resource's labels ask of whoever receives it: what to do, or not to do, with it (v3 ObligationPolicy
    /// and RefrainPolicy). Who cannot see to it does not hand it out.
    pub obligations: Vec<Coding>,
}

/// What decided. Names no patient and no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Because {
    /// A provision: `Consent/x`, `provision.provision[1]`.
    Provision { consent: String, path: String },
    /// A Consent that permits other things permits this not.
    NotPermitted { consent: String, path: String },
    /// Something in an active Consent is not understood, and might forbid this.
    Dark { consent: String, dark: Dark },
    /// A Consent would permit this, or other things, and rests on a grant that does not stand. Why.
    NoGrant { consent: String, why: String },
    /// Somebody has declared an emergency, `AuditEvent/x`, which goes before what would refuse.
    Emergency { event: String, purpose: Coding, over: String },
    /// No Consent says anything: the default for the purpose.
    Default { purpose: Coding },
}

impl Because {
    /// The Consent that decided, `Consent/x`.
    pub fn consent(&self) -> Option<&str> {
        match self {
            Self::Provision { consent, .. }
            | Self::NotPermitted { consent, .. }
            | Self::Dark { consent, .. }
            | Self::NoGrant { consent, .. } => Some(consent),
            Self::Emergency { .. } | Self::Default { .. } => None,
        }
    }

    /// The emergency that decided, and its purpose.
    pub fn emergency(&self) -> Option<(&str, &Coding)> {
        match self {
            Self::Emergency { event, purpose, .. } => Some((event, purpose)),
            _ => None,
        }
    }

    /// Whether no Consent says anything.
    pub fn is_default(&self) -> bool {
        matches!(self, Self::Default { .. })
    }
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Provision { consent, path } => write!(f, "{consent} {path}"),
            Self::NotPermitted { consent, path } => write!(f, "{consent} {path} does not permit it"),
            Self::Dark { consent, dark } => write!(f, "{consent} is not understood: {} at {}", dark.what, dark.path),
            Self::NoGrant { consent, why } => write!(f, "{consent} permits nothing: {why}"),
            Self::Emergency { event, purpose, over } => {
                write!(f, "the emergency {event} ({}) goes before: {over}", purpose.code)
            }
            Self::Default { purpose } => write!(f, "no Consent says anything: the default for {}", purpose.code),
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = if self.effect == Effect::Permit { "permitted" } else { "refused" };
        write!(f, "{effect}: {}", self.because)
    }
}

impl Policy {
    /// What holds for a purpose where no Consent speaks.
    pub fn default_for(&self, purpose: &Coding) -> Effect {
        let found = self.purposes.iter().find(|(listed, _)| is_kind_of(purpose, listed));
        found.map_or(self.otherwise, |(_, effect)| *effect)
    }
}

/// Whether a grant stands now.
pub type Stands<'s> = &'s dyn Fn(&GrantKey) -> Result<(), Refusal>;

/// Decides one access to one resource by its patient's Consents. Those that name a grant permit nothing: [`decide_by`]
/// asks whether it stands.
pub fn decide(consents: &[Consent], ask: &Ask, facts: &Facts, policy: &Policy) -> Decision {
    decide_by(consents, ask, facts, policy, &|_| Err(Refusal::Unread))
}

/// The same where it is known which grants stand. A Consent whose grant does not stand permits nothing to whom it speaks
/// of, and what it denies it still denies: withdrawing or doubting a grant never opens anything.
pub fn decide_by(consents: &[Consent], ask: &Ask, facts: &Facts, policy: &Policy, stands: Stands<'_>) -> Decision {
    let said = consents.iter().filter_map(|consent| Some((consent.given, consent.say_by(ask, facts, stands)?)));
    let decided = match policy.combining {
        Combining::DenyWins => said.map(|(_, word)| word).min_by_key(Word::rank),
        Combining::NewestWins => {
            said.max_by_key(|(given, word)| (*given, std::cmp::Reverse(word.rank()))).map(|(_, word)| word)
        }
    };
    let default = || (policy.default_for(&ask.purpose), Because::Default { purpose: ask.purpose.clone() });
    let (effect, because) = decided.map_or_else(default, |word| (word.effect(), word.because));
    Decision { effect, because, obligations: facts.obligations() }
}

/// Whether anything at all may be permitted to who asks, whatever it is: by a Consent that permits something to him, or by what
/// holds where none speaks. Tells nothing of what there is.
pub fn opens_by(consents: &[Consent], ask: &Ask, policy: &Policy, stands: Stands<'_>) -> bool {
    let permits = |consent: &Consent| match &consent.rule {
        Rule::Dark(_) => false,
        Rule::Provisions { root, .. } => consent.doubt(stands).is_none() && root.permits_something(ask),
    };
    let refuses = |consent: &Consent| matches!(&consent.rule, Rule::Dark(_));
    if policy.combining == Combining::DenyWins && consents.iter().any(refuses) {
        return false;
    }
    consents.iter().any(permits) || policy.default_for(&ask.purpose) == Effect::Permit
}

/// What one Consent says.
struct Word {
    force: Force,
    because: Because,
}

/// How much it weighs, the heaviest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Force {
    Denies,
    Permits,
    /// It permits other things: as much as a refusal, unless another Consent permits.
    Withholds,
}

/// Why the permissions of a Consent do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Doubt {
    #[error("{0}")]
    Chain(Refusal),
    #[error("{0}")]
    Claim(&'static str),
}

impl Word {
    fn rank(&self) -> Force {
        self.force
    }

    fn effect(&self) -> Effect {
        if self.force == Force::Permits { Effect::Permit } else { Effect::Deny }
    }
}

impl Consent {
    fn say_by(&self, ask: &Ask, facts: &Facts, stands: Stands<'_>) -> Option<Word> {
        let said = self.say(ask, facts);
        let Some(why) = self.doubt(stands) else { return said };
        match said {
            Some(word) if word.force != Force::Permits => Some(word),
            Some(_) => Some(self.no_grant(why.to_string())),
            // What has ended in its own time says nothing any more.
            None if why == Doubt::Chain(Refusal::Lapsed) => None,
            None => self.speaks_of(ask).then(|| self.no_grant(why.to_string())),
        }
    }

    /// Why its permissions do not count, if they do not.
    fn doubt(&self, stands: Stands<'_>) -> Option<Doubt> {
        match self.claim.as_ref()? {
            Claim::Of(key) => stands(key).err().map(Doubt::Chain),
            Claim::Withdrawn => Some(Doubt::Chain(Refusal::Revoked)),
            Claim::Unproved(why) => Some(Doubt::Claim(why)),
        }
    }

    fn no_grant(&self, why: String) -> Word {
        Word { force: Force::Withholds, because: Because::NoGrant { consent: self.name.clone(), why } }
    }

    /// Whether it is about who asks for such a purpose, whenever.
    fn speaks_of(&self, ask: &Ask) -> bool {
        match &self.rule {
            Rule::Provisions { root, .. } => root.frame.fit_whenever(ask) != Fit::No,
            Rule::Dark(_) => true,
        }
    }

    fn say(&self, ask: &Ask, facts: &Facts) -> Option<Word> {
        let consent = self.name.clone();
        let (root, closed) = match &self.rule {
            Rule::Dark(dark) => {
                return Some(Word { force: Force::Denies, because: Because::Dark { consent, dark: dark.clone() } });
            }
            Rule::Provisions { root, closed } => (root, *closed),
        };
        if let Some((effect, path)) = root.say(ask, facts, &Matter::default(), Fit::Yes) {
            let force = if effect == Effect::Permit { Force::Permits } else { Force::Denies };
            return Some(Word { force, because: Because::Provision { consent, path: path.to_owned() } });
        }
        // A permission at the root permits that and nothing else, to whom it speaks of.
        let spoken_of = root.effect == Effect::Permit && root.frame.fit(ask) != Fit::No;
        let path = if spoken_of { &root.path } else { "policyRule" }.to_owned();
        (spoken_of || closed)
            .then_some(Word { force: Force::Withholds, because: Because::NotPermitted { consent, path } })
    }
}

impl Provision {
    /// Whether it, or an exception in it, permits something to who asks.
    fn permits_something(&self, ask: &Ask) -> bool {
        let own = self.effect == Effect::Permit && self.frame.fit(ask) == Fit::Yes;
        own || (self.frame.fit(ask) != Fit::No && self.exceptions.iter().any(|one| one.permits_something(ask)))
    }

    /// What it says, by the innermost exceptions that apply, of which one that denies is enough. `around`: the matter
    /// and the frame of the provisions around it.
    pub(super) fn say(&self, ask: &Ask, facts: &Facts, matter: &Matter, frame: Fit) -> Option<(Effect, &str)> {
        let frame = frame.min(self.frame.fit(ask));
        if frame == Fit::No {
            return None;
        }
        let matter = self.matter.or(matter);
        let said: Vec<_> = self.exceptions.iter().filter_map(|one| one.say(ask, facts, &matter, frame)).collect();
        let denied = said.iter().find(|(effect, _)| *effect == Effect::Deny);
        let fit = frame.min(matter.fit(facts));
        let own = match self.effect {
            Effect::Permit => fit == Fit::Yes,
            Effect::Deny => fit != Fit::No,
        };
        denied.or(said.first()).copied().or_else(|| own.then_some((self.effect, self.path.as_str())))
    }
}
