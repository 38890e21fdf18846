//! What somebody has allowed an app, from the code on: code and refresh tokens, one use each. Whoever shows one that is not the present one
//! shows an old one: somebody has a copy, and all ends that came of it (RFC 9700, section 4.14.2). Pure.

use super::launch::Launch;
use super::scopes::{self, Context, EMERGENCY, Scope};
use crate::ids::Name;
use crate::people::secrets::Bearer;
use crate::people::{Account, AccountId, Role};
use crate::secret::Random;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use notary::commitment::Digest;
use std::time::Duration;

/// How long a code counts: the app asks at once (RFC 6749, section 4.1.2: ten minutes at most).
pub const CODE_LIFE: Duration = Duration::from_secs(60);
/// How long a refresh token counts that is not used: an app that nobody opens for a month has to ask again.
pub const REFRESH_LIFE: Duration = Duration::from_secs(30 * 86_400);
/// What one account may have allowed at a time: beyond, what ends first goes.
pub const MAX_GRANTS: usize = 64;
/// A patient asks for the own record.
const PATIENTS_OWN: &str = "PATRQT";
/// The length of a verifier (RFC 7636, section 4.1).
const VERIFIER: std::ops::RangeInclusive<usize> = 43..=128;

/// What somebody has allowed an app. Times in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Random: access tokens name it.
    pub id: String,
    pub client: String,
    pub account: AccountId,
    /// The session that it ends with; none: it outlives it.
    pub session: Option<Digest>,
    pub scope: String,
    /// Whose record `patient/` scopes open.
    pub patient: Option<Name>,
    /// The visit that the app was opened from.
    pub encounter: Option<Name>,
    /// Of the code, until it was used.
    pub code: Option<Code>,
    pub made: i64,
    pub expires: i64,
}

/// What a code is bound to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Code {
    pub redirect: String,
    /// PKCE's challenge by S256.
    pub challenge: String,
    /// Of OpenID; empty where there is none.
    pub nonce: String,
}

/// A code or a refresh token: what all of its family have in common, and what it alone has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handle {
    pub family: Bearer,
    pub secret: Bearer,
}

impl Handle {
    /// The first of a family: a code.
    pub fn new(random: Random<'_>) -> Result<Self, crate::people::Refused> {
        Ok(Self { family: Bearer::new(random)?, secret: Bearer::new(random)? })
    }

    /// The next one of its family.
    pub fn next(&self, random: Random<'_>) -> Result<Self, crate::people::Refused> {
        Ok(Self { family: self.family.clone(), secret: Bearer::new(random)? })
    }

    /// Reads one that was given out.
    pub fn parse(text: &str) -> Option<Self> {
        let (family, secret) = text.split_once('.')?;
        Some(Self { family: Bearer::parse(family)?, secret: Bearer::parse(secret)? })
    }

    /// The text, for its bearer.
    pub fn expose(&self) -> String {
        format!("{}.{}", self.family.expose(), self.secret.expose())
    }
}

/// Whether this is a challenge by S256 (RFC 7636, section 4.2).
pub fn is_challenge(text: &str) -> bool {
    URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == 32)
}

impl Code {
    /// Whether a request is of the one who asked for the code: the same address, and the verifier of the challenge.
    pub fn is_for(&self, redirect: &str, verifier: &str) -> bool {
        let plain = verifier.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._~".contains(&c));
        let found = URL_SAFE_NO_PAD.encode(Digest::of(verifier.as_bytes()).0);
        VERIFIER.contains(&verifier.len()) && plain && found == self.challenge && redirect == self.redirect
    }
}

/// Whether the scopes ask for a patient.
pub fn asks_for_patient(granted: &[Scope]) -> bool {
    granted.iter().any(|scope| match scope {
        Scope::Access(access) => access.context == Context::Patient,
        Scope::Word(word) => ["launch", "launch/patient"].contains(word),
    })
}

/// Whether a scope of that name is among them.
pub fn has(granted: &[Scope], name: &str) -> bool {
    granted.iter().any(|scope| matches!(scope, Scope::Word(word) if *word == name))
}

/// What somebody may allow an app of what it asks for: what it is registered for, as far as he has it himself. Patients their own record,
/// clinicians a patient's and what they see themselves, all others to know who they are. What it was opened from an app is told where it was
/// opened from a record.
pub fn allowed(asked: &[Scope], registered: &[Scope], account: &Account, launch: Option<&Launch>) -> Vec<Scope> {
    let role = account.person.role;
    let mut granted = scopes::narrowed(asked, registered);
    granted.retain(|scope| match scope {
        Scope::Access(access) => match access.context {
            Context::Patient => matches!(role, Role::Patient | Role::Clinician),
            Context::User => role == Role::Clinician,
            Context::System => false,
        },
        Scope::Word("launch/patient") => matches!(role, Role::Patient | Role::Clinician),
        Scope::Word("launch") => launch.is_some(),
        Scope::Word("launch/encounter") => launch.is_some_and(|launch| launch.encounter.is_some()),
        Scope::Word("fhirUser") => account.person.resource.is_some(),
        Scope::Word(EMERGENCY) => role == Role::Clinician,
        Scope::Word(word) => ["openid", "offline_access", "online_access"].contains(word),
    });
    let (openid, offline) = (has(&granted, "openid"), has(&granted, "offline_access"));
    granted.retain(|scope| match scope {
        Scope::Word("fhirUser") => openid,
        Scope::Word("online_access") => !offline,
        _ => true,
    });
    // Nothing but to come again is nothing.
    let opens = |scope: &Scope| !matches!(scope, Scope::Word("offline_access" | "online_access"));
    if granted.iter().any(opens) { granted } else { Vec::new() }
}

