//! Signing in by an outside provider: a small one that really answers, and the ways in which one may lie.

use super::door::{Browser, invitation, text};
use super::world::{World, config};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use bridge::clock::{Clock, SystemClock};
use bridge::config::{Hidden, Provider};
use bridge::http::query;
use bridge::people::Role;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use notary::commitment::Digest;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use warp::http::Response;

const NAME: &str = "Hospital account";
const CITY: &str = "City account";

/// What the provider will say next.
struct Saying {
    issuer: String,
    /// What it was asked: the parameters of the authorization request.
    asked: HashMap<String, String>,
    subject: &'static str,
    change: fn(&mut Value),
    header: Header,
    signed_by: EncodingKey,
    public: Value,
    /// With what a code was redeemed last.
    authorization: Option<String>,
    /// Each answer names who gives it (RFC 9207).
    names_itself: bool,
}

#[derive(Clone)]
struct Mock(Arc<Mutex<Saying>>);

fn key(name: &str) -> (EncodingKey, Value) {
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &aws_lc_rs::rand::SystemRandom::new());
    let der = der.unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref()).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": text(x), "y": text(y), "kid": name, "use": "sig"});
    (EncodingKey::from_ec_der(der.as_ref()), jwk)
}

fn header() -> Header {
    Header { kid: Some("one".into()), ..Header::new(Algorithm::ES256) }
}

impl Mock {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let (signed_by, public) = key("one");
        let (asked, change) = (HashMap::new(), (|_| ()) as fn(&mut Value));
        let saying = Saying {
            issuer,
            asked,
            subject: "ada",
            change,
            header: header(),
            signed_by,
            public,
            authorization: None,
            names_itself: false,
        };
        let mock = Self(Arc::new(Mutex::new(saying)));
        let served = mock.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mock = served.clone();
                let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    let mock = mock.clone();
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let authorization = head.headers.get("authorization").map(|v| v.to_str().unwrap().to_owned());
                        let answer = mock.answer(head.uri.path(), std::str::from_utf8(&body).unwrap(), authorization);
                        let status = if answer.is_null() { 400 } else { 200 };
                        let reply = Response::builder().status(status).body(Full::new(Bytes::from(answer.to_string())));
                        Ok::<_, Infallible>(reply.unwrap())
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        mock
    }

    fn answer(&self, path: &str, body: &str, authorization: Option<String>) -> Value {
        let mut saying = self.0.lock().unwrap();
        let issuer = saying.issuer.clone();
        match path {
            "/.well-known/openid-configuration" => json!({
                "issuer": issuer,
                "authorization_endpoint": format!("{issuer}/authorize"),
                "token_endpoint": format!("{issuer}/token"),
                "jwks_uri": format!("{issuer}/jwks"),
                "authorization_response_iss_parameter_supported": saying.names_itself,
            }),
            "/jwks" => json!({"keys": [saying.public]}),
            _ => {
                saying.authorization = authorization;
                saying.token(&query::pairs(body).unwrap().into_iter().collect())
            }
        }
    }

    fn say(&self, change: fn(&mut Value)) {
        self.0.lock().unwrap().change = change;
    }

    fn issuer(&self) -> String {
        self.0.lock().unwrap().issuer.clone()
    }

    /// Whether it was given a code since this was asked last.
    fn was_given_a_code(&self) -> bool {
        self.0.lock().unwrap().authorization.take().is_some()
    }
}

impl Saying {
    fn token(&self, form: &HashMap<String, String>) -> Value {
        let challenge = text(Digest::of(form["code_verifier"].as_bytes()).0);
        let fits = form["code"] == "good" && form["redirect_uri"] == self.asked["redirect_uri"];
        if !fits || challenge != self.asked["code_challenge"] {
            return Value::Null;
        }
        let now = SystemClock.now().as_second();
        let mut claims = json!({
            "iss": self.issuer, "sub": self.subject, "aud": "medseal", "iat": now, "exp": now + 300,
            "nonce": self.asked["nonce"],
        });
        (self.change)(&mut claims);
        json!({"token_type": "Bearer", "id_token": jsonwebtoken::encode(&self.header, &claims, &self.signed_by).unwrap()})
    }
}

async fn world(mock: &Mock) -> World {
    world_of(&[(NAME, mock)]).await
}

async fn world_of(mocks: &[(&str, &Mock)]) -> World {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(&directory.path().join("data"));
    (config.outgoing.allow_private, config.outgoing.allow_http) = (true, true);
    let provider = |(name, mock): &(&str, &Mock)| Provider {
        name: (*name).into(),
        issuer: mock.issuer(),
        client_id: "medseal".into(),
        client_secret: Some(Hidden("s3cret/+".into())),
    };
    config.login.openid = mocks.iter().map(provider).collect();
    World::with(directory, config).await
}

/// Sends a browser to the provider, and gives the address at which it would come back.
async fn set_out(browser: &mut Browser<'_>, mock: &Mock, door: &str, body: Value) -> String {
    set_out_to(browser, (NAME, mock), door, body).await
}

