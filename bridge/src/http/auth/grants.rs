//! `/auth/token` for apps: a code or a refresh token becomes an access token (RFC 6749, sections 4.1.3 and 6). One that is used again, or
//! by another, ends all that came of it.

use super::super::portal::STYLE;
use super::answered;
use super::form::Form;
use super::refusal::Refusal;
use crate::app::App;
use crate::http::reply::Reply;
use crate::index::clients::{Client, Keys};
use crate::index::store::{Store, StoreError};
use crate::limits::CLIENT_TOKEN_LIFE;
use crate::people::Account;
use crate::read::in_background;
use crate::secret::system_random;
use crate::smart::assertion::AssertionError;
use crate::smart::grant::{Grant, Handle, REFRESH_LIFE, has, purpose, refreshed};
use crate::smart::scopes::{self, Scope};
use crate::smart::token::{Caller, Identity, Server};
use serde_json::{Value, json};
use std::sync::Arc;

/// What an app shows, and by what right.
enum Shown {
    Code { redirect: String, verifier: String },
    Refresh { scope: Option<String> },
}

/// Why it is not taken.
enum Not {
    /// It is nobody's, or has ended.
    Known,
    /// It is used again, or by another, or not as it was asked for: all that came of it ends. The grant's id.
    Trusted(String),
    /// It asks for more than was allowed.
    Wider,
    Store(StoreError),
}

