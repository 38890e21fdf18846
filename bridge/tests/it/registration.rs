//! Apps that register themselves (RFC 7591), where the operator lets them.

use super::backend::{EC, inline};
use super::door::Browser;
use super::launch::{REDIRECT, ada, answer, question, redeem, status, told};
use super::world::{World, config};
use bridge::config::Config;
use bridge::http::query::encode;
use bridge::index::clients::Keys;
use bridge::limits::{MAX_AUTH_BYTES, MAX_REGISTERING, MAX_SIGN_INS, MAX_WITHDRAWING};
use notary::consent::Preimage;
use serde_json::{Value, json};

/// A service with such settings, and Ada in it.
async fn world(settings: &str) -> World {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(&directory.path().join("data"));
    config.registration = Config::parse(&format!("[registration]\n{settings}")).unwrap().registration;
    let world = World::with(directory, config).await;
    assert_eq!(world.call("PUT", "/fhir/Patient/ada", r#"{"resourceType":"Patient","id":"ada"}"#).await.0, 201);
    world
}

async fn register(world: &World, token: &str, said: &Value) -> (u16, Value) {
    let headers = [("content-type", "application/json"), ("authorization", token)];
    let reply = world.request("POST", "/auth/register", &headers, said.to_string().as_bytes()).await;
    (reply.status().as_u16(), serde_json::from_slice(reply.body()).unwrap_or(Value::Null))
}

async fn discovered(world: &World) -> Value {
    let reply = world.request("GET", "/fhir/.well-known/smart-configuration", &[], b"").await;
    serde_json::from_slice(reply.body()).unwrap()
}

#[tokio::test]
async fn an_app_registers_itself_and_is_let_in_by_a_person_who_is_warned() {
    let world = world("open = true").await;
    let endpoint = discovered(&world).await["registration_endpoint"].clone();
    assert!(endpoint.as_str().unwrap().ends_with("/auth/register"), "{endpoint}");
    let said = json!({"redirect_uris": [REDIRECT], "client_name": "Self <made>", "scope": "openid patient/*.rs system/*.rs offline_access"});
    let (created, client) = register(&world, "", &said).await;
    assert_eq!(created, 201, "{client}");
    assert_eq!(client["scope"], "openid patient/*.rs offline_access");
    assert_eq!(client["grant_types"], json!(["authorization_code", "refresh_token"]));
    assert!(client["token_endpoint_auth_method"] == "none" && client.get("client_secret").is_none());
    let id = client["client_id"].as_str().unwrap();
    let mut browser = ada(&world).await;
    let query = question(&world, &[("client_id", id), ("scope", "openid patient/*.rs")]);
    let page = browser.page(&format!("/auth/authorize?{query}")).await;
    assert!(page.contains("Self &lt;made&gt;") && page.contains("it registered itself"), "{page}");
    let approved = told(&answer(&mut browser, &query, "approve", "").await);
    let (granted, token) = redeem(&world, &approved["code"], &[("client_id", id)]).await;
    assert_eq!((granted, &token["patient"]), (200, &json!("ada")), "{token}");
    assert_eq!(status(&world, &token, "/fhir/Patient/ada").await, 200);
    // Whom a patient gives access to by name is somebody whom this house knows: what it calls itself is no name.
    assert!(!browser.page("/me/access/new").await.contains("Self &lt;made&gt;"));
    let form = browser.token().await;
    let terms = format!("token={form}&who=Device%2F{id}&purpose=my+treatment&what=all&until=2030-12-31");
    assert_eq!(browser.form("/me/access/new", &terms).await.status(), 400);
    // The administrator removes it.
    assert!(world.running.app.core.store.drop_client(id).unwrap());
    assert_eq!(redeem(&world, &approved["code"], &[("client_id", id)]).await.1["error"], "invalid_client");

    let Keys::Inline(keys) = inline(&[&EC]) else { panic!() };
    let keys: Value = serde_json::from_str(&keys).unwrap();
    let (created, client) = register(&world, "", &json!({"redirect_uris": [REDIRECT], "jwks": keys})).await;
    assert_eq!((created, &client["token_endpoint_auth_method"]), (201, &json!("private_key_jwt")), "{client}");
    assert_eq!(client["jwks"], keys);
}

#[tokio::test]
async fn nobody_registers_where_it_is_closed_and_nothing_that_does_not_hold() {
    let closed = World::new().await;
    let good = json!({"redirect_uris": [REDIRECT]});
    assert_eq!(register(&closed, "", &good).await.0, 404, "by default");
    assert!(discovered(&closed).await.get("registration_endpoint").is_none());

    let token = "t".repeat(32);
    let world = world(&format!("open = true\ntoken = \"{token}\"\nmost = 2")).await;
    let bearer = format!("Bearer {token}");
    for wrong in [
        "",
        "Bearer x",
        &token,
        &format!("Basic {token}"),
        &format!("Bearer {token}x"),
        &format!("Bearer {}", world.token),
    ] {
        assert_eq!(register(&world, wrong, &good).await.0, 401, "{wrong}");
    }
    for (name, value, error) in [
        ("redirect_uris", json!(["http://evil.example/"]), "invalid_redirect_uri"),
        ("software_statement", json!("eyJ.x.y"), "unapproved_software_statement"),
        ("grant_types", json!(["client_credentials"]), "invalid_client_metadata"),
        ("jwks_uri", json!("http://127.0.0.1:1/keys"), "invalid_client_metadata"),
        ("jwks_uri", json!("https://169.254.169.254/keys"), "invalid_client_metadata"),
        ("jwks_uri", json!("https://localhost/keys"), "invalid_client_metadata"),
        ("jwks_uri", json!("file:///etc/passwd"), "invalid_client_metadata"),
        ("client_name", json!("A\u{202E}knaB"), "invalid_client_metadata"),
        ("redirect_uris", json!(["https://*/cb"]), "invalid_redirect_uri"),
        ("redirect_uris", json!(["https://a;sandbox/cb"]), "invalid_redirect_uri"),
    ] {
        let mut said = good.clone();
        said[name] = value.clone();
        let (refused, reply) = register(&world, &bearer, &said).await;
        assert_eq!((refused, reply["error"].as_str()), (400, Some(error)), "{name}: {value}");
    }
    let long = json!({"redirect_uris": [REDIRECT], "client_uri": "x".repeat(MAX_AUTH_BYTES)});
    for (media, said, reason) in
        [("text/plain", &good, "application/json"), ("application/json", &long, "longer than this server takes")]
    {
        let headers = [("content-type", media), ("authorization", bearer.as_str())];
        let reply = world.request("POST", "/auth/register", &headers, said.to_string().as_bytes()).await;
        let told: Value = serde_json::from_slice(reply.body()).unwrap();
        assert_eq!((reply.status().as_u16(), &told["error"]), (400, &json!("invalid_client_metadata")), "{told}");
        assert!(told["error_description"].as_str().unwrap().contains(reason), "{told}");
    }
    assert_eq!(world.request("GET", "/auth/register", &[], b"").await.status(), 405);
    assert!(world.running.app.core.store.clients().unwrap().is_empty(), "nothing was kept");
    for expected in [201, 201, 503] {
        assert_eq!(register(&world, &bearer, &good).await.0, expected);
    }
    for wrong in ["most = 0", "most = 9999999", "token = \"short\"", "opne = true"] {
        assert!(Config::parse(&format!("[registration]\n{wrong}")).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn who_registers_signs_in_or_withdraws_holds_up_nobody_else() {
    let world = world("open = true\nmost = 9").await;
    let app = world.running.app.clone();
    let good = json!({"redirect_uris": [REDIRECT]});
    let asks = async |world: &World| {
        let mut browser = Browser::new(world);
        let signs_in = browser.post("/auth/login/options", &json!({})).await.0;
        let code = encode(&Preimage([9; 32]).to_code());
        let withdraws = browser.form("/withdraw", &format!("code={code}")).await.status().as_u16();
        [register(world, "", &good).await.0, signs_in, withdraws]
    };
    // No access has this code.
    assert_eq!(asks(&world).await, [201, 200, 400]);
    for (taken, all, expected) in [
        (&app.registrations, MAX_REGISTERING, [503, 200, 400]),
        (&app.sign_ins, MAX_SIGN_INS, [201, 503, 400]),
        (&app.withdrawals, MAX_WITHDRAWING, [201, 200, 503]),
    ] {
        let held = taken.try_acquire_many(all as u32).unwrap();
        assert_eq!(asks(&world).await, expected);
        drop(held);
    }
    assert_eq!(asks(&world).await, [201, 200, 400]);
}
