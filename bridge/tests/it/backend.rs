//! SMART backend services: a registered client gets a token by its own key, and nobody else does.

use super::replicas;
use super::world::{World, config, mint};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bridge::config::Config;
use bridge::index::clients::{Client, Keys};
use bridge::limits::{MAX_AUTH_BYTES, STANDING_FRESH};
use bridge::smart::token::TokenKey;
use http_body_util::Full;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;

const FORM: &str = "application/x-www-form-urlencoded";
pub const BY_JWT: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const SCOPE: &str = "system/Patient.rs system/Observation.rs?category=lab";

/// A client's key: how it signs, and its public half.
pub struct Signing {
    kid: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
    jwk: Value,
}

fn elliptic(kid: &'static str) -> Signing {
    let der = TokenKey::generate().unwrap();
    let mut jwk = TokenKey::from_der(&der, Path::new("a test")).unwrap().public()["keys"][0].clone();
    jwk["kid"] = kid.into();
    Signing { kid, algorithm: Algorithm::ES384, key: EncodingKey::from_ec_der(&der), jwk }
}

fn rsa(kid: &'static str) -> Signing {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (n, e) = (pair.public_key().modulus(), pair.public_key().exponent());
    let (n, e) = (text(n.big_endian_without_leading_zero()), text(e.big_endian_without_leading_zero()));
    let jwk = json!({"kty": "RSA", "n": n, "e": e, "kid": kid});
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let key = EncodingKey::from_rsa_der(private_key(der.as_ref()));
    Signing { kid, algorithm: Algorithm::RS384, key, jwk }
}

/// The RSAPrivateKey in a PKCS #8 wrapping: the last OCTET STRING of a fixed head.
fn private_key(pkcs8: &[u8]) -> &[u8] {
    let at = pkcs8.windows(2).position(|two| two == [0x04, 0x82]).unwrap();
    &pkcs8[at + 4..]
}

/// One key of each kind; making them takes a while.
pub static EC: LazyLock<Signing> = LazyLock::new(|| elliptic("ec"));
static RSA: LazyLock<Signing> = LazyLock::new(|| rsa("rsa"));
static OTHER: LazyLock<Signing> = LazyLock::new(|| elliptic("ec"));

fn now(world: &World) -> i64 {
    world.running.app.core.clock.now().as_second()
}

pub fn register(world: &World, id: &str, keys: Keys, scope: &str) {
    assert!(world.running.app.core.store.add_client(&client(id, keys, scope), 100).unwrap());
}

/// A program with keys of its own.
pub fn client(id: &str, keys: Keys, scope: &str) -> Client {
    Client {
        id: id.into(),
        name: "a test".into(),
        scope: scope.into(),
        keys,
        redirects: Vec::new(),
        launch: None,
        purpose: None,
        by_itself: false,
        made: 0,
    }
}

pub fn inline(keys: &[&Signing]) -> Keys {
    let keys: Vec<&Value> = keys.iter().map(|signing| &signing.jwk).collect();
    Keys::Inline(json!({"keys": keys}).to_string())
}

fn endpoint(world: &World) -> String {
    format!("{}/auth/token", world.running.app.core.base.trim_end_matches("/fhir"))
}

