//! Apps that people let in (SMART App Launch 2.2, standalone launch): the whole way, and every way that must not be.

use super::backend::{BY_JWT, EC, claims, form, inline, post, signed};
use super::consents::{consent, put};
use super::door::{Browser, invitation};
use super::world::World;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bridge::http::query::{encode, pairs};
use bridge::ids::Name;
use bridge::index::clients::{Client, Keys};
use bridge::people::{Account, Role};
use bridge::secret::system_random;
use bridge::smart::grant::{Code, Grant, Handle};
use bridge::smart::launch::Launch;
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::HashMap;
use warp::http::Response;

// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub const REDIRECT: &str = "https://app.example/cb?x=1";
const SCOPE: &str = "openid fhirUser launch/patient offline_access online_access patient/*.cruds user/*.rs";

pub fn register(world: &World, id: &str, keys: Keys) {
    let redirects = vec![REDIRECT.into(), "http://localhost:9/other".into()];
    let (name, scope) = ("Heart <b>App".into(), SCOPE.into());
    let client =
        Client { id: id.into(), name, scope, keys, redirects, launch: None, purpose: None, by_itself: false, made: 0 };
    assert!(world.running.app.core.store.add_client(&client, 100).unwrap());
}

/// A world with two patients, an app that is public, and another one.
pub async fn world() -> World {
    let world = World::new().await;
    for id in ["ada", "bob"] {
        let patient = json!({"resourceType": "Patient", "id": id}).to_string();
        assert_eq!(world.call("PUT", &format!("/fhir/Patient/{id}"), &patient).await.0, 201);
    }
    register(&world, "app", Keys::None);
    register(&world, "other", Keys::None);
    world
}

pub async fn ada(world: &World) -> Browser<'_> {
    let mut browser = Browser::new(world);
    browser.join(&invitation(world, Role::Patient, Some("Patient/ada"), None)).await;
    browser
}

async fn clinician(world: &World) -> Browser<'_> {
    world.call("PUT", "/fhir/Practitioner/dan", r#"{"resourceType":"Practitioner","id":"dan"}"#).await;
    let organization = r#"{"resourceType":"Organization","id":"org","name":"Org"}"#;
    world.call("PUT", "/fhir/Organization/org", organization).await;
    let mut browser = Browser::new(world);
    browser.join(&invitation(world, Role::Clinician, Some("Practitioner/dan"), Some("Organization/org"))).await;
    browser
}

fn account(world: &World) -> Account {
    world.running.app.core.store.accounts().unwrap().remove(0)
}

/// What an app asks, with changes; an empty value leaves a parameter out.
pub fn question(world: &World, changes: &[(&str, &str)]) -> String {
    let base = world.running.app.core.base.clone();
    let mut all = vec![
        ("response_type", "code"),
        ("client_id", "app"),
        ("redirect_uri", REDIRECT),
        ("scope", "openid fhirUser launch/patient patient/*.rs offline_access"),
        ("state", "s&1"),
        ("aud", &base),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("nonce", "n1"),
    ];
    for (name, value) in changes {
        all.retain(|(known, _)| known != name);
        all.push((name, value));
    }
    all.retain(|(_, value)| !value.is_empty());
    form(&all)
}

/// What an app is told: the parameters of the address that the browser is sent to.
pub fn told(reply: &Response<Bytes>) -> HashMap<String, String> {
    assert_eq!(reply.status(), 303, "{:?}", reply.body());
    let to = reply.headers()["location"].to_str().unwrap();
    let query = to.strip_prefix(&format!("{REDIRECT}&")).unwrap_or_else(|| panic!("sent elsewhere: {to}"));
    pairs(query).unwrap().into_iter().collect()
}

pub async fn answer(browser: &mut Browser<'_>, query: &str, answer: &str, more: &str) -> Response<Bytes> {
    let token = browser.token().await;
    let ticked: String = (0..12).map(|n| format!("&scope-{n}=on")).collect();
    let body = format!("token={token}&request={}&answer={answer}{ticked}{more}", encode(query));
    browser.form("/auth/authorize/answer", &body).await
}

async fn code(browser: &mut Browser<'_>, changes: &[(&str, &str)]) -> String {
    let query = question(browser.world, changes);
    let told = told(&answer(browser, &query, "approve", "&patient=ada").await);
    told.get("code").unwrap_or_else(|| panic!("{told:?}")).clone()
}

async fn ask(world: &World, pairs: &[(&str, &str)]) -> (u16, Value) {
    post(world, "/auth/token", &[], &form(pairs)).await
}

/// What an app sends for a code, with changes.
pub async fn redeem(world: &World, code: &str, changes: &[(&str, &str)]) -> (u16, Value) {
    let mut all = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", REDIRECT),
        ("client_id", "app"),
        ("code_verifier", VERIFIER),
    ];
    for (name, value) in changes {
        all.retain(|(known, _)| known != name);
        all.push((name, value));
    }
    ask(world, &all).await
}

pub async fn refresh(world: &World, token: &Value, scope: &str) -> (u16, Value) {
    let token = token["refresh_token"].as_str().unwrap();
    ask(world, &[("grant_type", "refresh_token"), ("client_id", "app"), ("refresh_token", token), ("scope", scope)])
        .await
}

pub async fn status(world: &World, token: &Value, path: &str) -> u16 {
    let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
    world.request("GET", path, &[("authorization", bearer.as_str())], b"").await.status().as_u16()
}

/// Whether a token counts, as the index says at once.
async fn is_active(world: &World, token: &Value) -> bool {
    let bearer = format!("Bearer {}", world.token);
    let body = form(&[("token", token["access_token"].as_str().unwrap())]);
    post(world, "/auth/introspect", &[("authorization", &bearer)], &body).await.1["active"] == true
}

