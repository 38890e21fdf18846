//! A look at a record of another organisation: for some minutes, to read, without keeping anything. Both sides hold a sealed ticket and
//! no state but of what was ended before its time. Each read is signed and decided anew: a Consent that was withdrawn since, or a
//! participant that was suspended, ends it.

use super::emergency::{self, Urgent};
use super::error::ExchangeError;
use super::parcel::{Parcel, pack};
use super::peers::{Intent, Requester, ask, granted};
use super::pull::{Answered, Got};
use super::respond::{caller, let_in, select, whom};
use super::{of, peers};
use crate::app::{App, Core};
use crate::audit::event::Answer;
use crate::audit::seen::Seen;
use crate::config::ParticipantId;
use crate::consent::policy::Coding;
use crate::error::VaultError;
use crate::ids::{Name, ResourceId};
use crate::limits::VIEW_LIFE;
use crate::read::in_background;
use crate::secret::{NoRandomness, bytes, system_random};
use crate::smart::token::Caller;
use crate::vault::seal::{open_bytes, seal_bytes};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;

/// Where other bridges open a view, look, and end it.
pub const OPEN: &str = "/exchange/peer/view";
pub const LOOK: &str = "/exchange/peer/look";
pub const CLOSE: &str = "/exchange/peer/close";
const HERE: &[u8] = b"medseal/v1/view-here";
const THERE: &[u8] = b"medseal/v1/view-there";

/// What opens one.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Opening {
    pub patient: Box<RawValue>,
    #[serde(default)]
    pub request_consent: bool,
    /// In an emergency: the purpose of the request says so, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<Urgent>,
}

/// What is looked at.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Look {
    pub ticket: String,
    pub queries: Vec<String>,
}

/// What the side that asks gets.
#[derive(Serialize, Deserialize)]
pub struct Opened {
    pub ticket: String,
    /// Seconds since 1970.
    pub expires: u64,
}

crate::redacted_debug!(Opening, Look, Opened);

/// What the ticket of the side that is looked at holds.
#[derive(Serialize, Deserialize)]
struct Inside {
    id: String,
    participant: ParticipantId,
    patient: String,
    user: Option<String>,
    purpose: (String, String),
    /// The AuditEvent of the emergency that it was opened in.
    emergency: Option<String>,
    expires: u64,
}

/// A view as the side that looks holds it.
#[derive(Serialize, Deserialize)]
pub struct View {
    id: String,
    /// Who may use it.
    by: String,
    pub from: ParticipantId,
    ticket: String,
    user: Option<String>,
    purpose: (String, String),
    /// The patient here, if he is one's own, too.
    pub here: Option<String>,
    /// Seconds since 1970.
    pub expires: u64,
}

crate::redacted_debug!(Inside, View);

fn seal(core: &Core, purpose: &[u8], what: &impl Serialize) -> Result<String, ExchangeError> {
    // Strings and numbers only: serialisation cannot fail.
    let plain = serde_json::to_vec(what).unwrap_or_default();
    let sealed = seal_bytes(&core.cursor_key, purpose, &plain, &system_random).map_err(|_| NoRandomness);
    // A letter first: a step of an address that begins with a sign may mean something else.
    Ok(format!("v{}", URL_SAFE_NO_PAD.encode(sealed.map_err(VaultError::from)?)))
}

fn open<T: DeserializeOwned>(core: &Core, purpose: &[u8], text: &str) -> Result<T, ExchangeError> {
    let sealed = text.strip_prefix('v').and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let plain = sealed.and_then(|sealed| open_bytes(&core.cursor_key, purpose, &sealed).ok());
    plain.and_then(|plain| serde_json::from_slice(&plain).ok()).ok_or(ExchangeError::NotFound)
}

fn new_id() -> Result<String, ExchangeError> {
    Ok(hex::encode(bytes::<16>(&system_random).map_err(VaultError::from)?))
}