/// What an assertion says, with a `jti` of its own.
pub fn claims(world: &World, client: &str) -> Value {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let id = format!("jti-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    json!({"iss": client, "sub": client, "aud": endpoint(world), "exp": now(world) + 240, "jti": id})
}

pub fn signed(signing: &Signing, claims: &Value) -> String {
    encode(&Header { kid: Some(signing.kid.into()), ..Header::new(signing.algorithm) }, claims, &signing.key).unwrap()
}

pub fn form(pairs: &[(&str, &str)]) -> String {
    let one = |(name, value): &(&str, &str)| format!("{name}={}", bridge::http::query::encode(value));
    pairs.iter().map(one).collect::<Vec<_>>().join("&")
}

fn asking(assertion: &str, scope: &str) -> String {
    form(&[
        ("grant_type", "client_credentials"),
        ("client_assertion_type", BY_JWT),
        ("client_assertion", assertion),
        ("scope", scope),
    ])
}

pub async fn post(world: &World, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let headers: Vec<_> = [("content-type", FORM)].iter().chain(headers).copied().collect();
    let reply = world.request("POST", path, &headers, body.as_bytes()).await;
    assert_eq!(reply.headers()["cache-control"], "no-store");
    assert!(path != "/auth/token" || reply.headers()["pragma"] == "no-cache");
    (reply.status().as_u16(), serde_json::from_slice(reply.body()).unwrap())
}

async fn ask(world: &World, assertion: &str, scope: &str) -> (u16, Value) {
    post(world, "/auth/token", &[], &asking(assertion, scope)).await
}

/// A token for the client `c`.
async fn token(world: &World, scope: &str) -> String {
    let (status, answer) = ask(world, &signed(&EC, &claims(world, "c")), scope).await;
    assert_eq!(status, 200, "{answer}");
    answer["access_token"].as_str().unwrap().to_owned()
}

async fn get(world: &World, token: &str, path: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    world.request("GET", path, &[("authorization", &bearer)], b"").await.status().as_u16()
}

async fn registered() -> World {
    let world = World::new().await;
    register(&world, "c", inline(&[&EC, &RSA]), SCOPE);
    world
}

// meets smart 240 241 250 253 254 255 256 258 259 261 310 357
// meets bulk 12 19
#[tokio::test]
async fn a_client_gets_a_token_by_its_key_and_reads_what_it_is_registered_for() {
    let world = registered().await;
    for signing in [&*EC, &*RSA] {
        let (status, answer) =
            ask(&world, &signed(signing, &claims(&world, "c")), "system/*.cruds openid nonsense").await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["scope"], SCOPE, "no more than it is registered for");
        assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("bearer"), &json!(300)));
        let token = answer["access_token"].as_str().unwrap();
        assert_eq!(get(&world, token, "/fhir/Patient").await, 200);
        assert_eq!(get(&world, token, "/fhir/Encounter").await, 403);
    }
    let directory = tempfile::tempdir().unwrap();
    let mut strict = config(&directory.path().join("data"));
    strict.consent.stale_seconds = 30;
    let strict = World::with(directory, strict).await;
    register(&strict, "c", inline(&[&EC]), SCOPE);
    let (_, short) = ask(&strict, &signed(&EC, &claims(&strict, "c")), SCOPE).await;
    assert_eq!(short["expires_in"], 30, "no longer than what is known of consents may be old");
    let narrow = token(&world, "system/Patient.r").await;
    assert_eq!(
        (get(&world, &narrow, "/fhir/Patient").await, get(&world, &narrow, "/fhir/Patient/x").await),
        (403, 404)
    );
    let mut several = claims(&world, "c");
    several["aud"] = json!(["https://elsewhere.example", endpoint(&world)]);
    several["iat"] = json!(now(&world));
    assert_eq!(ask(&world, &signed(&EC, &several), "system/Patient.r").await.0, 200);
}

/// Changes one thing of an assertion that would be good.
type Change = fn(&World, &mut Value);

