//! Patients' Consents on the read path: what a permit is for is shown only where each patient whose it is consents. Labels are put on in
//! memory, so that new rules count for what was stored before them.

use super::decide::{Asker, Permit};
use super::emergency::{Terms, treats};
use super::grant::{Choice, claim};
use super::labels::Rules;
use super::outside::PARCEL;
use super::policy::{
    Ask, Claim, Coding, Consent, Decision, Declared, Effect, Facts, Policy, decide_by, decide_in_emergency, opens_by,
    opens_in_emergency,
};
use super::whose::{About, Whose};
use crate::app::Core;
use crate::audit::emergency::is_notice;
use crate::audit::is_trail;
use crate::error::{Fault, VaultError};
use crate::fhir::search::criterion::normal;
use crate::fhir::search::query;
use crate::ids::{Name, Owner, TypeName, Version};
use crate::limits::{MAX_CONSENTS, MAX_CONSENTS_READ, MAX_REMEMBERED_CONSENTS, MERGES_FRESH};
use crate::notify::made_by;
use crate::read::{Opened, in_background};
use crate::search::{Run, SearchError, all};
use crate::smart::scopes;
use crate::smart::token::Caller;
use jiff::Timestamp;
use notary::canonical::Json;
use notary::consent::{GrantKey, Refusal};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

/// The type whose resources say what is consented to.
const CONSENT: &str = "Consent";

/// What of Consents is configured, and those that were read lately.
#[derive(Debug)]
pub struct Gate {
    /// Where no Consent speaks.
    pub policy: Policy,
    /// The same for other organisations.
    pub outside: Policy,
    /// What who asks is after, unless he says.
    pub purpose: Coding,
    /// What emergencies open, and for how long.
    pub terms: Terms,
    /// What is sensitive, by the codes in it.
    pub labels: Rules,
    remembered: Mutex<Remembered>,
}

/// Consents by patient, as they were when the newest of all was in this row.
#[derive(Debug, Default)]
struct Remembered {
    newest: i64,
    of: HashMap<Name, (Timestamp, Arc<Vec<Consent>>)>,
}

impl Gate {
    /// A gate that remembers nothing yet. The policies: of our own people and programs, and of other organisations.
    pub fn new((policy, outside): (Policy, Policy), purpose: Coding, terms: Terms, labels: Rules) -> Self {
        Self { policy, outside, purpose, terms, labels, remembered: Mutex::default() }
    }

    fn policy(&self, asker: &Asker) -> &Policy {
        if asker.outside().is_some() { &self.outside } else { &self.policy }
    }

    /// Whether everything is permitted where no Consent speaks.
    fn is_open(&self, asker: &Asker) -> bool {
        self.policy(asker).default_for(asker.purpose(&self.purpose)) == Effect::Permit
    }

    /// Those that were read lately. A merge makes no Consent, so that they are not believed for long.
    fn known(&self, patient: &Name, newest: i64, now: Timestamp) -> Option<Arc<Vec<Consent>>> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let (read, consents) = remembered.of.get(patient).filter(|_| remembered.newest == newest)?;
        let fresh = now.duration_since(*read).unsigned_abs() < MERGES_FRESH;
        fresh.then(|| consents.clone())
    }

    fn remember(&self, patient: &Name, (newest, now): (i64, Timestamp), consents: Arc<Vec<Consent>>) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.newest != newest || remembered.of.len() >= MAX_REMEMBERED_CONSENTS {
            *remembered = Remembered { newest, of: HashMap::new() };
        }
        remembered.of.insert(patient.clone(), (now, consents));
    }
}

/// A question of what may be shown.
struct Asking<'p> {
    permit: &'p Permit,
    asker: &'p Asker,
    /// The row of the newest Consent.
    newest: i64,
    /// The question, but for when: made once.
    ask: OnceCell<Ask>,
    /// The emergencies of who asks: looked up once, where something is refused.
    emergencies: OnceCell<Vec<(Name, Declared)>>,
}

impl Core {
    /// Leaves in a list what the patients consent to.
    #[tracing::instrument(name = "consent", skip_all)]
    pub(crate) async fn consented(&self, permit: &Permit, opened: Vec<Opened>) -> Result<Vec<Opened>, VaultError> {
        let Some(asker) = permit.asker() else { return Ok(opened) };
        let asking = self.asking(permit, asker).await?;
        let nobody_spoke = asking.newest == 0 && self.gate.is_open(asker);
        let mut shown = Vec::with_capacity(opened.len());
        for one in opened {
            let made = !is_subscription(&one.stored.name) || made_by(self, &one.json(), asker);
            if made && (nobody_spoke || Box::pin(self.shows(&asking, &one)).await?) {
                shown.push(one);
            }
        }
        Ok(shown)
    }

