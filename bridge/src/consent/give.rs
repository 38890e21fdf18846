//! What happens to a grant here: it is drafted, given, revoked, and its Consent's status follows. Giving and revoking count from when
//! they are in the index; the chain follows (`worker`).

use super::decide::decide;
use super::grant::{Choice, proved};
use super::registry::seconds;
use crate::app::{App, Core};
use crate::commit::{Author, Transaction};
use crate::error::{Fault, IngestError, Issue, VaultError};
use crate::fhir::validate::validate;
use crate::fhir::write::{Act, By, Target, Write};
use crate::ids::{Name, ResourceId, TypeName};
use crate::index::consents::Given;
use crate::index::store::StoreError;
use crate::ingest::commit;
use crate::limits::GRANT_DRAFT_LIFE;
use crate::people::{AccountId, Refused};
use crate::read::{self, Opened, in_background};
use crate::secret::{bytes, system_random};
use crate::smart::scopes::{self, Interaction};
use crate::smart::token::Caller;
use crate::vault::seal::{open_bytes, seal_bytes};
use alloy_primitives::B256;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use notary::canonical::Json;
use notary::consent::{GrantKey, Instructed, Opening, Preimage, ProofError, Registry, Tag};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const CONSENT: &str = "Consent";
const DRAFT: &[u8] = b"medseal/v1/grant-draft";