// meets smart 249 335 337 338 340
#[tokio::test]
async fn an_assertion_that_is_not_the_clients_own_of_now_and_for_here_is_refused() {
    let world = registered().await;
    register(&world, "other", inline(&[&OTHER]), SCOPE);
    let changes: &[(&str, Change)] = &[
        ("expired", |w, c| c["exp"] = json!(now(w) - 1)),
        ("expires this second", |w, c| c["exp"] = json!(now(w))),
        ("lives longer than five minutes", |w, c| c["exp"] = json!(now(w) + 330)),
        ("lives for ever", |_, c| c["exp"] = json!(1e300)),
        ("says no exp", |_, c| c["exp"] = Value::Null),
        ("exp is a text", |w, c| c["exp"] = json!((now(w) + 100).to_string())),
        ("not yet", |w, c| c["nbf"] = json!(now(w) + 60)),
        ("from the future", |w, c| c["iat"] = json!(now(w) + 60)),
        ("for another server", |_, c| c["aud"] = json!("https://elsewhere.example/auth/token")),
        ("for the API", |w, c| c["aud"] = json!(w.running.app.core.base)),
        ("for nobody", |_, c| c["aud"] = json!([])),
        ("sub is another", |_, c| c["sub"] = json!("other")),
        ("of a client that is not known", |_, c| (c["iss"], c["sub"]) = (json!("x"), json!("x"))),
        ("of another client, with this one's key", |_, c| (c["iss"], c["sub"]) = (json!("other"), json!("other"))),
        ("without jti", |_, c| c["jti"] = Value::Null),
        ("jti is empty", |_, c| c["jti"] = json!("")),
        ("jti is long", |_, c| c["jti"] = json!("x".repeat(257))),
    ];
    for (name, change) in changes {
        let mut claims = claims(&world, "c");
        change(&world, &mut claims);
        let (status, answer) = ask(&world, &signed(&EC, &claims), "system/Patient.rs").await;
        assert_eq!((status, &answer["error"]), (401, &json!("invalid_client")), "{name}");
    }
    let (status, answer) = ask(&world, &signed(&OTHER, &claims(&world, "c")), "system/Patient.rs").await;
    assert_eq!((status, &answer["error"]), (401, &json!("invalid_client")), "another's key of the same name");
    register(&world, "two", inline(&[&EC, &OTHER]), SCOPE);
    let (status, answer) = ask(&world, &signed(&EC, &claims(&world, "two")), "system/Patient.rs").await;
    assert_eq!((status, &answer["error"]), (401, &json!("invalid_client")), "two keys of one name");
}

// meets smart 249 335 338
#[tokio::test]
async fn an_algorithm_is_the_keys_and_never_the_assertions() {
    let world = registered().await;
    let claims = claims(&world, "c");
    let with = |header: Value, signature: &str| {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.{signature}", part(&header), part(&claims))
    };
    let sign = |header: Header, key: &EncodingKey| encode(&header, &claims, key).unwrap();
    let head = |kid: &str, algorithm| Header { kid: Some(kid.into()), ..Header::new(algorithm) };
    let shared = EncodingKey::from_secret(RSA.jwk["n"].as_str().unwrap().as_bytes());
    let good = signed(&EC, &claims);
    let mut jku = head("ec", Algorithm::ES384);
    jku.jku = Some("https://elsewhere.example/keys".into());
    let mut critical = head("ec", Algorithm::ES384);
    critical.crit = Some(vec!["x".into()]);
    for (name, assertion) in [
        ("none", with(json!({"alg": "none", "kid": "ec"}), "")),
        ("None", with(json!({"alg": "None", "kid": "ec"}), "")),
        ("HS256 with the public key", sign(head("rsa", Algorithm::HS256), &shared)),
        ("HS384 with the public key", sign(head("rsa", Algorithm::HS384), &shared)),
        ("RS256", sign(head("rsa", Algorithm::RS256), &RSA.key)),
        ("RS512", sign(head("rsa", Algorithm::RS512), &RSA.key)),
        ("PS384", sign(head("rsa", Algorithm::PS384), &RSA.key)),
        ("an RSA signature in the name of the EC key", sign(head("ec", Algorithm::RS384), &RSA.key)),
        ("an EC signature in the name of the RSA key", sign(head("rsa", Algorithm::ES384), &EC.key)),
        ("an unknown kid", sign(head("unknown", Algorithm::ES384), &EC.key)),
        ("no kid", sign(Header::new(Algorithm::ES384), &EC.key)),
        ("its own key set", sign(jku, &EC.key)),
        ("what must be understood and is not", sign(critical, &EC.key)),
        ("no signature", good.rsplit_once('.').unwrap().0.to_owned() + "."),
        ("a signature of something else", with(json!({"alg": "ES384", "kid": "ec"}), "AAAA")),
        ("no JWT", "x".into()),
        ("an empty one", " ".into()),
        ("a long one", "x".repeat(9_000)),
    ] {
        let (status, answer) = ask(&world, &assertion, "system/Patient.rs").await;
        assert_eq!((status, &answer["error"]), (401, &json!("invalid_client")), "{name}");
    }
    assert_eq!(ask(&world, &good, "system/Patient.rs").await.0, 200, "none of them has used it up");
}

