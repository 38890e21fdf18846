//! The door: `/auth/login`, `/auth/join`, `/auth/logout`, `/me`, and what their scripts ask; behind it the portal, `/me/...`; and `/withdraw`, for whoever has a code. Every POST
//! must come from a page of this very origin; those of somebody who is signed in bear the session's token, too.

mod access;
mod apps;
mod authorize;
mod deeds;
mod emergency;
mod feeds;
mod frame;
mod guard;
mod guardians;
mod held;
mod hospitals;
mod launch;
mod log;
mod network;
mod openid;
mod pages;
mod patients;
mod programs;
mod record;
mod record_pages;
mod refusal;
pub mod session;
mod shares;
mod signing;
mod staff;
mod trail;
mod upkeep;
mod visit;
pub(super) mod words;

use super::query;
use super::reply::{Reply, body, empty, with_header};
use super::routes::{Request, not_found, only};
use crate::app::App;
use crate::people::enrol::{Desk, Intent, Signed, Welcome};
use crate::people::passkey::{Assertion, Attestation};
use crate::people::secrets::{Bearer, Blind};
use crate::people::session::{Session, cookie, no_cookie};
use crate::people::site::{Site, own_path};
use crate::people::{AccountId, Refused};
use guard::{form, from_here, signed_in};
use maud::Markup;
use refusal::Refusal;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;
use warp::http::{Method, StatusCode, header};

/// Where somebody goes who has signed in and asked for nothing else.
const HOME: &str = "/me";
/// The chain that a wallet's message names where anchors go to the embedded ledger, which no wallet knows: Ethereum's
/// own.
const MAINNET: u64 = 1;

/// Answers what is the door's.
pub(super) async fn answer(app: &Arc<App>, request: &Request, path: &[&str]) -> Result<Reply, Reply> {
    const GET: &[Method] = &[Method::GET];
    const POST: &[Method] = &[Method::POST];
    let done = match path {
        ["auth", "keys", "remove"] => {
            only(request, POST)?;
            remove(app, request).await
        }
        ["auth", "apps", "end"] => {
            only(request, POST)?;
            apps::end(app, request).await
        }
        ["auth", "authorize", "answer"] => {
            only(request, POST)?;
            authorize::answer(app, request).await
        }
        ["auth", "authorize"] if request.method == Method::POST => asked_by_form(app, request),
        ["auth", "authorize"] => {
            only(request, &[Method::GET, Method::POST])?;
            show(app, request, path).await?
        }
        ["auth", "logout"] if request.method == Method::POST => logout(app, request).await,
        ["auth", "logout"] => {
            only(request, &[Method::GET, Method::POST])?;
            leaving(app, request).await
        }
        [
            "auth",
            door @ ("login" | "join" | "keys"),
            step @ ("options" | "passkey" | "message" | "wallet" | "provider"),
        ] => {
            only(request, POST)?;
            return Ok(ask(app, request, door, step).await.unwrap_or_else(Refusal::told));
        }
        ["me", "access", step @ ("options" | "sign")] => {
            only(request, POST)?;
            return Ok(signing::sign(app, request, step).await.unwrap_or_else(Refusal::told));
        }
        ["me", "access", "revoke"] => {
            only(request, POST)?;
            access::revoke(app, request, None).await
        }
        ["me", "wards", id, "grants", "revoke"] => {
            only(request, POST)?;
            access::revoke(app, request, Some(id)).await
        }
        ["me", "access", "take"] => {
            only(request, POST)?;
            access::take(app, request, None).await
        }
        ["me", "wards", id, "grants", "take"] => {
            only(request, POST)?;
            access::take(app, request, Some(id)).await
        }
        ["me", "access", "new"] if request.method == Method::POST => access::terms(app, request, None).await,
        ["me", "wards", id, "grants", "new"] if request.method == Method::POST => {
            access::terms(app, request, Some(id)).await
        }
        ["me", "guardians", step @ ("link" | "unlink")] => {
            only(request, POST)?;
            guardians::act(app, request, step).await
        }
        ["me", "patients", id, "grant"] if request.method == Method::POST => access::terms_for(app, request, id).await,
        ["withdraw"] if request.method == Method::POST => access::by_code(app, request).await,
        ["me", "access", "new"]
        | ["me", "wards", _, "grants", "new"]
        | ["me", "patients", _, "grant"]
        | ["withdraw"] => {
            only(request, &[Method::GET, Method::POST])?;
            show(app, request, path).await?
        }
        ["me", "records", "apps"] if request.method == Method::POST => launch::from_own(app, request).await,
        ["me", "patients", id, "apps"] if request.method == Method::POST => launch::from_one(app, request, id).await,
        ["me", "records", "apps"] | ["me", "patients", _, "apps"] => {
            only(request, &[Method::GET, Method::POST])?;
            show(app, request, path).await?
        }
        ["me", "emergency"] if request.method == Method::POST => emergency::begin(app, request).await,
        ["me", "emergency"] => {
            only(request, &[Method::GET, Method::POST])?;
            show(app, request, path).await?
        }
        ["me", "emergency", step @ ("end" | "seen")] => {
            only(request, POST)?;
            if *step == "end" { emergency::finish(app, request).await } else { emergency::seen(app, request).await }
        }
        ["me", "people", step @ ("invite" | "close")] => {
            only(request, POST)?;
            staff::act(app, request, step).await
        }
        ["me", "clients", id, "remove"] if request.method == Method::POST => programs::remove(app, request, id).await,
        ["me", "clients", _, "remove"] => {
            only(request, &[Method::GET, Method::POST])?;
            show(app, request, path).await?
        }
        ["me", "quarantine", id, "replay"] => {
            only(request, POST)?;
            held::replay(app, request, id).await
        }
        ["me", "hospitals", "ask"] => {
            only(request, POST)?;
            hospitals::ask::ask(app, request).await
        }
        ["me", "hospitals", "look", id, "end"] => {
            only(request, POST)?;
            hospitals::look::end(app, request, id).await
        }
        ["me", "shares", "refuse"] => {
            only(request, POST)?;
            shares::refuse(app, request).await
        }
        ["me", "network", "retry"] => {
            only(request, POST)?;
            network::retry(app, request).await
        }
        ["me", "patients"] if request.method == Method::POST => patients::find(app, request).await,
        ["me", "patients"] => {
            only(request, &[Method::GET, Method::POST])?;
            show(app, request, path).await?
        }
        path => {
            only(request, GET)?;
            show(app, request, path).await?
        }
    };
    Ok(done.unwrap_or_else(|refusal| refused(app, &refusal)))
}