    /// The same for a resource that is about to be changed by who then knows what was in it.
    pub(crate) async fn consents_to(&self, permit: &Permit, name: &Name, resource: &Json) -> Result<bool, VaultError> {
        let Some(asker) = permit.asker() else { return Ok(true) };
        if is_subscription(name) && !made_by(self, resource, asker) {
            return Ok(false);
        }
        let asking = self.asking(permit, asker).await?;
        if asking.newest == 0 && self.gate.is_open(asker) {
            return Ok(true);
        }
        self.consents(&asking, About { owner: None, name, resource }).await
    }

    /// The same for a kept message: whoever its patient is consents to a Binary, and everybody to all that came out of it.
    pub(crate) async fn consented_to_raw(
        &self,
        permit: &Permit,
        owner: &Owner,
        made: &[String],
    ) -> Result<bool, VaultError> {
        let Some(asker) = permit.asker() else { return Ok(true) };
        let asking = self.asking(permit, asker).await?;
        if asking.newest == 0 && self.gate.is_open(asker) {
            return Ok(true);
        }
        let Some(name) = Name::parse("Binary/message") else { return Ok(false) };
        let raw = Json::parse(br#"{"resourceType":"Binary"}"#).unwrap_or(Json::Null);
        if !self.consents(&asking, About { owner: Some(owner), name: &name, resource: &raw }).await? {
            return Ok(false);
        }
        for version in made {
            let opened = self.version_at(version).await?;
            if !matches!(opened, Some(opened) if self.shows(&asking, &opened).await?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `Type/id/_history/n`, as a message's head names it; nothing where it is not there any more.
    async fn version_at(&self, text: &str) -> Result<Option<Opened>, VaultError> {
        let Some((name, version)) = text.split_once("/_history/") else { return Ok(None) };
        match (Name::parse(name), Version::parse(version)) {
            (Some(name), Some(version)) => self.version(&name, version).await,
            _ => Ok(None),
        }
    }

    async fn version(&self, name: &Name, version: Version) -> Result<Option<Opened>, VaultError> {
        let (store, name) = (self.store.clone(), name.clone());
        match in_background(move || store.version(&name, version)).await? {
            Some(stored) => self.open_unless_erased(&stored).await,
            None => Ok(None),
        }
    }

    async fn shows(&self, asking: &Asking<'_>, one: &Opened) -> Result<bool, VaultError> {
        let about = |one: &Opened| (one.owner.clone(), one.stored.name.clone(), one.json());
        // A deletion says that there was something: what was there before tells whose.
        let (owner, name, resource) = match one.stored.deleted {
            false => about(one),
            true => match self.version(&one.stored.name, Version(one.stored.version.0.saturating_sub(1))).await? {
                Some(before) => about(&before),
                None => return Ok(false),
            },
        };
        self.consents(asking, About { owner: Some(&owner), name: &name, resource: &resource }).await
    }

    async fn consents(&self, asking: &Asking<'_>, about: About<'_>) -> Result<bool, VaultError> {
        let resource = self.gate.labels.labelled(about.resource);
        let facts = Facts::of(&resource, &self.base);
        let trail = is_trail(about.name.kind);
        // What came from elsewhere lies in there whole, and nobody has looked what a Consent says of each part.
        let parcel = about.name.kind.as_str() == "Binary" && resource.text("contentType") == Some(PARCEL);
        let whole = parcel || is_notice(&resource);
        if trail && asking.asker.audits() {
            return Ok(true);
        }
        if !self.shows_context(asking, &about).await? {
            return Ok(false);
        }
        let patients = match self.whose(&about).await? {
            Whose::Of(patients) => patients,
            Whose::Nobodys => return Ok(true),
            Whose::Unknown => return Ok(self.gate.is_open(asking.asker)),
        };
        for patient in &self.others(asking.asker, patients).await {
            let ask =
                asking.ask.get_or_try_init(|| self.belonging(asking.asker.ask(&self.gate.purpose))).await?.clone();
            let policy = self.gate.policy(asking.asker);
            let mut decision = self.decided(ask.clone(), asking.newest, (patient, &facts), policy).await?;
            self.metrics.consents.add(1, if decision.effect == Effect::Permit { "permit" } else { "deny" });
            if decision.effect != Effect::Permit {
                let declared = asking.emergencies.get_or_try_init(|| self.declared(asking.asker)).await?;
                decision = self.anew((ask, asking.newest), (patient, &facts), (policy, declared), decision).await?;
            }
            asking.permit.seen().decided(patient, &decision);
            // What was done to a record tells what is in it: where its patient has anything to say, it is for him and for auditors.
            if decision.effect != Effect::Permit || (trail && !decision.because.is_default()) {
                return Ok(false);
            }
            if whole && !self.consents_of(patient, asking.newest).await?.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether what a Binary's `securityContext` names is shown: it is as confidential as that (R4 2.42.4).
    async fn shows_context(&self, asking: &Asking<'_>, about: &About<'_>) -> Result<bool, VaultError> {
        let context = about.resource.get("securityContext").filter(|_| about.name.kind.as_str() == "Binary");
        let Some(context) = context else { return Ok(true) };
        match context.text("reference").and_then(|literal| Name::parse(normal(literal, &self.base))) {
            Some(name) if name.kind.as_str() == "Binary" => Ok(false),
            Some(name) if name.kind.as_str() != "Patient" => {
                let store = self.store.clone();
                let Some(stored) = in_background(move || store.current(&name)).await? else { return Ok(false) };
                match self.open_unless_erased(&stored).await? {
                    Some(opened) => Box::pin(self.shows(asking, &opened)).await,
                    None => Ok(false),
                }
            }
            Some(_) => Ok(true),
            // Nobody here can tell what it leads to.
            None => Ok(false),
        }
    }

    /// The patients who are not who asks. What names him may name his numbers that were merged, too: his own Patient does.
    async fn others(&self, asker: &Asker, patients: Vec<Name>) -> Vec<Name> {
        let own = patients.iter().find(|patient| asker.is(patient)).filter(|_| patients.len() > 1);
        let numbers = match own {
            Some(own) => self.merged(own).await.map(|merged| merged.names).unwrap_or_default(),
            None => Vec::new(),
        };
        patients.into_iter().filter(|patient| !asker.is(patient) && !numbers.contains(patient)).collect()
    }

    /// What a patient's Consents say now.
    async fn decided(
        &self,
        ask: Ask,
        newest: i64,
        (patient, facts): (&Name, &Facts),
        policy: &Policy,
    ) -> Result<Decision, VaultError> {
        let consents = self.consents_of(patient, newest).await?;
        let ask = Ask { now: self.clock.now().as_microsecond(), ..ask };
        Ok(decide_by(&consents, &ask, facts, policy, &self.standing()))
    }

    async fn asking<'p>(&self, permit: &'p Permit, asker: &'p Asker) -> Result<Asking<'p>, VaultError> {
        let newest = self.newest_consent().await?;
        Ok(Asking { permit, asker, newest, ask: OnceCell::new(), emergencies: OnceCell::new() })
    }

    /// What holds of a refusal in an emergency that was declared for this patient.
    async fn anew(
        &self,
        (ask, newest): (Ask, i64),
        (patient, facts): (&Name, &Facts),
        (policy, declared): (&Policy, &[(Name, Declared)]),
        refused: Decision,
    ) -> Result<Decision, VaultError> {
        let Some(declared) = self.declared_of(declared, patient).await else { return Ok(refused) };
        let consents = self.consents_of(patient, newest).await?;
        let ask = Ask { purpose: declared.purpose.clone(), now: self.clock.now().as_microsecond(), ..ask };
        let (standing, overrides) = (self.standing(), self.gate.terms.overrides);
        Ok(decide_in_emergency((&consents, refused), (&ask, facts), (policy, &standing), (overrides, declared)))
    }

    /// Whether a patient lets this asker see anything at all, or could not keep it from him in an emergency. It says nothing of what there is.
    pub(crate) async fn is_let_in(&self, permit: &Permit, patient: &Name, urgent: bool) -> Result<bool, VaultError> {
        let Some(asker) = permit.asker().filter(|asker| !asker.is(patient)) else { return Ok(true) };
        let consents = self.consents_of(patient, self.newest_consent().await?).await?;
        let asked = self.belonging(asker.ask(&self.gate.purpose)).await?;
        let ask = Ask { now: self.clock.now().as_microsecond(), ..asked };
        let opened = || urgent && opens_in_emergency(&consents, &ask, self.gate.terms.overrides);
        Ok(opens_by(&consents, &ask, self.gate.policy(asker), &self.standing()) || opened())
    }

    /// Which grants stand now.
    fn standing(&self) -> impl Fn(&GrantKey) -> Result<(), Refusal> {
        let now = self.clock.now();
        move |key| self.grants.stands(*key, now)
    }

    /// What they would say to somebody, for each patient whose the resource is; nothing for whom it is his own record, and what holds without
    /// Consents, of no patient, where nobody can tell whose it is. Emergencies of those count of whom the caller may know that: of
    /// colleagues he does not.
    pub(crate) async fn explained(
        &self,
        ask: &Ask,
        opened: &Opened,
        known: impl Fn(&Name) -> bool,
    ) -> Result<Vec<(Option<Name>, Decision)>, VaultError> {
        let (ask, newest) = (&self.belonging(ask.clone()).await?, self.newest_consent().await?);
        let mut resource = opened.json();
        self.gate.labels.apply(&mut resource);
        let facts = Facts::of(&resource, &self.base);
        let about = About { owner: Some(&opened.owner), name: &opened.stored.name, resource: &resource };
        let patients = match self.whose(&about).await? {
            Whose::Of(patients) => patients,
            Whose::Nobodys => return Ok(Vec::new()),
            Whose::Unknown => {
                let decision = decide_by(&[], ask, &facts, &self.gate.policy, &self.standing());
                return Ok(vec![(None, decision)]);
            }
        };
        let mut declared = Vec::new();
        let people = ask.actors.iter().filter_map(|actor| Name::parse(actor)).filter(known);
        for person in people.filter(|_| treats(&ask.purpose)) {
            declared.extend(self.declared_by(&person).await?);
        }
        let mut said = Vec::new();
        for patient in patients.into_iter().filter(|patient| !ask.actors.contains(&patient.to_string())) {
            let policy = &self.gate.policy;
            let mut decision = self.decided(ask.clone(), newest, (&patient, &facts), policy).await?;
            if decision.effect != Effect::Permit {
                decision = self.anew((ask.clone(), newest), (&patient, &facts), (policy, &declared), decision).await?;
            }
            said.push((Some(patient), decision));
        }
        Ok(said)
    }

    async fn consents_of(&self, patient: &Name, newest: i64) -> Result<Arc<Vec<Consent>>, VaultError> {
        if self.keys.is_destroyed(&Owner::patient(&patient.id)) {
            return Ok(Arc::new(vec![Consent::unknown("the patient was erased")]));
        }
        let now = self.clock.now();
        if let Some(known) = self.gate.known(patient, newest, now) {
            return Ok(known);
        }
        let consents = match Box::pin(self.read_consents(patient)).await {
            Ok(consents) => consents,
            Err(SearchError::Vault(error)) if error.fault() == Fault::RetryLater => return Err(error),
            Err(error) => {
                tracing::error!(%error, "a patient's Consents cannot all be read: nothing of that record is shown to others");
                vec![Consent::unknown("too many, or damaged")]
            }
        };
        let consents = Arc::new(consents);
        self.gate.remember(patient, (newest, now), consents.clone());
        Ok(consents)
    }

    /// All Consents of a patient, also those given under other numbers that were merged with his.
    async fn read_consents(&self, patient: &Name) -> Result<Vec<Consent>, SearchError> {
        let unreadable = || SearchError::TooCostly("a patient's Consents cannot be asked for");
        let kind = TypeName::parse(CONSENT).ok_or_else(unreadable)?;
        // The service itself asks: that is not gated, and told to nobody.
        let scopes = scopes::parse("system/Consent.rs").map_err(|_| unreadable())?;
        let (caller, around) = (Caller::new("consents", scopes), self.around());
        let merged = self.merged(patient).await?;
        let dead = merged.has_died();
        let all_of_him: Vec<String> = merged.names.iter().map(ToString::to_string).collect();
        let asked = query::read(kind, &[("patient".to_owned(), all_of_him.join(","))], &around);
        let asked = asked.map_err(|_| unreadable())?;
        let run = Run { core: self, caller: &caller, around };
        let newest = self.store.clone();
        let upto = in_background(move || newest.newest()).await?;
        let mut consents = Vec::new();
        // One more than is weighed shows that there are too many.
        let keep = |opened: Opened| {
            if consents.len() <= MAX_CONSENTS {
                consents.extend(self.read_consent(opened.json(), dead));
            }
        };
        all(&run, kind, &asked.filters, upto, MAX_CONSENTS_READ, keep).await?;
        if consents.len() > MAX_CONSENTS {
            return Err(SearchError::TooCostly("a patient has more Consents than are weighed"));
        }
        Ok(consents)
    }

    /// A Consent, and the grant that it names. The status of such a one follows the grant: when it was withdrawn, what it denied is
    /// still denied. What somebody granted ends with his life.
    fn read_consent(&self, mut consent: Json, dead: bool) -> Option<Consent> {
        let Some(claim) = claim(&consent, &self.custodian, self.grants.registry()) else {
            return Consent::read(&consent, &self.base);
        };
        // What lets an app in for its patient speaks of that alone: the app is the patient there, and asks nobody.
        if Choice::read(&consent).is_some_and(|choice| choice.lets_in()) {
            return None;
        }
        let withdrawn = consent.text("status") == Some("inactive");
        if withdrawn {
            consent.set("status", Json::String("active".to_owned()));
        }
        let claim = match (withdrawn, dead) {
            (true, _) => Claim::Withdrawn,
            (false, true) => Claim::Unproved("its patient has died"),
            (false, false) => claim,
        };
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

fn is_subscription(name: &Name) -> bool {
    name.kind.as_str() == "Subscription"
}