impl From<StoreError> for Not {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What an app gets.
struct Given {
    grant: Grant,
    account: Account,
    scopes: Vec<Scope>,
    /// What the app is registered to use records for.
    purpose: Option<String>,
    refresh: Option<Handle>,
    nonce: String,
}

/// A token for a code.
pub(super) async fn by_code(app: &Arc<App>, client: Client, form: &Form) -> Result<Reply, Refusal> {
    let handle = Handle::parse(form.required("code")?);
    let text = |name: &str| form.required(name).map(str::to_owned);
    let shown = Shown::Code { redirect: text("redirect_uri")?, verifier: text("code_verifier")? };
    give(app, client, handle, shown).await
}

/// A token for a refresh token, and the next one of it.
pub(super) async fn by_refresh(app: &Arc<App>, client: Client, form: &Form) -> Result<Reply, Refusal> {
    let handle = Handle::parse(form.required("refresh_token")?);
    give(app, client, handle, Shown::Refresh { scope: form.get("scope").map(str::to_owned) }).await
}

/// The public app that a refresh token was given to: it need not say its name again (RFC 6749, section 6), and fhirclient does not.
pub(super) async fn bearer(app: &Arc<App>, form: &Form) -> Result<Client, Refusal> {
    let handle = Handle::parse(form.required("refresh_token")?).ok_or(Refusal::Grant)?;
    let store = app.core.store.clone();
    let found = in_background(move || match store.grant_of(&handle)? {
        Some(found) => store.client(&found.grant.client),
        None => Ok(None),
    });
    let client = found.await.map_err(|error| Refusal::later(&error))?.ok_or(Refusal::Grant)?;
    if client.keys == Keys::None { Ok(client) } else { Err(Refusal::Client(AssertionError::Unknown)) }
}

async fn give(app: &Arc<App>, client: Client, handle: Option<Handle>, shown: Shown) -> Result<Reply, Refusal> {
    let handle = handle.ok_or(Refusal::Grant)?;
    may_be_given(app, &handle).await?;
    let (store, now) = (app.core.store.clone(), app.core.clock.now().as_millisecond());
    let work = move || match given(&store, &client, &handle, &shown, now) {
        Err(Not::Trusted(id)) => store.end_grant(&id).map(|()| Err(Not::Trusted(id))),
        Err(Not::Store(error)) => Err(error),
        done => Ok(done),
    };
    match in_background(work).await.map_err(|error| Refusal::later(&error))? {
        Ok(given) => {
            super::used(app, &given.grant.client).await;
            reply(app, &given).await
        }
        Err(Not::Wider) => Err(Refusal::Scope("a refresh asks for no more than was allowed")),
        Err(Not::Trusted(id)) => {
            tracing::warn!(grant = %id, "a code or refresh token was used again, or by another: its tokens end");
            app.standing.end(&id, now);
            Err(Refusal::Grant)
        }
        Err(Not::Known | Not::Store(_)) => Err(Refusal::Grant),
    }
}

/// What refuses before anything is used up: a key for ID tokens that is not there, where one is asked for; a patient who has died since,
/// as the record says, which may be wrong.
async fn may_be_given(app: &Arc<App>, handle: &Handle) -> Result<(), Refusal> {
    let (store, handle) = (app.core.store.clone(), handle.clone());
    let found = in_background(move || {
        let Some(found) = store.grant_of(&handle)? else { return Ok(None) };
        Ok(Some((store.account(&found.grant.account)?, found.grant.scope)))
    });
    let Some((account, scope)) = found.await.map_err(|error| Refusal::later(&error))? else { return Ok(()) };
    if has(&scopes::parse_known(&scope), "openid") {
        super::identity_key(app).await?;
    }
    let person = account.and_then(|account| account.person.resource);
    match app.core.has_died(person.as_ref()).await.map_err(|error| Refusal::later(&error))? {
        true => Err(Refusal::Grant),
        false => Ok(()),
    }
}

/// Uses a code or a refresh token up, where all holds.
fn given(store: &Store, client: &Client, handle: &Handle, shown: &Shown, now: i64) -> Result<Given, Not> {
    let found = store.grant_of(handle)?.ok_or(Not::Known)?;
    let grant = found.grant;
    if !found.present || grant.client != client.id {
        return Err(Not::Trusted(grant.id));
    }
    let account = owner(store, &grant, now)?;
    let granted = narrowed(&grant, client);
    if granted.is_empty() {
        return Err(Not::Known);
    }
    let (scopes, nonce) = match (shown, &grant.code) {
        (Shown::Code { redirect, verifier }, Some(code)) if code.is_for(redirect, verifier) => {
            (granted, code.nonce.clone())
        }
        (Shown::Refresh { scope }, None) => (refreshed(scope.as_deref(), &granted).ok_or(Not::Wider)?, String::new()),
        _ => return Err(Not::Trusted(grant.id)),
    };
    let held = scopes::parse_known(&grant.scope);
    let again = has(&held, "offline_access") || has(&held, "online_access");
    let next = again.then(|| handle.next(&system_random)).transpose().map_err(|_| StoreError::Nonsense("no random"))?;
    let life = if again { REFRESH_LIFE } else { CLIENT_TOKEN_LIFE };
    match store.advance(handle, next.as_ref(), now + life.as_millis() as i64)? {
        true => Ok(Given { grant, account, scopes, purpose: client.purpose.clone(), refresh: next, nonce }),
        false => Err(Not::Trusted(grant.id)),
    }
}

/// What was allowed, as far as the client is still registered for it.
fn narrowed(grant: &Grant, client: &Client) -> Vec<Scope> {
    scopes::narrowed(&scopes::parse_known(&grant.scope), &scopes::parse_known(&client.scope))
}

/// Who allowed it, where that still counts: not for ever, by an account that is open, and in a session that goes on.
fn owner(store: &Store, grant: &Grant, now: i64) -> Result<Account, Not> {
    let account = store.account(&grant.account)?.filter(|account| !account.disabled).ok_or(Not::Known)?;
    let lives = match &grant.session {
        Some(digest) => store.session(digest)?.is_some_and(|session| session.lives(now)),
        None => true,
    };
    if lives && grant.expires > now { Ok(account) } else { Err(Not::Known) }
}

async fn reply(app: &App, given: &Given) -> Result<Reply, Refusal> {
    let Given { grant, account, scopes, refresh, nonce, .. } = given;
    let now = super::seconds(app);
    let unsigned = |error| {
        tracing::error!(%error, "a token could not be issued");
        Refusal::Server
    };
    let caller = Caller {
        patient: grant.patient.clone(),
        user: account.person.resource.clone(),
        client: Some(grant.client.clone()),
        grant: Some(grant.id.clone()),
        purpose: Some(purpose(given.purpose.as_deref(), account.person.role, &app.core.gate.purpose.code)),
        ..Caller::new(&grant.client, scopes.clone())
    };
    let life = super::life(app);
    let token = app.token_key.issue(&caller, now, life).map_err(unsigned)?;
    let life = life.as_secs();
    let scope = scopes::text(scopes);
    let mut told = json!({"access_token": token, "token_type": "Bearer", "expires_in": life, "scope": scope});
    context(app, grant, &mut told);
    if let Some(refresh) = refresh {
        told["refresh_token"] = refresh.expose().into();
    }
    if has(scopes, "openid") {
        let issuer = Server::of(&app.core.base).issuer;
        let person = account.person.resource.as_ref().filter(|_| has(scopes, "fhirUser"));
        let identity = Identity {
            iss: &issuer,
            sub: account.id.as_str(),
            aud: &grant.client,
            iat: now,
            exp: now + life,
            nonce,
            user: person.map(|name| format!("{}/{name}", app.core.base)),
        };
        told["id_token"] = super::identity_key(app).await?.sign(&identity).map_err(unsigned)?.into();
    }
    Ok(answered(&told))
}

/// What an app was opened for (SMART App Launch 2.2, section 5.2).
pub(super) fn context(app: &App, grant: &Grant, told: &mut Value) {
    let Some(patient) = &grant.patient else { return };
    told["patient"] = patient.id.to_string().into();
    // Nothing around the app shows whose record it is: it has a window of its own.
    told["need_patient_banner"] = true.into();
    told["smart_style_url"] = format!("{}{STYLE}", Server::of(&app.core.base).issuer).into();
    if let Some(encounter) = &grant.encounter {
        told["encounter"] = encounter.id.to_string().into();
    }
}

/// Ends what a refresh token came of, where it is this client's (RFC 7009, section 2.1). False: it is no refresh token.
pub(super) async fn revoke(app: &Arc<App>, client: &str, token: &str) -> Result<bool, Refusal> {
    let Some(handle) = Handle::parse(token) else { return Ok(false) };
    let (store, client) = (app.core.store.clone(), client.to_owned());
    let ended = in_background(move || -> Result<Option<String>, StoreError> {
        let Some(found) = store.grant_of(&handle)?.filter(|found| found.grant.client == client) else {
            return Ok(None);
        };
        store.end_grant(&found.grant.id).map(|()| Some(found.grant.id))
    });
    if let Some(id) = ended.await.map_err(|error| Refusal::later(&error))? {
        app.standing.end(&id, app.core.clock.now().as_millisecond());
    }
    Ok(true)
}
