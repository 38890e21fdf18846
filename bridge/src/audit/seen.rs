//! What one request was shown. It travels with the caller, so that whatever shows something can say so.

use super::event::{Answer, Who};
use crate::consent::policy::{Decision, Effect};
use crate::ids::{Name, Owner, Version};
use crate::limits::MAX_AUDIT_REASONS;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Shared by all that answers one request.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Taken>>);

/// Versions by the patient whose they are; none: no patient's.
pub type Shown = BTreeMap<Option<Name>, BTreeSet<(Name, Version)>>;

/// What of their Consents decided, by patient: whether it permits, and which provision.
pub type Because = BTreeMap<Name, BTreeSet<(bool, String)>>;

/// Purposes of emergencies under which something was shown, by patient: codes of v3-ActReason.
pub type Emergencies = BTreeMap<Name, BTreeSet<String>>;

/// What other organisations answered, by the patient whom they were asked about.
pub type Answers = BTreeMap<Name, BTreeSet<(String, Answer)>>;

/// All that is to be told of one request.
#[derive(Default)]
pub struct Taken {
    pub who: Option<Who>,
    pub shown: Shown,
    pub withheld: Shown,
    pub because: Because,
    pub emergencies: Emergencies,
    pub answers: Answers,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seen(<redacted>)")
    }
}

/// Two callers are the same whatever they have seen.
impl PartialEq for Seen {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Seen {}

impl Seen {
    /// Remembers who asks.
    pub fn by(&self, who: Who) {
        self.lock().who = Some(who);
    }

    /// Remembers resources that are in the answer.
    pub fn shows(&self, all: impl IntoIterator<Item = (Owner, Name, Version)>) {
        let mut inner = self.lock();
        for (owner, name, version) in all {
            inner.shown.entry(owner.as_patient()).or_default().insert((name, version));
        }
    }

    /// Remembers that something of a patient's is in the answer which is no resource.
    pub fn shows_of(&self, owner: &Owner) {
        self.lock().shown.entry(owner.as_patient()).or_default();
    }

    /// Remembers what was asked for by name, and is not for who asked.
    pub fn withholds(&self, (owner, name, version): (Owner, Name, Version)) {
        self.lock().withheld.entry(owner.as_patient()).or_default().insert((name, version));
    }

    /// Remembers what a patient's Consents said, and which of their provisions.
    pub fn decided(&self, patient: &Name, decision: &Decision) {
        let mut inner = self.lock();
        if let Some((_, purpose)) = decision.because.emergency() {
            inner.emergencies.entry(patient.clone()).or_default().insert(purpose.code.clone());
        }
        let said = inner.because.entry(patient.clone()).or_default();
        if said.len() < MAX_AUDIT_REASONS {
            said.insert((decision.effect == Effect::Permit, decision.to_string()));
        }
    }

    /// Remembers what another organisation answered about a patient of ours.
    pub fn answered(&self, patient: &Name, from: &str, answer: Answer) {
        self.lock().answers.entry(patient.clone()).or_default().insert((from.to_owned(), answer));
    }

    /// Takes all but who asked.
    pub fn take(&self) -> Taken {
        let mut inner = self.lock();
        let left = Taken { who: inner.who.clone(), ..Taken::default() };
        std::mem::replace(&mut *inner, left)
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
