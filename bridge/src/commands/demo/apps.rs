//! The app of the demo: registered for whoever tries it, and let in by the patient, so that it has read something.

use super::super::{Failed, client};
use super::call::{json, send};
use super::visitor::{Visitor, form};
use crate::app::App;
use crate::http::query::pairs;
use crate::index::clients::{Client, Keys};
use crate::limits::MAX_CLIENTS;
use crate::read::in_background;
use crate::secret::{bytes, system_random};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::Full;
use jiff::Timestamp;
use notary::commitment::Digest;
use warp::http::{Request, Response, header};

/// An app that anybody may write on his own machine.
pub const APP: &str = "demo-app";
pub const APP_REDIRECT: &str = "http://localhost:9000/";
/// Where it is opened from a record.
const LAUNCH: &str = "http://localhost:9000/launch";
/// What the patient lets it have.
const ASKED: &str = "launch/patient offline_access patient/*.rs";

/// A public app, called back on the machine of who tries it.
pub(super) async fn register(app: &App, now: Timestamp) -> Result<(), Failed> {
    let client = Client {
        id: APP.into(),
        name: "An app on my machine".into(),
        scope: "openid fhirUser launch launch/patient offline_access online_access patient/*.rs user/*.rs".into(),
        keys: Keys::None,
        redirects: vec![APP_REDIRECT.into()],
        launch: Some(LAUNCH.into()),
        purpose: None,
        by_itself: false,
        made: now.as_millisecond(),
    };
    let store = app.core.store.clone();
    let added = in_background(move || store.add_client(&client, MAX_CLIENTS)).await.map_err(Failed::from_error)?;
    if added { Ok(()) } else { Err(Failed("the app was not registered".into())) }
}

/// Its patient lets it in, and it reads.
pub(super) async fn let_in(patient: &Visitor<'_>) -> Result<(), Failed> {
    let verifier = hex::encode(bytes::<32>(&system_random).map_err(Failed::from_error)?);
    let question = question(&patient.running.app.core.base, &verifier);
    let all = [("request", question.as_str()), ("answer", "approve")];
    let ticked = [("scope-0", "on"), ("scope-1", "on"), ("scope-2", "on")];
    let code = code(&patient.fill("/auth/authorize/answer", &[&all[..], &ticked[..]].concat()).await?)?;
    let token = redeem(patient, &code, &verifier).await?;
    send(patient.running, &token, ("GET", "/fhir/Observation?patient=demo-runa&code=4548-4"), String::new()).await?;
    Ok(())
}

/// What the app asks (SMART App Launch 2.2, section 2.1.5).
fn question(base: &str, verifier: &str) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(Digest::of(verifier.as_bytes()).0);
    form(&[
        ("response_type", "code"),
        ("client_id", APP),
        ("redirect_uri", APP_REDIRECT),
        ("scope", ASKED),
        ("state", "demo"),
        ("aud", base),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
    ])
}

/// The code that the person is sent on with.
fn code(reply: &Response<Bytes>) -> Result<String, Failed> {
    let to = reply.headers().get(header::LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
    let told = pairs(to.split_once('?').map_or("", |(_, query)| query)).map_err(Failed)?;
    let found = told.into_iter().find(|(name, _)| name == "code").map(|(_, code)| code);
    found.ok_or_else(|| Failed("the app was not let in".into()))
}

/// The code for a token.
async fn redeem(patient: &Visitor<'_>, code: &str, verifier: &str) -> Result<String, Failed> {
    let asked = form(&[
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", APP_REDIRECT),
        ("client_id", APP),
        ("code_verifier", verifier),
    ]);
    let request = Request::builder()
        .method("POST")
        .uri("/auth/token")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(asked)))
        .map_err(Failed::from_error)?;
    let reply = client::send(patient.running.http, request).await?;
    let token = json(reply.body())?["access_token"].as_str().map(str::to_owned);
    token.ok_or_else(|| Failed(format!("the app got no token: {}", reply.status())))
}