// meets smart 48 53 54 56 57 59 73 74 75 84 85 86 87 88 109 110 111 112 113 149
// meets smart 168 169 170 173 200 205 207 209 353 355 363
#[tokio::test]
async fn an_app_is_let_in_reads_comes_again_and_is_ended() {
    let world = world().await;
    let query = question(&world, &[]);
    let mut stranger = Browser::new(&world);
    let reply = stranger.get(&format!("/auth/authorize?{query}")).await;
    let expected = format!("/auth/login?next={}", encode(&format!("/auth/authorize?{query}")));
    assert_eq!((reply.status().as_u16(), reply.headers()["location"].to_str().unwrap()), (303, expected.as_str()));

    let mut browser = ada(&world).await;
    let reply = browser.get(&format!("/auth/authorize?{query}")).await;
    let policy = reply.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("frame-ancestors 'none'") && policy.ends_with("form-action 'self' https://app.example"));
    let page = String::from_utf8(reply.body().to_vec()).unwrap();
    for part in ["Heart &lt;b&gt;App", "app.example", "see and search everything in your record", "Approve", "Refuse"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let refused = told(&answer(&mut browser, &query, "refuse", "").await);
    assert_eq!((refused["error"].as_str(), refused["state"].as_str()), ("access_denied", "s&1"));

    let issuer = world.running.app.core.base.trim_end_matches("/fhir");
    let approved = told(&answer(&mut browser, &query, "approve", "&patient=bob").await);
    assert_eq!((approved["state"].as_str(), approved["iss"].as_str()), ("s&1", issuer));
    let (code, token) = redeem(&world, &approved["code"], &[]).await;
    assert_eq!(code, 200, "{token}");
    assert_eq!(token["patient"], "ada", "a patient opens no record but his own");
    assert_eq!(token["scope"], "openid fhirUser launch/patient patient/*.rs offline_access");
    assert_eq!((&token["token_type"], &token["need_patient_banner"]), (&json!("Bearer"), &json!(true)));
    assert_eq!(token["expires_in"], 300);
    let text = token["access_token"].as_str().unwrap();
    assert!(text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._~+/=".contains(&c)), "RFC 6750, section 2.1");
    assert_eq!(
        [status(&world, &token, "/fhir/Patient/ada").await, status(&world, &token, "/fhir/Patient/bob").await],
        [200, 404]
    );

    // The identity: signed by the key of the key set, for the app.
    let jwks = world.request("GET", "/auth/jwks", &[], b"").await;
    let jwks: Value = serde_json::from_slice(jwks.body()).unwrap();
    let key = serde_json::from_value(jwks["keys"][1].clone()).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    validation.set_audience(&["app"]);
    let key = jsonwebtoken::DecodingKey::from_jwk(&key).unwrap();
    let identity =
        jsonwebtoken::decode::<Value>(token["id_token"].as_str().unwrap(), &key, &validation).unwrap().claims;
    assert_eq!((identity["nonce"].as_str(), identity["iss"].as_str()), (Some("n1"), Some(issuer)));
    assert_eq!(identity["fhirUser"], format!("{issuer}/fhir/Patient/ada"));
    assert_eq!(identity["sub"], account(&world).id.as_str());
    let as_token = json!({"access_token": token["id_token"]});
    assert_eq!(status(&world, &as_token, "/fhir/Patient/ada").await, 401, "an identity is no token for the API");

    let (code, again) = refresh(&world, &token, "patient/Patient.r").await;
    assert_eq!(
        (code, &again["scope"], &again["patient"]),
        (200, &json!("patient/Patient.r"), &json!("ada")),
        "{again}"
    );
    assert!(again["refresh_token"] != token["refresh_token"] && again.get("id_token").is_none());
    assert_ne!(again["access_token"], token["access_token"]);
    assert_eq!((&again["token_type"], &again["expires_in"]), (&json!("Bearer"), &json!(300)));
    let (code, last) = refresh(&world, &again, "").await;
    assert_eq!((code, &last["scope"]), (200, &token["scope"]), "narrowed once, not for ever");

    let me = browser.page("/me").await;
    assert!(me.contains("Heart &lt;b&gt;App") && me.contains("see and search everything in your record"), "{me}");
    let (_, rest) = me.split_once("name=\"grant\" value=\"").unwrap();
    let (grant, form_token) = (rest.split('"').next().unwrap(), browser.token().await);
    let reply = browser.form("/auth/apps/end", &format!("token={form_token}&grant={grant}")).await;
    assert_eq!(reply.status(), 303);
    assert_eq!(status(&world, &last, "/fhir/Patient/ada").await, 401, "at once");
    assert_eq!(refresh(&world, &last, "").await.0, 400);
    assert!(!browser.page("/me").await.contains("Heart"));
}

// meets smart 15 18 96
#[tokio::test]
async fn what_does_not_hold_goes_back_to_the_app_or_nowhere() {
    let world = world().await;
    let mut browser = ada(&world).await;
    for (name, value, error) in [
        ("state", "", "invalid_request"),
        ("response_type", "token", "unsupported_response_type"),
        ("response_type", "", "unsupported_response_type"),
        ("code_challenge", "", "invalid_request"),
        ("code_challenge", "short", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("code_challenge_method", "", "invalid_request"),
        ("aud", "https://evil.example/fhir", "invalid_request"),
        ("aud", "", "invalid_request"),
        ("scope", "", "invalid_scope"),
        ("scope", "user/*.rs", "invalid_scope"),
        ("scope", "system/*.rs", "invalid_scope"),
        ("request", "x", "request_not_supported"),
        ("prompt", "none", "interaction_required"),
    ] {
        let query = question(&world, &[(name, value)]);
        let told = told(&browser.get(&format!("/auth/authorize?{query}")).await);
        assert_eq!(told["error"], error, "{name}={value}");
        assert!(!told.contains_key("code") && told.contains_key("iss"));
        assert_eq!(told.get("state").map(String::as_str), (name != "state").then_some("s&1"));
    }
    // Nobody is sent to where no app is registered.
    let twice = format!("{}&redirect_uri=https%3A%2F%2Fevil.example", question(&world, &[]));
    for query in [
        question(&world, &[("redirect_uri", "https://evil.example/cb")]),
        question(&world, &[("redirect_uri", "https://app.example/cb")]),
        question(&world, &[("redirect_uri", &format!("{REDIRECT}/"))]),
        question(&world, &[("redirect_uri", "https://app.example.evil.example/cb?x=1")]),
        question(&world, &[("redirect_uri", "")]),
        question(&world, &[("client_id", "nobody")]),
        question(&world, &[("client_id", "")]),
        twice,
        String::new(),
    ] {
        let reply = browser.get(&format!("/auth/authorize?{query}")).await;
        assert!(reply.status() == 400 && !reply.headers().contains_key("location"), "{query}");
        let reply = answer(&mut browser, &query, "approve", "").await;
        assert!(reply.status() == 400 && !reply.headers().contains_key("location"), "{query}");
    }
}

#[tokio::test]
async fn nobody_approves_for_somebody_else() {
    let world = world().await;
    let mut browser = ada(&world).await;
    let token = browser.token().await;
    let request = encode(&question(&world, &[]));
    let good = format!("token={token}&request={request}&answer=approve");
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let origin = browser.origin.clone();
    let own = ("origin", origin.as_str());
    for (what, headers, body) in [
        ("no token", vec![own, kind], format!("request={request}&answer=approve")),
        ("another token", vec![own, kind], format!("token={}&request={request}&answer=approve", "0".repeat(64))),
        ("no origin", vec![kind], good.clone()),
        ("another origin", vec![("origin", "https://app.example"), kind], good.clone()),
        ("another site", vec![own, kind, ("sec-fetch-site", "cross-site")], good.clone()),
        ("no answer", vec![own, kind], format!("token={token}&request={request}")),
    ] {
        let reply = browser.send("POST", "/auth/authorize/answer", &headers, &body).await;
        assert!(matches!(reply.status().as_u16(), 400 | 403), "{what}: {}", reply.status());
        assert!(!reply.headers().contains_key("location"), "{what}");
    }
    let mut stranger = Browser::new(&world);
    assert_eq!(stranger.form("/auth/authorize/answer", &good).await.status(), 401);
    assert_eq!(browser.get("/auth/authorize/answer").await.status(), 405, "an address cannot approve");
}

// meets smart 14 31
#[tokio::test]
async fn what_is_unticked_is_not_granted() {
    let world = world().await;
    let mut browser = ada(&world).await;
    let (query, token) = (question(&world, &[]), browser.token().await);
    let page = browser.page(&format!("/auth/authorize?{query}")).await;
    assert_eq!(page.matches("type=\"checkbox\"").count(), 5, "{page}");
    // Of openid, fhirUser, launch/patient, patient/*.rs, offline_access.
    for (ticked, expected) in [
        ("&scope-0=on&scope-3=on", "openid patient/*.rs"),
        ("&scope-1=on&scope-3=on", "patient/*.rs"),
        ("&scope-0=on&scope-99=on", "openid"),
    ] {
        let body = format!("token={token}&request={}&answer=approve{ticked}", encode(&query));
        let told = told(&browser.form("/auth/authorize/answer", &body).await);
        assert_eq!(redeem(&world, &told["code"], &[]).await.1["scope"], expected, "{ticked}");
    }
    for ticked in ["", "&scope-4=on"] {
        let body = format!("token={token}&request={}&answer=approve{ticked}", encode(&query));
        let told = told(&browser.form("/auth/authorize/answer", &body).await);
        assert_eq!(told["error"], "access_denied", "nothing, or to come again for nothing");
    }
}

#[tokio::test]
async fn a_code_counts_once_for_whom_it_was_made() {
    let world = world().await;
    let mut browser = ada(&world).await;
    let short = "x".repeat(42);
    for (name, value) in [
        ("client_id", "other"),
        ("redirect_uri", "http://localhost:9/other"),
        ("code_verifier", CHALLENGE),
        ("code_verifier", short.as_str()),
    ] {
        let given = code(&mut browser, &[]).await;
        let (status, told) = redeem(&world, &given, &[(name, value)]).await;
        assert_eq!((status, told["error"].as_str()), (400, Some("invalid_grant")), "{name}={value}");
        assert_eq!(redeem(&world, &given, &[]).await.0, 400, "{name}: it is used up");
    }
    for name in ["code_verifier", "redirect_uri", "client_id"] {
        let given = code(&mut browser, &[]).await;
        assert_eq!(redeem(&world, &given, &[(name, "")]).await.1["error"], "invalid_request", "{name}");
    }
    assert_eq!(redeem(&world, "nonsense", &[]).await.1["error"], "invalid_grant");
    let given = code(&mut browser, &[]).await;
    let as_refresh = json!({"refresh_token": given});
    assert_eq!(refresh(&world, &as_refresh, "").await.0, 400, "a code is no refresh token");

    // A minute, and no longer.
    let (store, now) = (&world.running.app.core.store, world.running.app.core.clock.now().as_millisecond());
    for (id, expires, expected) in [("late", now - 1, 400), ("early", now + 60_000, 200)] {
        let bound = Code { redirect: REDIRECT.into(), challenge: CHALLENGE.into(), nonce: String::new() };
        let grant = Grant {
            id: id.into(),
            client: "app".into(),
            account: account(&world).id,
            session: None,
            scope: "patient/*.rs".into(),
            patient: Name::parse("Patient/ada"),
            encounter: None,
            code: Some(bound),
            made: now - 60_000,
            expires,
        };
        let handle = Handle::new(&system_random).unwrap();
        store.allow(&grant, &handle, now - 60_000).unwrap();
        assert_eq!(redeem(&world, &handle.expose(), &[]).await.0, expected, "{id}");
    }

    // Used twice: somebody has a copy, and what came of it ends.
    let given = code(&mut browser, &[]).await;
    let (_, token) = redeem(&world, &given, &[]).await;
    assert_eq!(status(&world, &token, "/fhir/Patient/ada").await, 200);
    assert_eq!(redeem(&world, &given, &[]).await.1["error"], "invalid_grant");
    assert_eq!(status(&world, &token, "/fhir/Patient/ada").await, 401);
    assert_eq!(refresh(&world, &token, "").await.0, 400);
}

// meets smart 89 103 104 164
#[tokio::test]
async fn a_refresh_token_counts_once_and_never_for_more() {
    let world = world().await;
    let mut browser = ada(&world).await;
    let given = code(&mut browser, &[]).await;
    let (_, first) = redeem(&world, &given, &[]).await;
    for wider in ["patient/*.cruds", "patient/*.rs user/*.rs", "system/*.rs", "nonsense"] {
        assert_eq!(refresh(&world, &first, wider).await.1["error"], "invalid_scope", "{wider}");
    }
    let (status_, second) = refresh(&world, &first, "").await;
    assert_eq!(status_, 200, "asking for more has used nothing up: {second}");
    assert_eq!(refresh(&world, &first, "").await.1["error"], "invalid_grant");
    assert_eq!(refresh(&world, &second, "").await.1["error"], "invalid_grant", "the family is dead");
    for token in [&first, &second] {
        assert_eq!(status(&world, token, "/fhir/Patient/ada").await, 401);
    }
    // A public app need not say its name again.
    let given = code(&mut browser, &[]).await;
    let (_, token) = redeem(&world, &given, &[]).await;
    let nameless = [("grant_type", "refresh_token"), ("refresh_token", token["refresh_token"].as_str().unwrap())];
    assert_eq!(ask(&world, &nameless).await.0, 200);
    assert_eq!(ask(&world, &nameless).await.1["error"], "invalid_grant");
    assert_eq!(status(&world, &token, "/fhir/Patient/ada").await, 401, "and it counts once all the same");
    // Another app's.
    let given = code(&mut browser, &[]).await;
    let (_, token) = redeem(&world, &given, &[]).await;
    let stolen = token["refresh_token"].as_str().unwrap();
    let asked = [("grant_type", "refresh_token"), ("client_id", "other"), ("refresh_token", stolen)];
    assert_eq!(ask(&world, &asked).await.1["error"], "invalid_grant");
    assert_eq!(refresh(&world, &token, "").await.0, 400);
    // The app ends its own (RFC 7009).
    let given = code(&mut browser, &[]).await;
    let (_, token) = redeem(&world, &given, &[]).await;
    let body = form(&[("client_id", "app"), ("token", token["refresh_token"].as_str().unwrap())]);
    assert_eq!(post(&world, "/auth/revoke", &[], &body).await.0, 200);
    assert_eq!(status(&world, &token, "/fhir/Patient/ada").await, 401);
    // Without a scope for it there is none.
    let given = code(&mut browser, &[("scope", "patient/*.rs")]).await;
    let (_, token) = redeem(&world, &given, &[]).await;
    assert!(token.get("refresh_token").is_none() && token.get("id_token").is_none());
    assert_eq!(token["patient"], "ada", "who opens a patient's record is told whose");
}

// meets smart 78 114 115 277 278 279
#[tokio::test]
async fn an_app_is_told_what_it_got_and_gets_the_same_again() {
    let world = world().await;
    let mut browser = ada(&world).await;
    let scope = "openid patient/*.read patient/Patient.cruds user/*.rs system/*.rs offline_access nonsense";
    let given = code(&mut browser, &[("scope", scope)]).await;
    let (_, token) = redeem(&world, &given, &[]).await;
    assert_eq!(token["scope"], "openid patient/*.rs patient/Patient.cruds offline_access", "in version 2's form");
    let (_, again) = refresh(&world, &token, "").await;
    assert_eq!(again["scope"], token["scope"]);

    // Introspection says the same (SMART App Launch 2.2, section 6).
    let bearer = format!("Bearer {}", again["access_token"].as_str().unwrap());
    let body = form(&[("token", token["access_token"].as_str().unwrap())]);
    let (status, told) = post(&world, "/auth/introspect", &[("authorization", &bearer)], &body).await;
    assert_eq!((status, &told["active"], &told["client_id"]), (200, &json!(true), &json!("app")), "{told}");
    for name in ["scope", "patient", "need_patient_banner"] {
        assert_eq!(told[name], token[name], "{name}");
    }
    let claims = token["id_token"].as_str().unwrap().split('.').nth(1).unwrap();
    let identity: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    for name in ["iss", "sub"] {
        assert!(told[name].is_string() && told[name] == identity[name], "{name}: {told}");
    }
}

// meets smart 49 354
#[tokio::test]
async fn an_app_may_ask_by_a_form() {
    let world = world().await;
    let query = question(&world, &[]);
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let from = ("origin", "https://app.example");
    let mut browser = ada(&world).await;
    let reply = browser.send("POST", "/auth/authorize", &[from, kind], &query).await;
    assert_eq!(reply.status(), 303);
    let to = reply.headers()["location"].to_str().unwrap();
    let path = to.strip_prefix(&browser.origin).unwrap();
    assert_eq!(pairs(path.split_once('?').unwrap().1), pairs(&query));
    assert!(browser.page(path).await.contains("Approve"), "the person is asked all the same");
    let strange = browser.send("POST", "/auth/authorize", &[from, kind], &format!("{query}&%E2%82%AC%0A=%0A")).await;
    assert!(strange.headers().contains_key("location"), "whatever a name holds");
    for (media, body) in [(kind, "state=%zz"), (("content-type", "application/json"), query.as_str())] {
        let reply = browser.send("POST", "/auth/authorize", &[from, media], body).await;
        assert!(reply.status() == 400 && !reply.headers().contains_key("location"));
    }
    assert_eq!(browser.send("PUT", "/auth/authorize", &[from, kind], &query).await.status(), 405);
}

// meets smart 100 101 365 366
#[tokio::test]
async fn access_ends_with_account_client_and_where_it_says_so_session() {
    let world = world().await;
    let mut browser = ada(&world).await;
    let store = &world.running.app.core.store;
    let get = async |browser: &mut Browser<'_>, scope: &str| {
        let given = code(browser, &[("scope", scope)]).await;
        redeem(&world, &given, &[]).await.1
    };
    let online = get(&mut browser, "patient/*.rs online_access").await;
    let offline = get(&mut browser, "patient/*.rs offline_access").await;
    let (_, online) = refresh(&world, &online, "").await;
    assert!(is_active(&world, &online).await && is_active(&world, &offline).await);

    assert_eq!(status(&world, &online, "/fhir/Patient/ada").await, 200, "which is believed for a moment");
    let token = browser.token().await;
    browser.form("/auth/logout", &format!("token={token}")).await;
    assert_eq!(status(&world, &online, "/fhir/Patient/ada").await, 401, "at once");
    assert!(!is_active(&world, &online).await && is_active(&world, &offline).await);
    assert_eq!(refresh(&world, &online, "").await.1["error"], "invalid_grant");
    let (status, offline) = refresh(&world, &offline, "").await;
    assert_eq!(status, 200, "{offline}");

    let account = account(&world);
    store.close_account(&account.id, true).unwrap();
    assert!(!is_active(&world, &offline).await);
    assert_eq!(refresh(&world, &offline, "").await.1["error"], "invalid_grant");
    store.close_account(&account.id, false).unwrap();
    assert_eq!(
        refresh(&world, &offline, "").await.1["error"],
        "invalid_grant",
        "opened again, it is not as if nothing was"
    );

    let mut browser = clinician(&world).await;
    let offline = get(&mut browser, "patient/*.rs offline_access").await;
    assert!(is_active(&world, &offline).await);
    store.drop_client("app").unwrap();
    assert!(!is_active(&world, &offline).await);
    assert_eq!(refresh(&world, &offline, "").await.1["error"], "invalid_client");
}

#[tokio::test]
async fn a_clinician_names_the_patient_whose_record_is_opened() {
    let world = world().await;
    let mut browser = clinician(&world).await;
    let query = question(&world, &[("scope", "launch/patient patient/*.rs")]);
    put(&world, json!({"resourceType": "Patient", "id": "shy"})).await;
    put(&world, withheld("shy")).await;
    let page = browser.page(&format!("/auth/authorize?{query}")).await;
    assert!(page.contains("name=\"patient\"") && page.contains("in the record of the patient"), "{page}");
    let unknown = answer(&mut browser, &query, "approve", "&patient=nobody").await;
    for nobody in ["", "&patient=", "&patient=shy", "&patient=Practitioner%2Fdan", "&patient=a%2Fb"] {
        let reply = answer(&mut browser, &query, "approve", nobody).await;
        assert!(reply.status() == 400 && !reply.headers().contains_key("location"), "{nobody}");
        assert_eq!(reply.body(), unknown.body(), "{nobody}: who withholds is told like who is not here");
    }
    let approved = told(&answer(&mut browser, &query, "approve", "&patient=bob").await);
    let (_, token) = redeem(&world, &approved["code"], &[]).await;
    assert_eq!(token["patient"], "bob");
    assert_eq!(status(&world, &token, "/fhir/Patient/bob").await, 200);
    assert_eq!(status(&world, &token, "/fhir/Patient/ada").await, 404, "a patient's record is that patient's");

    let query = question(&world, &[("scope", "user/*.rs")]);
    let approved = told(&answer(&mut browser, &query, "approve", "").await);
    let (_, token) = redeem(&world, &approved["code"], &[]).await;
    assert!(token.get("patient").is_none());
    assert_eq!(
        [status(&world, &token, "/fhir/Patient/ada").await, status(&world, &token, "/fhir/Patient/bob").await],
        [200, 200]
    );
}

/// A patient's word that nobody sees the record.
fn withheld(patient: &str) -> Value {
    let mut consent = consent("active", json!({"type": "deny"}));
    consent["patient"] = json!({"reference": format!("Patient/{patient}")});
    consent
}

#[tokio::test]
async fn who_has_died_lets_no_app_in_and_none_comes_again() {
    let world = world().await;
    let mut browser = ada(&world).await;
    let given = code(&mut browser, &[]).await;
    let (_, token) = redeem(&world, &given, &[]).await;
    let late = code(&mut browser, &[]).await;
    // The record of another number says so, with which hers was merged.
    let link = |kind: &str, other: &str| json!([{"type": kind, "other": {"reference": format!("Patient/{other}")}}]);
    put(&world, json!({"resourceType": "Patient", "id": "ada", "link": link("replaced-by", "ada2")})).await;
    let ada2 =
        json!({"resourceType": "Patient", "id": "ada2", "link": link("replaces", "ada"), "deceasedBoolean": true});
    put(&world, ada2).await;
    let query = question(&world, &[]);
    let told_ = told(&browser.get(&format!("/auth/authorize?{query}")).await);
    assert_eq!(told_["error"], "access_denied");
    assert!(!told_["error_description"].contains("die"), "nobody let the app in: it is not told");
    let told_ = told(&answer(&mut browser, &query, "approve", "").await);
    assert!(told_["error"] == "access_denied" && !told_.contains_key("code"), "{told_:?}");
    assert_eq!(refresh(&world, &token, "").await.1["error"], "invalid_grant");
    assert_eq!(redeem(&world, &late, &[]).await.1["error"], "invalid_grant");
    // It was a mistake of the office's.
    put(&world, json!({"resourceType": "Patient", "id": "ada2", "link": link("replaces", "ada")})).await;
    assert_eq!(refresh(&world, &token, "").await.0, 200, "nothing was used up");
    assert_eq!(redeem(&world, &late, &[]).await.0, 200);
    assert!(told(&answer(&mut browser, &query, "approve", "").await).contains_key("code"));
}

/// An app that is opened from records, and asks for the most.
fn opened_app(world: &World, id: &str) {
    let scope = "launch launch/patient launch/encounter openid patient/*.rs user/*.rs offline_access";
    let client = Client {
        id: id.into(),
        name: format!("Opened <{id}>"),
        scope: scope.into(),
        keys: Keys::None,
        redirects: vec![REDIRECT.into()],
        launch: Some("https://app.example/start?v=1".into()),
        purpose: None,
        by_itself: false,
        made: 0,
    };
    assert!(world.running.app.core.store.add_client(&client, 100).unwrap());
}

async fn visits(world: &World) {
    for (id, patient) in [("bobs", "bob"), ("adas", "ada")] {
        let class = json!({"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"});
        let subject = json!({"reference": format!("Patient/{patient}")});
        let visit =
            json!({"resourceType": "Encounter", "id": id, "status": "finished", "class": class, "subject": subject});
        assert_eq!(world.call("PUT", &format!("/fhir/Encounter/{id}"), &visit.to_string()).await.0, 201);
    }
}

/// Presses the button; what the app gets.
async fn press(browser: &mut Browser<'_>, page: &str, app: &str, more: &str) -> Response<Bytes> {
    let token = browser.token().await;
    browser.form(&format!("{page}/apps"), &format!("token={token}&app={app}{more}")).await
}

/// The launch that a button led to.
async fn launch_of(browser: &mut Browser<'_>, page: &str, app: &str, more: &str) -> String {
    let reply = press(browser, page, app, more).await;
    assert_eq!(reply.status(), 303, "{:?}", reply.body());
    let to = reply.headers()["location"].to_str().unwrap();
    let query = to.strip_prefix("https://app.example/start?v=1&").unwrap_or_else(|| panic!("sent elsewhere: {to}"));
    let said: HashMap<String, String> = pairs(query).unwrap().into_iter().collect();
    assert_eq!(said["iss"], browser.world.running.app.core.base);
    assert!(!to.contains("bob"), "a launch tells nothing");
    said["launch"].clone()
}

const OPENED: &str = "launch launch/encounter openid patient/*.rs offline_access";

/// What an opened app asks.
fn opened(world: &World, launch: &str, changes: &[(&str, &str)]) -> String {
    question(world, &[&[("client_id", "opened"), ("scope", OPENED), ("launch", launch)], changes].concat())
}

// meets smart 171 173 175 277 349 351 352 359 360 361 362
#[tokio::test]
async fn an_app_is_opened_from_a_record_and_told_whose() {
    let world = world().await;
    opened_app(&world, "opened");
    visits(&world).await;
    let mut browser = clinician(&world).await;
    assert!(browser.page("/me/patients/bob").await.contains("/me/patients/bob/apps"));
    let visit = browser.page("/me/patients/bob/Encounter/bobs").await;
    assert!(visit.contains("/me/patients/bob/apps?encounter=bobs"), "{visit}");
    let reply = browser.get("/me/patients/bob/apps?encounter=bobs").await;
    let policy = reply.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.ends_with("form-action 'self' https://app.example"), "{policy}");
    let page = String::from_utf8(reply.body().to_vec()).unwrap();
    assert!(page.contains("Open Opened &lt;opened&gt;") && !page.contains("Heart"), "only what can be opened: {page}");

    let launch = launch_of(&mut browser, "/me/patients/bob", "opened", "&encounter=bobs").await;
    let query = opened(&world, &launch, &[]);
    let page = browser.page(&format!("/auth/authorize?{query}")).await;
    assert!(
        page.contains("Patient/bob") && page.contains("Encounter/bobs") && !page.contains("name=\"patient\""),
        "{page}"
    );
    let approved = told(&answer(&mut browser, &query, "approve", "&patient=ada").await);
    let opened_by = [("client_id", "opened")];
    let (status_, token) = redeem(&world, &approved["code"], &opened_by).await;
    assert_eq!(status_, 200, "{token}");
    assert_eq!(
        (&token["patient"], &token["encounter"]),
        (&json!("bob"), &json!("bobs")),
        "what was opened, not what was named"
    );
    assert_eq!((&token["scope"], &token["need_patient_banner"]), (&json!(OPENED), &json!(true)));
    assert_eq!(status(&world, &token, "/fhir/Encounter/bobs").await, 200);
    assert_eq!(status(&world, &token, "/fhir/Patient/ada").await, 404);

    // How the pages look, for pages of everybody.
    let style = token["smart_style_url"].as_str().unwrap().split_once("/portal/").unwrap().1;
    let reply = world.request("GET", &format!("/portal/{style}"), &[("origin", "https://app.example")], b"").await;
    assert_eq!((reply.status().as_u16(), reply.headers()["access-control-allow-origin"].to_str().unwrap()), (200, "*"));
    let style: Value = serde_json::from_slice(reply.body()).unwrap();
    assert!(style["color_background"].is_string() && style["dim_font_size"].is_string());

    // Introspection says the same; a refresh, too.
    let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
    let body = form(&[("token", token["access_token"].as_str().unwrap())]);
    let (_, said) = post(&world, "/auth/introspect", &[("authorization", &bearer)], &body).await;
    for name in ["patient", "encounter", "need_patient_banner", "smart_style_url"] {
        assert_eq!(said[name], token[name], "{name}");
    }
    let again = [
        ("grant_type", "refresh_token"),
        ("client_id", "opened"),
        ("refresh_token", token["refresh_token"].as_str().unwrap()),
    ];
    assert_eq!(ask(&world, &again).await.1["encounter"], "bobs");

    // Without a visit there is none, whatever is asked for.
    let launch = launch_of(&mut browser, "/me/patients/bob", "opened", "").await;
    let approved = told(&answer(&mut browser, &opened(&world, &launch, &[]), "approve", "").await);
    let (_, token) = redeem(&world, &approved["code"], &opened_by).await;
    assert!(token["patient"] == "bob" && token.get("encounter").is_none(), "{token}");
    assert_eq!(token["scope"], "launch openid patient/*.rs offline_access");

    // The person unticks it; the app does not ask for it by name.
    for (scope, ticked, expected) in [
        (OPENED, "&scope-0=on&scope-3=on", None),
        ("launch patient/*.rs", "&scope-0=on&scope-1=on", Some("bobs")),
        ("launch patient/*.rs", "&scope-1=on", None),
    ] {
        let launch = launch_of(&mut browser, "/me/patients/bob", "opened", "&encounter=bobs").await;
        let query = opened(&world, &launch, &[("scope", scope)]);
        let token = browser.token().await;
        let body = format!("token={token}&request={}&answer=approve{ticked}", encode(&query));
        let approved = told(&browser.form("/auth/authorize/answer", &body).await);
        let (_, token) = redeem(&world, &approved["code"], &opened_by).await;
        assert_eq!((&token["patient"], token["encounter"].as_str()), (&json!("bob"), expected), "{scope} {ticked}");
    }

    // A patient opens it from the own record.
    let mut ada = ada(&world).await;
    assert!(ada.page("/me/records").await.contains("/me/records/apps"));
    let launch = launch_of(&mut ada, "/me/records", "opened", "&encounter=adas").await;
    let approved = told(&answer(&mut ada, &opened(&world, &launch, &[]), "approve", "").await);
    let (_, token) = redeem(&world, &approved["code"], &opened_by).await;
    assert_eq!((&token["patient"], &token["encounter"]), (&json!("ada"), &json!("adas")));
}