// meets smart 251 344
#[tokio::test]
async fn a_request_is_a_form_with_each_parameter_once() {
    let world = registered().await;
    let good = || signed(&EC, &claims(&world, "c"));
    let whole = asking(&good(), "system/Patient.rs");
    let other_client = format!("{}&client_id=other", asking(&good(), "system/Patient.rs"));
    for (name, body, status, error) in [
        ("nothing", String::new(), 400, "invalid_request"),
        ("another grant", whole.replace("client_credentials", "password"), 400, "unsupported_grant_type"),
        ("another assertion", whole.replace("jwt-bearer", "saml2-bearer"), 401, "invalid_client"),
        (
            "no assertion",
            form(&[("grant_type", "client_credentials"), ("client_assertion_type", BY_JWT)]),
            400,
            "invalid_request",
        ),
        ("a secret", form(&[("grant_type", "client_credentials"), ("client_secret", "x")]), 400, "invalid_request"),
        ("twice", format!("{whole}&scope=system/*.rs"), 400, "invalid_request"),
        ("another client_id", other_client, 401, "invalid_client"),
        ("a bad escape", "grant_type=%zz".into(), 400, "invalid_request"),
        ("too long", format!("x={}", "x".repeat(20_000)), 413, "invalid_request"),
        ("longer than is read", format!("x={}", "x".repeat(MAX_AUTH_BYTES)), 413, "invalid_request"),
    ] {
        let (got, answer) = post(&world, "/auth/token", &[], &body).await;
        assert_eq!((got, &answer["error"]), (status, &json!(error)), "{name}");
    }
    for media in ["application/json", "", "text/plain"] {
        let reply = world.request("POST", "/auth/token", &[("content-type", media)], whole.as_bytes()).await;
        assert_eq!(reply.status(), 400, "{media}");
    }
    let in_address = world.request("POST", &format!("/auth/token?{whole}"), &[("content-type", FORM)], b"").await;
    assert_eq!(in_address.status(), 400, "secrets do not belong into an address");
    for scope in
        ["", "system/Encounter.rs", "patient/Patient.rs", "user/*.rs", "openid", "nonsense", "system/Patient.cud"]
    {
        let (status, answer) = ask(&world, &good(), scope).await;
        assert_eq!((status, &answer["error"]), (400, &json!("invalid_scope")), "{scope}");
    }
    assert_eq!(world.request("GET", "/auth/token", &[], b"").await.status(), 405);
}

