//! Apps that patients let in by a Consent that they sign. All people are invented.

use super::backend::client;
use super::door::{Browser, Passkey, invitation};
use super::grants::{Pending, TERMS, give, house, on_chain, opt_in, patient, registered, relay, until_shown, ward};
use super::launch::{answer, question, redeem, refresh, register, status, told};
use super::world::{World, config};
use super::{replicas, stores};
use bridge::config::Apps;
use bridge::http::query::encode;
use bridge::ids::Name;
use bridge::index::clients::Keys;
use bridge::index::consents::Given;
use bridge::limits::STANDING_FRESH;
use bridge::people::Role;
use bridge::smart::grant::{Grant, Handle};
use bridge::smart::scopes;
use bridge::smart::token::Caller;
use bytes::Bytes;
use notary::chain::evm::B256;
use notary::consent::{GrantKey, RevocationCode, Sealed};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use warp::http::Response;

const SCOPE: &str = "launch/patient patient/Observation.rs patient/Condition.r offline_access";

async fn page(browser: &mut Browser<'_>, query: &str) -> String {
    browser.page(&format!("/auth/authorize?{query}")).await
}

fn text(reply: &Response<Bytes>) -> String {
    String::from_utf8(reply.body().to_vec()).unwrap()
}

/// The page of the terms, which waits to be signed.
async fn terms(browser: &mut Browser<'_>, query: &str) -> Pending {
    let reply = answer(browser, query, "sign", "").await;
    let (page, policy) = (text(&reply), reply.headers()["content-security-policy"].to_str().unwrap());
    assert_eq!(reply.status(), 200, "{page}");
    assert!(
        policy.ends_with("form-action 'self' https://app.example"),
        "the form's answer goes on to the app: {policy}"
    );
    for part in ["Device/app", "what I use it for myself", "Go on to Heart &lt;b&gt;App", "name=\"scope-1\""] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let draft = page.split_once("data-draft=\"").unwrap().1.split('"').next().unwrap().to_owned();
    Pending::new(draft, true)
}

/// Signs it.
async fn finished(browser: &mut Browser<'_>, passkey: &Passkey, pending: Pending) -> RevocationCode {
    let options = pending.options(browser, "passkey").await;
    let (status, given) = pending.sign(browser, "passkey", passkey.sign(&options)).await;
    assert_eq!(status, 200, "{given}");
    pending.code(&given)
}

/// Signs what the page of the terms asks.
async fn signed(browser: &mut Browser<'_>, passkey: &Passkey, query: &str) -> RevocationCode {
    let pending = terms(browser, query).await;
    finished(browser, passkey, pending).await
}

async fn let_in(browser: &mut Browser<'_>, query: &str) -> Value {
    let told = told(&answer(browser, query, "approve", "").await);
    let (status, token) = redeem(browser.world, &told["code"], &[]).await;
    assert_eq!(status, 200, "{token}");
    token
}

/// Ends the app that was let in last.
async fn end(browser: &mut Browser<'_>) {
    let me = browser.page("/me").await;
    let grant = me.split_once("name=\"grant\" value=\"").unwrap().1.split('"').next().unwrap().to_owned();
    let session = browser.token().await;
    assert_eq!(browser.form("/auth/apps/end", &format!("token={session}&grant={grant}")).await.status(), 303);
}