#[tokio::test]
async fn a_launch_counts_once_for_who_opened_the_app_and_for_that_app() {
    let world = world().await;
    opened_app(&world, "opened");
    opened_app(&world, "another");
    let mut browser = clinician(&world).await;
    let launch = launch_of(&mut browser, "/me/patients/bob", "opened", "").await;
    let now = world.running.app.core.clock.now().as_second() as u64;
    let account = account(&world).id;
    let secrets = &world.running.app.core.secrets;
    let bob = Name::parse("Patient/bob").unwrap();
    let old = Launch::new((&account, "opened"), (&bob, None), now - 300, &system_random).unwrap();
    let old = old.seal(secrets, &system_random).unwrap();
    for (what, launch, changes, error) in [
        ("nonsense", "xyz", vec![], "invalid_request"),
        ("cut", &launch[1..], vec![], "invalid_request"),
        ("too old", old.as_str(), vec![], "invalid_request"),
        ("another app's", launch.as_str(), vec![("client_id", "another")], "invalid_request"),
        ("without the scope", launch.as_str(), vec![("scope", "patient/*.rs")], "invalid_scope"),
        ("not registered for it", launch.as_str(), vec![("client_id", "app")], "invalid_scope"),
    ] {
        let query = opened(&world, launch, &changes);
        assert_eq!(told(&browser.get(&format!("/auth/authorize?{query}")).await)["error"], error, "{what}");
        let said = told(&answer(&mut browser, &query, "approve", "&patient=bob").await);
        assert!(said["error"] == error && !said.contains_key("code"), "{what}");
    }
    let query = opened(&world, &launch, &[]);
    let mut ada = ada(&world).await;
    assert_eq!(told(&ada.get(&format!("/auth/authorize?{query}")).await)["error"], "access_denied", "somebody else");
    assert_eq!(told(&answer(&mut ada, &query, "approve", "").await)["error"], "access_denied");

    // Looked at, refused, looked at again: it is used up by being approved.
    assert_eq!(told(&answer(&mut browser, &query, "refuse", "").await)["error"], "access_denied");
    assert!(told(&answer(&mut browser, &query, "approve", "").await).contains_key("code"));
    let again = told(&answer(&mut browser, &query, "approve", "").await);
    assert!(again["error"] == "invalid_request" && !again.contains_key("code"), "{again:?}");

    // The patient has withheld the record since.
    let launch = launch_of(&mut browser, "/me/patients/bob", "opened", "").await;
    put(&world, withheld("bob")).await;
    let reply = answer(&mut browser, &opened(&world, &launch, &[]), "approve", "").await;
    assert!(reply.status() == 400 && !reply.headers().contains_key("location"));
    assert_eq!(world.call("DELETE", "/fhir/Consent/k", "").await.0, 204);

    // Without a launch the scope is not granted.
    let query = opened(&world, "", &[]);
    let approved = told(&answer(&mut browser, &query, "approve", "&patient=bob").await);
    let (_, token) = redeem(&world, &approved["code"], &[("client_id", "opened")]).await;
    assert_eq!(token["scope"], "openid patient/*.rs offline_access");
}

