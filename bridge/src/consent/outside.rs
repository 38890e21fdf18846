//! Who asks from another organisation, as patients' Consents may speak of him: by the participant's identifier, by an Organization
//! here that bears it, or by the user's own address. Pure.

use super::policy::{Coding, Declared};
use crate::audit::event::Behalf;
use crate::ids::Name;

/// The system of the identifier by which Consents, Organizations and Provenances name a participant.
pub const PARTICIPANT: &str = "urn:medseal:participant";
/// The content type of a parcel that another organisation sent, where it is kept as evidence.
pub const PARCEL: &str = "application/vnd.medseal.parcel+json";

/// Another organisation, a user of it, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    /// Its id in the directory.
    pub participant: String,
    pub name: String,
    /// The Organizations here that bear that id.
    pub organisations: Vec<Name>,
    /// The user's address at his own organisation.
    pub user: Option<String>,
    pub purpose: Coding,
    /// The emergency that its user has declared in this request, and the patient whom it is for.
    pub emergency: Option<(Name, Declared)>,
}

impl Outside {
    /// By references.
    pub(super) fn actors(&self) -> Vec<String> {
        self.organisations.iter().map(ToString::to_string).chain(self.user.clone()).collect()
    }

    /// By identifiers.
    pub(super) fn identifiers(&self) -> Vec<Coding> {
        vec![Coding::new(PARTICIPANT, &self.participant)]
    }

    /// As it is told in the trail.
    pub fn behalf(&self) -> Behalf {
        Behalf { user: self.user.clone(), system: self.purpose.system.clone(), purpose: self.purpose.code.clone() }
    }
}
