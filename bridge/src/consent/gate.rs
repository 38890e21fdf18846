//! Patients' Consents on the read path: what a permit is for is shown only where each patient whose it is consents. Labels are put on in
//! memory, so that new rules count for what was stored before them.

use super::decide::{Asker, Permit};
use super::grant::claim;
use super::labels::Rules;
use super::policy::{Ask, Claim, Coding, Consent, Effect, Facts, Policy, decide_by};
use crate::app::Core;
use crate::error::VaultError;
use crate::fhir::membership;
use crate::fhir::search::query;
use crate::ids::{Name, TypeName};
use crate::index::store::StoreError;
use crate::limits::{MAX_CONSENTS, MAX_REMEMBERED_CONSENTS};
use crate::read::{Opened, in_background};
use crate::search::{Run, all};
use crate::smart::scopes;
use crate::smart::token::Caller;
use notary::canonical::Json;
use notary::consent::GrantKey;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The type whose resources say what is consented to.
const CONSENT: &str = "Consent";

/// What of Consents is configured, and those that were read lately.
#[derive(Debug)]
pub struct Gate {
    /// Where no Consent speaks.
    pub policy: Policy,
    /// What who asks is after, unless he says.
    pub purpose: Coding,
    remembered: Mutex<Remembered>,
}

/// Consents by patient, as they were when the newest of all was in this row.
#[derive(Debug, Default)]
struct Remembered {
    newest: i64,
    of: HashMap<Name, Arc<Vec<Consent>>>,
}

impl Gate {
    /// A gate that remembers nothing yet.
    pub fn new(policy: Policy, purpose: Coding) -> Self {
        Self { policy, purpose, remembered: Mutex::default() }
    }

    /// Whether everything is permitted where no Consent speaks.
    fn is_open(&self) -> bool {
        self.policy.default_for(&self.purpose) == Effect::Permit
    }

    fn known(&self, patient: &Name, newest: i64) -> Option<Arc<Vec<Consent>>> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.of.get(patient).filter(|_| remembered.newest == newest).cloned()
    }

    fn remember(&self, patient: &Name, newest: i64, consents: Arc<Vec<Consent>>) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.newest != newest || remembered.of.len() >= MAX_REMEMBERED_CONSENTS {
            *remembered = Remembered { newest, of: HashMap::new() };
        }
        remembered.of.insert(patient.clone(), consents);
    }
}

impl Core {
    /// Leaves in a list what the patients consent to.
    pub(crate) async fn consented(&self, permit: &Permit, opened: Vec<Opened>) -> Result<Vec<Opened>, VaultError> {
        let Some(asker) = permit.asker() else { return Ok(opened) };
        let newest = self.newest_consent().await?;
        if newest == 0 && self.gate.is_open() {
            return Ok(opened);
        }
        let mut shown = Vec::with_capacity(opened.len());
        for one in opened {
            // A deletion says nothing.
            if one.stored.deleted || self.consents(asker, newest, &one.stored.name, one.json()).await? {
                shown.push(one);
            }
        }
        Ok(shown)
    }

    /// The same for what is no resource of R4's, such as a kept message: whoever its patient is consents to a Binary, or not.
    pub(crate) async fn consented_to_raw(&self, permit: &Permit, patient: Option<Name>) -> Result<bool, VaultError> {
        let (Some(asker), Some(patient)) = (permit.asker(), patient) else { return Ok(true) };
        let newest = self.newest_consent().await?;
        let raw = Json::parse(br#"{"resourceType":"Binary"}"#).unwrap_or(Json::Null);
        self.patient_consents(asker, newest, &patient, &Facts::of(&raw, &self.base)).await
    }

    async fn consents(&self, asker: &Asker, newest: i64, name: &Name, mut resource: Json) -> Result<bool, VaultError> {
        Rules::built_in().apply(&mut resource);
        let facts = Facts::of(&resource, &self.base);
        for patient in membership::of(name, &resource, &self.base) {
            if !self.patient_consents(asker, newest, &patient, &facts).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn patient_consents(
        &self,
        asker: &Asker,
        newest: i64,
        patient: &Name,
        facts: &Facts,
    ) -> Result<bool, VaultError> {
        if asker.is(patient) {
            return Ok(true);
        }
        let consents = self.consents_of(patient, newest).await?;
        let ask = Ask { now: self.clock.now().as_microsecond(), ..asker.ask(&self.gate.purpose) };
        let stands = |key: &GrantKey| self.grants.stands(*key, self.clock.now());
        Ok(decide_by(&consents, &ask, facts, &self.gate.policy, &stands).effect == Effect::Permit)
    }

    async fn consents_of(&self, patient: &Name, newest: i64) -> Result<Arc<Vec<Consent>>, VaultError> {
        if let Some(known) = self.gate.known(patient, newest) {
            return Ok(known);
        }
        let consents = Arc::new(Box::pin(self.read_consents(patient)).await?);
        self.gate.remember(patient, newest, consents.clone());
        Ok(consents)
    }

    /// All Consents of a patient. Where they cannot be read, or are too many, nothing is shown.
    async fn read_consents(&self, patient: &Name) -> Result<Vec<Consent>, VaultError> {
        let unreadable = || VaultError::Index(StoreError::Nonsense("a patient's Consents cannot be read"));
        let kind = TypeName::parse(CONSENT).ok_or_else(unreadable)?;
        // The service itself asks: that is not gated, and told to nobody.
        let scopes = scopes::parse("system/Consent.rs").map_err(|_| unreadable())?;
        let (caller, around) = (Caller::new("consents", scopes), self.around());
        let asked = query::read(kind, &[("patient".to_owned(), patient.to_string())], &around);
        let asked = asked.map_err(|_| unreadable())?;
        let run = Run { core: self, caller: &caller, around };
        let newest = self.store.clone();
        let upto = in_background(move || newest.newest()).await?;
        let mut consents = Vec::new();
        let keep = |opened: Opened| consents.extend(self.read_consent(opened.json()));
        all(&run, kind, &asked.filters, upto, MAX_CONSENTS, keep).await.map_err(|_| unreadable())?;
        Ok(consents)
    }

    /// A Consent, and the grant that it names. The status of such a one follows the grant: when it was withdrawn, what it denied is
    /// still denied.
    fn read_consent(&self, mut consent: Json) -> Option<Consent> {
        let Some(claim) = claim(&consent, &self.custodian, self.grants.registry()) else {
            return Consent::read(&consent, &self.base);
        };
        let withdrawn = consent.text("status") == Some("inactive");
        if withdrawn {
            consent.set("status", Json::String("active".to_owned()));
        }
        let claim = if withdrawn { Claim::Withdrawn } else { claim };
        Consent::read(&consent, &self.base).map(|consent| consent.under(claim))
    }

    async fn newest_consent(&self) -> Result<i64, VaultError> {
        if self.store.is_shared() {
            let store = self.store.clone();
            return in_background(move || store.newest_of(CONSENT)).await;
        }
        Ok(self.store.newest_of(CONSENT)?)
    }
}
