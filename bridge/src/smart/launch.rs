//! An EHR launch (SMART App Launch 2.2, section 2.1.3.1): who opened which app, from whose record. The app bears it sealed and asks with it; it
//! counts once, for that person and that app, and nothing is kept of those that no app asks with. Pure.

use crate::ids::{Name, ResourceId};
use crate::people::AccountId;
use crate::people::secrets::Secrets;
use crate::secret::{NoRandomness, Random, bytes};
use notary::commitment::Digest;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long an app may take to come with it, and the person to sign in again and to answer.
pub const LAUNCH_LIFE: Duration = Duration::from_secs(300);
/// The longest that is looked at: what is sealed is some ids.
const MAX_SEALED: usize = 2_048;

/// What an app is opened for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Random: it is used up by this.
    pub id: String,
    pub account: AccountId,
    pub client: String,
    pub patient: Name,
    pub encounter: Option<Name>,
    /// Seconds since 1970.
    pub expires: u64,
}

/// The same in words.
#[derive(Serialize, Deserialize)]
struct Sealed {
    id: String,
    account: String,
    client: String,
    patient: String,
    encounter: Option<String>,
    expires: u64,
}

impl Launch {
    /// A new one; `now` in seconds since 1970.
    pub fn new(
        (account, client): (&AccountId, &str),
        (patient, encounter): (&Name, Option<Name>),
        now: u64,
        random: Random<'_>,
    ) -> Result<Self, NoRandomness> {
        Ok(Self {
            id: hex::encode(bytes::<16>(random)?),
            account: account.clone(),
            client: client.to_owned(),
            patient: patient.clone(),
            encounter,
            expires: now + LAUNCH_LIFE.as_secs(),
        })
    }

    /// As the app bears it.
    pub fn seal(&self, secrets: &Secrets, random: Random<'_>) -> Option<String> {
        let sealed = Sealed {
            id: self.id.clone(),
            account: self.account.to_string(),
            client: self.client.clone(),
            patient: self.patient.to_string(),
            encounter: self.encounter.as_ref().map(Name::to_string),
            expires: self.expires,
        };
        secrets.seal_launch(&serde_json::to_vec(&sealed).ok()?, random).ok()
    }

    /// Reads one of this server that is for this client and has not ended; `now` in seconds since 1970.
    pub fn open(text: &str, client: &str, secrets: &Secrets, now: u64) -> Option<Self> {
        let plain = (text.len() <= MAX_SEALED).then(|| secrets.open_launch(text))??;
        let Sealed { id, account, client: of, patient, encounter, expires } = serde_json::from_slice(&plain).ok()?;
        let account = ResourceId::parse(&account).map(AccountId)?;
        let encounter = match encounter {
            Some(text) => Some(Name::parse(&text)?),
            None => None,
        };
        let patient = Name::parse(&patient)?;
        (of == client && expires > now).then_some(Self { id, account, client: of, patient, encounter, expires })
    }

    /// What is remembered of one that was used.
    pub fn digest(&self) -> Digest {
        Digest::of(format!("launch\0{}", self.id).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{Key, system_random};

    #[test]
    fn a_launch_is_ours_for_one_app_and_some_minutes_and_tells_nothing() {
        let secrets = Secrets::new(&Key::new([1; 32]), Key::new([2; 32]));
        let account = AccountId(ResourceId::from_bytes([1; 16]));
        let (patient, encounter) = (Name::parse("Patient/vesely").unwrap(), Name::parse("Encounter/e"));
        let made = Launch::new((&account, "app"), (&patient, encounter), 1_000, &system_random).unwrap();
        let text = made.seal(&secrets, &system_random).unwrap();
        assert!(!text.contains("vesely"));
        assert_eq!(Launch::open(&text, "app", &secrets, 1_299).as_ref(), Some(&made));
        assert_eq!(Launch::open(&text, "app", &secrets, 1_300), None, "too old");
        assert_eq!(Launch::open(&text, "other", &secrets, 1_000), None, "of another app");
        let others = Secrets::new(&Key::new([1; 32]), Key::new([3; 32]));
        assert_eq!(Launch::open(&text, "app", &others, 1_000), None, "another server's");
        for bad in ["", "xyz", &text[1..], &"A".repeat(MAX_SEALED + 1)] {
            assert_eq!(Launch::open(bad, "app", &secrets, 1_000), None);
        }
        let again = Launch::new((&account, "app"), (&patient, None), 1_000, &system_random).unwrap();
        assert_ne!(again.digest(), made.digest());
    }
}