/// Until an app gets nothing by what it was given.
async fn until_ended(world: &World, token: &Value) {
    for _ in 0..600 {
        if status(world, token, "/fhir/Observation/o").await == 401 {
            assert_eq!(refresh(world, token, "").await.0, 400);
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the app's token goes on");
}

/// A patient with a passkey, and what an app that was registered asks.
async fn asked(world: &World) -> (Browser<'_>, Passkey, String) {
    register(world, "app", Keys::None);
    let (ada, passkey) = patient(world, "ada").await;
    (ada, passkey, question(world, &[("scope", SCOPE)]))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_let_in_by_a_signed_consent_ends_with_it() {
    let world = house().await;
    let (mut ada, passkey, query) = asked(&world).await;
    let offered = page(&mut ada, &query).await;
    assert!(offered.contains("value=\"sign\"") && !offered.contains("value=\"approve\""), "who can sign does");
    assert_eq!(told(&answer(&mut ada, &query, "approve", "").await)["error"], "access_denied");
    let code = signed(&mut ada, &passkey, &query).await;
    assert!(page(&mut ada, &query).await.contains("value=\"approve\""), "once is enough");
    let token = let_in(&mut ada, &query).await;
    assert_eq!(status(&world, &token, "/fhir/Observation/o").await, 200);
    let consent = world.only("/fhir/Consent?patient=Patient/ada&status=active").await;
    let provision = &consent["provision"];
    assert_eq!(provision["actor"][0]["reference"]["reference"], "Device/app");
    assert_eq!(provision["purpose"][0]["code"], "PATRQT");
    let kinds: Vec<&str> = provision["class"].as_array().unwrap().iter().map(|c| c["code"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Condition", "Observation", "Patient"]);
    until_shown(&mut ada, "It stands on the chain, and counts.").await;
    // By the code alone, and by whoever has it.
    let body = format!("code={}", encode(&code.to_text()));
    assert_eq!(Browser::new(&world).form("/withdraw", &body).await.status(), 200);
    assert_eq!(status(&world, &token, "/fhir/Observation/o").await, 401, "with the very next request");
    until_ended(&world, &token).await;

    // The other way round: who ends the app withdraws what was signed for it.
    signed(&mut ada, &passkey, &query).await;
    let token = let_in(&mut ada, &query).await;
    end(&mut ada).await;
    assert_eq!(status(&world, &token, "/fhir/Observation/o").await, 401, "with the very next request");
    until_ended(&world, &token).await;
    assert_eq!(world.get("/fhir/Consent?patient=Patient/ada&status=active&_summary=count").await.1["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_ends_when_the_chain_shows_that_its_consent_was_withdrawn() {
    if stores::on_postgres() {
        return;
    }
    let Some((anvil, world)) = on_chain().await else { return };
    let (mut ada, passkey, query) = asked(&world).await;
    let code = signed(&mut ada, &passkey, &query).await;
    while registered(&anvil, &world).await == 0 {
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    anvil.mine(3).await;
    until_shown(&mut ada, "It stands on the chain, and counts.").await;
    let mut token = let_in(&mut ada, &query).await;
    assert_eq!(status(&world, &token, "/fhir/Observation/o").await, 200);
    // Nobody asks this service to: the code is enough, and the chain.
    relay(&anvil, &code).await;
    for _ in 0..600 {
        // What it has may have come to its end by itself meanwhile; that it gets no more is what the withdrawal does.
        let (answered, fresh) = refresh(&world, &token, "").await;
        if answered == 400 {
            assert_eq!(status(&world, &token, "/fhir/Observation/o").await, 401);
            return;
        }
        token = fresh;
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the app goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_ends_when_the_last_day_of_its_consent_is_over() {
    let world = house().await;
    let (mut ada, passkey, query) = asked(&world).await;
    let code = signed(&mut ada, &passkey, &query).await;
    let token = let_in(&mut ada, &query).await;
    let core = &world.running.app.core;
    let (store, soon) = (&core.store, core.clock.now().as_second() as u64 + 1);
    let given = store.given(code.key).unwrap().unwrap();
    // The same, as it will be in a year.
    let over =
        Given { key: GrantKey(B256::repeat_byte(7)), sealed: Sealed { not_after: soon, ..given.sealed }, ..given };
    assert!(store.give(&over).unwrap());
    until_ended(&world, &token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_house_wants_it_no_app_gets_at_a_record_unsigned() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = opt_in(config(&directory.path().join("data")));
    config.consent.apps = Apps::Signed;
    let world = World::with(directory, config).await;
    ward(&world).await;
    let (mut ada, passkey, query) = asked(&world).await;
    assert!(!page(&mut ada, &query).await.contains("value=\"approve\""));
    let denied = told(&answer(&mut ada, &query, "approve", "").await);
    assert_eq!(denied["error"], "access_denied", "{denied:?}");
    // What opens nothing of a record needs none.
    let identity = question(&world, &[("scope", "openid fhirUser")]);
    assert!(told(&answer(&mut ada, &identity, "approve", "").await).contains_key("code"));
    assert_eq!(answer(&mut ada, &identity, "sign", "").await.status(), 400);
    let code = signed(&mut ada, &passkey, &query).await;
    let token = let_in(&mut ada, &query).await;
    assert_eq!(status(&world, &token, "/fhir/Observation/o").await, 200);
    // It holds for as much as was signed, and for no more.
    let_in(&mut ada, &question(&world, &[("scope", "patient/Condition.r")])).await;
    let more = question(&world, &[("scope", "patient/*.rs")]);
    assert_eq!(told(&answer(&mut ada, &more, "approve", "").await)["error"], "access_denied");
    // Another replica withdraws it: what this one remembers does not count.
    let core = &world.running.app.core;
    core.store.withdraw(&[code.key], core.clock.now().as_millisecond()).unwrap();
    assert_eq!(told(&answer(&mut ada, &query, "approve", "").await)["error"], "access_denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_are_signed_side_by_side_one_stands() {
    let world = house().await;
    let (mut ada, passkey, query) = asked(&world).await;
    let (one, other) = (terms(&mut ada, &query).await, terms(&mut ada, &query).await);
    finished(&mut ada, &passkey, one).await;
    let code = finished(&mut ada, &passkey, other).await;
    let left = world.only("/fhir/Consent?patient=Patient/ada&status=active").await;
    assert_eq!(left["identifier"][0]["value"], code.key.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn ending_an_app_leaves_what_else_its_program_was_given() {
    let world = house().await;
    let (mut ada, passkey, query) = asked(&world).await;
    let terms = TERMS.replace("Practitioner%2Fdoc", "Device%2Fapp").replace("my+treatment", "research");
    let research = give(&mut ada, &passkey, &terms, true).await;
    signed(&mut ada, &passkey, &query).await;
    let token = let_in(&mut ada, &query).await;
    end(&mut ada).await;
    until_ended(&world, &token).await;
    let left = world.only("/fhir/Consent?patient=Patient/ada&status=active").await;
    assert_eq!(left["identifier"][0]["value"], research.key.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_signs_for_an_app_that_calls_itself_what_it_likes() {
    let world = house().await;
    register(&world, "app", Keys::None);
    let store = &world.running.app.core.store;
    let client = store.client("app").unwrap().unwrap();
    let alone = bridge::index::clients::Client { id: "alone".into(), by_itself: true, ..client.clone() };
    assert!(store.add_client(&alone, 100).unwrap());
    // Nor for one that uses what it reads for more than the patient does: that is not what would be signed.
    let studies = bridge::index::clients::Client { id: "study".into(), purpose: Some("HRESCH".into()), ..client };
    assert!(store.add_client(&studies, 100).unwrap());
    let (mut ada, _) = patient(&world, "ada").await;
    for app in ["alone", "study"] {
        let query = question(&world, &[("scope", SCOPE), ("client_id", app)]);
        assert!(!page(&mut ada, &query).await.contains("value=\"sign\""), "{app}");
        assert_eq!(answer(&mut ada, &query, "sign", "").await.status(), 400, "{app}");
        assert!(told(&answer(&mut ada, &query, "approve", "").await).contains_key("code"), "{app}");
    }
}

/// A token of the app `c` that a patient has let in, as the index of all replicas knows it.
fn borne(world: &World, grant: &str) -> Value {
    let (core, scope) = (&world.running.app.core, "patient/*.rs");
    let (now, patient) = (core.clock.now().as_millisecond(), Name::parse("Patient/ada"));
    let grant = Grant {
        id: grant.into(),
        client: "c".into(),
        account: core.store.accounts().unwrap().remove(0).id,
        session: None,
        scope: scope.into(),
        patient: patient.clone(),
        encounter: None,
        code: None,
        made: now,
        expires: now + 3_600_000,
    };
    core.store.allow(&grant, &Handle::new(&bridge::secret::system_random).unwrap(), now).unwrap();
    let (client, id) = (Some(grant.client), Some(grant.id));
    let caller = Caller { client, grant: id, patient, ..Caller::new("c", scopes::parse(scope).unwrap()) };
    let token = world.running.app.token_key.issue(&caller, now as u64 / 1_000, Duration::from_secs(300)).unwrap();
    json!({"access_token": token})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_ended_on_one_replica_is_refused_on_the_other_within_the_bound() {
    let Some((one, other)) = replicas::pair().await else { return };
    ward(&one).await;
    let mut ada = Browser::new(&one);
    // Browsers come by the address that the replicas have together.
    ada.origin = "http://replicas.example".into();
    ada.join(&invitation(&one, Role::Patient, Some("Patient/ada"), None)).await;
    assert!(one.running.app.core.store.add_client(&client("c", Keys::None, "patient/*.rs"), 9).unwrap());
    let token = borne(&one, "g");
    for world in [&one, &other] {
        assert_eq!(status(world, &token, "/fhir/Observation/o").await, 200);
    }
    let body = format!("token={}&grant=g", ada.token().await);
    let begun = Instant::now();
    assert_eq!(ada.form("/auth/apps/end", &body).await.status(), 303);
    assert_eq!(status(&one, &token, "/fhir/Observation/o").await, 401, "here with the very next request");
    while status(&other, &token, "/fhir/Observation/o").await != 401 {
        assert!(begun.elapsed() < STANDING_FRESH + Duration::from_secs(1), "{:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
