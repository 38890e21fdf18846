//! People who sign in: who they are, what they sign in with, and how long it counts. Passkeys (WebAuthn), wallets
//! (EIP-4361), outside OpenID providers; no passwords. See `docs/accounts.md`.

pub mod age;
pub mod challenge;
pub mod enrol;
pub mod openid;
pub mod passkey;
pub mod secrets;
pub mod session;
pub mod sign;
pub mod site;
pub mod wallet;

use crate::ids::{Name, ResourceId};
use crate::index::store::StoreError;
use std::fmt;
use std::time::Duration;

/// How long an invitation counts: over a weekend.
pub const INVITATION_LIFE: Duration = Duration::from_secs(72 * 3_600);
/// Invitations that are open at a time: an administrator's script gone wild ends there.
pub const MAX_INVITATIONS: usize = 10_000;
/// What one account may sign in with: some devices, a wallet, a spare.
pub const MAX_CREDENTIALS: usize = 16;
/// Sessions of one account: beyond, the one that was used least lately ends.
pub const MAX_SESSIONS: usize = 16;
/// How long a session lives without being used, and at most (NIST SP 800-63B, section 2.2.3: half an hour, twelve
/// hours).
pub const SESSION_IDLE: Duration = Duration::from_secs(30 * 60);
pub const SESSION_LIFE: Duration = Duration::from_secs(12 * 3_600);
/// How lately somebody must have signed in to add or remove what he signs in with.
pub const FRESH: Duration = Duration::from_secs(15 * 60);

/// What somebody is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    Patient,
    /// Of an organisation.
    Clinician,
    Administrator,
    Auditor,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Patient, Self::Clinician, Self::Administrator, Self::Auditor];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Patient => "patient",
            Self::Clinician => "clinician",
            Self::Administrator => "administrator",
            Self::Auditor => "auditor",
        }
    }

    /// The role of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// The random name of an account.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AccountId(pub ResourceId);

impl AccountId {
    /// As it is stored, and as passkeys name the user.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who somebody is, as an invitation says it and an account keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub role: Role,
    /// The resource that the person is.
    pub resource: Option<Name>,
    pub organisation: Option<Name>,
}

/// What of a person does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("a patient is some Patient/id, and of no organisation")]
    Patient,
    #[error("a clinician is some Practitioner/id, of some Organization/id")]
    Clinician,
    #[error("administrators and auditors may be some Practitioner/id or Person/id, of some Organization/id")]
    Other,
}

impl Person {
    /// Role and resources as they fit each other.
    pub fn new(role: Role, resource: Option<Name>, organisation: Option<Name>) -> Result<Self, Unfit> {
        let kind = |name: &Option<Name>| name.as_ref().map(|name| name.kind.as_str());
        let fits = match (role, kind(&resource), kind(&organisation)) {
            (Role::Patient, Some("Patient"), None) => Ok(()),
            (Role::Patient, ..) => Err(Unfit::Patient),
            (Role::Clinician, Some("Practitioner"), Some("Organization")) => Ok(()),
            (Role::Clinician, ..) => Err(Unfit::Clinician),
            (_, None | Some("Practitioner" | "Person"), None | Some("Organization")) => Ok(()),
            _ => Err(Unfit::Other),
        };
        fits.map(|()| Self { role, resource, organisation })
    }
}

/// Somebody who may sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub id: AccountId,
    pub person: Person,
    pub disabled: bool,
    /// Milliseconds since 1970.
    pub made: i64,
}

/// What somebody signs in with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Passkey,
    Wallet,
    OpenId,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Passkey, Self::Wallet, Self::OpenId];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passkey => "passkey",
            Self::Wallet => "wallet",
            Self::OpenId => "openid",
        }
    }

    /// The kind of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Why somebody does not come in, or something is not changed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the server could not do it")]
    Secret,
    #[error("this question is too old, or was answered before: try again")]
    Challenge,
    #[error("this invitation was used, or has expired: ask for a new one")]
    Invitation,
    #[error("nobody here signs in with this")]
    Unknown,
    #[error("this account is closed: ask the administrator")]
    Disabled,
    #[error("this already belongs to an account")]
    Taken,
    #[error("an account has at most {MAX_CREDENTIALS} ways to sign in: remove one first")]
    TooMany,
    #[error("the last way to sign in cannot be removed: add another one first")]
    Last,
    #[error("this passkey's counter went back: it may have been copied. Ask the administrator for a new invitation")]
    Counter,
    #[error("{0}")]
    Passkey(#[from] passkey::PasskeyError),
    #[error("{0}")]
    OpenId(#[from] openid::OpenIdError),
    #[error("the signature is not by this key over this message")]
    Signature,
    #[error("there are too many open invitations: they end after three days")]
    Invitations,
    #[error("{0} is not stored here")]
    Missing(Name),
}

#[cfg(test)]
mod tests {
    use super::*;

    // meets smart 198
    #[test]
    fn roles_and_resources_fit_each_other() {
        let name = |text: &str| Name::parse(text);
        let fits =
            |role, resource: &str, organisation: &str| Person::new(role, name(resource), name(organisation)).is_ok();
        assert!(fits(Role::Patient, "Patient/a", ""));
        assert!(fits(Role::Clinician, "Practitioner/a", "Organization/b"));
        assert!(fits(Role::Administrator, "", "") && fits(Role::Auditor, "Person/a", "Organization/b"));
        for (role, resource, organisation) in [
            (Role::Patient, "", ""),
            (Role::Patient, "Practitioner/a", ""),
            (Role::Patient, "Patient/a", "Organization/b"),
            (Role::Clinician, "Practitioner/a", ""),
            (Role::Clinician, "Patient/a", "Organization/b"),
            (Role::Administrator, "Patient/a", ""),
            (Role::Auditor, "", "Patient/a"),
        ] {
            assert!(!fits(role, resource, organisation), "{role:?} {resource} {organisation}");
        }
        assert_eq!(Role::parse("patient"), Some(Role::Patient));
        assert_eq!(Role::parse("root"), None);
    }
}
