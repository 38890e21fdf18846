//! One bridge asks, the other answers: both sign. A request is taken once, from who takes part in the network at that moment.

use super::document::beside;
use super::error::ExchangeError;
use super::participants::Partner;
use super::signed::{B2b, Claims, Draft, HEADER, SignedError, check, claimed};
use super::{Exchange, of};
use crate::app::App;
use crate::config::ParticipantId;
use crate::consent::outside::{Outside, PARTICIPANT};
use crate::consent::policy::Coding;
use crate::error::VaultError;
use crate::fhir::search::query;
use crate::ids::{Name, TypeName};
use crate::limits::{CLOCK_SKEW, EXCHANGE_TIMEOUT, MAX_BODY_BYTES, MAX_PAGE, MAX_PROVED, PROOF_LIFE};
use crate::outgoing::{Bounds, Outbound};
use crate::read::in_background;
use crate::search::search;
use crate::secret::{bytes, system_random};
use crate::smart::assertion::{AssertionError, read};
use crate::smart::scopes;
use crate::smart::token::Caller;
use bytes::Bytes;
use notary::commitment::Digest;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode, header};

/// On whose behalf something is asked, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The user's address here.
    pub user: Option<String>,
    pub purpose: Coding,
}

/// Who asks from another organisation, checked.
#[derive(Debug, Clone)]
pub struct Requester {
    pub partner: Partner,
    pub claims: Claims,
    pub user: Option<String>,
    pub purpose: Coding,
}

/// Sends a signed request, and gives status and body of the answer, which the other signed for this very request.
pub async fn ask(
    app: &App,
    partner: &Partner,
    path: &str,
    body: Vec<u8>,
    intent: &Intent,
) -> Result<(StatusCode, Bytes), ExchangeError> {
    let (exchange, now) = (of(app)?, now(app));
    let url = beside(&partner.document.said.endpoint, path);
    let nonce = hex::encode(bytes::<16>(&system_random).map_err(VaultError::from)?);
    let b2b = Some(exchange.b2b(app, intent));
    let draft = Draft { by: &exchange.settings.id, to: &url, body: &body, nonce: nonce.clone(), now, re: None, b2b };
    let token = signed(app, draft)?;
    let mut headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    headers.insert(header::AUTHORIZATION, secret(&format!("Bearer {token}"))?);
    let outbound = Outbound { method: Method::POST, url, headers, body: body.into() };
    let bounds = Bounds { answer: MAX_BODY_BYTES, time: EXCHANGE_TIMEOUT };
    let answer = app.partners.send_within(outbound, bounds).await?;
    let said = answer.headers.get(HEADER).and_then(|value| value.to_str().ok());
    let Some(said) = said else {
        // Who did not know us could not sign for us.
        let text = "it did not take the signature of the request".to_owned();
        return Err(match answer.status {
            StatusCode::UNAUTHORIZED => ExchangeError::Refused { status: answer.status, text },
            _ => ExchangeError::Answer,
        });
    };
    let me = exchange.settings.id.as_str();
    let checked = check(said, &partner.document, me, &answer.body, self::now(app));
    let by_it = |claims: &Claims| ParticipantId::parse(&claims.iss).as_ref() == Some(&partner.id);
    let re = checked.ok().filter(|(_, claims)| by_it(claims)).and_then(|(_, claims)| claims.re);
    let is_ours = re == Some((nonce, answer.status.as_u16()));
    if !is_ours {
        return Err(ExchangeError::Answer);
    }
    exchange.met.saw(&partner.id, self::now(app));
    Ok((answer.status, answer.body))
}

/// The body of a success; a refusal in the other's own words.
pub fn granted((status, body): (StatusCode, Bytes)) -> Result<Bytes, ExchangeError> {
    if status.is_success() {
        return Ok(body);
    }
    let outcome: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    let text = outcome.and_then(|outcome| outcome["issue"][0]["details"]["text"].as_str().map(str::to_owned));
    let text: String = text.unwrap_or_default().chars().take(1_000).filter(|c| !c.is_control()).collect();
    Err(ExchangeError::Refused { status, text })
}

/// Whether a participant signed a request for this address, as far as that can be told before its body is read. It is remembered for
/// when it was.
pub async fn knocks(app: &App, path: &str, headers: &HeaderMap) -> bool {
    let (Ok(exchange), Ok(text)) = (of(app), token(headers)) else { return false };
    match sender(app, path, headers).await {
        Ok(partner) => exchange.proved.put(text, partner),
        Err(error) => {
            tracing::debug!(%error, "the body of a request of another organisation is not read");
            return false;
        }
    }
    true
}

/// Who signed a request for this address. The chain is asked about who signs with a key that was his when it was last asked; about
/// others now and then, so that nobody has it asked as often as he likes.
async fn sender(app: &App, path: &str, headers: &HeaderMap) -> Result<Partner, ExchangeError> {
    let (exchange, text, now) = (of(app)?, token(headers)?, now(app));
    let (id, to) = (claimed(text)?, beside(&app.core.base, path));
    let claimed = read(text).map_err(SignedError::from)?;
    let remembered = exchange.directory.remembered(&id);
    match remembered.map(|document| claimed.check(&document.keys, &to, now)) {
        Some(Ok(_)) => {}
        // Perhaps he has another key by now.
        Some(Err(AssertionError::Unknown)) | None => exchange.directory.stranger()?,
        Some(Err(error)) => return Err(SignedError::from(error).into()),
    }
    let partner = exchange.directory.partner(&id, &app.partners, now).await?;
    claimed.check(&partner.document.keys, &to, now).map_err(SignedError::from)?;
    Ok(partner)
}

