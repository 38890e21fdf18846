//! `POST /auth/register`: an app registers itself (RFC 7591), where the configuration lets it. People are asked about each all the same.

use crate::app::App;
use crate::http::reply::{Reply, body, with_header};
use crate::http::routes::{BadBody, Request};
use crate::index::clients::{Client, Keys};
use crate::limits::REGISTERED_UNUSED;
use crate::read::in_background;
use crate::secret::{bytes, system_random};
use crate::smart::registration::{Asked, Faulty, read};
use serde_json::{Value, json};
use std::sync::Arc;
use warp::http::{StatusCode, header};

/// The answer.
pub(in crate::http) async fn register(app: &Arc<App>, request: &Request) -> Reply {
    let Ok(_place) = app.registrations.try_acquire() else { return later("too many register at this moment") };
    if !is_let(app, request) {
        let reply = refused(StatusCode::UNAUTHORIZED, "invalid_token", "a registration needs the operator's token");
        return with_header(reply, header::WWW_AUTHENTICATE, "Bearer");
    }
    let body = match &request.body {
        Ok(body) => body,
        Err(bad) => return unread(*bad),
    };
    match asked(app, request, body).await {
        Ok(asked) => kept(app, asked).await,
        Err(faulty) => {
            let (code, text) = faulty.told();
            refused(StatusCode::BAD_REQUEST, code, text)
        }
    }
}

/// By the operator's token, where one is set (RFC 7591, section 3: an initial access token).
fn is_let(app: &App, request: &Request) -> bool {
    let Some(token) = &app.config.registration.token else { return true };
    let value = request.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let shown = value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let same = |shown: &str| aws_lc_rs::constant_time::verify_slices_are_equal(shown.as_bytes(), token.0.as_bytes());
    shown.is_some_and(|(_, shown)| same(shown.trim()).is_ok())
}

/// Why the body was not taken.
fn unread(bad: BadBody) -> Reply {
    let text = match bad {
        BadBody::TooLong => "the body is longer than this server takes, or did not arrive in time",
        BadBody::Encoding | BadBody::Broken => "send the body as it is, unpacked",
        BadBody::Late(_) | BadBody::Full => return later("too many requests arrive at this moment"),
    };
    let (code, text) = Faulty::Metadata(text).told();
    refused(StatusCode::BAD_REQUEST, code, text)
}

async fn asked(app: &App, request: &Request, body: &[u8]) -> Result<Asked, Faulty> {
    let media = request.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json")) {
        return Err(Faulty::Metadata("send application/json"));
    }
    let asked = read(body)?;
    // One text for all reasons: who asks must not learn what resolves where.
    const ADDRESS: Faulty = Faulty::Metadata("jwks_uri: an address that this server may ask, https and public");
    match &asked.keys {
        Keys::At(url) => app.outgoing.allows(url).await.map_err(|_| ADDRESS).map(|()| asked),
        Keys::Inline(_) | Keys::None => Ok(asked),
    }
}

async fn kept(app: &App, asked: Asked) -> Reply {
    let Ok(id) = bytes::<16>(&system_random).map(hex::encode) else { return later("no random numbers") };
    let (store, made) = (app.core.store.clone(), app.core.clock.now().as_millisecond());
    let Asked { name, scope, keys, redirects } = asked;
    let client = Client { id, name, scope, keys, redirects, launch: None, purpose: None, by_itself: true, made };
    let told = told(&client);
    let (most, since) = (app.config.registration.most, made - REGISTERED_UNUSED.as_millis() as i64);
    match in_background(move || store.add_by_itself(&client, most, since)).await {
        Ok(true) => {
            tracing::info!(client = %told["client_id"], "an app has registered itself");
            let reply = body(StatusCode::CREATED, "application/json", told.to_string());
            with_header(reply, header::PRAGMA, "no-cache")
        }
        Ok(false) => later("there are as many apps that registered themselves as there may be: ask the operator"),
        Err(error) => {
            tracing::error!(%error, "an app could not be registered");
            later("the store does not answer: try again")
        }
    }
}

/// What was registered (RFC 7591, section 3.2.1). There is no secret, and no page to change it.
fn told(client: &Client) -> Value {
    let again = client.scope.split(' ').any(|scope| matches!(scope, "offline_access" | "online_access"));
    let mut told = json!({
        "client_id": client.id,
        "client_id_issued_at": client.made / 1_000,
        "client_name": client.name,
        "redirect_uris": client.redirects,
        "scope": client.scope,
        "response_types": ["code"],
        "grant_types": if again { vec!["authorization_code", "refresh_token"] } else { vec!["authorization_code"] },
        "token_endpoint_auth_method": if client.keys == Keys::None { "none" } else { "private_key_jwt" },
    });
    match &client.keys {
        Keys::At(url) => told["jwks_uri"] = url.as_str().into(),
        Keys::Inline(text) => told["jwks"] = serde_json::from_str(text).unwrap_or(Value::Null),
        Keys::None => {}
    }
    told
}

fn refused(status: StatusCode, code: &str, text: &str) -> Reply {
    let reply = body(status, "application/json", json!({"error": code, "error_description": text}).to_string());
    with_header(reply, header::PRAGMA, "no-cache")
}

fn later(text: &str) -> Reply {
    let reply = refused(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", text);
    with_header(reply, header::RETRY_AFTER, "60")
}