/// Whether a view goes on.
async fn lives(app: &App, id: &str, expires: u64) -> Result<(), ExchangeError> {
    let (store, id) = (app.core.store.clone(), id.to_owned());
    let now = app.core.clock.now().as_millisecond();
    let stands = in_background(move || store.stands(&id, None, None, now)).await?;
    if stands && expires > peers::now(app) { Ok(()) } else { Err(ExchangeError::Ended) }
}

async fn end(app: &App, id: String, expires: u64) -> Result<(), ExchangeError> {
    let (store, now) = (app.core.store.clone(), peers::now(app));
    Ok(in_background(move || store.revoke(&id, expires, now)).await?)
}

/// Lets another organisation look.
pub async fn admit(app: &Arc<App>, by: &Requester, asked: &Opening, seen: &Seen) -> Result<Opened, ExchangeError> {
    let plea = emergency::plea(&by.purpose, asked.emergency.as_ref())?;
    let patient = whom(app, &asked.patient).await?;
    let outside = by.outside(app).await?;
    let caller = caller(&patient, outside.clone())?.asks(seen);
    let asks = asked.request_consent.then_some(&[][..]);
    let_in(app, &caller, &patient, &outside, (asks, plea.is_some())).await?;
    let (_, declared) = emergency::declared(app, by, (&patient, plea.as_ref()), (&caller, outside)).await?;
    seen.shows_of(&crate::ids::Owner::patient(&patient.id));
    let expires = peers::now(app) + VIEW_LIFE.as_secs();
    let inside = Inside {
        id: new_id()?,
        participant: by.partner.id.clone(),
        patient: patient.to_string(),
        user: by.user.clone(),
        purpose: (by.purpose.system.clone(), by.purpose.code.clone()),
        emergency: declared.map(|id| id.as_str().to_owned()),
        expires,
    };
    Ok(Opened { ticket: seal(&app.core, THERE, &inside)?, expires })
}

/// The ticket of a view that goes on, in the hands of who got it, for what he got it for.
async fn inside(app: &App, by: &Requester, ticket: &str) -> Result<(Inside, Name), ExchangeError> {
    let inside: Inside = open(&app.core, THERE, ticket)?;
    let same = inside.participant == by.partner.id
        && inside.user == by.user
        && (inside.purpose.0.as_str(), inside.purpose.1.as_str())
            == (by.purpose.system.as_str(), by.purpose.code.as_str());
    lives(app, &inside.id, inside.expires).await?;
    let patient = Name::parse(&inside.patient).filter(|_| same).ok_or(ExchangeError::NotFound)?;
    Ok((inside, patient))
}

/// Shows what is looked at, as the Consents are now.
pub async fn show(app: &Arc<App>, by: &Requester, asked: &Look, seen: &Seen) -> Result<Parcel, ExchangeError> {
    let (inside, patient) = inside(app, by, &asked.ticket).await?;
    let mut outside = by.outside(app).await?;
    if let Some(id) = inside.emergency.as_deref().and_then(ResourceId::parse) {
        outside = emergency::again(&app.core, by, &id, outside).await?;
    }
    let caller = caller(&patient, outside.clone())?.asks(seen);
    let_in(app, &caller, &patient, &outside, (None, inside.emergency.is_some())).await?;
    let (opened, more) = select(app, &caller, &patient, &asked.queries).await?;
    let mut parcel = pack(&app.core, &patient, opened).await?;
    parcel.more |= more;
    Ok(parcel)
}

/// Ends a view that another organisation has.
pub async fn dismiss(app: &Arc<App>, by: &Requester, ticket: &str) -> Result<(), ExchangeError> {
    let (inside, patient) = inside(app, by, ticket).await?;
    end(app, inside.id, inside.expires).await?;
    match inside.emergency.as_deref().and_then(ResourceId::parse) {
        Some(id) => emergency::over(app, by, &id, &caller(&patient, by.outside(app).await?)?).await,
        None => Ok(()),
    }
}