/// Senders that were proved a moment ago, by the digests of their requests' signed tokens: a proof is of one request.
#[derive(Debug, Default)]
pub struct Proved(Mutex<HashMap<Digest, (Instant, Partner)>>);

impl Proved {
    fn put(&self, token: &str, partner: Partner) {
        let mut proved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if proved.len() >= MAX_PROVED {
            proved.retain(|_, (at, _)| at.elapsed() < PROOF_LIFE);
        }
        // Who finds no room is proved again.
        if proved.len() < MAX_PROVED {
            proved.insert(Digest::of(token.as_bytes()), (Instant::now(), partner));
        }
    }

    fn take(&self, token: &str) -> Option<Partner> {
        let mut proved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, partner) = proved.remove(&Digest::of(token.as_bytes()))?;
        (at.elapsed() < PROOF_LIFE).then_some(partner)
    }
}

/// Takes a request, once.
pub async fn admit(app: &App, path: &str, headers: &HeaderMap, body: &[u8]) -> Result<Requester, ExchangeError> {
    let partner = match of(app)?.proved.take(token(headers)?) {
        Some(partner) => partner,
        None => sender(app, path, headers).await?,
    };
    let to = beside(&app.core.base, path);
    let (assertion, claims) = check(token(headers)?, &partner.document, &to, body, now(app))?;
    let (purpose, user) = (claims.purpose()?, claims.user(&partner.document)?);
    // Clocks of replicas differ: it is remembered a little longer than it holds.
    let (store, until, now) = (app.core.store.clone(), assertion.expires + 6 * CLOCK_SKEW.as_secs(), now(app));
    let fresh = in_background(move || store.spend(&assertion.digest, until, now)).await?;
    if !fresh {
        return Err(ExchangeError::Replayed);
    }
    of(app)?.met.saw(&partner.id, now);
    Ok(Requester { partner, claims, user, purpose })
}

/// The signature of an answer.
pub fn answer(app: &App, to: &Requester, status: StatusCode, body: &[u8]) -> Result<HeaderValue, ExchangeError> {
    let nonce = hex::encode(bytes::<16>(&system_random).map_err(VaultError::from)?);
    let re = Some((to.claims.jti.clone(), status.as_u16()));
    let (by, now) = (&of(app)?.settings.id, now(app));
    let draft = Draft { by, to: to.partner.id.as_str(), body, nonce, now, re, b2b: None };
    secret(&signed(app, draft)?)
}

impl Exchange {
    fn b2b(&self, app: &App, intent: &Intent) -> B2b {
        B2b {
            version: "1".to_owned(),
            subject_id: intent.user.clone(),
            organization_id: app.core.base.clone(),
            organization_name: self.settings.name.clone(),
            purpose_of_use: vec![format!("{}#{}", intent.purpose.system, intent.purpose.code)],
        }
    }
}

impl Requester {
    /// As Consents may speak of him.
    pub async fn outside(&self, app: &App) -> Result<Outside, ExchangeError> {
        outside(app, &self.partner, self.user.clone(), self.purpose.clone()).await
    }
}

/// A partner as Consents may speak of it.
pub async fn outside(
    app: &App,
    partner: &Partner,
    user: Option<String>,
    purpose: Coding,
) -> Result<Outside, ExchangeError> {
    outside_of(app, &partner.id, &partner.document.said.name, user, purpose).await
}

/// The same of any receiver.
pub async fn outside_of(
    app: &App,
    id: &ParticipantId,
    name: &str,
    user: Option<String>,
    purpose: Coding,
) -> Result<Outside, ExchangeError> {
    let participant = id.to_string();
    let organisations = organisations(app, &participant).await?;
    Ok(Outside { participant, name: name.to_owned(), organisations, user, purpose, emergency: None })
}

/// The Organizations here that bear the participant's identifier.
async fn organisations(app: &App, participant: &str) -> Result<Vec<Name>, ExchangeError> {
    let (Some(kind), Ok(scopes)) = (TypeName::parse("Organization"), scopes::parse("system/Organization.rs")) else {
        return Ok(Vec::new());
    };
    let caller = Caller::new("exchange", scopes);
    let asked = [
        ("identifier".to_owned(), format!("{PARTICIPANT}|{participant}")),
        ("_count".to_owned(), MAX_PAGE.to_string()),
    ];
    let malformed = |_| ExchangeError::Malformed("the participant's id cannot be searched for");
    let asked = query::read(kind, &asked, &app.core.around()).map_err(malformed)?;
    let found = search(&app.core, &caller, app.core.around(), &asked, None).await;
    Ok(found?.matches.into_iter().map(|opened| opened.stored.name).collect())
}

fn token(headers: &HeaderMap) -> Result<&str, ExchangeError> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = value.and_then(|value| value.strip_prefix("Bearer "));
    token.ok_or(ExchangeError::Signed(AssertionError::Malformed.into()))
}

fn signed(app: &App, draft: Draft<'_>) -> Result<String, ExchangeError> {
    draft.sign(&app.token_key).map_err(|error| {
        tracing::error!(%error, "a request could not be signed");
        ExchangeError::Malformed("the request could not be signed")
    })
}

fn secret(text: &str) -> Result<HeaderValue, ExchangeError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| ExchangeError::Malformed("a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Seconds since 1970.
pub fn now(app: &App) -> u64 {
    app.core.clock.now().as_second().max(0) as u64
}