// meets smart 336
#[tokio::test]
async fn an_assertion_counts_once() {
    let world = registered().await;
    let assertion = signed(&EC, &claims(&world, "c"));
    let all = (0..8).map(|_| ask(&world, &assertion, "system/Patient.rs"));
    let all: Vec<u16> = futures_util::future::join_all(all).await.into_iter().map(|(status, _)| status).collect();
    assert_eq!(all.iter().filter(|status| **status == 200).count(), 1, "{all:?}");
    let (_, answer) = ask(&world, &assertion, "system/Patient.rs").await;
    assert_eq!(answer["error_description"], "this assertion was used before");
    let world = world.restarted().await;
    assert_eq!(ask(&world, &assertion, "system/Patient.rs").await.0, 401, "nor after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_know_the_same_assertions_and_revocations() {
    let Some((one, other)) = replicas::pair().await else { return };
    register(&one, "c", inline(&[&EC]), SCOPE);
    let assertion = signed(&EC, &claims(&one, "c"));
    let (status, answer) = ask(&one, &assertion, "system/Patient.rs").await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(ask(&other, &assertion, "system/Patient.rs").await.0, 401, "used on the first");
    let token = answer["access_token"].as_str().unwrap();
    assert_eq!((get(&one, token, "/fhir/Patient").await, get(&other, token, "/fhir/Patient").await), (200, 200));
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(post(&one, "/auth/revoke", &headers, &form(&[("token", token)])).await.0, 200);
    assert_eq!(get(&one, token, "/fhir/Patient").await, 401, "at once here");
    tokio::time::sleep(STANDING_FRESH + Duration::from_millis(100)).await;
    assert_eq!(get(&other, token, "/fhir/Patient").await, 401, "and soon there");
}

// meets smart 271 272 273 274 275 276 282
#[tokio::test]
async fn a_token_is_told_of_and_ended_by_its_client_and_by_the_administrator() {
    let world = registered().await;
    register(&world, "other", inline(&[&OTHER]), "system/*.cruds");
    let (administrator, reader) = (world.token.clone(), mint(&world.running, "system/*.rs"));
    let foreign = ask(&world, &signed(&OTHER, &claims(&world, "other")), "system/*.cruds").await.1;
    let foreign = foreign["access_token"].as_str().unwrap().to_owned();
    let by = |token: &str| format!("Bearer {token}");
    for (endpoint, refused) in [("/auth/introspect", 200), ("/auth/revoke", 403)] {
        for who in ["administrator", "itself", "by assertion"] {
            let token = token(&world, "system/Patient.rs").await;
            let named = form(&[("token", &token)]);
            let stranger = post(&world, endpoint, &[("authorization", &by(&foreign))], &named).await;
            assert_eq!(stranger.0, refused, "{endpoint}");
            assert!(refused != 200 || stranger.1 == json!({"active": false}), "{}", stranger.1);
            assert_eq!(post(&world, endpoint, &[("authorization", &by(&reader))], &named).await.0, 403);
            assert_eq!(post(&world, endpoint, &[("authorization", "Bearer x")], &named).await.0, 401);
            assert_eq!(post(&world, endpoint, &[], &named).await.0, 400, "{endpoint}: nobody asks");
            assert_eq!(get(&world, &token, "/fhir/Patient").await, 200);
            let assertion = signed(&EC, &claims(&world, "c"));
            let pairs =
                [("token", token.as_str()), ("client_assertion_type", BY_JWT), ("client_assertion", &assertion)];
            let (status, told) = match who {
                "administrator" => post(&world, endpoint, &[("authorization", &by(&administrator))], &named).await,
                "itself" => post(&world, endpoint, &[("authorization", &by(&token))], &named).await,
                _ => post(&world, endpoint, &[], &form(&pairs)).await,
            };
            assert_eq!(status, 200, "{endpoint}, {who}: {told}");
            if endpoint == "/auth/introspect" {
                let known = (&told["active"], &told["client_id"], &told["scope"]);
                assert_eq!(known, (&json!(true), &json!("c"), &json!("system/Patient.rs")));
                assert_eq!(told["exp"].as_i64().unwrap() - told["iat"].as_i64().unwrap(), 300, "as it was told");
                continue;
            }
            assert_eq!(get(&world, &token, "/fhir/Patient").await, 401, "{who}");
            let told = post(&world, "/auth/introspect", &[("authorization", &by(&administrator))], &named).await.1;
            assert_eq!(told, json!({"active": false}));
            let again = post(&world, endpoint, &[("authorization", &by(&administrator))], &named).await;
            assert_eq!(again, (200, json!({})), "what has ended has ended");
        }
        let nothing = post(&world, endpoint, &[("authorization", &by(&administrator))], "token=x").await;
        assert_eq!(nothing.0, 200);
    }
    let minted = mint(&world.running, "system/Patient.rs");
    let ended =
        post(&world, "/auth/revoke", &[("authorization", &by(&administrator))], &form(&[("token", &minted)])).await;
    assert_eq!((ended.0, get(&world, &minted, "/fhir/Patient").await), (200, 401), "the machine's tokens, too");
    let world = world.restarted().await;
    assert_eq!(get(&world, &minted, "/fhir/Patient").await, 401, "nor after a restart");
}

#[tokio::test]
async fn who_is_no_client_any_more_has_no_token_any_more() {
    let world = registered().await;
    let token = token(&world, "system/Patient.rs").await;
    assert_eq!(get(&world, &token, "/fhir/Patient").await, 200);
    assert!(world.running.app.core.store.drop_client("c").unwrap());
    assert_eq!(ask(&world, &signed(&EC, &claims(&world, "c")), "system/Patient.rs").await.0, 401);
    tokio::time::sleep(STANDING_FRESH + Duration::from_millis(100)).await;
    assert_eq!(get(&world, &token, "/fhir/Patient").await, 401);
}

/// A server that gives a key set to who gets it, and counts how often.
struct KeyServer {
    url: String,
    asked: Arc<AtomicUsize>,
    answer: Arc<Mutex<(u16, Vec<u8>)>>,
    /// Its `Cache-Control`.
    keep: Arc<Mutex<&'static str>>,
}

impl KeyServer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let (asked, answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new((200, Vec::new()))));
        let keep = Arc::new(Mutex::new("public"));
        let (count, shown, kept) = (asked.clone(), answer.clone(), keep.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (count, shown, kept) = (count.clone(), shown.clone(), kept.clone());
                let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    count.fetch_add(1, Ordering::SeqCst);
                    let (status, body) = shown.lock().unwrap().clone();
                    let status = if request.method() == "GET" { status } else { 405 };
                    let reply =
                        warp::http::Response::builder().status(status).header("location", "http://127.0.0.1:1/");
                    let reply = reply.header("cache-control", *kept.lock().unwrap());
                    async move { reply.body(Full::new(bytes::Bytes::from(body))) }
                });
                let io = hyper_util::rt::TokioIo::new(stream);
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
            }
        });
        Self { url, asked, answer, keep }
    }

    fn gives(&self, status: u16, body: &Value) {
        *self.answer.lock().unwrap() = (status, body.to_string().into_bytes());
    }
}

