//! The authorization server: `/auth/token` (SMART App Launch 2.2: apps, and section 4: backend services), `/auth/introspect` (RFC 7662),
//! `/auth/revoke` (RFC 7009), `/auth/jwks`. Refusals are OAuth's (RFC 6749, section 5.2).

mod form;
mod grants;
mod refusal;
pub(super) mod register;

use super::login;
use super::reply::{Reply, body};
use super::routes::Request;
use crate::app::App;
use crate::consent::decide::decide_whole;
use crate::index::clients::{Client, Keys};
use crate::index::store::StoreError;
use crate::limits::{CLIENT_TOKEN_LIFE, CLOCK_SKEW};
use crate::read::in_background;
use crate::smart::assertion::{Assertion, AssertionError, Claimed, read};
use crate::smart::grant::{Grant, has};
use crate::smart::identity::IdentityKey;
use crate::smart::keys::parse;
use crate::smart::scopes::{self, Interaction, Scope};
use crate::smart::token::{Bearer, Caller, Server};
use form::Form;
use refusal::Refusal;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use warp::http::{StatusCode, header};

const GRANT: &str = "client_credentials";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// `GET /auth/jwks`: the keys that this server's tokens are checked by, and ID tokens.
pub(super) async fn jwks(app: &App) -> Reply {
    let mut keys = app.token_key.public();
    // Without the one for ID tokens access tokens are checked all the same.
    if let (Ok(key), Some(keys)) = (identity_key(app).await, keys["keys"].as_array_mut()) {
        keys.push(key.public().clone());
    }
    answered(&keys)
}

async fn identity_key(app: &App) -> Result<&IdentityKey, Refusal> {
    app.identity_key().await.map_err(|error| {
        tracing::error!(%error, "there is no key for ID tokens");
        Refusal::Server
    })
}

/// `POST /auth/token`, `/auth/introspect`, `/auth/revoke`.
pub(super) async fn answer(app: &Arc<App>, request: &Request, endpoint: &str) -> Reply {
    let done = match endpoint {
        "token" => token(app, request).await,
        "introspect" => introspect(app, request).await,
        _ => revoke(app, request).await,
    };
    done.unwrap_or_else(Refusal::reply)
}

fn answered(value: &Value) -> Reply {
    let reply = body(StatusCode::OK, "application/json", value.to_string());
    super::reply::with_header(reply, header::PRAGMA, "no-cache")
}

fn seconds(app: &App) -> u64 {
    app.core.clock.now().as_second().max(0) as u64
}

async fn token(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let form = Form::read(request)?;
    match form.required("grant_type")? {
        GRANT => by_itself(app, &form).await,
        "authorization_code" => grants::by_code(app, any_client(app, &form).await?, &form).await,
        "refresh_token" if form.get("client_assertion").is_none() && form.get("client_id").is_none() => {
            grants::by_refresh(app, grants::bearer(app, &form).await?, &form).await
        }
        "refresh_token" => grants::by_refresh(app, any_client(app, &form).await?, &form).await,
        _ => Err(Refusal::UnsupportedGrantType),
    }
}

/// A token for a client that proves who it is.
async fn by_itself(app: &Arc<App>, form: &Form) -> Result<Reply, Refusal> {
    let client = client(app, form).await?;
    let granted = granted(&client, form.get("scope"))?;
    let scope = scopes::text(&granted);
    let purpose = client.purpose.clone().unwrap_or_else(|| app.core.gate.purpose.code.clone());
    let caller = Caller { client: Some(client.id.clone()), purpose: Some(purpose), ..Caller::new(&client.id, granted) };
    let life = life(app);
    let token = app.token_key.issue(&caller, seconds(app), life).map_err(|error| {
        tracing::error!(%error, "a token could not be issued");
        Refusal::Server
    })?;
    used(app, &client.id).await;
    let life = life.as_secs();
    Ok(answered(&json!({"access_token": token, "token_type": "bearer", "expires_in": life, "scope": scope})))
}

/// How long a token counts: no longer than what is known of consents may be old.
fn life(app: &App) -> Duration {
    CLIENT_TOKEN_LIFE.min(Duration::from_secs(app.config.consent.stale_seconds))
}