/// Why a grant was not given or not revoked.
#[derive(Debug, thiserror::Error)]
pub enum GiveError {
    #[error("there is no registry of grants here")]
    Nowhere,
    #[error("this page is too old, or was used before: begin again")]
    Draft,
    #[error("the signature does not hold: {0}")]
    Proof(#[from] ProofError),
    #[error("a patient signs a grant, and who only writes it down does not")]
    Signature,
    #[error("the patient has a key to sign with: nobody else writes down what is granted")]
    Signs,
    #[error("the patient has died")]
    Dead,
    #[error("the secret is not the one of this grant")]
    Preimage,
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Ingest(#[from] IngestError),
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<StoreError> for GiveError {
    fn from(error: StoreError) -> Self {
        Self::Vault(error.into())
    }
}

/// What a patient is shown and signs. It travels through the browser, sealed: nothing is kept here until it is signed.
#[derive(Serialize, Deserialize)]
pub struct Draft {
    pub choice: Choice,
    /// Whose page it is on.
    account: String,
    /// Of the terms, and of the opening.
    salts: (B256, B256),
    /// Makes the id of the Consent.
    id: [u8; 16],
    /// The grant that this one takes the place of.
    pub instead: Option<GrantKey>,
    /// Seconds since 1970.
    expires: u64,
}

crate::redacted_debug!(Draft);

impl Draft {
    /// A new one.
    pub fn new(core: &Core, choice: Choice, account: &AccountId, instead: Option<GrantKey>) -> Result<Self, GiveError> {
        let salt = || bytes::<32>(&system_random).map(B256::from).map_err(VaultError::from);
        let id = bytes(&system_random).map_err(VaultError::from)?;
        let expires = seconds(core.clock.now()) + GRANT_DRAFT_LIFE.as_secs();
        Ok(Self { choice, account: account.to_string(), salts: (salt()?, salt()?), id, instead, expires })
    }

    /// As the page bears it.
    pub fn seal(&self, core: &Core) -> Result<String, GiveError> {
        let plain = serde_json::to_vec(self).map_err(|_| GiveError::Draft)?;
        let sealed = seal_bytes(&core.cursor_key, DRAFT, &plain, &system_random).map_err(|_| GiveError::Draft)?;
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Reads what `seal` wrote for the same account, if it is not too old.
    pub fn open(core: &Core, text: &str, account: &AccountId) -> Result<Self, GiveError> {
        let plain = URL_SAFE_NO_PAD.decode(text).ok();
        let plain = plain.and_then(|sealed| open_bytes(&core.cursor_key, DRAFT, &sealed).ok());
        let draft: Option<Self> = plain.and_then(|plain| serde_json::from_slice(&plain).ok());
        let ours = |draft: &Self| draft.account == account.as_str() && seconds(core.clock.now()) < draft.expires;
        draft.filter(ours).ok_or(GiveError::Draft)
    }

    /// What the patient signs, if it is to be revoked by the preimage of this tag. `called`: how a person calls a type.
    pub fn opening(&self, core: &Core, tag: Tag, called: impl Fn(&str) -> String) -> Result<Opening, GiveError> {
        let terms = self.choice.terms(called, self.salts.0).ok_or(GiveError::Draft)?;
        let custodian = core.custodian.clone();
        Ok(Opening { custodian, terms, tag, not_after: self.choice.not_after(), salt: self.salts.1, signature: None })
    }

    fn consent(&self) -> ResourceId {
        ResourceId::from_bytes(self.id)
    }
}

/// Where grants are registered.
pub fn registry(core: &Core) -> Result<Registry, GiveError> {
    core.grants.registry().copied().ok_or(GiveError::Nowhere)
}

/// Gives a grant: stores its Consent, and lets it be registered. `by` writes the Consent. The preimage is kept only if it is given.
pub async fn give(
    app: &Arc<App>,
    by: Caller,
    draft: &Draft,
    opening: Opening,
    preimage: Option<Preimage>,
) -> Result<GrantKey, GiveError> {
    let (core, registry) = (&app.core, registry(&app.core)?);
    let signed = matches!(opening.instructed(&registry)?, Instructed::Signed(_));
    if signed == draft.choice.recorded_by.is_some() {
        return Err(GiveError::Signature);
    }
    if !signed && signs(core, &draft.choice.patient).await? {
        return Err(GiveError::Signs);
    }
    if is_dead(core, &draft.choice.patient).await? {
        return Err(GiveError::Dead);
    }
    let key = opening.key(&registry);
    let preimage = preimage.map(|preimage| sealed_preimage(core, key, opening.tag, &preimage)).transpose()?;
    let write = write(draft, &opening, &registry).ok_or_else(wrong)?;
    let made = core.clock.now().as_millisecond();
    let (consent, sealed) = (draft.consent(), opening.sealed(&registry));
    let given = Given { key, consent, sealed, preimage, made, revoked: None, ended: false };
    // Registered without a Consent it is a slot that nobody can open; the other way round it would wait for ever.
    let store = core.store.clone();
    if !in_background(move || store.give(&given)).await? {
        return Err(GiveError::Draft);
    }
    let done = commit(app, Transaction { by: Author::Desk(Box::new(by)), writes: vec![write], message: None }).await;
    if let Err(error) = done {
        if error.fault() == Fault::Sender {
            let store = core.store.clone();
            in_background(move || store.ungive(key)).await?;
        }
        return Err(error.into());
    }
    core.grants.wake.notify_one();
    Ok(key)
}

/// Whether a patient has a key to sign grants with, by any of his numbers.
pub async fn signs(core: &Core, patient: &str) -> Result<bool, GiveError> {
    let Some(name) = Name::parse(patient) else { return Err(GiveError::Draft) };
    let numbers = core.merged(&name).await?.names;
    let store = core.store.clone();
    Ok(in_background(move || numbers.iter().try_fold(false, |any, one| Ok::<_, StoreError>(any || store.signs(one)?)))
        .await?)
}

/// Whether the record says, under any of its numbers, that its patient has died: nobody gives anything in that name any more.
async fn is_dead(core: &Core, patient: &str) -> Result<bool, GiveError> {
    let name = Name::parse(patient).ok_or(GiveError::Draft)?;
    Ok(core.has_died(Some(&name)).await?)
}

fn write(draft: &Draft, opening: &Opening, registry: &Registry) -> Option<Write> {
    let mut consent = proved(draft.choice.consent()?, opening, registry)?;
    let id = draft.consent();
    consent.set("id", Json::String(id.as_str().to_owned()));
    let target = Target { kind: TypeName::parse(CONSENT)?, by: By::Id(id), if_match: None, only_new: true };
    Some(Write::alone(Act::Update { target, resource: validate(consent).ok()? }))
}

fn wrong() -> GiveError {
    IngestError::Invalid(vec![Issue::new("exception", "a Consent came out wrong")]).into()
}

fn sealed_preimage(core: &Core, key: GrantKey, tag: Tag, preimage: &Preimage) -> Result<String, GiveError> {
    if preimage.tag() != tag {
        return Err(GiveError::Preimage);
    }
    Ok(core.secrets.seal_preimage(key, preimage, &system_random)?)
}

/// Revokes a grant: at once here, with the next look on other replicas, and on the chain where the preimage is at hand.
pub async fn revoke(app: &Arc<App>, given: &Given, preimage: Option<&Preimage>) -> Result<(), GiveError> {
    let (core, key) = (&app.core, given.key);
    let sealed = preimage.map(|preimage| sealed_preimage(core, key, given.sealed.tag, preimage)).transpose()?;
    core.grants.revoke(&[key]);
    let (store, now) = (core.store.clone(), core.clock.now().as_millisecond());
    in_background(move || {
        store.withdraw(&[key], now)?;
        sealed.map_or(Ok(()), |sealed| store.keep_preimage(key, &sealed))
    })
    .await?;
    // A crash here leaves a Consent that still calls itself active: it permits nothing, and the worker closes it.
    if let Err(error) = close(app, given).await {
        tracing::warn!(%error, grant = %key, "the Consent of a revoked grant still calls itself active; it permits nothing");
    }
    core.grants.wake.notify_one();
    Ok(())
}

/// Ends what came of a revoked grant.
pub async fn cut(app: &Arc<App>, given: &Given) -> Result<(), GiveError> {
    match still_there(&app.core, given).await? {
        Some(opened) => end_tokens(app, &opened.json(), i64::MAX).await,
        None => Ok(()),
    }
}

/// Lets the status of a revoked grant's Consent follow, and ends what came of it.
pub async fn close(app: &Arc<App>, given: &Given) -> Result<(), GiveError> {
    if let Some(opened) = still_there(&app.core, given).await? {
        end_tokens(app, &opened.json(), i64::MAX).await?;
        write_inactive(app, opened).await?;
    }
    let (store, key) = (app.core.store.clone(), given.key);
    Ok(in_background(move || store.close(&[key])).await?)
}

/// Lets what rests on a grant end whose last day is over. Its Consent says itself until when it counted.
pub async fn lapse(app: &Arc<App>, given: &Given) -> Result<(), GiveError> {
    if let Some(opened) = still_there(&app.core, given).await? {
        // What was allowed since rests on something else.
        let last = i64::try_from(given.sealed.not_after).unwrap_or(i64::MAX).saturating_mul(1_000).saturating_add(999);
        end_tokens(app, &opened.json(), last).await?;
    }
    let (store, key) = (app.core.store.clone(), given.key);
    Ok(in_background(move || store.close(&[key])).await?)
}

/// The Consent of a grant; nothing where it was erased, or never stored.
async fn still_there(core: &Core, given: &Given) -> Result<Option<Opened>, VaultError> {
    match consent(core, &given.consent).await {
        Err(error) if error.is_erased() => Ok(None),
        found => found,
    }
}

async fn write_inactive(app: &Arc<App>, opened: Opened) -> Result<(), GiveError> {
    let mut consent = opened.json();
    if consent.text("status") != Some("active") {
        return Ok(());
    }
    consent.set("status", Json::String("inactive".to_owned()));
    let (name, version) = (opened.stored.name, opened.stored.version);
    let target = Target { kind: name.kind, by: By::Id(name.id), if_match: Some(version), only_new: false };
    let resource = validate(consent).map_err(IngestError::Invalid)?;
    let writes = vec![Write::alone(Act::Update { target, resource })];
    Ok(commit(app, Transaction { by: Author::Service, writes, message: None }).await.map(|_| ())?)
}

/// Tokens of the app that the grant was for end, as far as they are for that patient, and for what was allowed until a time.
async fn end_tokens(app: &Arc<App>, consent: &Json, made_until: i64) -> Result<(), GiveError> {
    let Some(choice) = Choice::read(consent) else { return Ok(()) };
    let (Some(client), Some(patient)) = (choice.client(), Name::parse(&choice.patient)) else { return Ok(()) };
    let (store, client) = (app.core.store.clone(), client.to_owned());
    let which = (made_until, choice.lets_in());
    let ended = in_background(move || store.end_grants_of(&client, &patient, which)).await?;
    let now = app.core.clock.now().as_millisecond();
    ended.iter().for_each(|id| app.standing.end(id, now));
    Ok(())
}

/// A Consent, as the service itself reads it.
pub async fn consent(core: &Core, id: &ResourceId) -> Result<Option<Opened>, VaultError> {
    let unreadable = || VaultError::Index(StoreError::Nonsense("a Consent cannot be read"));
    by_service(core, &Name { kind: TypeName::parse(CONSENT).ok_or_else(unreadable)?, id: id.clone() }).await
}

/// A Consent or a Patient, as the service itself reads it: gated by nothing, told to nobody.
pub async fn by_service(core: &Core, name: &Name) -> Result<Option<Opened>, VaultError> {
    let unreadable = || VaultError::Index(StoreError::Nonsense("a Consent or a Patient cannot be read"));
    let scopes = scopes::parse("system/Consent.rs system/Patient.rs").map_err(|_| unreadable())?;
    let caller = Caller::new("consents", scopes);
    let permit = decide(&caller, Interaction::Read, Some(name.kind)).map_err(|_| unreadable())?;
    Ok(read::read(core, &permit, name, None).await?.filter(|opened| !opened.stored.deleted))
}