async fn show(app: &Arc<App>, request: &Request, path: &[&str]) -> Result<Result<Reply, Refusal>, Reply> {
    if let Some(elsewhere) = by_name(app, request) {
        return Ok(Ok(elsewhere));
    }
    Ok(match path {
        ["me"] => me(app, request).await,
        ["auth", "login"] => login(app, request).await,
        ["auth", "join"] => join(app, request).await,
        ["auth", "openid"] => openid::back(app, request).await,
        ["auth", "authorize"] => authorize::ask(app, request).await,
        ["me", "records", rest @ ..] if record::is_page(rest) => record::of_own(app, request, None, rest).await,
        ["me", "access"] => access::overview(app, request, None).await,
        ["me", "access", "new"] => access::form(app, request, None).await,
        ["me", "wards", id, "grants"] => access::overview(app, request, Some(id)).await,
        ["me", "wards", id, "grants", "new"] => access::form(app, request, Some(id)).await,
        ["me", "wards", id, rest @ ..] if record::is_page(rest) => record::of_own(app, request, Some(id), rest).await,
        ["me", "guardians"] => guardians::list(app, request).await,
        ["me", "patients", id, "grant"] => access::form_for(app, request, id).await,
        ["withdraw"] => Ok(access::code_form(app)),
        ["me", "patients"] => patients::form(app, request).await,
        ["me", "patients", id, rest @ ..] if record::is_page(rest) => patients::of_one(app, request, id, rest).await,
        ["me", "hospitals"] => hospitals::form(app, request).await,
        ["me", "hospitals", "look", id, rest @ ..] if rest.len() <= 2 => {
            hospitals::look::show(app, request, id, rest).await
        }
        ["me", "shares"] => shares::answer(app, request).await,
        ["me", "network"] => network::answer(app, request).await,
        ["me", "emergency"] => emergency::form(app, request).await,
        ["me", "emergencies"] => emergency::all(app, request).await,
        ["me", "log"] => log::answer(app, request).await,
        ["me", "feeds"] => feeds::answer(app, request).await,
        ["me", "quarantine"] => held::list(app, request).await,
        ["me", "quarantine", id] => held::one(app, request, id).await,
        ["me", "people"] => staff::answer(app, request).await,
        ["me", "clients"] => programs::list(app, request).await,
        ["me", "clients", id, "remove"] => programs::ask(app, request, id).await,
        ["me", "keys"] => upkeep::keys(app, request).await,
        ["me", "backups"] => upkeep::backups(app, request).await,
        _ => return Err(not_found()),
    })
}

/// What an app asks by a form it asks by address (SMART App Launch 2.2, section 2.1.5): a form of another site brings no cookie, and
/// nothing is done before the person answers.
fn asked_by_form(app: &App, request: &Request) -> Result<Reply, Refusal> {
    let asked = guard::pairs(request)?;
    let pair = |(name, value): &(String, String)| format!("{}={}", query::encode(name), query::encode(value));
    let asked: Vec<String> = asked.iter().map(pair).collect();
    Ok(see_other(&site(app).address(&format!("/auth/authorize?{}", asked.join("&")))))
}

/// Browsers bind cookies and keys to a name: who came by a loopback address goes on to the same by name.
fn by_name(app: &App, request: &Request) -> Option<Reply> {
    let host = request.headers.get(header::HOST)?.to_str().ok()?;
    let by_address = app.config.base_url.is_none() && host == app.config.http.to_string();
    let asked = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
    let (site, segments) = (site(app), request.path.split('/').map(query::encode).collect::<Vec<_>>());
    (by_address && site.authority != host).then(|| see_other(&format!("{}{asked}", site.address(&segments.join("/")))))
}

