//! The decision: what each Consent says, what they say together, and what holds where they say nothing.

use super::consent::{Consent, Dark, Effect, Matter, Provision, Rule};
use super::facts::Facts;
use super::fit::{Ask, Fit};
use super::{Coding, is_kind_of};
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
    /// No Consent says anything: the default for the purpose.
    Default { purpose: Coding },
}

impl Because {
    /// The Consent that decided, `Consent/x`.
    pub fn consent(&self) -> Option<&str> {
        match self {
            Self::Provision { consent, .. } | Self::NotPermitted { consent, .. } | Self::Dark { consent, .. } => {
                Some(consent)
            }
            Self::Default { .. } => None,
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

/// Decides one access to one resource by its patient's Consents.
pub fn decide(consents: &[Consent], ask: &Ask, facts: &Facts, policy: &Policy) -> Decision {
    let said = consents.iter().filter_map(|consent| Some((consent.given, consent.say(ask, facts)?)));
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

impl Word {
    fn rank(&self) -> Force {
        self.force
    }

    fn effect(&self) -> Effect {
        if self.force == Force::Permits { Effect::Permit } else { Effect::Deny }
    }
}

impl Consent {
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
    /// What it says, by the innermost exceptions that apply, of which one that denies is enough. `around`: the matter
    /// and the frame of the provisions around it.
    fn say(&self, ask: &Ask, facts: &Facts, matter: &Matter, frame: Fit) -> Option<(Effect, &str)> {
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
