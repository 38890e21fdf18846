//! `/auth/{door}/provider` sends a browser to an outside provider; `GET /auth/openid` is where it comes back. What
//! belongs together is bound by a sealed cookie, so that nobody can end here what another browser has begun.

use super::refusal::Refusal;
use super::{at_desk, guard, news, next, see_other, session, site};
use crate::app::App;
use crate::config::Provider;
use crate::http::query;
use crate::http::reply::Reply;
use crate::http::routes::Request;
use crate::people::Refused;
use crate::people::enrol::Intent;
use crate::people::openid::{Door, Journey, OpenIdError};
use crate::people::secrets::Bearer;
use crate::people::session::cookie;
use crate::secret::system_random;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use warp::http::{HeaderValue, header};

const COOKIE: &str = "__Host-medseal-openid";
const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Lax";
/// Seconds that the cookie lives: as long as the challenge in it.
const LIFE: u64 = crate::people::challenge::CHALLENGE_LIFE.as_secs();
const BACK: &str = "/auth/openid";

fn provider<'a>(app: &'a App, name: &str) -> Result<&'a Provider, Refusal> {
    let found = app.config.login.openid.iter().find(|provider| provider.name == name);
    found.ok_or_else(|| Refused::OpenId(OpenIdError::Provider).into())
}

/// Where a browser is to go, and what it bears meanwhile.
pub(super) async fn away(
    app: &Arc<App>,
    intent: Intent,
    name: Option<&str>,
    to: Option<&str>,
) -> Result<Reply, Refusal> {
    let provider = provider(app, name.unwrap_or_default())?;
    let now = app.core.clock.now().as_millisecond();
    let discovery = app.providers.ask(provider, &app.issuers, now).await.map_err(Refused::OpenId)?;
    let door = match &intent {
        Intent::SignIn => Door::SignIn,
        Intent::Join(code) => Door::Join(code.expose().to_owned()),
        Intent::Add(account) => Door::Add(account.id.to_string()),
    };
    let state = at_desk(app, move |desk| desk.state(&intent)).await?;
    let journey = Journey::new(provider, state, door, next(to).to_owned(), &system_random).ok_or(Refused::Secret)?;
    let address = journey.address(provider, &discovery, &site(app).address(BACK));
    let sealed = app.core.secrets.seal_journey(&journey, &system_random)?;
    let reply = super::json(&json!({"next": address}));
    Ok(with_cookie(reply, &format!("{COOKIE}={sealed}; {ATTRIBUTES}; Max-Age={LIFE}")))
}

fn with_cookie(mut reply: Reply, text: &str) -> Reply {
    if let Ok(value) = HeaderValue::from_str(text) {
        reply.headers_mut().append(header::SET_COOKIE, value);
    }
    reply
}

/// `GET /auth/openid?code=...&state=...`.
pub(super) async fn back(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let _place = app.providers.room.try_acquire().map_err(|_| Refusal::Busy)?;
    let journey = guard::cookie(&request.headers, COOKIE).and_then(|sealed| app.core.secrets.open_journey(sealed));
    let journey = journey.ok_or(Refused::OpenId(OpenIdError::State))?;
    let subject = subject(app, request, &journey).await?;
    let intent = intent(app, request, &journey).await?;
    let (provider, old) = (provider(app, &journey.provider)?.clone(), guard::borne(&request.headers));
    let state = journey.state.clone();
    let welcome =
        at_desk(app, move |desk| desk.with_provider(&intent, &state, (&provider, &subject), old.as_ref())).await?;
    let reply = see_other(&site(app).path(next(Some(&journey.next))));
    let reply = with_cookie(reply, &format!("{COOKIE}=; {ATTRIBUTES}; Max-Age=0"));
    news(&welcome.account.id, "came by an OpenID provider");
    Ok(match &welcome.bearer {
        Some(bearer) => with_cookie(reply, &cookie(bearer)),
        None => reply,
    })
}

async fn subject(app: &Arc<App>, request: &Request, journey: &Journey) -> Result<String, Refusal> {
    let pairs = query::pairs(&request.query).map_err(|_| Refusal::Form)?;
    let answer: HashMap<String, String> = pairs.into_iter().collect();
    let provider = provider(app, &journey.provider)?;
    let now = app.core.clock.now();
    let asked = app.providers.ask(provider, &app.issuers, now.as_millisecond()).await;
    let discovery = asked.map_err(Refused::OpenId)?;
    let code = journey.code(&discovery, &answer).map_err(Refused::OpenId)?;
    let redirect = site(app).address(BACK);
    let seconds = now.as_second().max(0) as u64;
    let subject = journey.subject((provider, &discovery), (code, &redirect), &app.issuers, seconds).await;
    Ok(subject.map_err(Refused::OpenId)?)
}

async fn intent(app: &Arc<App>, request: &Request, journey: &Journey) -> Result<Intent, Refusal> {
    match &journey.door {
        Door::SignIn => Ok(Intent::SignIn),
        Door::Join(code) => Ok(Intent::Join(Bearer::parse(code).ok_or(Refused::Invitation)?)),
        Door::Add(account) => {
            let session = session::of(app, &request.headers).await.ok_or(Refusal::Login)?;
            if session.account.id.as_str() == account { Ok(Intent::Add(session.account)) } else { Err(Refusal::Login) }
        }
    }
}
