//! What a patient's Consents say of one access to one resource: FHIR R4 Consent (<http://hl7.org/fhir/R4/consent.html>)
//! in the manner of IHE Privacy Consent on FHIR 1.1 (PCF). Pure.
//!
//! [`Consent::read`] once, [`Facts::of`] once a resource, then [`decide`]. `docs/consent-policy.md` says how a Consent
//! is understood, and why so.

mod consent;
mod decide;
mod emergency;
mod facts;
mod fit;
mod read;
mod terms;

pub use consent::{Claim, Coding, Consent, Effect};
pub use decide::{Because, Combining, Decision, Policy, Stands, decide, decide_by, opens_by};
pub use emergency::{Declared, Overrides, decide_in_emergency, is_emergency, opens_in_emergency};
pub use facts::Facts;
pub use fit::{Action, Ask};
pub use read::is_about_privacy;
pub use terms::{ACT_CODE, CONFIDENTIALITY, degree, is_kind_of, is_purpose};

/// The code system of purposes of use.
pub const PURPOSE_OF_USE: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";

#[cfg(test)]
mod naive;
#[cfg(test)]
mod tests;
