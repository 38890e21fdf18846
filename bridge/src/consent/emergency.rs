//! Emergency access: a clinician declares that he must see a patient's record now, in what role and why. That is in the log before
//! anything is shown, counts for him and this patient alone, ends by itself, and the patient is told.

use super::decide::{Asker, Denied, decide};
use super::policy::{Coding, Declared, Overrides, PURPOSE_OF_USE};
use super::whose::replaced_by;
use crate::app::{App, Core};
use crate::audit::TYPE;
use crate::audit::emergency::{Declaration, Here, notice, started, stopped};
use crate::audit::event::Who;
use crate::commit::{Author, Transaction};
use crate::error::{IngestError, Issue, VaultError};
use crate::fhir::validate::validate;
use crate::fhir::write::{Act, Write};
use crate::ids::{Name, Owner, ResourceId, TypeName};
use crate::index::emergencies::{Emergency, Most};
use crate::index::store::StoreError;
use crate::ingest::commit;
use crate::limits::{MAX_EMERGENCIES, MAX_EMERGENCIES_BEGUN, MAX_EMERGENCY_REASON, MAX_EMERGENCY_ROLE, MAX_MERGED};
use crate::people::{AccountId, Role};
use crate::read::in_background;
use crate::smart::grant::has;
use crate::smart::scopes::{EMERGENCY, Interaction};
use crate::smart::token::Caller;
use jiff::Timestamp;
use notary::canonical::Json;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// How the AuditEvent is called until it has an id.
const EVENT: &str = "urn:medseal:emergency";
/// The purposes that may be declared, codes of v3-ActReason; the first where none is said.
pub const PURPOSES: [&str; 2] = ["BTG", "ETREAT"];

/// What is configured of emergencies.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    pub overrides: Overrides,
    /// How long one counts at most.
    pub life: Duration,
}

/// What somebody says who declares one.
pub struct Plea {
    /// As what he acts.
    pub role: String,
    pub reason: String,
    /// One of [`PURPOSES`].
    pub purpose: &'static str,
    /// For how long, if for less than is configured.
    pub minutes: Option<u64>,
}

crate::redacted_debug!(Plea);

