//! Which page or deed an address is.

use super::refusal::Refusal;
use super::{
    access, apps, authorize, door, emergency, explain, feeds, guardians, held, hospitals, launch, log, network, openid,
    patients, programs, record, shares, signing, staff, upkeep,
};
use super::{refused, see_other, site};
use crate::app::App;
use crate::http::query;
use crate::http::reply::Reply;
use crate::http::routes::{Request, only};
use std::sync::Arc;
use warp::http::{Method, header};

const GET: &[Method] = &[Method::GET];
const POST: &[Method] = &[Method::POST];
const BOTH: &[Method] = &[Method::GET, Method::POST];

/// Answers what is the door's.
pub(in crate::http) async fn answer(app: &Arc<App>, request: &Request, path: &[&str]) -> Result<Reply, Reply> {
    only(request, methods(path))?;
    // What scripts ask is answered to scripts.
    match path {
        ["auth", door @ ("login" | "join" | "keys"), step] if methods(path) == POST && *step != "remove" => {
            return Ok(door::ask(app, request, door, step).await.unwrap_or_else(Refusal::told));
        }
        ["me", "access", step @ ("options" | "sign")] => {
            return Ok(signing::sign(app, request, step).await.unwrap_or_else(Refusal::told));
        }
        _ => {}
    }
    let done = match request.method == Method::POST {
        true => act(app, request, path).await,
        false => show(app, request, path).await,
    };
    Ok(done.unwrap_or_else(|refusal| refused(app, &refusal)))
}

/// What may be done at an address: by default it is looked at.
fn methods(path: &[&str]) -> &'static [Method] {
    match path {
        ["auth", "keys", "remove"]
        | ["auth", "apps", "end"]
        | ["auth", "authorize", "answer"]
        | ["auth", "login" | "join" | "keys", "options" | "passkey" | "message" | "wallet" | "provider"]
        | ["me", "access", "options" | "sign" | "revoke" | "take"]
        | ["me", "wards", _, "grants", "revoke" | "take"]
        | ["me", "guardians", "link" | "unlink"]
        | ["me", "emergency", "end" | "seen"]
        | ["me", "people", "invite" | "close"]
        | ["me", "quarantine", _, "replay"]
        | ["me", "hospitals", "ask"]
        | ["me", "hospitals", "look", _, "end"]
        | ["me", "shares", "refuse"]
        | ["me", "network", "retry"] => POST,
        ["auth", "authorize" | "logout"]
        | ["me", "access", "new"]
        | ["me", "wards", _, "grants", "new"]
        | ["me", "patients", _, "grant" | "apps"]
        | ["me", "records", "apps"]
        | ["me", "emergency" | "patients"]
        | ["me", "clients", _, "remove"]
        | ["withdraw"] => BOTH,
        _ => GET,
    }
}

/// What a form does.
async fn act(app: &Arc<App>, request: &Request, path: &[&str]) -> Result<Reply, Refusal> {
    match path {
        ["auth", "authorize"] => door::asked_by_form(app, request),
        ["auth", "authorize", "answer"] => authorize::answer(app, request).await,
        ["auth", "logout"] => door::logout(app, request).await,
        ["auth", "keys", "remove"] => door::remove(app, request).await,
        ["auth", "apps", "end"] => apps::end(app, request).await,
        ["me", "access", "new"] => access::terms(app, request, None).await,
        ["me", "access", "revoke"] => access::revoke(app, request, None).await,
        ["me", "access", "take"] => access::take(app, request, None).await,
        ["me", "wards", id, "grants", "new"] => access::terms(app, request, Some(id)).await,
        ["me", "wards", id, "grants", "revoke"] => access::revoke(app, request, Some(id)).await,
        ["me", "wards", id, "grants", "take"] => access::take(app, request, Some(id)).await,
        ["me", "guardians", step] => guardians::act(app, request, step).await,
        ["me", "patients"] => patients::find(app, request).await,
        ["me", "patients", id, "grant"] => access::terms_for(app, request, id).await,
        ["me", "patients", id, "apps"] => launch::from_one(app, request, id).await,
        ["me", "records", "apps"] => launch::from_own(app, request).await,
        ["me", "emergency"] => emergency::begin(app, request).await,
        ["me", "emergency", "end"] => emergency::finish(app, request).await,
        ["me", "emergency", "seen"] => emergency::seen(app, request).await,
        ["me", "people", step] => staff::act(app, request, step).await,
        ["me", "clients", id, "remove"] => programs::remove(app, request, id).await,
        ["me", "quarantine", id, "replay"] => held::replay(app, request, id).await,
        ["me", "hospitals", "ask"] => hospitals::ask::ask(app, request).await,
        ["me", "hospitals", "look", id, "end"] => hospitals::look::end(app, request, id).await,
        ["me", "shares", "refuse"] => shares::refuse(app, request).await,
        ["me", "network", "retry"] => network::retry(app, request).await,
        ["withdraw"] => access::by_code(app, request).await,
        _ => Err(Refusal::Nothing),
    }
}

/// A page.
async fn show(app: &Arc<App>, request: &Request, path: &[&str]) -> Result<Reply, Refusal> {
    if let Some(elsewhere) = by_name(app, request) {
        return Ok(elsewhere);
    }
    match path {
        ["me"] => door::me(app, request).await,
        ["auth", "login"] => door::login(app, request).await,
        ["auth", "join"] => door::join(app, request).await,
        ["auth", "logout"] => door::leaving(app, request).await,
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
        ["me", "explain"] => explain::answer(app, request).await,
        ["me", "feeds"] => feeds::answer(app, request).await,
        ["me", "quarantine"] => held::list(app, request).await,
        ["me", "quarantine", id] => held::one(app, request, id).await,
        ["me", "people"] => staff::answer(app, request).await,
        ["me", "clients"] => programs::list(app, request).await,
        ["me", "clients", id, "remove"] => programs::ask(app, request, id).await,
        ["me", "keys"] => upkeep::keys(app, request).await,
        ["me", "backups"] => upkeep::backups(app, request).await,
        _ => Err(Refusal::Nothing),
    }
}

/// Browsers bind cookies and keys to a name: who came by a loopback address goes on to the same by name.
fn by_name(app: &App, request: &Request) -> Option<Reply> {
    let host = request.headers.get(header::HOST)?.to_str().ok()?;
    let by_address = app.config.base_url.is_none() && host == app.config.http.to_string();
    let asked = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
    let (site, segments) = (site(app), request.path.split('/').map(query::encode).collect::<Vec<_>>());
    (by_address && site.authority != host).then(|| see_other(&format!("{}{asked}", site.address(&segments.join("/")))))
}
