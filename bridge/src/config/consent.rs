//! `[consent]`: what holds where patients' Consents say nothing.

use crate::consent::policy::{Coding, Combining, Effect, Overrides, Policy, is_kind_of};
use crate::limits::{CLIENT_TOKEN_LIFE, EMERGENCY_LIFE};
use serde::Deserialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The code system of purposes.
pub const PURPOSES: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
/// The most minutes of an emergency.
const LONGEST: u64 = EMERGENCY_LIFE.as_secs() / 60;
/// Seconds: below, a chain with slow blocks is always stale; above a day nobody would call it a revocation.
const STALE: std::ops::RangeInclusive<u64> = 2..=86_400;

/// The settings.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Consents {
    /// `permit` (opt-out) or `deny` (opt-in) where no Consent of the patient speaks.
    pub default: Otherwise,
    /// The same for purposes of use, codes of v3-ActReason: `{ HRESCH = "deny" }`.
    pub purposes: BTreeMap<String, Otherwise>,
    /// What who asks is after, unless he says: a code of v3-ActReason.
    pub purpose: String,
    /// `deny-wins`, or `newest-wins`, where Consents contradict each other.
    pub combining: Combine,
    /// What an emergency that a clinician declares goes before: `off`, `unless-refused`, or `always`.
    pub emergency: Stance,
    /// For how many minutes one counts at most.
    pub emergency_minutes: u64,
    /// For how many seconds what was read of the registry counts: then no grant does, for a revocation may have been missed.
    pub stale_seconds: u64,
    /// How patients let apps in: `where_possible`, by a Consent that they sign if they can; `signed`, by that alone; or `approved`, with or
    /// without one.
    pub apps: Apps,
    /// A file of sensitive codes of the house's own, beside those that come with medseal.
    pub labels: Option<PathBuf>,
}

/// How patients let apps in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Apps {
    /// With or without a Consent.
    Approved,
    /// By a Consent where one can be signed: the patient has a key, and the app is the house's.
    WherePossible,
    /// By a Consent alone.
    Signed,
}

/// What holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Otherwise {
    Permit,
    #[default]
    Deny,
}

/// What emergencies go before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stance {
    /// There is no emergency access.
    Off,
    /// What withholds, but for what a patient refuses for emergencies in so many words.
    UnlessRefused,
    /// That, too.
    Always,
}

/// Which of several Consents counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Combine {
    DenyWins,
    NewestWins,
}

impl Default for Consents {
    fn default() -> Self {
        let purpose = "TREAT".to_owned();
        Self {
            default: Otherwise::Permit,
            purposes: BTreeMap::new(),
            purpose,
            combining: Combine::DenyWins,
            emergency: Stance::UnlessRefused,
            emergency_minutes: LONGEST,
            stale_seconds: CLIENT_TOKEN_LIFE.as_secs(),
            apps: Apps::WherePossible,
            labels: None,
        }
    }
}

impl Consents {
    /// Checks what the types do not.
    pub fn check(&self) -> Result<(), String> {
        if !STALE.contains(&self.stale_seconds) {
            return Err(format!("consent.stale_seconds: {} to {}", STALE.start(), STALE.end()));
        }
        match self.emergency_minutes {
            1..=LONGEST => Ok(()),
            _ => Err(format!("consent.emergency_minutes: 1 to {LONGEST}")),
        }
    }

    /// The policy.
    pub fn policy(&self) -> Policy {
        let purposes = self.purposes.iter().map(|(code, effect)| (Coding::new(PURPOSES, code), effect.effect()));
        let mut purposes: Vec<(Coding, Effect)> = purposes.collect();
        // The most special first: one that is a kind of more others.
        let codes: Vec<Coding> = purposes.iter().map(|(code, _)| code.clone()).collect();
        purposes.sort_by_key(|(code, _)| Reverse(codes.iter().filter(|other| is_kind_of(code, other)).count()));
        let combining = match self.combining {
            Combine::DenyWins => Combining::DenyWins,
            Combine::NewestWins => Combining::NewestWins,
        };
        Policy { purposes, otherwise: self.default.effect(), combining }
    }

    /// What emergencies open, and for how long.
    pub fn emergencies(&self) -> (Overrides, Duration) {
        let overrides = match self.emergency {
            Stance::Off => Overrides::Nothing,
            Stance::UnlessRefused => Overrides::Unrefused,
            Stance::Always => Overrides::All,
        };
        (overrides, Duration::from_secs(self.emergency_minutes * 60))
    }

    /// What who asks is after.
    pub fn purpose(&self) -> Coding {
        Coding::new(PURPOSES, &self.purpose)
    }
}

impl Otherwise {
    /// As policies have it.
    pub fn effect(self) -> Effect {
        match self {
            Self::Permit => Effect::Permit,
            Self::Deny => Effect::Deny,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_special_purpose_goes_before_the_one_that_it_is_a_kind_of() {
        let text =
            "default = \"deny\"\npurposes = { TREAT = \"permit\", ETREAT = \"deny\" }\ncombining = \"newest-wins\"\n";
        let policy = toml::from_str::<Consents>(text).unwrap().policy();
        let of = |code| policy.default_for(&Coding::new(PURPOSES, code));
        assert_eq!(["TREAT", "ETREAT", "HRESCH"].map(of), [Effect::Permit, Effect::Deny, Effect::Deny]);
        assert_eq!(policy.combining, Combining::NewestWins);
        assert_eq!(Consents::default().policy().default_for(&Consents::default().purpose()), Effect::Permit);
        assert!(toml::from_str::<Consents>("default = \"maybe\"").is_err());
    }

    #[test]
    fn an_emergency_is_no_longer_than_it_may_be() {
        let of = |text: &str| toml::from_str::<Consents>(text).unwrap();
        assert_eq!(Consents::default().emergencies(), (Overrides::Unrefused, EMERGENCY_LIFE));
        let short = of("emergency = \"always\"\nemergency_minutes = 5\n");
        assert_eq!((short.check(), short.emergencies()), (Ok(()), (Overrides::All, Duration::from_secs(300))));
        assert_eq!(of("emergency = \"off\"").emergencies().0, Overrides::Nothing);
        for bad in ["emergency_minutes = 0", "emergency_minutes = 241"] {
            assert!(of(bad).check().is_err(), "{bad}");
        }
        assert!(toml::from_str::<Consents>("emergency = \"sometimes\"").is_err());
    }
}