/// Why there is no emergency access.
#[derive(Debug, thiserror::Error)]
pub enum EmergencyError {
    #[error("there is no emergency access here")]
    Off,
    #[error("only a clinician can declare an emergency: a person who is some Practitioner/id")]
    Role,
    #[error("this app was not let in to declare emergencies: it needs the scope `{EMERGENCY}`")]
    App,
    #[error("{0}")]
    Plea(String),
    #[error("there is no such patient")]
    Nobody,
    #[error("the token is not for this patient's record")]
    Scope,
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(
        "{MAX_EMERGENCIES} emergencies of yours count at this moment, or you have begun {MAX_EMERGENCIES_BEGUN} of late: end one that \
         is over, or wait"
    )]
    TooMany,
    #[error(transparent)]
    Ingest(#[from] IngestError),
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<StoreError> for EmergencyError {
    fn from(error: StoreError) -> Self {
        Self::Vault(error.into())
    }
}

/// Who declares: whose reads it counts for, and by which account.
pub struct Holder {
    pub name: Name,
    pub account: Option<AccountId>,
}

impl Plea {
    /// Reads what was given: a role and a reason that say something, and not too much.
    pub fn new(role: &str, reason: &str, purpose: Option<&str>, minutes: Option<u64>) -> Result<Self, EmergencyError> {
        let bad = |text: String| Err(EmergencyError::Plea(text));
        let (role, reason) = (role.trim(), reason.trim());
        if role.is_empty() || role.len() > MAX_EMERGENCY_ROLE {
            return bad(format!("role: as what you act, in {MAX_EMERGENCY_ROLE} bytes at most"));
        }
        if reason.is_empty() || reason.len() > MAX_EMERGENCY_REASON {
            return bad(format!("reason: why you must see the record now, in {MAX_EMERGENCY_REASON} bytes at most"));
        }
        if [role, reason].iter().any(|text| text.chars().any(|c| c.is_control() && c != '\n' && c != '\r' && c != '\t'))
        {
            return bad("role and reason: no control characters".to_owned());
        }
        let given = purpose.unwrap_or(PURPOSES[0]);
        let Some(purpose) = PURPOSES.into_iter().find(|known| *known == given) else {
            return bad(format!("purpose: {}", PURPOSES.join(" or ")));
        };
        if minutes == Some(0) {
            return bad("minutes: 1 or more".to_owned());
        }
        Ok(Self { role: role.to_owned(), reason: reason.to_owned(), purpose, minutes })
    }
}

/// Who may declare one with a token: a person who is a clinician. A patient's app and a system cannot.
pub async fn holder(core: &Core, caller: &Caller) -> Result<Holder, EmergencyError> {
    let clinician = |name: &&Name| matches!(name.kind.as_str(), "Practitioner" | "PractitionerRole");
    let person = caller.user.as_ref().filter(clinician).filter(|_| caller.outside.is_none());
    let name = person.cloned().ok_or(EmergencyError::Role)?;
    let Some(grant) = caller.grant.clone() else {
        // A client that nobody let in acts for nobody.
        return if caller.client.is_none() { Ok(Holder { name, account: None }) } else { Err(EmergencyError::Role) };
    };
    if !has(&caller.scopes, EMERGENCY) {
        return Err(EmergencyError::App);
    }
    let store = core.store.clone();
    let account = in_background(move || match store.app_grant(&grant)? {
        Some(grant) => store.account(&grant.account),
        None => Ok::<_, StoreError>(None),
    });
    match account.await? {
        Some(account) if account.person.role == Role::Clinician && !account.disabled => {
            Ok(Holder { name, account: Some(account.id) })
        }
        _ => Err(EmergencyError::Role),
    }
}

/// Declares an emergency. It counts from when this comes back.
pub async fn declare(
    app: &Arc<App>,
    caller: &Caller,
    holder: &Holder,
    (patient, plea): (&Name, &Plea),
) -> Result<Emergency, EmergencyError> {
    let core = &app.core;
    if core.gate.terms.overrides == Overrides::Nothing {
        return Err(EmergencyError::Off);
    }
    // Before it is looked whether there is such a patient: who has as many as there may be learns nothing more.
    has_room(core, &holder.name.to_string(), core.clock.now()).await?;
    is_within_scope(core, caller, patient).await?;
    let patient = &surviving(core, patient).await?;
    let begun = core.clock.now();
    let life = plea.minutes.map_or(core.gate.terms.life, |minutes| {
        Duration::from_secs(minutes.saturating_mul(60)).min(core.gate.terms.life)
    });
    let account = holder.account.as_ref().map(AccountId::to_string).unwrap_or_default();
    begin(app, (&caller.who(), &holder.name.to_string(), account), (patient, plea), (begun, begun + life)).await
}

/// Whether somebody may declare another: not so many at a time, and not one after the other without end.
pub(crate) async fn has_room(core: &Core, holder: &str, now: Timestamp) -> Result<(), EmergencyError> {
    let (store, holder, most) = (core.store.clone(), holder.to_owned(), most(core, now));
    let has_room = in_background(move || store.has_room_for_emergency(&holder, now.as_millisecond(), most)).await?;
    if has_room { Ok(()) } else { Err(EmergencyError::TooMany) }
}

fn most(core: &Core, now: Timestamp) -> Most {
    let life = core.gate.terms.life.as_millis() as i64;
    Most { live: MAX_EMERGENCIES, begun: MAX_EMERGENCIES_BEGUN, since: now.as_millisecond() - life }
}

/// Tells of an emergency and lets it begin, for a holder who has room for it. What cannot be told does not begin; what was told and could not begin shows nothing.
pub async fn begin(
    app: &Arc<App>,
    (who, holder, account): (&Who, &str, String),
    (patient, plea): (&Name, &Plea),
    (begun, expires): (Timestamp, Timestamp),
) -> Result<Emergency, EmergencyError> {
    let core = &app.core;
    let Plea { role, reason, purpose, .. } = plea;
    let declared = Declaration { who, patient, role, reason, purpose, begun, expires };
    let event = write(started(&declared, here(core)), Some(EVENT))?;
    let writes = vec![event, write(notice(&declared, EVENT), None)?];
    let done = commit(app, Transaction { by: Author::Service, writes, message: None }).await?;
    let id = done.done.first().and_then(|done| done.written()).map(|written| written.name.id.clone());
    let id = id.ok_or_else(wrong)?;
    let emergency = Emergency {
        id,
        holder: holder.to_owned(),
        account,
        patient: patient.clone(),
        purpose: (*purpose).to_owned(),
        begun: begun.as_millisecond(),
        expires: expires.as_millisecond(),
        ended: false,
    };
    let (store, row, most) = (core.store.clone(), emergency.clone(), most(core, begun));
    match in_background(move || store.begin_emergency(&row, most)).await? {
        true => Ok(emergency),
        false => Err(EmergencyError::TooMany),
    }
}

/// Ends one before its time, and tells of it.
pub async fn end(app: &Arc<App>, who: &Who, emergency: &Emergency) -> Result<bool, EmergencyError> {
    let core = &app.core;
    let now = core.clock.now();
    let (store, id) = (core.store.clone(), emergency.id.clone());
    if !in_background(move || store.end_emergency(&id, now.as_millisecond())).await? {
        return Ok(false);
    }
    let event = of(emergency).ok_or_else(wrong)?;
    let told = stopped(who, (&emergency.patient, &event), &emergency.purpose, now, here(core));
    let writes = vec![write(told, None)?];
    commit(app, Transaction { by: Author::Service, writes, message: None }).await?;
    Ok(true)
}

/// The AuditEvent of its beginning.
pub fn of(emergency: &Emergency) -> Option<Name> {
    Some(Name { kind: TypeName::parse(TYPE)?, id: emergency.id.clone() })
}

fn here(core: &Core) -> Here<'_> {
    Here { custodian: &core.custodian, base: &core.base }
}

fn wrong() -> IngestError {
    IngestError::Invalid(vec![Issue::new("exception", "what is told of an emergency came out wrong")])
}