/// Opens a view at another organisation; the text is what it is used by. What it answered about a patient of ours is told with who asked.
pub async fn begin(
    app: &App,
    caller: &Caller,
    from: &ParticipantId,
    asked: &Opening,
    here: Option<&Name>,
    intent: &Intent,
) -> Result<(String, View), ExchangeError> {
    let opened = opened(app, from, asked, intent).await;
    if let Some(here) = here {
        let said = opened.as_ref().map_or_else(|error| error.answer(asked.request_consent), |_| Answer::Opened);
        caller.seen.answered(here, from.as_str(), said);
    }
    let Opened { ticket, expires } = opened?;
    let view = View {
        id: new_id()?,
        by: caller.subject.clone(),
        from: from.clone(),
        ticket,
        user: intent.user.clone(),
        purpose: (intent.purpose.system.clone(), intent.purpose.code.clone()),
        here: here.map(ToString::to_string),
        expires: expires.min(peers::now(app) + VIEW_LIFE.as_secs()),
    };
    Ok((seal(&app.core, HERE, &view)?, view))
}

/// What the other organisation answers.
async fn opened(app: &App, from: &ParticipantId, asked: &Opening, intent: &Intent) -> Result<Opened, ExchangeError> {
    let partner = of(app)?.directory.partner(from, &app.partners, peers::now(app)).await?;
    let body = serde_json::to_vec(asked).map_err(|_| ExchangeError::Malformed("the request cannot be written"))?;
    let answer = granted(ask(app, &partner, OPEN, body, intent).await?)?;
    serde_json::from_slice(&answer).map_err(|_| ExchangeError::Answer)
}

/// The view of a text, of who opened it.
pub async fn of_caller(app: &App, caller: &Caller, text: &str) -> Result<View, ExchangeError> {
    let view: View = open(&app.core, HERE, text)?;
    let user = caller.user.as_ref().map(|user| format!("{}/{user}", app.core.base));
    if view.by != caller.subject || view.user != user {
        return Err(ExchangeError::NotFound);
    }
    lives(app, &view.id, view.expires).await?;
    Ok(view)
}

impl View {
    /// On whose behalf, and what for.
    pub fn intent(&self) -> Intent {
        Intent { user: self.user.clone(), purpose: Coding::new(&self.purpose.0, &self.purpose.1) }
    }

    /// Looks. What comes is proved like what is pulled, and kept nowhere.
    pub async fn look(&self, app: &Arc<App>, queries: Vec<String>) -> Answered {
        Answered { from: self.from.clone(), outcome: self.got(app, queries).await }
    }

    async fn got(&self, app: &Arc<App>, queries: Vec<String>) -> Result<Got, ExchangeError> {
        let exchange = of(app)?;
        let partner = exchange.directory.partner(&self.from, &app.partners, peers::now(app)).await?;
        let look = serde_json::to_vec(&Look { ticket: self.ticket.clone(), queries });
        let body = look.map_err(|_| ExchangeError::Malformed("the request cannot be written"))?;
        let parcel = granted(ask(app, &partner, LOOK, body, &self.intent()).await?)?;
        let read = Parcel::read(&parcel).ok_or(ExchangeError::Answer)?;
        let (waiting, more) = (read.waiting.clone(), read.more);
        let checked = read.check(&app.core, &partner.document, exchange.settings.accept).await?;
        Ok(Got { partner, checked, waiting, more, kept: None })
    }

    /// Ends it here, and there if it can be reached.
    pub async fn close(self, app: &App) -> Result<(), ExchangeError> {
        end(app, self.id.clone(), self.expires).await?;
        let partner = of(app)?.directory.partner(&self.from, &app.partners, peers::now(app)).await?;
        let body = serde_json::to_vec(&Look { ticket: self.ticket.clone(), queries: Vec::new() });
        let body = body.map_err(|_| ExchangeError::Malformed("the request cannot be written"))?;
        granted(ask(app, &partner, CLOSE, body, &self.intent()).await?).map(|_| ())
    }
}