/// Remembers that a client had a token. One that has it is not refused because that cannot be remembered.
async fn used(app: &App, client: &str) {
    let (store, id, now) = (app.core.store.clone(), client.to_owned(), app.core.clock.now().as_millisecond());
    if let Err(error) = in_background(move || store.used_client(&id, now)).await {
        tracing::warn!(%error, "it is not remembered when a client last had a token");
    }
}

/// What a client asked for, as far as it is registered for it. It is told what it got; nothing in common is a refusal (RFC 6749,
/// section 3.3).
fn granted(client: &Client, asked: Option<&str>) -> Result<Vec<Scope>, Refusal> {
    let asked = asked.ok_or(Refusal::Scope("name the scopes that are needed, such as system/Patient.rs"))?;
    let held = scopes::parse(&client.scope).map_err(|_| Refusal::Server)?;
    let mut granted = scopes::narrowed(&scopes::parse_known(asked), &held);
    granted.retain(Scope::is_system);
    match granted.is_empty() {
        true => Err(Refusal::Scope("this client is registered for none of these scopes")),
        false => Ok(granted),
    }
}

/// The client that a form is of: by its assertion, or by its name alone where it can keep no key (RFC 6749, section 3.2.1).
async fn any_client(app: &Arc<App>, form: &Form) -> Result<Client, Refusal> {
    if form.get("client_assertion").is_some() {
        return client(app, form).await;
    }
    let found = registered(app, form.required("client_id")?).await?;
    found.filter(|client| client.keys == Keys::None).ok_or(Refusal::Client(AssertionError::Unknown))
}

async fn registered(app: &App, id: &str) -> Result<Option<Client>, Refusal> {
    let (store, id) = (app.core.store.clone(), id.to_owned());
    in_background(move || store.client(&id)).await.map_err(|error| Refusal::later(&error))
}

/// The client whose assertion a form bears. It is used up by being looked at.
async fn client(app: &Arc<App>, form: &Form) -> Result<Client, Refusal> {
    if form.required("client_assertion_type")? != ASSERTION {
        return Err(Refusal::Client(AssertionError::Malformed));
    }
    let claimed = read(form.required("client_assertion")?)?;
    if form.get("client_id").is_some_and(|id| id != claimed.client) {
        return Err(Refusal::Client(AssertionError::Subject));
    }
    let client = registered(app, &claimed.client).await?.ok_or(AssertionError::Unknown)?;
    let assertion = checked(app, &client, &claimed).await?;
    match spend(app, assertion).await {
        Ok(true) => Ok(client),
        Ok(false) => Err(AssertionError::Replayed.into()),
        Err(refusal) => Err(refusal),
    }
}

async fn checked(app: &App, client: &Client, claimed: &Claimed<'_>) -> Result<Assertion, Refusal> {
    let keys = match &client.keys {
        Keys::At(url) if claimed.key_set.as_ref().is_none_or(|said| said == url) => {
            app.key_sets.at(url, claimed, &app.outgoing, app.core.clock.now().as_millisecond()).await
        }
        Keys::Inline(text) if claimed.key_set.is_none() => parse(text.as_bytes()).map_err(|_| Refusal::Server)?,
        Keys::None => return Err(AssertionError::Unknown.into()),
        Keys::At(_) | Keys::Inline(_) => return Err(AssertionError::KeySet.into()),
    };
    Ok(claimed.check(&keys, &Server::of(&app.core.base).endpoint("token"), seconds(app))?)
}

/// Uses an assertion up; false: somebody has, here or on another replica. Clocks of replicas differ: it is remembered a little
/// longer than it holds.
async fn spend(app: &App, assertion: Assertion) -> Result<bool, Refusal> {
    let (store, now) = (app.core.store.clone(), seconds(app));
    let until = assertion.expires + 6 * CLOCK_SKEW.as_secs();
    in_background(move || store.spend(&assertion.digest, until, now)).await.map_err(|e| Refusal::later(&e))
}

/// Who asks about tokens, or ends them.
enum Asker {
    /// May do both with each: the administrator, by a token of the machine for everything.
    Administrator,
    /// May do both with his own.
    Client(String),
}

impl Asker {
    fn may_tell(&self, of: &Bearer) -> bool {
        match self {
            Self::Administrator => true,
            Self::Client(id) => of.caller.client.as_ref() == Some(id),
        }
    }
}