fn write(resource: Value, full_url: Option<&str>) -> Result<Write, IngestError> {
    let resource = validate(Json::from(resource)).map_err(|_| wrong())?;
    let act = Act::Create { resource, if_none_exist: None };
    Ok(Write { full_url: full_url.map(str::to_owned), ..Write::alone(act) })
}

/// Whether a caller may read this patient's record, were it not for Consents. The service itself looks who is meant: told to nobody.
async fn is_within_scope(core: &Core, caller: &Caller, patient: &Name) -> Result<(), EmergencyError> {
    let permit = decide(caller, Interaction::Read, Some(patient.kind))?;
    let (store, name) = (core.store.clone(), patient.clone());
    let stored = in_background(move || store.current(&name)).await?.filter(|stored| !stored.deleted);
    let opened = match stored {
        Some(stored) => core.open_unless_erased(&stored).await?,
        None => None,
    };
    let opened = opened.ok_or(EmergencyError::Nobody)?;
    if permit.covers(patient, &opened.json(), &core.around()) { Ok(()) } else { Err(EmergencyError::Scope) }
}

impl Core {
    /// The emergencies that count now for who asks, and whose records they are about. What was erased stays so.
    pub(super) async fn declared(&self, asker: &Asker) -> Result<Vec<(Name, Declared)>, VaultError> {
        if let Some(outside) = asker.outside() {
            return Ok(outside.emergency.clone().into_iter().filter(|(of, _)| self.is_kept(of)).collect());
        }
        match asker.clinician() {
            Some(person)
                if self.gate.terms.overrides != Overrides::Nothing && treats(asker.purpose(&self.gate.purpose)) =>
            {
                self.declared_by(person).await
            }
            _ => Ok(Vec::new()),
        }
    }

    /// The same of a person.
    pub(super) async fn declared_by(&self, holder: &Name) -> Result<Vec<(Name, Declared)>, VaultError> {
        let live = live_of(self, &holder.to_string()).await?;
        let kept = live.into_iter().filter(|one| self.is_kept(&one.patient));
        let declared = |one: Emergency| {
            let event = of(&one)?.to_string();
            Some((one.patient, Declared { event, purpose: Coding::new(PURPOSE_OF_USE, &one.purpose) }))
        };
        Ok(kept.filter_map(declared).collect())
    }

    /// The one that was declared for this patient, also under another number of his.
    pub(super) async fn declared_of<'d>(
        &self,
        declared: &'d [(Name, Declared)],
        patient: &Name,
    ) -> Option<&'d Declared> {
        let of_him = |names: &[Name]| declared.iter().find(|(of, _)| names.contains(of)).map(|(_, declared)| declared);
        match of_him(std::slice::from_ref(patient)) {
            None if !declared.is_empty() => {
                of_him(&self.merged(patient).await.map(|merged| merged.names).unwrap_or_default())
            }
            found => found,
        }
    }

    fn is_kept(&self, patient: &Name) -> bool {
        !self.keys.is_destroyed(&Owner::patient(&patient.id))
    }
}

/// Whether somebody asks in order to treat: an emergency opens nothing to research, or to whatever else a token is for.
pub(super) fn treats(purpose: &Coding) -> bool {
    purpose.system == PURPOSE_OF_USE && (purpose.code == "TREAT" || PURPOSES.contains(&purpose.code.as_str()))
}

/// The record that a number stands for now: of what was merged away no patient is told.
pub async fn surviving(core: &Core, patient: &Name) -> Result<Name, VaultError> {
    let mut name = patient.clone();
    for _ in 0..MAX_MERGED {
        let (store, wanted) = (core.store.clone(), name.clone());
        let Some(stored) = in_background(move || store.current(&wanted)).await? else { break };
        let Some(opened) = core.open_unless_erased(&stored).await? else { break };
        match replaced_by(&opened.json(), &core.base) {
            Some(next) => name = next,
            None => break,
        }
    }
    Ok(name)
}

/// What counts now for a person.
pub async fn live_of(core: &Core, holder: &str) -> Result<Vec<Emergency>, VaultError> {
    let (store, holder, now) = (core.store.clone(), holder.to_owned(), core.clock.now().as_millisecond());
    in_background(move || store.emergencies_of(&holder, now)).await
}

/// All that count now.
pub async fn live(core: &Core) -> Result<Vec<Emergency>, VaultError> {
    let (store, now) = (core.store.clone(), core.clock.now().as_millisecond());
    in_background(move || store.live_emergencies(now)).await
}

/// What a patient has not taken note of.
pub async fn unseen(core: &Core, patient: &Name) -> Result<Vec<Emergency>, VaultError> {
    let (store, patient) = (core.store.clone(), patient.clone());
    in_background(move || store.unseen_emergencies(&patient, MAX_EMERGENCIES)).await
}

/// A patient takes note of one.
pub async fn see(core: &Core, patient: &Name, id: &ResourceId) -> Result<bool, VaultError> {
    let (store, patient, id) = (core.store.clone(), patient.clone(), id.clone());
    in_background(move || store.see_emergency(&patient, &id)).await
}