#[tokio::test]
async fn the_button_opens_what_is_there_for_who_may() {
    let world = world().await;
    opened_app(&world, "opened");
    visits(&world).await;
    let mut browser = clinician(&world).await;
    for (page, app, more, expected) in [
        ("/me/patients/bob", "app", "", 404),
        ("/me/patients/bob", "nobody", "", 404),
        ("/me/patients/nobody", "opened", "", 404),
        ("/me/patients/bob", "opened", "&encounter=adas", 404),
        ("/me/patients/bob", "opened", "&encounter=..", 404),
        ("/me/records", "opened", "", 403),
    ] {
        assert_eq!(press(&mut browser, page, app, more).await.status(), expected, "{page} {app} {more}");
    }
    assert_eq!(browser.get("/me/patients/bob/apps?encounter=adas").await.status(), 404);
    let token = browser.token().await;
    let body = format!("token={token}&app=opened");
    let kind = ("content-type", "application/x-www-form-urlencoded");
    for origin in ["https://app.example", "null"] {
        let reply = browser.send("POST", "/me/patients/bob/apps", &[kind, ("origin", origin)], &body).await;
        assert_eq!(reply.status(), 403, "{origin}");
    }
    let forged = format!("token={}&app=opened", "0".repeat(64));
    assert_eq!(browser.form("/me/patients/bob/apps", &forged).await.status(), 403);
    assert_eq!(browser.form("/me/patients/bob/apps", &format!("token={token}")).await.status(), 400);
    let mut ada = ada(&world).await;
    assert_eq!(press(&mut ada, "/me/patients/bob", "opened", "").await.status(), 403);
    assert_eq!(press(&mut ada, "/me/records", "opened", "&encounter=bobs").await.status(), 404);
    assert_eq!(Browser::new(&world).form("/me/patients/bob/apps", &body).await.status(), 401);
}