async fn set_out_to(browser: &mut Browser<'_>, (name, mock): (&str, &Mock), door: &str, mut body: Value) -> String {
    body["provider"] = name.into();
    let (status, told) = browser.post(&format!("/auth/{door}/provider"), &body).await;
    assert_eq!(status, 200, "{told}");
    let (place, asked) = told["next"].as_str().unwrap().split_once('?').unwrap();
    let mut saying = mock.0.lock().unwrap();
    assert_eq!(place, format!("{}/authorize", saying.issuer));
    saying.asked = query::pairs(asked).unwrap().into_iter().collect();
    assert_eq!((saying.asked["scope"].as_str(), saying.asked["code_challenge_method"].as_str()), ("openid", "S256"));
    assert_eq!(saying.asked["redirect_uri"], format!("{}/auth/openid", browser.origin));
    format!("/auth/openid?code=good&state={}", saying.asked["state"])
}

async fn join(world: &World, mock: &Mock) -> String {
    let mut browser = Browser::new(world);
    let code = invitation(world, Role::Auditor, None, None);
    let back = set_out(&mut browser, mock, "join", json!({"code": code})).await;
    let reply = browser.get(&back).await;
    assert_eq!((reply.status().as_u16(), reply.headers()["location"].to_str().unwrap()), (303, "/me"));
    assert!(browser.journey.is_none(), "the cookie of the journey goes");
    browser.cookie.unwrap()
}

#[tokio::test]
async fn an_invited_person_joins_and_signs_in_by_an_outside_provider() {
    let mock = Mock::start().await;
    let world = world(&mock).await;
    let mut browser = Browser::new(&world);
    assert!(browser.page("/auth/login").await.contains(NAME));

    // Nobody comes in by a provider alone.
    let back = set_out(&mut browser, &mock, "login", json!({})).await;
    assert_eq!(browser.get(&back).await.status(), 403);
    assert!(world.running.app.core.store.accounts().unwrap().is_empty());

    join(&world, &mock).await;
    let back = set_out(&mut browser, &mock, "login", json!({"next": "/ledger"})).await;
    let reply = browser.get(&back).await;
    assert_eq!((reply.status().as_u16(), reply.headers()["location"].to_str().unwrap()), (303, "/ledger"));
    assert!(browser.page("/me").await.contains(NAME));
    // client_secret_basic: form-encoded, then base64 (RFC 6749, section 2.3.1).
    let shown = mock.0.lock().unwrap().authorization.clone().unwrap();
    use base64::Engine;
    let pair = base64::engine::general_purpose::STANDARD.encode("medseal:s3cret%2F%2B");
    assert_eq!(shown, format!("Basic {pair}"));
}

#[tokio::test]
async fn what_comes_back_is_for_the_browser_that_set_out_and_once() {
    let mock = Mock::start().await;
    let world = world(&mock).await;
    join(&world, &mock).await;
    let mut browser = Browser::new(&world);
    let back = set_out(&mut browser, &mock, "login", json!({})).await;
    let mut other = Browser::new(&world);
    assert_eq!(other.get(&back).await.status(), 400, "a browser that never set out");
    set_out(&mut other, &mock, "login", json!({})).await;
    assert_eq!(other.get(&back).await.status(), 400, "another's state");
    let back = set_out(&mut browser, &mock, "login", json!({})).await;
    for wrong in [
        "/auth/openid".to_owned(),
        "/auth/openid?code=good".to_owned(),
        format!("{back}&iss=https://evil.example"),
        back.replace("state=", "state=00"),
    ] {
        assert_eq!(browser.get(&wrong).await.status(), 400, "{wrong}");
    }
    let denied = back.replace("code=good", "error=access_denied");
    assert_eq!(browser.get(&denied).await.status(), 403);
    assert_eq!(
        browser.get(&back.replace("good", "guess")).await.status(),
        403,
        "a code that the provider does not know"
    );
    let journey = browser.journey.clone();
    assert_eq!(browser.get(&back).await.status(), 303);
    let mut thief = Browser { journey, ..Browser::new(&world) };
    assert_eq!(thief.get(&back).await.status(), 400, "once");
    assert!(thief.cookie.is_none());
}

#[tokio::test]
async fn what_one_provider_answers_ends_nothing_that_was_begun_with_another() {
    let (hospital, city) = (Mock::start().await, Mock::start().await);
    city.0.lock().unwrap().names_itself = true;
    let world = world_of(&[(NAME, &hospital), (CITY, &city)]).await;
    join(&world, &hospital).await;
    assert!(hospital.was_given_a_code());
    let mut browser = Browser::new(&world);
    let (of_hospital, of_city) = (format!("&iss={}", hospital.issuer()), format!("&iss={}", city.issuer()));
    let back = set_out_to(&mut browser, (CITY, &city), "login", json!({})).await;
    for (what, answer) in [("the other's", of_hospital.as_str()), ("nobody's, and this one names itself", "")] {
        assert_eq!(browser.get(&format!("{back}{answer}")).await.status(), 400, "{what}");
    }
    // The same browser has begun anew with the hospital: what the city answers is not for that, whomever it names.
    let begun = set_out(&mut browser, &hospital, "login", json!({})).await;
    for (what, answer) in [
        ("another's state", format!("{back}{of_city}")),
        ("another's state, and no name", back.clone()),
        ("the right state, and the other's name", format!("{begun}{of_city}")),
    ] {
        assert_eq!(browser.get(&answer).await.status(), 400, "{what}");
    }
    assert!(!hospital.was_given_a_code() && !city.was_given_a_code(), "no code goes to whom it is not of");
    // Who is called the same by another provider is somebody else.
    let back = set_out_to(&mut browser, (CITY, &city), "login", json!({})).await;
    assert_eq!(browser.get(&format!("{back}{of_city}")).await.status(), 403);
    assert!(city.was_given_a_code() && browser.cookie.is_none());
    let back = set_out(&mut browser, &hospital, "login", json!({})).await;
    assert_eq!(browser.get(&format!("{back}{of_hospital}")).await.status(), 303);
}

