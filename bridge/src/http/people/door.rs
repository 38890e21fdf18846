//! The door itself: signing in, joining by an invitation, one's own page, signing out, and what their scripts ask.

use super::guard::{self, form, from_here, signed_in};
use super::refusal::Refusal;
use super::session;
use super::{
    HOME, at_desk, fresh, guardians, json, news, next, offers, openid, page, pages, parameter, see_other, site,
};
use crate::app::App;
use crate::http::query;
use crate::http::reply::{Reply, with_header};
use crate::http::routes::Request;
use crate::people::Refused;
use crate::people::enrol::{Intent, Signed, Welcome};
use crate::people::passkey::{Assertion, Attestation};
use crate::people::secrets::{Bearer, Blind};
use crate::people::session::{cookie, no_cookie};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;
use warp::http::{StatusCode, header};

/// What an app asks by a form it asks by address (SMART App Launch 2.2, section 2.1.5): a form of another site brings no cookie, and
/// nothing is done before the person answers.
pub(super) fn asked_by_form(app: &App, request: &Request) -> Result<Reply, Refusal> {
    let asked = guard::pairs(request)?;
    let pair = |(name, value): &(String, String)| format!("{}={}", query::encode(name), query::encode(value));
    let asked: Vec<String> = asked.iter().map(pair).collect();
    Ok(see_other(&site(app).address(&format!("/auth/authorize?{}", asked.join("&")))))
}

/// `GET /auth/login?next=`.
pub(super) async fn login(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let asked = parameter(request, "next");
    let next = next(asked.as_deref());
    if session::of(app, &request.headers).await.is_some() {
        return Ok(see_other(&site(app).path(next)));
    }
    Ok(page(StatusCode::OK, &pages::login(&site(app), &offers(app), next)))
}

/// `GET /auth/join?code=`. Looking does not use the invitation up: programs that preview links look, too.
pub(super) async fn join(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let code = parameter(request, "code").and_then(|code| Bearer::parse(&code)).ok_or(Refused::Invitation)?;
    let shown = code.clone();
    let (person, _) = at_desk(app, move |desk| desk.invited(&code)).await?;
    Ok(page(StatusCode::OK, &pages::join(&site(app), &offers(app), &person, &shown)))
}

/// `GET /me`.
pub(super) async fn me(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let Some(session) = session::of(app, &request.headers).await else {
        return Ok(see_other(&site(app).path(&format!("/auth/login?next={}", query::encode(HOME)))));
    };
    let account = session.account.id.clone();
    let keys = at_desk(app, move |desk| desk.shown(&account)).await?;
    let now = app.core.clock.now().as_millisecond();
    let account = session.account.id.clone();
    let apps = at_desk(app, move |desk| Ok(desk.store.grants(&account, now)?)).await?;
    let apps = pages::apps::section(&site(app), &session, &apps);
    let apps = maud::html! { (guardians::section(app, &session).await?) (apps) };
    Ok(page(StatusCode::OK, &pages::me(&site(app), &offers(app), &session, &keys, session.is_fresh(now), &apps)))
}

/// `GET /auth/logout`: a link cannot sign anybody out, its button can.
pub(super) async fn leaving(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    Ok(match session::of(app, &request.headers).await {
        Some(session) => page(StatusCode::OK, &pages::leaving(&site(app), &session)),
        None => see_other(&site(app).path("/auth/login")),
    })
}

/// `POST /auth/logout`.
pub(super) async fn logout(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let form = form(app, request)?;
    let session = signed_in(app, request, form.get("token").map(String::as_str)).await?;
    let digest = session.bearer().digest();
    let ended = at_desk(app, move |desk| Ok(desk.store.end_session(&digest)?)).await?;
    let now = app.core.clock.now().as_millisecond();
    ended.iter().for_each(|grant| app.standing.end(grant, now));
    let reply = see_other(&site(app).path("/auth/login"));
    Ok(with_header(reply, header::SET_COOKIE, &no_cookie()))
}