fn site(app: &App) -> Site {
    Site::of(&app.core.base)
}

/// The names of the outside providers.
fn offers(app: &App) -> Vec<&str> {
    app.config.login.openid.iter().map(|provider| provider.name.as_str()).collect()
}

fn desk(app: &App) -> Desk {
    let core = &app.core;
    let chain = app.config.chain.as_ref().map_or(MAINNET, |chain| chain.chain_id);
    Desk { store: core.store.clone(), secrets: core.secrets.clone(), site: site(app), chain, now: core.clock.now() }
}

/// Work at the desk, beside the network threads.
async fn at_desk<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&Desk) -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refusal> {
    let desk = desk(app);
    let joined = tokio::task::spawn_blocking(move || work(&desk)).await;
    Ok(joined.unwrap_or(Err(Refused::Secret))?)
}

/// A page with what keeps it ours: nothing inline, nothing from elsewhere, in nobody's frame. Its own pages must be
/// able to prove where a form comes from, so that the referrer is not left out altogether.
fn page(status: StatusCode, content: &Markup) -> Reply {
    page_going_to(status, content, "")
}

/// The same, whose form's answer goes on to an origin.
fn page_going_to(status: StatusCode, content: &Markup, origin: &str) -> Reply {
    const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                          base-uri 'none'; frame-ancestors 'none'; form-action 'self'";
    let reply = body(status, "text/html; charset=utf-8", content.0.clone());
    let policy = if origin.is_empty() { POLICY.to_owned() } else { format!("{POLICY} {origin}") };
    let reply = with_header(reply, header::CONTENT_SECURITY_POLICY, &policy);
    with_header(reply, header::REFERRER_POLICY, "same-origin")
}

fn refused(app: &App, refusal: &Refusal) -> Reply {
    page(refusal.status(), &pages::refused(&site(app), refusal))
}

fn see_other(to: &str) -> Reply {
    with_header(empty(StatusCode::SEE_OTHER), header::LOCATION, to)
}

fn json(value: &Value) -> Reply {
    body(StatusCode::OK, "application/json", value.to_string())
}

/// A parameter of the address.
fn parameter(request: &Request, name: &str) -> Option<String> {
    let pairs = query::pairs(&request.query).ok()?;
    pairs.into_iter().find(|(called, _)| called == name).map(|(_, value)| value)
}

/// Where to go on to; only ever a path of this server.
fn next(given: Option<&str>) -> &str {
    given.and_then(own_path).unwrap_or(HOME)
}

/// `GET /auth/login?next=`.
async fn login(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let asked = parameter(request, "next");
    let next = next(asked.as_deref());
    if session::of(app, &request.headers).await.is_some() {
        return Ok(see_other(&site(app).path(next)));
    }
    Ok(page(StatusCode::OK, &pages::login(&site(app), &offers(app), next)))
}

/// `GET /auth/join?code=`. Looking does not use the invitation up: programs that preview links look, too.
async fn join(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let code = parameter(request, "code").and_then(|code| Bearer::parse(&code)).ok_or(Refused::Invitation)?;
    let shown = code.clone();
    let (person, _) = at_desk(app, move |desk| desk.invited(&code)).await?;
    Ok(page(StatusCode::OK, &pages::join(&site(app), &offers(app), &person, &shown)))
}

/// `GET /me`.
async fn me(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
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
async fn leaving(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    Ok(match session::of(app, &request.headers).await {
        Some(session) => page(StatusCode::OK, &pages::leaving(&site(app), &session)),
        None => see_other(&site(app).path("/auth/login")),
    })
}

/// `POST /auth/logout`.
async fn logout(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let form = form(app, request)?;
    let session = signed_in(app, request, form.get("token").map(String::as_str)).await?;
    let digest = session.bearer().digest();
    at_desk(app, move |desk| Ok(desk.store.end_session(&digest)?)).await?;
    let reply = see_other(&site(app).path("/auth/login"));
    Ok(with_header(reply, header::SET_COOKIE, &no_cookie()))
}

/// `POST /auth/keys/remove`.
async fn remove(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let form = form(app, request)?;
    let session = signed_in(app, request, form.get("token").map(String::as_str)).await?;
    fresh(app, &session)?;
    let (account, name) = (session.account.id.clone(), Blind(form.get("key").cloned().unwrap_or_default()));
    at_desk(app, move |desk| desk.store.remove_credential(&account, &name)).await?;
    news(&session.account.id, "a way to sign in was removed");
    Ok(see_other(&site(app).path(HOME)))
}

fn fresh(app: &App, session: &Session) -> Result<(), Refusal> {
    if session.is_fresh(app.core.clock.now().as_millisecond()) { Ok(()) } else { Err(Refusal::Stale) }
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
async fn ask(app: &Arc<App>, request: &Request, door: &str, step: &str) -> Result<Reply, Refusal> {
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

/// For the operator's log: a random id and no more.
fn news(account: &AccountId, what: &str) {
    tracing::info!(%account, "{what}");
}