// meets smart 296 338 339
#[tokio::test]
async fn published_keys_are_fetched_where_this_server_may_send_and_not_as_often_as_somebody_asks() {
    let keys = KeyServer::start().await;
    keys.gives(200, &json!({"keys": [EC.jwk]}));
    let world = World::new().await;
    register(&world, "c", Keys::At(keys.url.clone()), SCOPE);
    assert_eq!(ask(&world, &signed(&EC, &claims(&world, "c")), "system/Patient.rs").await.0, 401, "http, and private");
    assert_eq!(keys.asked.load(Ordering::SeqCst), 0, "nothing was sent");
    let World { running, directory, .. } = world;
    let mut config = Config { http: running.http, mllp: running.mllp, ..running.app.config.clone() };
    (config.outgoing.allow_http, config.outgoing.allow_private) = (true, true);
    running.stop().await;
    let world = World::with(directory, config).await;
    for _ in 0..3 {
        assert_eq!(ask(&world, &signed(&EC, &claims(&world, "c")), "system/Patient.rs").await.0, 200);
    }
    assert_eq!(keys.asked.load(Ordering::SeqCst), 1, "kept");
    let unknown = Header { kid: Some("new".into()), ..Header::new(Algorithm::ES384) };
    for _ in 0..5 {
        let assertion = encode(&unknown, &claims(&world, "c"), &EC.key).unwrap();
        assert_eq!(ask(&world, &assertion, "system/Patient.rs").await.0, 401);
    }
    assert_eq!(keys.asked.load(Ordering::SeqCst), 1, "a stranger makes this server send nothing");
    let mut header = Header { kid: Some("ec".into()), ..Header::new(Algorithm::ES384) };
    header.jku = Some(keys.url.clone());
    let named = encode(&header, &claims(&world, "c"), &EC.key).unwrap();
    assert_eq!(ask(&world, &named, "system/Patient.rs").await.0, 200, "the registered address may be named");
}