/// `POST /auth/keys/remove`.
pub(super) async fn remove(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let form = form(app, request)?;
    let session = signed_in(app, request, form.get("token").map(String::as_str)).await?;
    fresh(app, &session)?;
    let (account, name) = (session.account.id.clone(), Blind(form.get("key").cloned().unwrap_or_default()));
    at_desk(app, move |desk| desk.store.remove_credential(&account, &name)).await?;
    news(&session.account.id, "a way to sign in was removed");
    Ok(see_other(&site(app).path(HOME)))
}

/// What a script sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Of the invitation.
    code: Option<String>,
    /// Of the session.
    token: Option<String>,
    next: Option<String>,
    /// The wallet's.
    address: Option<String>,
    /// An outside provider's name.
    provider: Option<String>,
    /// What the passkey or the wallet says.
    #[serde(default)]
    answer: Value,
}

/// `POST /auth/{login,join,keys}/{options,passkey,message,wallet,provider}`.
pub(super) async fn ask(app: &Arc<App>, request: &Request, door: &str, step: &str) -> Result<Reply, Refusal> {
    from_here(&site(app), &request.headers)?;
    let room = if step == "provider" { &app.providers.room } else { &app.sign_ins };
    let _place = room.try_acquire().map_err(|_| Refusal::Busy)?;
    let asked: Asked = guard::json(request)?;
    let intent = intent(app, request, door, &asked).await?;
    match step {
        "provider" => openid::away(app, intent, asked.provider.as_deref(), asked.next.as_deref()).await,
        "options" => at_desk(app, move |desk| desk.options(&intent)).await.map(|options| json(&options)),
        "message" => {
            let address = asked.address.unwrap_or_default();
            let (message, nonce) = at_desk(app, move |desk| desk.message(&intent, &address)).await?;
            Ok(json(&json!({"message": message, "nonce": nonce})))
        }
        _ => {
            let to = site(app).path(next(asked.next.as_deref()));
            let old = guard::borne(&request.headers);
            let welcome = enter(app, intent, step == "passkey", asked.answer, old).await?;
            Ok(welcomed(&welcome, &to))
        }
    }
}

async fn intent(app: &Arc<App>, request: &Request, door: &str, asked: &Asked) -> Result<Intent, Refusal> {
    match door {
        "login" => Ok(Intent::SignIn),
        "join" => {
            let code = asked.code.as_deref().and_then(Bearer::parse);
            Ok(Intent::Join(code.ok_or(Refused::Invitation)?))
        }
        _ => {
            let session = signed_in(app, request, asked.token.as_deref()).await?;
            fresh(app, &session)?;
            Ok(Intent::Add(session.account))
        }
    }
}

async fn enter(
    app: &Arc<App>,
    intent: Intent,
    passkey: bool,
    said: Value,
    old: Option<Bearer>,
) -> Result<Welcome, Refusal> {
    match (intent, passkey) {
        (Intent::SignIn, true) => {
            let said: Assertion = read(said)?;
            at_desk(app, move |desk| desk.sign_in_with_passkey(&said, old.as_ref())).await
        }
        (Intent::SignIn, false) => {
            let said: Signed = read(said)?;
            at_desk(app, move |desk| desk.sign_in_with_wallet(&said, old.as_ref())).await
        }
        (intent, true) => {
            let said: Attestation = read(said)?;
            at_desk(app, move |desk| desk.add_passkey(&intent, &said, old.as_ref())).await
        }
        (intent, false) => {
            let said: Signed = read(said)?;
            at_desk(app, move |desk| desk.add_wallet(&intent, &said, old.as_ref())).await
        }
    }
}

fn read<T: DeserializeOwned>(said: Value) -> Result<T, Refusal> {
    serde_json::from_value(said).map_err(|_| Refusal::Form)
}

fn welcomed(welcome: &Welcome, next: &str) -> Reply {
    let reply = json(&json!({"next": next}));
    match &welcome.bearer {
        Some(bearer) => {
            news(&welcome.account.id, "signed in");
            with_header(reply, header::SET_COOKIE, &cookie(bearer))
        }
        None => {
            news(&welcome.account.id, "a way to sign in was added");
            reply
        }
    }
}
