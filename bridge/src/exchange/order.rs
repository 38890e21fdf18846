//! What somebody has pushed: who asked, for whom, what, and why. Kept sealed until it has arrived.

use super::contents::{contents, is_content, is_document, stays};
use super::error::ExchangeError;
use super::peers::Intent;
use super::respond::select;
use crate::app::{App, Core};
use crate::config::ParticipantId;
use crate::consent::decide::decide;
use crate::consent::policy::Coding;
use crate::error::VaultError;
use crate::ids::{Name, Version};
use crate::index::pushes::{Push, State};
use crate::limits::{MAX_PARCEL_ITEMS, MAX_PUSHES};
use crate::read;
use crate::read::in_background;
use crate::secret::{NoRandomness, bytes, system_random};
use crate::smart::scopes::{self, Interaction};
use crate::smart::token::Caller;
use crate::vault::seal::{open_bytes, seal_bytes};
use serde::{Deserialize, Serialize};

/// What orders are sealed for.
const PURPOSE: &[u8] = b"medseal/v1/push";

/// So many different contents of one push are remembered: each is what the patient consented to at the time of a try.
const MAX_SENT: usize = 16;

/// What is asked for.
pub struct Wanted {
    /// The client's own name of it: the same name is the same push.
    pub id: Option<String>,
    pub to: ParticipantId,
    pub patient: Name,
    pub queries: Vec<String>,
    /// `Type/id`, or a version of it.
    pub resources: Vec<String>,
    pub intent: Intent,
}

/// A push as it is kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Who may ask how it went.
    pub by: String,
    pub to: ParticipantId,
    /// `Patient/id`.
    pub patient: String,
    /// `Type/id` and the version.
    pub places: Vec<(String, u32)>,
    user: Option<String>,
    purpose: (String, String),
    /// Resources that the patient does not consent to send.
    #[serde(default)]
    pub withheld: usize,
    /// Why it was not taken yet, or never will be.
    #[serde(default)]
    pub why: Option<String>,
    /// The Provenance that bears the delivery receipt.
    #[serde(default)]
    pub receipt: Option<String>,
    /// What was sent so far: the receiver may have taken any of it.
    #[serde(default)]
    pub sent: Vec<Sent>,
    /// What of it does not go: types and paths of elements that no HL7 v2 message carries, and where a document's content stays here.
    #[serde(default)]
    pub uncarried: Vec<String>,
    /// Control ids of its HL7 v2 messages that the receiver has taken.
    #[serde(default)]
    pub taken: Vec<String>,
    /// It is sent with all that is in it, or not at all.
    #[serde(default)]
    pub whole: bool,
}

/// What one try sent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// As [`Parcel::content`](super::parcel::Parcel::content) has it.
    pub content: String,
    /// Which of the places.
    pub places: Vec<usize>,
}

crate::redacted_debug!(Order);

impl Order {
    /// One of which nothing has left yet.
    pub fn new(by: String, to: ParticipantId, patient: &Name, places: Vec<(String, u32)>, intent: Intent) -> Self {
        Self {
            by,
            to,
            patient: patient.to_string(),
            places,
            user: intent.user,
            purpose: (intent.purpose.system, intent.purpose.code),
            withheld: 0,
            why: None,
            receipt: None,
            sent: Vec::new(),
            uncarried: Vec::new(),
            taken: Vec::new(),
            whole: false,
        }
    }

    /// On whose behalf, and what for.
    pub fn intent(&self) -> Intent {
        Intent { user: self.user.clone(), purpose: Coding::new(&self.purpose.0, &self.purpose.1) }
    }

    /// Notes what is about to be sent; whether that is new.
    pub fn sends(&mut self, sent: Sent) -> bool {
        if self.sent.contains(&sent) {
            return false;
        }
        if self.sent.len() >= MAX_SENT {
            self.sent.remove(0);
        }
        self.sent.push(sent);
        true
    }

    /// Which queue it stands in: whom it goes to is nobody's who reads the database.
    fn queue(&self, core: &Core) -> String {
        hex::encode(core.tokens.token(&["receiver", self.to.as_str()]).0)
    }

    /// As it is queued now.
    pub fn queued(&self, core: &Core, id: String) -> Result<Push, ExchangeError> {
        let (sealed, made) = (self.seal(core).map_err(VaultError::from)?, core.clock.now().as_millisecond());
        let receiver = self.queue(core);
        Ok(Push { id, receiver, state: State::Waits, failures: 0, due: made, made, changed: made, sealed })
    }

    /// Seals it for the queue.
    pub fn seal(&self, core: &Core) -> Result<Vec<u8>, NoRandomness> {
        // Strings and numbers only: serialisation cannot fail.
        let plain = serde_json::to_vec(self).unwrap_or_default();
        seal_bytes(&core.cursor_key, PURPOSE, &plain, &system_random).map_err(|_| NoRandomness)
    }

    /// Opens what the queue holds.
    pub fn open(core: &Core, push: &Push) -> Option<Self> {
        serde_json::from_slice(&open_bytes(&core.cursor_key, PURPOSE, &push.sealed).ok()?).ok()
    }
}