// meets smart 341 342
#[tokio::test]
async fn published_keys_are_kept_no_longer_than_their_server_says() {
    let keys = KeyServer::start().await;
    keys.gives(200, &json!({"keys": [EC.jwk]}));
    *keys.keep.lock().unwrap() = "no-store";
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(&directory.path().join("data"));
    (config.outgoing.allow_http, config.outgoing.allow_private) = (true, true);
    let world = World::with(directory, config).await;
    register(&world, "c", Keys::At(keys.url.clone()), SCOPE);
    let asks = async || ask(&world, &signed(&EC, &claims(&world, "c")), "system/Patient.rs").await.0;
    for times in 1..4 {
        assert_eq!((asks().await, keys.asked.load(Ordering::SeqCst)), (200, times), "fetched each time");
    }
    keys.gives(200, &json!({"keys": [RSA.jwk]}));
    assert_eq!(asks().await, 401, "what was taken out counts no more");
    keys.gives(200, &json!({"keys": [EC.jwk]}));
    *keys.keep.lock().unwrap() = "max-age=60";
    assert_eq!([asks().await, asks().await, asks().await], [200; 3]);
    assert_eq!(keys.asked.load(Ordering::SeqCst), 5, "kept for as long as it may be");
    keys.gives(500, &json!({}));
    assert_eq!(asks().await, 200);
}

#[tokio::test]
async fn what_is_no_key_set_opens_nothing() {
    let large = json!({"keys": [], "x": "x".repeat(100_000)});
    let private = json!({"keys": [EC.jwk, {"kty": "oct", "k": "x"}]});
    for (status, body) in
        [(302, json!({"keys": [EC.jwk]})), (500, json!({})), (200, json!("x")), (200, large), (200, private)]
    {
        let keys = KeyServer::start().await;
        keys.gives(status, &body);
        let directory = tempfile::tempdir().unwrap();
        let mut config = config(&directory.path().join("data"));
        (config.outgoing.allow_http, config.outgoing.allow_private) = (true, true);
        let world = World::with(directory, config).await;
        register(&world, "c", Keys::At(keys.url.clone()), SCOPE);
        assert_eq!(ask(&world, &signed(&EC, &claims(&world, "c")), "system/Patient.rs").await.0, 401, "{status}");
        assert_eq!(keys.asked.load(Ordering::SeqCst), 1, "no redirect is followed");
    }
}

#[tokio::test]
async fn tokens_can_be_checked_by_the_key_that_is_published() {
    let world = registered().await;
    let token = token(&world, "system/Patient.rs").await;
    let reply = world.request("GET", "/auth/jwks", &[], b"").await;
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_slice(reply.body()).unwrap();
    let header = jsonwebtoken::decode_header(&token).unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(set.find(&header.kid.unwrap()).unwrap()).unwrap();
    let mut validation = jsonwebtoken::Validation::new(Algorithm::ES384);
    validation.set_audience(&[&world.running.app.core.base]);
    validation.set_issuer(&[world.running.app.core.base.trim_end_matches("/fhir")]);
    let claims = jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap().claims;
    assert_eq!((&claims["sub"], &claims["scope"]), (&json!("c"), &json!("system/Patient.rs")));
}
