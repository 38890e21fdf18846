//! What one request was shown. It travels with the caller, so that whatever shows something can say so.

use super::event::Who;
use crate::ids::{Name, Owner, Version};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Shared by all that answers one request.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    who: Option<Who>,
    shown: Shown,
    withheld: Shown,
}

/// Versions by the patient whose they are; none: no patient's.
pub type Shown = BTreeMap<Option<Name>, BTreeSet<(Name, Version)>>;

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

    /// Who asked, what was shown, and what was withheld.
    pub fn take(&self) -> (Option<Who>, Shown, Shown) {
        let mut inner = self.lock();
        let (shown, withheld) = (std::mem::take(&mut inner.shown), std::mem::take(&mut inner.withheld));
        (inner.who.clone(), shown, withheld)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