/// By a bearer token, or by an assertion as at the token endpoint.
async fn asker(app: &Arc<App>, request: &Request, form: &Form) -> Result<Asker, Refusal> {
    if !request.headers.contains_key(header::AUTHORIZATION) {
        return any_client(app, form).await.map(|client| Asker::Client(client.id));
    }
    let caller = login::caller(app, &request.headers).map_err(Refusal::Login)?;
    match &caller.client {
        Some(id) => Ok(Asker::Client(id.clone())),
        None if caller.user.is_none() && decide_whole(&caller, Interaction::Delete, None).is_ok() => {
            Ok(Asker::Administrator)
        }
        None => Err(Refusal::Unauthorized),
    }
}

/// The token that a form names, where it is one of this server that still counts.
async fn named(app: &App, form: &Form) -> Result<Option<Arc<Bearer>>, Refusal> {
    let Ok(bearer) = app.token_key.check(form.required("token")?, seconds(app)) else { return Ok(None) };
    let Some(id) = bearer.id.clone() else { return Ok(Some(bearer)) };
    let (store, client, grant) = (app.core.store.clone(), bearer.caller.client.clone(), bearer.caller.grant.clone());
    let now = app.core.clock.now().as_millisecond();
    let asked = in_background(move || store.stands(&id, client.as_deref(), grant.as_deref(), now)).await;
    Ok(asked.map_err(|e| Refusal::later(&e))?.then_some(bearer))
}

/// What a token is; of another's, and of what is none, only that it is not active.
async fn introspect(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let form = Form::read(request)?;
    let asker = asker(app, request, &form).await?;
    let found = named(app, &form).await?.filter(|bearer| asker.may_tell(bearer));
    let Some(bearer) = found else { return Ok(answered(&json!({"active": false}))) };
    let grant = match bearer.caller.grant.clone() {
        Some(id) => {
            let store = app.core.store.clone();
            in_background(move || store.app_grant(&id)).await.map_err(|error| Refusal::later(&error))?
        }
        None => None,
    };
    Ok(answered(&told(app, &bearer, grant.as_ref())))
}

fn told(app: &App, bearer: &Bearer, grant: Option<&Grant>) -> Value {
    let Caller { scopes, patient, user, client, .. } = &bearer.caller;
    // As the ID token says it (SMART App Launch 2.2, section 6.1.3); where there is none, the client.
    let person = grant.filter(|_| has(scopes, "openid")).map(|grant| grant.account.to_string());
    let subject = person.unwrap_or_else(|| bearer.caller.subject.clone());
    let mut told = json!({
        "active": true,
        "scope": scopes::text(scopes),
        "sub": subject,
        "token_type": "bearer",
        "iat": bearer.issued,
        "exp": bearer.expires,
    });
    let server = Server::of(&app.core.base);
    let user = user.as_ref().map(|user| format!("{}/{user}", app.core.base));
    let known = [
        ("client_id", client.clone()),
        ("iss", client.as_ref().map(|_| server.issuer)),
        ("aud", client.as_ref().map(|_| server.audience)),
        ("jti", bearer.id.clone()),
        ("patient", patient.as_ref().map(|patient| patient.id.to_string())),
        ("fhirUser", user),
        ("purpose", bearer.caller.purpose.clone()),
    ];
    for (name, value) in known {
        value.into_iter().for_each(|value| told[name] = value.into());
    }
    if let Some(grant) = grant {
        grants::context(app, grant, &mut told);
    }
    told
}

/// Ends a token, at once here and within [`crate::limits::STANDING_FRESH`] elsewhere. One that is none is ended already (RFC 7009,
/// section 2.2).
async fn revoke(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let form = Form::read(request)?;
    let asker = asker(app, request, &form).await?;
    if let Asker::Client(id) = &asker
        && grants::revoke(app, id, form.required("token")?).await?
    {
        return Ok(answered(&json!({})));
    }
    let Some(bearer) = named(app, &form).await? else { return Ok(answered(&json!({}))) };
    if !asker.may_tell(&bearer) {
        return Err(Refusal::Unauthorized);
    }
    let id = bearer.id.clone().ok_or(Refusal::UnsupportedTokenType)?;
    let (store, key, now) = (app.core.store.clone(), id.clone(), seconds(app));
    let kept = in_background(move || -> Result<(), StoreError> { store.revoke(&key, bearer.expires, now) }).await;
    kept.map_err(|error| Refusal::later(&error))?;
    app.standing.end(&id, app.core.clock.now().as_millisecond());
    Ok(answered(&json!({})))
}