/// What an app uses records for, as its tokens say: what it is registered for; else what patients ask for themselves, and for all others
/// what is configured. Codes of v3-ActReason.
pub fn purpose(registered: Option<&str>, role: Role, otherwise: &str) -> String {
    let usual = if role == Role::Patient { PATIENTS_OWN } else { otherwise };
    registered.unwrap_or(usual).to_owned()
}

/// What of the granted scopes a refresh asks for; none: it asks for more (RFC 6749, section 6).
pub fn refreshed(asked: Option<&str>, granted: &[Scope]) -> Option<Vec<Scope>> {
    let Some(asked) = asked else { return Some(granted.to_vec()) };
    let asked = scopes::parse(asked).ok()?;
    let held = |scope: &Scope| scopes::narrowed(std::slice::from_ref(scope), granted).contains(scope);
    asked.iter().all(held).then_some(asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ResourceId;
    use crate::people::Person;
    use crate::secret::system_random;

    fn account(role: Role, resource: Option<&str>, organisation: Option<&str>) -> Account {
        let name = |text: &str| Name::parse(text).unwrap();
        let person = Person::new(role, resource.map(name), organisation.map(name)).unwrap();
        Account { id: AccountId(ResourceId::from_bytes([1; 16])), person, disabled: false, made: 0 }
    }

    // meets smart 197
    #[test]
    fn nobody_allows_more_than_he_has_and_the_app_is_registered_for() {
        let patient = account(Role::Patient, Some("Patient/p"), None);
        let clinician = account(Role::Clinician, Some("Practitioner/d"), Some("Organization/o"));
        let auditor = account(Role::Auditor, None, None);
        let registered = "openid fhirUser launch launch/patient offline_access online_access patient/*.rs user/*.cruds";
        for (who, asked, expected) in [
            (&patient, "patient/*.cruds user/*.rs", "patient/*.rs"),
            (&patient, "launch launch/patient patient/Patient.r", "launch/patient patient/Patient.r"),
            (&patient, "openid fhirUser offline_access online_access", "openid fhirUser offline_access"),
            (&patient, "fhirUser offline_access", ""),
            (&patient, "user/*.rs online_access", ""),
            (&clinician, "user/*.rs patient/*.rs system/*.rs", "user/*.rs patient/*.rs"),
            (&auditor, "openid fhirUser user/*.rs patient/*.rs launch/patient", "openid"),
        ] {
            let all = |text: &str| scopes::parse_known(text);
            assert_eq!(scopes::text(&allowed(&all(asked), &all(registered), who, None)), expected, "{asked}");
        }
        let (all, clinic) = (scopes::parse_known("launch launch/encounter openid"), &clinician);
        let name = |text: &str| Name::parse(text).unwrap();
        for (encounter, expected) in
            [(None, "launch openid"), (Name::parse("Encounter/e"), "launch launch/encounter openid")]
        {
            let whose = (&clinic.id, "app");
            let launch = Launch::new(whose, (&name("Patient/p"), encounter), 1, &system_random).unwrap();
            assert_eq!(scopes::text(&allowed(&all, &all, clinic, Some(&launch))), expected);
            assert!(asks_for_patient(&allowed(&all, &all, clinic, Some(&launch))));
        }
    }

    #[test]
    fn an_app_uses_records_for_what_it_is_registered_for_or_its_person_is_after() {
        for (registered, role, expected) in [
            (None, Role::Patient, "PATRQT"),
            (None, Role::Clinician, "TREAT"),
            (Some("HRESCH"), Role::Patient, "HRESCH"),
            (Some("HRESCH"), Role::Clinician, "HRESCH"),
        ] {
            assert_eq!(purpose(registered, role, "TREAT"), expected);
        }
    }

    #[test]
    fn a_refresh_narrows_and_never_widens() {
        let granted = scopes::parse("patient/*.rs offline_access").unwrap();
        assert_eq!(refreshed(None, &granted), Some(granted.clone()));
        assert_eq!(scopes::text(&refreshed(Some("patient/Patient.r"), &granted).unwrap()), "patient/Patient.r");
        for wider in ["patient/*.cruds", "patient/*.rs openid", "user/Patient.r", "nonsense", ""] {
            assert_eq!(refreshed(Some(wider), &granted), None, "{wider}");
        }
    }

    #[test]
    fn a_code_is_for_one_address_and_one_verifier() {
        // RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".to_owned();
        assert!(is_challenge(&challenge) && !is_challenge(verifier.split_at(20).0) && !is_challenge("!"));
        let code = Code { redirect: "https://a/cb".into(), challenge, nonce: String::new() };
        assert!(code.is_for("https://a/cb", verifier));
        for (redirect, verifier) in
            [("https://a/cb/", verifier), ("https://a/cb", ""), ("https://a/cb", &code.challenge), ("", verifier)]
        {
            assert!(!code.is_for(redirect, verifier));
        }
    }

    #[test]
    fn a_handle_has_one_form() {
        let one = Handle::new(&system_random).unwrap();
        let next = one.next(&system_random).unwrap();
        assert_eq!(Handle::parse(&one.expose()), Some(one.clone()));
        assert!(one.family == next.family && one.secret != next.secret);
        for bad in ["", ".", &one.expose()[1..], one.family.expose(), &format!("{}.", one.family.expose())] {
            assert_eq!(Handle::parse(bad), None);
        }
    }
}