/// Queues a push, and gives its id. What is sent is what the caller may read now, in these very versions.
pub async fn order(app: &App, caller: &Caller, wanted: Wanted) -> Result<String, ExchangeError> {
    let id = id(caller, &wanted)?;
    let (store, key) = (app.core.store.clone(), id.clone());
    if in_background(move || store.push(&key)).await?.is_some() {
        return Ok(id);
    }
    let (places, uncarried) = places(app, caller, &wanted).await?;
    let Wanted { to, patient, intent, .. } = wanted;
    let order = Order { uncarried, ..Order::new(by(caller), to, &patient, places, intent) };
    let push = order.queued(&app.core, id.clone())?;
    let store = app.core.store.clone();
    match in_background(move || store.add_push(&push, MAX_PUSHES)).await {
        Ok(true) => Ok(id),
        Ok(false) => Err(ExchangeError::Ingest(crate::error::IngestError::Busy)),
        Err(error) => Err(error.into()),
    }
}

/// Who asks: of an app that several people use each is one.
pub fn by(caller: &Caller) -> String {
    caller.user.as_ref().map_or_else(|| caller.subject.clone(), |user| format!("{}|{user}", caller.subject))
}

/// The same name of the same asker for the same patient is the same push.
fn id(caller: &Caller, wanted: &Wanted) -> Result<String, ExchangeError> {
    match wanted.id.as_deref() {
        Some(name) if name.is_empty() || name.len() > 256 => Err(ExchangeError::Malformed("`id`: 1 to 256 bytes")),
        Some(name) => {
            Ok(super::respond::derived("push", &[&by(caller), &wanted.patient.to_string(), name]).to_string())
        }
        None => Ok(hex::encode(bytes::<16>(&system_random).map_err(VaultError::from)?)),
    }
}

/// The versions that are to be sent, the patient's own first: by that the receiver knows whose they are. And what does not go with them.
async fn places(
    app: &App,
    caller: &Caller,
    wanted: &Wanted,
) -> Result<(Vec<(String, u32)>, Vec<String>), ExchangeError> {
    let scopes = scopes::parse("patient/*.rs").map_err(ExchangeError::Forbidden)?;
    let of_one = Caller { patient: Some(wanted.patient.clone()), narrowed: true, scopes, ..caller.clone() };
    let mut places = vec![place(app, &of_one, &wanted.patient.to_string()).await?];
    for text in &wanted.resources {
        places.push(place(app, &of_one, text).await?);
    }
    if !wanted.queries.is_empty() {
        let (found, more) = select(app, &of_one, &wanted.patient, &wanted.queries).await?;
        if more {
            return Err(ExchangeError::TooMuch);
        }
        places.extend(found.iter().map(|one| (one.stored.name.to_string(), one.stored.version.0)));
    }
    let mut known = std::collections::HashSet::new();
    places.retain(|(name, _)| known.insert(name.clone()));
    let (held, uncarried) = held(app, &of_one, &wanted.patient, &places).await?;
    places.extend(held);
    if places.len() > MAX_PARCEL_ITEMS { Err(ExchangeError::TooMuch) } else { Ok((places, uncarried)) }
}

/// What the documents among the places hold, and where something of it stays here.
async fn held(
    app: &App,
    caller: &Caller,
    patient: &Name,
    places: &[(String, u32)],
) -> Result<(Vec<(String, u32)>, Vec<String>), ExchangeError> {
    const STAYS: &str = "DocumentReference.content.attachment.url";
    let mut documents = Vec::new();
    for (name, version) in places.iter().filter_map(|(name, version)| Some((Name::parse(name)?, *version))) {
        if is_document(&name) {
            let permit = decide(caller, Interaction::Read, Some(name.kind));
            let permit = permit.map_err(|denied| ExchangeError::Forbidden(denied.to_string()))?;
            documents.extend(read::read(&app.core, &permit, &name, Some(Version(version))).await?);
        }
    }
    let (held, more) = contents(&app.core, caller, patient, &documents).await?;
    if more {
        return Err(ExchangeError::TooMuch);
    }
    let stays = documents.iter().any(|one| stays(&one.json(), &app.core.base, &held));
    let uncarried = stays.then(|| STAYS.to_owned()).into_iter().collect();
    Ok((held.iter().map(|one| (one.stored.name.to_string(), one.stored.version.0)).collect(), uncarried))
}

async fn place(app: &App, caller: &Caller, text: &str) -> Result<(String, u32), ExchangeError> {
    const BAD: ExchangeError =
        ExchangeError::Malformed("`resources`: Type/id or Type/id/_history/n of the patient's record");
    let (name, version) = match text.split_once("/_history/") {
        Some((name, version)) => (Name::parse(name), Some(Version::parse(version).ok_or(BAD)?)),
        None => (Name::parse(text), None),
    };
    if name.as_ref().is_some_and(is_content) {
        return Err(ExchangeError::Malformed(
            "`resources`: a Binary goes with the DocumentReference that holds it: name that",
        ));
    }
    let name = name.filter(|name| super::respond::is_of_record(name.kind)).ok_or(BAD)?;
    let permit = decide(caller, Interaction::Read, Some(name.kind));
    let permit = permit.map_err(|denied| ExchangeError::Forbidden(denied.to_string()))?;
    let opened = read::read(&app.core, &permit, &name, version).await?.filter(|opened| !opened.stored.deleted);
    let opened = opened.ok_or(BAD)?;
    Ok((opened.stored.name.to_string(), opened.stored.version.0))
}