#[tokio::test]
async fn a_proof_that_is_not_for_us_now_and_signed_is_none() {
    let mock = Mock::start().await;
    let world = world(&mock).await;
    join(&world, &mock).await;
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 8] = [
        ("issuer", |claims| claims["iss"] = "https://evil.example".into()),
        ("audience", |claims| claims["aud"] = "other".into()),
        ("several audiences, and nobody named", |claims| claims["aud"] = json!(["medseal", "other"])),
        ("party", |claims| claims["azp"] = "other".into()),
        ("nonce", |claims| claims["nonce"] = "other".into()),
        ("end", |claims| claims["exp"] = (claims["iat"].as_i64().unwrap() - 61).into()),
        ("beginning", |claims| claims["iat"] = (claims["iat"].as_i64().unwrap() + 120).into()),
        ("subject", |claims| claims["sub"] = "".into()),
    ];
    let mut browser = Browser::new(&world);
    for (what, change) in changes {
        mock.say(change);
        let back = set_out(&mut browser, &mock, "login", json!({})).await;
        assert_eq!(browser.get(&back).await.status(), 403, "{what}");
    }
    mock.say(|_| ());
    let shared = EncodingKey::from_secret(b"secret");
    let headers = [
        ("a shared secret", Header { alg: Algorithm::HS256, ..header() }, shared),
        ("another key", header(), key("one").0),
        ("a key that is not published", Header { kid: Some("two".into()), ..header() }, key("two").0),
    ];
    for (what, header, signed_by) in headers {
        let own = {
            let mut saying = mock.0.lock().unwrap();
            saying.header = header;
            std::mem::replace(&mut saying.signed_by, signed_by)
        };
        let back = set_out(&mut browser, &mock, "login", json!({})).await;
        assert_eq!(browser.get(&back).await.status(), 403, "{what}");
        let mut saying = mock.0.lock().unwrap();
        (saying.signed_by, saying.header) = (own, self::header());
    }
    assert!(browser.cookie.is_none());
    let back = set_out(&mut browser, &mock, "login", json!({})).await;
    assert_eq!(browser.get(&back).await.status(), 303, "and what is right comes in");
}

#[tokio::test]
async fn an_outside_account_is_added_by_its_owner_who_is_still_there() {
    let mock = Mock::start().await;
    let world = world(&mock).await;
    let mut browser = Browser::new(&world);
    browser.join(&invitation(&world, Role::Auditor, None, None)).await;
    let mut victim = Browser::new(&world);
    victim.join(&invitation(&world, Role::Auditor, None, None)).await;
    let token = browser.token().await;
    assert_eq!(browser.post("/auth/keys/provider", &json!({"provider": NAME})).await.0, 403, "no token");
    assert_eq!(browser.post("/auth/login/provider", &json!({"provider": "Other"})).await.0, 403);
    let back = set_out(&mut browser, &mock, "keys", json!({"token": token})).await;
    // The journey is planted into another's browser: the attacker's account is not added to the victim's.
    victim.journey = browser.journey.clone();
    assert_eq!(victim.get(&back).await.status(), 401);
    assert!(!victim.page("/me").await.contains("Other account"));
    assert_eq!(browser.get(&back).await.status(), 303);
    assert!(browser.page("/me").await.contains("Other account"));
}

#[tokio::test]
async fn a_provider_of_the_configuration_may_be_in_ones_own_network_and_nothing_else_is() {
    let mock = Mock::start().await;
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(&directory.path().join("data"));
    let issuer = mock.0.lock().unwrap().issuer.clone();
    config.login.openid =
        vec![Provider { name: NAME.into(), issuer, client_id: "medseal".into(), client_secret: None }];
    let world = World::with(directory, config).await;
    let mut browser = Browser::new(&world);
    assert_eq!(browser.post("/auth/login/provider", &json!({"provider": NAME})).await.0, 200);
    let app = &world.running.app;
    let issuer = app.config.login.openid[0].issuer.clone();
    assert!(app.issuers.allows(&issuer).await.is_ok() && app.outgoing.allows(&issuer).await.is_err());
    assert!(app.issuers.allows("http://127.0.0.2/keys").await.is_err(), "what its answers name elsewhere");
}