/// What the newest event of a program says that it was for.
async fn purpose_of(world: &World, program: &str, person: &str) -> Value {
    bridge::audit::worker::flush(&world.running.app).await.unwrap();
    let (_, bundle) = world.get("/fhir/AuditEvent?_sort=-date&_count=200").await;
    let agents = bundle["entry"].as_array().unwrap().iter().map(|entry| &entry["resource"]["agent"]);
    let by = |agents: &&Value| {
        let program = agents[0]["who"]["identifier"]["value"].as_str().is_some_and(|name| name.starts_with(program));
        program && agents.to_string().contains(person)
    };
    let agents = agents.into_iter().find(by).unwrap_or_else(|| panic!("{program}, {person}: {bundle}"));
    agents.as_array().unwrap().iter().find(|agent| agent["requestor"] == true).unwrap()["purposeOfUse"][0]["coding"][0]
        .clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_app_uses_records_for_is_asked_of_consents_and_told() {
    let world = world().await;
    let client = world.running.app.core.store.client("app").unwrap().unwrap();
    let study = Client { id: "study".into(), purpose: Some("HRESCH".into()), ..client };
    assert!(world.running.app.core.store.add_client(&study, 100).unwrap());
    let mut browser = clinician(&world).await;
    let research = json!([{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HRESCH"}]);
    let no = consent("active", json!({"type": "permit", "provision": [{"type": "deny", "purpose": research}]}));
    put(&world, no).await;
    let get = async |browser: &mut Browser<'_>, id: &str, patient: &str| {
        let changes = [("client_id", id), ("scope", "launch/patient patient/*.rs")];
        let query = question(&world, &changes);
        let told = told(&answer(browser, &query, "approve", &format!("&patient={patient}")).await);
        redeem(&world, &told["code"], &[("client_id", id)]).await.1
    };
    let (care, science) = (get(&mut browser, "app", "ada").await, get(&mut browser, "study", "ada").await);
    assert_eq!(status(&world, &care, "/fhir/Patient/ada").await, 200);
    assert_eq!(status(&world, &science, "/fhir/Patient/ada").await, 404, "not for research");
    let science = get(&mut browser, "study", "bob").await;
    assert_eq!(status(&world, &science, "/fhir/Patient/bob").await, 200, "bob has not said so");
    assert_eq!(browser.get("/me/patients/ada").await.status(), 200);

    // The patient's own app reads the own record, whatever for.
    let mut ada = ada(&world).await;
    let (own, studied) = (get(&mut ada, "app", "").await, get(&mut ada, "study", "").await);
    assert_eq!(
        [status(&world, &own, "/fhir/Patient/ada").await, status(&world, &studied, "/fhir/Patient/ada").await],
        [200, 200]
    );

    let body = form(&[("token", science["access_token"].as_str().unwrap())]);
    let bearer = format!("Bearer {}", world.token);
    assert_eq!(post(&world, "/auth/introspect", &[("authorization", &bearer)], &body).await.1["purpose"], "HRESCH");
    for (program, person, expected) in [
        ("app", "Practitioner/dan", "TREAT"),
        ("study", "Practitioner/dan", "HRESCH"),
        ("portal/", "Practitioner/dan", "TREAT"),
        ("app", "Patient/ada", "PATRQT"),
        ("study", "Patient/ada", "HRESCH"),
    ] {
        assert_eq!(purpose_of(&world, program, person).await["code"], expected, "{program} {person}");
    }
}

#[tokio::test]
async fn an_app_that_has_a_key_must_use_it() {
    let world = world().await;
    register(&world, "sealed", inline(&[&EC]));
    let mut browser = ada(&world).await;
    let client = [("client_id", "sealed")];
    let given = code(&mut browser, &client).await;
    assert_eq!(redeem(&world, &given, &client).await.1["error"], "invalid_client");
    let assertion = signed(&EC, &claims(&world, "sealed"));
    let by_key = [("client_id", "sealed"), ("client_assertion_type", BY_JWT), ("client_assertion", assertion.as_str())];
    let (status, token) = redeem(&world, &given, &by_key).await;
    assert_eq!(status, 200, "whoever could not prove it was the app has used nothing up: {token}");
    let nameless = [("grant_type", "refresh_token"), ("refresh_token", token["refresh_token"].as_str().unwrap())];
    assert_eq!(ask(&world, &nameless).await.1["error"], "invalid_client");
    let assertion = signed(&EC, &claims(&world, "sealed"));
    let by_itself = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", BY_JWT),
        ("client_assertion", &assertion),
        ("scope", "patient/*.rs"),
    ];
    assert_eq!(ask(&world, &by_itself).await.1["error"], "invalid_scope", "an app has nothing of its own");
}

// meets smart 358
#[tokio::test]
async fn openid_clients_find_what_there_is() {
    let world = World::new().await;
    for path in ["/.well-known/openid-configuration", "/fhir/.well-known/openid-configuration"] {
        let reply = world.request("GET", path, &[], b"").await;
        let told: Value = serde_json::from_slice(reply.body()).unwrap();
        assert_eq!(told["issuer"], world.running.app.core.base.trim_end_matches("/fhir"));
        assert_eq!(told["id_token_signing_alg_values_supported"], json!(["RS256"]));
    }
}
