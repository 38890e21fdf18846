//! Patients give and withdraw access with their own keys, in the portal and on the chain. All people are invented.

use super::anvil::{Anvil, program};
use super::door::{Browser, Passkey, Wallet, invitation};
use super::world::{World, config, issue};
use super::{chain, replicas, stores};
use alloy_signer::SignerSync;
use bridge::commit::{Author, Transaction};
use bridge::config::{Config, Registrar};
use bridge::consent::give::{self, Draft};
use bridge::consent::grant::{Choice, Purpose, Recipient};
use bridge::fhir::validate::validate;
use bridge::fhir::write::{Act, By, Target, Write};
use bridge::http::query::encode;
use bridge::ids::ResourceId;
use bridge::index::clients::{Client, Keys};
use bridge::limits::STANDING_FRESH;
use bridge::people::{AccountId, Person, Role};
use bridge::smart::grant::{Code, Grant, Handle};
use bridge::smart::scopes;
use bridge::smart::token::Caller;
use notary::chain::evm::{Address, Node, local_key, transact};
use notary::chain::registry;
use notary::consent::{GrantKey, Preimage, Registry, RevocationCode};
use serde_json::{Value, json};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

pub const DOCTOR: &str = "Practitioner/doc";
/// The second and third of anvil's accounts.
const REGISTRAR: &str = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
const RELAY: &str = "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a";
pub const TERMS: &str = "who=Practitioner%2Fdoc&purpose=my+treatment&what=all&without-Mind=on&until=2030-12-31";

/// A house where nothing is shown unless a patient permits it.
pub fn opt_in(mut config: Config) -> Config {
    config.consent = toml("default = \"deny\"");
    config
}

fn toml(text: &str) -> bridge::config::Consents {
    Config::parse(&format!("[consent]\n{text}")).unwrap().consent
}

pub async fn ward(world: &World) {
    for resource in [
        json!({"resourceType": "Patient", "id": "ada", "birthDate": "1980-02-29", "name": [{"family": "Novak"}]}),
        json!({"resourceType": "Patient", "id": "bob", "name": [{"family": "Okafor"}]}),
        json!({"resourceType": "Practitioner", "id": "doc", "name": [{"family": "Weiss", "given": ["Ilse"]}]}),
        json!({"resourceType": "Organization", "id": "quay", "name": "Quay Clinic"}),
        json!({"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "x"}, "subject": {"reference": "Patient/ada"}}),
        json!({"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/ada"},
            "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "F32.1"}]}}),
    ] {
        let path = format!("/fhir/{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        assert_eq!(world.call("PUT", &path, &resource.to_string()).await.0, 201, "{path}");
    }
}

pub async fn house() -> World {
    let directory = tempfile::tempdir().unwrap();
    let config = opt_in(config(&directory.path().join("data")));
    let world = World::with(directory, config).await;
    ward(&world).await;
    world
}

pub async fn patient<'w>(world: &'w World, id: &str) -> (Browser<'w>, Passkey) {
    let mut browser = Browser::new(world);
    let passkey = browser.join(&invitation(world, Role::Patient, Some(&format!("Patient/{id}")), None)).await;
    (browser, passkey)
}

pub async fn doctor(world: &World) -> Browser<'_> {
    let mut browser = Browser::new(world);
    browser.join(&invitation(world, Role::Clinician, Some(DOCTOR), Some("Organization/quay"))).await;
    browser
}

/// What the doctor's program is answered.
pub async fn seen(world: &World, path: &str) -> u16 {
    let token = format!("Bearer {}", issue(&world.running, "user/*.rs", None, Some(DOCTOR)));
    world.request("GET", &format!("/fhir/{path}"), &[("authorization", &token)], b"").await.status().as_u16()
}

pub async fn until_seen(world: &World, path: &str, wanted: u16) {
    for _ in 0..600 {
        if seen(world, path).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{path} is not {wanted}");
}

pub async fn until_shown(browser: &mut Browser<'_>, words: &str) {
    for _ in 0..600 {
        if browser.page("/me/access").await.contains(words) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{words} is not shown: {}", browser.page("/me/access").await);
}

/// The page of the terms: its draft.
pub async fn drafted(browser: &mut Browser<'_>, at: &str, terms: &str) -> Result<String, u16> {
    let token = browser.token().await;
    let reply = browser.form(at, &format!("token={token}&{terms}")).await;
    if reply.status() != 200 {
        return Err(reply.status().as_u16());
    }
    let page = String::from_utf8(reply.body().to_vec()).unwrap();
    Ok(page.split_once("data-draft=\"").unwrap().1.split('"').next().unwrap().to_owned())
}

/// What a page has made by itself.
pub struct Pending {
    draft: String,
    preimage: Preimage,
    kept: bool,
}

impl Pending {
    pub fn new(draft: String, kept: bool) -> Self {
        let mut preimage = [0; 32];
        bridge::secret::system_random(&mut preimage).unwrap();
        Self { draft, preimage: Preimage(preimage), kept }
    }

    fn body(&self, token: &str, with: &str, answer: Value) -> Value {
        let mut body =
            json!({"token": token, "draft": self.draft, "tag": self.preimage.tag(), "with": with, "answer": answer});
        if self.kept {
            body["preimage"] = format!("0x{}", hex::encode(self.preimage.0)).into();
        }
        body
    }

    pub async fn options(&self, browser: &mut Browser<'_>, with: &str) -> Value {
        let token = browser.token().await;
        let (status, options) = browser.post("/me/access/options", &self.body(&token, with, Value::Null)).await;
        assert_eq!(status, 200, "{options}");
        options
    }

    pub async fn sign(&self, browser: &mut Browser<'_>, with: &str, answer: Value) -> (u16, Value) {
        let token = browser.token().await;
        browser.post("/me/access/sign", &self.body(&token, with, answer)).await
    }

    /// The code as the page would hand it out.
    pub fn code(&self, given: &Value) -> RevocationCode {
        let registry = Registry {
            chain_id: given["chain"].as_u64().unwrap(),
            contract: given["contract"].as_str().unwrap().parse().unwrap(),
        };
        let key = GrantKey(given["grant"].as_str().unwrap().parse().unwrap());
        RevocationCode { registry, key, preimage: self.preimage.clone() }
    }
}

/// Gives access by passkey.
pub async fn give(browser: &mut Browser<'_>, passkey: &Passkey, terms: &str, kept: bool) -> RevocationCode {
    let pending = Pending::new(drafted(browser, "/me/access/new", terms).await.unwrap(), kept);
    let options = pending.options(browser, "passkey").await;
    let (status, given) = pending.sign(browser, "passkey", passkey.sign(&options)).await;
    assert_eq!(status, 200, "{given}");
    pending.code(&given)
}

pub(super) async fn click(browser: &mut Browser<'_>, key: GrantKey) -> u16 {
    let token = browser.token().await;
    browser.form("/me/access/revoke", &format!("token={token}&grant={key}")).await.status().as_u16()
}

async fn only_consent(world: &World) -> Value {
    world.only("/fhir/Consent?patient=Patient/ada").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_gives_access_by_passkey_and_takes_it_back_by_a_click() {
    let world = house().await;
    let (mut ada, passkey) = patient(&world, "ada").await;
    // A message has named it as who gives out numbers, and no more is known of it.
    let authority = json!({"resourceType": "Organization", "id": "authority", "name": "KVNR", "identifier": [{"value": "KVNR"},
        {"value": "http://fhir.de/sid/gkv/kvid-10", "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0301", "code": "URI"}]}}]});
    assert_eq!(world.call("PUT", "/fhir/Organization/authority", &authority.to_string()).await.0, 201);
    let page = ada.page("/me/access/new").await;
    let at = |words: &str| page.find(words).unwrap_or_else(|| panic!("{words}: {page}"));
    assert!(at("Quay Clinic") < at("Ilse Weiss") && at("Ilse Weiss") < at("KVNR"), "{page}");
    assert_eq!(seen(&world, "Observation/o").await, 404);
    let code = give(&mut ada, &passkey, TERMS, true).await;
    until_seen(&world, "Observation/o", 200).await;
    assert_eq!(seen(&world, "Condition/c").await, 404, "that was left out");
    let consent = only_consent(&world).await;
    assert_eq!(
        (&consent["status"], &consent["identifier"][0]["value"]),
        (&json!("active"), &json!(code.key.to_string()))
    );
    assert_eq!(consent["provision"]["actor"][0]["reference"]["reference"], DOCTOR);
    assert_eq!(consent["verification"][0]["verified"], true);
    until_shown(&mut ada, "It stands on the chain, and counts.").await;
    let page = ada.page("/me/access").await;
    for words in ["Ilse Weiss", "everything in my record; but nothing about mental health", "You have signed it"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert_eq!(click(&mut ada, code.key).await, 303);
    assert_eq!(seen(&world, "Observation/o").await, 404, "with the very next request");
    assert_eq!(only_consent(&world).await["status"], "inactive");
    until_shown(&mut ada, "It is withdrawn, here and on the chain.").await;
    // Nobody says that it is active again; were it said, it permits nothing.
    let path = format!("/fhir/Consent/{}", consent["id"].as_str().unwrap());
    assert_eq!(world.call("PUT", &path, &consent.to_string()).await.0, 403);
    slipped_in(&world, &consent).await;
    assert_eq!(seen(&world, "Observation/o").await, 404);
    let world = world.restarted().await;
    assert_eq!(seen(&world, "Observation/o").await, 404, "nor after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_click_to_the_refusal_is_less_than_a_second() {
    let world = house().await;
    let (mut ada, passkey) = patient(&world, "ada").await;
    let mut took = Vec::new();
    for _ in 0..3 {
        let key = give(&mut ada, &passkey, TERMS, true).await.key;
        until_seen(&world, "Observation/o", 200).await;
        let body = format!("token={}&grant={key}", ada.token().await);
        let begun = Instant::now();
        let clicked = ada.form("/me/access/revoke", &body).await.status();
        let refused = seen(&world, "Observation/o").await;
        took.push(begun.elapsed());
        assert_eq!((clicked.as_u16(), refused), (303, 404), "with the very next request");
    }
    // The quickest: the disk of a machine that does all other tests, too, may keep one of them waiting.
    assert!(took.iter().any(|took| *took < Duration::from_secs(1)), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_signs_and_the_code_alone_withdraws() {
    let world = house().await;
    let (mut ada, _) = patient(&world, "ada").await;
    let (wallet, stranger) = (Wallet::new(), Wallet::new());
    let token = ada.token().await;
    let (linking, nonce) = ada.message("keys", &wallet.address(), json!({"token": token})).await;
    let linked = ada.post("/auth/keys/wallet", &json!({"token": token, "answer": wallet.sign(&linking, &nonce)})).await;
    assert_eq!(linked.0, 200);
    for (n, form) in ["file", "typed"].into_iter().enumerate() {
        let pending = Pending::new(drafted(&mut ada, "/me/access/new", TERMS).await.unwrap(), false);
        let message = pending.options(&mut ada, "wallet").await["message"].clone();
        assert_eq!(message["message"]["terms"]["recipient"], "Ilse Weiss (Practitioner/doc)");
        let terms = serde_json::from_value(message["message"]["terms"].clone()).unwrap();
        let domain = &message["domain"];
        let contract: Address = domain["verifyingContract"].as_str().unwrap().parse().unwrap();
        let registry = Registry { chain_id: domain["chainId"].as_u64().unwrap(), contract };
        let not_after = message["message"]["notAfter"].as_u64().unwrap();
        let digest = registry.sealed_digest(&terms, pending.preimage.tag(), not_after);
        let by =
            |wallet: &Wallet| json!(format!("0x{}", hex::encode(wallet.0.sign_hash_sync(&digest).unwrap().as_bytes())));
        assert_eq!(pending.sign(&mut ada, "wallet", by(&stranger)).await.0, 403, "a wallet that nobody linked");
        let (status, given) = pending.sign(&mut ada, "wallet", by(&wallet)).await;
        assert_eq!(status, 200, "{given}");
        let code = pending.code(&given);
        until_seen(&world, "Observation/o", 200).await;
        // A click withdraws it here; only the code does on the chain.
        if n == 0 {
            assert_eq!(click(&mut ada, code.key).await, 303);
            until_shown(&mut ada, "The chain will show it when you give your code.").await;
        }
        let mut anybody = Browser::new(&world);
        assert!(anybody.page("/withdraw").await.contains("revocation code"));
        let text = if form == "file" { code.to_text() } else { code.preimage.to_code().to_lowercase() };
        for wrong in ["", "MSR1-AAAAAA", &text.replace("MSR1", "MSR2").replace("msr1", "msr2")] {
            assert_eq!(anybody.form("/withdraw", &format!("code={}", encode(wrong))).await.status(), 400, "{wrong}");
        }
        let other = Preimage([9; 32]).to_code();
        assert_eq!(anybody.form("/withdraw", &format!("code={}", encode(&other))).await.status(), 400, "of no grant");
        let reply = anybody.form("/withdraw", &format!("code={}", encode(&text))).await;
        assert_eq!(reply.status(), 200, "{form}: {}", String::from_utf8_lossy(reply.body()));
        assert_eq!(seen(&world, "Observation/o").await, 404);
        until_shown(&mut ada, "It is withdrawn, here and on the chain.").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_signed_is_not_given() {
    let world = house().await;
    let (mut ada, passkey) = patient(&world, "ada").await;
    let (mut bob, bobs) = patient(&world, "bob").await;
    for (what, terms) in [
        ("somebody unknown", TERMS.replace("doc", "nobody")),
        ("a patient", TERMS.replace("Practitioner%2Fdoc", "Patient%2Fbob")),
        ("a program that is not registered", TERMS.replace("Practitioner%2Fdoc", "Device%2Fx")),
        ("yesterday", TERMS.replace("2030", "2020")),
        ("for ever", TERMS.replace("2030", "2930")),
        ("no day", TERMS.replace("2030-12-31", "soon")),
        ("no kind", TERMS.replace("what=all", "what=some")),
        ("no purpose", TERMS.replace("my+treatment", "fun")),
    ] {
        assert_eq!(drafted(&mut ada, "/me/access/new", &terms).await, Err(400), "{what}");
    }
    let draft = drafted(&mut ada, "/me/access/new", TERMS).await.unwrap();
    let pending = Pending::new(draft.clone(), true);
    let options = pending.options(&mut ada, "passkey").await;
    let good = passkey.sign(&options);
    let other = Pending::new(draft.clone(), true);
    let changed = Pending::new(draft.replace(&draft[20..24], "AAAA"), true);
    let mut lied = pending.body(&ada.token().await, "passkey", good.clone());
    lied["preimage"] = format!("0x{}", "11".repeat(32)).into();
    assert_eq!(ada.post("/me/access/sign", &lied).await.0, 400, "a preimage of another tag");
    for (what, pending, with, answer, status) in [
        ("nobody's signature", &pending, "passkey", bobs.sign(&options), 403),
        ("over another tag", &other, "passkey", good.clone(), 400),
        ("a draft that was changed", &changed, "passkey", good.clone(), 400),
        ("not signed at all", &pending, "record", Value::Null, 400),
        ("a wallet's that is a passkey's", &pending, "wallet", json!("0x00"), 403),
    ] {
        assert_eq!(pending.sign(&mut ada, with, answer).await.0, status, "{what}");
    }
    assert_eq!(pending.sign(&mut bob, "passkey", good.clone()).await.0, 400, "on another's page");
    assert_eq!(world.get("/fhir/Consent").await.1["total"], 0);
    let (status, given) = pending.sign(&mut ada, "passkey", good.clone()).await;
    assert_eq!(status, 200, "{given}");
    assert_eq!(pending.sign(&mut ada, "passkey", good).await.0, 400, "once");
    let again = Pending::new(draft, true);
    let options = again.options(&mut ada, "passkey").await;
    assert_eq!(again.sign(&mut ada, "passkey", passkey.sign(&options)).await.0, 400, "one page, one access");
    let key = pending.code(&given).key;
    assert_eq!(click(&mut bob, key).await, 404, "it is not his");
    let reply = ada.form("/me/access/revoke", &format!("token=x&grant={key}")).await;
    assert_eq!(reply.status(), 403, "from a page of ours alone");
    until_seen(&world, "Observation/o", 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_that_says_more_than_was_signed_permits_nothing() {
    let world = house().await;
    let (mut ada, passkey) = patient(&world, "ada").await;
    let terms = "who=Practitioner%2Fdoc&purpose=my+treatment&what=some&kind-Condition=on&until=2030-12-31";
    give(&mut ada, &passkey, terms, true).await;
    until_seen(&world, "Condition/c", 200).await;
    assert_eq!((seen(&world, "Patient/ada").await, seen(&world, "Observation/o").await), (200, 404));
    let mut consent = only_consent(&world).await;
    let path = format!("/fhir/Consent/{}", consent["id"].as_str().unwrap());
    let signed = consent.clone();
    consent["provision"].as_object_mut().unwrap().remove("class");
    assert_eq!(world.call("PUT", &path, &consent.to_string()).await.0, 403);
    assert_eq!(world.call("DELETE", &path, "").await.0, 403);
    slipped_in(&world, &consent).await;
    assert_eq!((seen(&world, "Observation/o").await, seen(&world, "Condition/c").await), (404, 404));
    slipped_in(&world, &signed).await;
    assert_eq!(seen(&world, "Condition/c").await, 200, "as it was signed");
}

/// A Consent that comes by none of the ways that others have.
async fn slipped_in(world: &World, consent: &Value) {
    let resource = validate(notary::canonical::Json::from(consent.clone())).unwrap();
    let name = bridge::ids::Name::parse(&format!("Consent/{}", consent["id"].as_str().unwrap())).unwrap();
    let target = Target { kind: name.kind, by: By::Id(name.id), if_match: None, only_new: false };
    let writes = vec![Write::alone(Act::Update { target, resource })];
    let transaction = Transaction { by: Author::Service, writes, message: None };
    bridge::ingest::commit(&world.running.app, transaction).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn less_takes_the_place_of_more_and_more_is_not_less() {
    let world = house().await;
    let (mut ada, passkey) = patient(&world, "ada").await;
    let old = give(&mut ada, &passkey, TERMS, true).await;
    until_seen(&world, "Observation/o", 200).await;
    let instead = format!("&instead={}", old.key);
    assert!(ada.page(&format!("/me/access/new?instead={}", old.key)).await.contains("less than before"));
    for wider in [
        TERMS.replace("2030", "2031"),
        TERMS.replace("&without-Mind=on", ""),
        TERMS.replace("my+treatment", "any+purpose"),
    ] {
        assert_eq!(drafted(&mut ada, "/me/access/new", &format!("{wider}{instead}")).await, Err(400), "{wider}");
    }
    let narrower = TERMS.replace("what=all", "what=some&kind-Condition=on").replace("2030", "2029");
    let new = give(&mut ada, &passkey, &format!("{narrower}{instead}"), true).await;
    assert_eq!(seen(&world, "Observation/o").await, 404, "the old one is gone");
    until_seen(&world, "Patient/ada", 200).await;
    let page = ada.page("/me/access").await;
    assert!(page.contains(&new.key.to_string()) && page.contains("Who had access"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_patient_without_a_key_says_is_written_down_and_marked() {
    let world = house().await;
    let (mut doc, at) = (doctor(&world).await, "/me/patients/ada/grant");
    assert_eq!(doc.get(at).await.status(), 404, "of a patient whom she may not see she writes nothing down");
    // The patient comes to her.
    let consent = json!({"resourceType": "Consent", "id": "k", "status": "active", "patient": {"reference": "Patient/ada"},
        "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "policyRule": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTIN"}]},
        "provision": {"type": "permit"}});
    assert_eq!(world.call("PUT", "/fhir/Consent/k", &consent.to_string()).await.0, 201);
    assert!(doc.page(at).await.contains("Write down what the patient has told you"));
    let terms = "who=Organization%2Fquay&purpose=research&what=all&until=2030-12-31";
    let pending = Pending::new(drafted(&mut doc, at, terms).await.unwrap(), true);
    let (status, given) = pending.sign(&mut doc, "record", Value::Null).await;
    assert_eq!(status, 200, "{given}");
    let key = pending.code(&given).key;
    let stored = world.only(&format!("/fhir/Consent?identifier=urn:medseal:consent-grant|{key}")).await;
    assert_eq!(stored["verification"][0]["verified"], false);
    assert_eq!(
        (&stored["performer"][0]["reference"], &stored["organization"][0]["reference"]),
        (&json!(DOCTOR), &json!("Organization/quay"))
    );
    let (mut ada, _) = patient(&world, "ada").await;
    until_shown(&mut ada, "who wrote it down. You have not signed it.").await;
    assert_eq!(click(&mut ada, key).await, 303);
    until_shown(&mut ada, "It is withdrawn, here and on the chain.").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tokens_of_an_app_end_with_the_access_that_was_given_it() {
    let world = house().await;
    let (mut ada, passkey) = patient(&world, "ada").await;
    let (core, app) = (&world.running.app.core, "app");
    let (now, name) = (core.clock.now().as_millisecond(), "Heart app".to_owned());
    let client = Client {
        id: app.into(),
        name,
        scope: "patient/*.rs".into(),
        keys: Keys::None,
        redirects: vec!["https://a/cb".into()],
        launch: None,
        purpose: None,
        by_itself: false,
        made: now,
    };
    assert!(core.store.add_client(&client, 9).unwrap());
    let account = core.store.accounts().unwrap().remove(0).id;
    let person = Person::new(Role::Patient, bridge::ids::Name::parse("Patient/ada"), None).unwrap();
    let grant = Grant {
        id: "g".into(),
        client: app.into(),
        account: account.clone(),
        session: None,
        scope: "patient/*.rs".into(),
        patient: person.resource,
        encounter: None,
        code: None::<Code>,
        made: now,
        expires: now + 1_000_000,
    };
    core.store.allow(&grant, &Handle::new(&bridge::secret::system_random).unwrap(), now).unwrap();
    assert_eq!(core.store.grants(&account, now).unwrap().len(), 1);
    let code = give(&mut ada, &passkey, &TERMS.replace("Practitioner%2Fdoc", "Device%2Fapp"), true).await;
    assert!(ada.page("/me/access").await.contains("Heart app"));
    assert_eq!(click(&mut ada, code.key).await, 303);
    assert_eq!(core.store.grants(&account, now).unwrap(), []);
}

/// What a clinician writes down.
async fn written_down(doc: &mut Browser<'_>, patient: &str, terms: &str) -> RevocationCode {
    let pending = Pending::new(drafted(doc, &format!("/me/patients/{patient}/grant"), terms).await.unwrap(), true);
    let (status, given) = pending.sign(doc, "record", Value::Null).await;
    assert_eq!(status, 200, "{given}");
    pending.code(&given)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_down_is_taken_over_by_the_patients_key() {
    let world = World::new().await;
    ward(&world).await;
    let mut doc = doctor(&world).await;
    let recorded = written_down(&mut doc, "ada", TERMS).await;
    let bobs = written_down(&mut doc, "bob", TERMS).await;
    let (mut ada, passkey) = patient(&world, "ada").await;
    until_shown(&mut ada, "It stands on the chain, and counts.").await;
    let page = ada.page("/me/access").await;
    assert!(page.contains("who wrote it down") && page.contains("Sign it myself"), "{page}");
    let take = format!("grant={}", recorded.key);
    for (what, asked, expected) in [
        ("another's", format!("grant={}", bobs.key), 404),
        ("nobody's", "grant=x".to_owned(), 404),
        ("nothing", String::new(), 404),
    ] {
        assert_eq!(drafted(&mut ada, "/me/access/take", &asked).await, Err(expected), "{what}");
    }
    assert_eq!(drafted(&mut doc, "/me/access/take", &take).await, Err(403), "the clinician is not the patient");
    assert_eq!(Browser::new(&world).form("/me/access/take", &take).await.status(), 401);

    let pending = Pending::new(drafted(&mut ada, "/me/access/take", &take).await.unwrap(), true);
    let (unsigned, told) = pending.sign(&mut ada, "record", Value::Null).await;
    assert_eq!(unsigned, 400, "it is to be signed: {told}");
    let options = pending.options(&mut ada, "passkey").await;
    let (status, given) = pending.sign(&mut ada, "passkey", passkey.sign(&options)).await;
    assert_eq!(status, 200, "{given}");
    let own = pending.code(&given);
    let store = &world.running.app.core.store;
    let [old, new] = [recorded.key, own.key].map(|key| store.given(key).unwrap().unwrap());
    assert!(old.revoked.is_some() && new.revoked.is_none() && old.sealed != new.sealed);
    until_revoked_on_chain(&world, recorded.key).await;
    until_shown(&mut ada, "It stands on the chain, and counts.").await;
    let page = ada.page("/me/access").await;
    assert!(page.contains("You have signed it") && !page.contains("Sign it myself"), "{page}");
    let (_, found) = world.get("/fhir/Consent?patient=Patient/ada&status=active").await;
    let consent = &found["entry"][0]["resource"];
    assert_eq!((&found["total"], &consent["verification"][0]["verified"]), (&json!(1), &json!(true)));
    assert_eq!(consent["performer"][0]["reference"], "Patient/ada");
    assert!(consent.get("organization").is_none());
    assert_eq!(drafted(&mut doc, "/me/patients/ada/grant", TERMS).await, Err(400), "who has a key speaks for herself");
    let pending = Pending::new(drafted(&mut doc, "/me/patients/bob/grant", TERMS).await.unwrap(), true);
    patient(&world, "bob").await;
    assert_eq!(
        pending.sign(&mut doc, "record", Value::Null).await.0,
        400,
        "also one who has it since the page was shown"
    );
    // What is signed, and what is withdrawn, cannot be taken over.
    for key in [own.key, recorded.key] {
        assert_eq!(drafted(&mut ada, "/me/access/take", &format!("grant={key}")).await, Err(400));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_access_is_known_again_after_a_recovery() {
    if stores::needs_sqlite() {
        return;
    }
    let world = house().await;
    let (mut ada, passkey) = patient(&world, "ada").await;
    let kept = give(&mut ada, &passkey, TERMS, true).await;
    let other = TERMS.replace("Practitioner%2Fdoc", "Organization%2Fquay");
    let withdrawn = give(&mut ada, &passkey, &other, true).await;
    until_seen(&world, "Observation/o", 200).await;
    assert_eq!(click(&mut ada, withdrawn.key).await, 303);
    let (directory, data) = super::recovery::stopped(world).await;
    stores::lose_index(&data);
    let recovered = super::erasure::medseal(&data, &["recover"]).await;
    assert!(recovered.status.success(), "{}", super::erasure::out(&recovered));
    let world = World::with(directory, opt_in(config(&data))).await;
    until_seen(&world, "Observation/o", 200).await;
    let store = &world.running.app.core.store;
    let rows = [kept.key, withdrawn.key].map(|key| store.given(key).unwrap().unwrap());
    assert!(rows[0].revoked.is_none() && rows[1].revoked.is_some() && rows.iter().all(|row| row.preimage.is_none()));
    // The account is new; what was granted is not.
    let (mut ada, _) = patient(&world, "ada").await;
    until_shown(&mut ada, "It stands on the chain, and counts.").await;
    let page = ada.page("/me/access").await;
    assert!(page.contains("Ilse Weiss") && page.contains("Quay Clinic") && page.contains("Who had access"), "{page}");
    assert_eq!(click(&mut ada, kept.key).await, 303);
    assert_eq!(seen(&world, "Observation/o").await, 404, "with the very next request");
    until_shown(&mut ada, "The chain will show it when you give your code.").await;
    let code = encode(&kept.to_text());
    assert_eq!(ada.form("/withdraw", &format!("code={code}")).await.status(), 200);
    let world = world.restarted().await;
    assert_eq!(seen(&world, "Observation/o").await, 404, "nor after a restart");
    assert!(world.running.app.core.store.given(kept.key).unwrap().unwrap().preimage.is_some(), "it is not found twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_withdrawn_on_one_replica_is_refused_on_the_other_with_the_next_request() {
    let Some((one, other)) = replicas::pair().await else { return };
    ward(&one).await;
    let app = &one.running.app;
    let choice = Choice {
        patient: "Patient/ada".into(),
        recipient: Recipient { reference: DOCTOR.into(), called: "Ilse Weiss".into() },
        purpose: Purpose::Treatment,
        kinds: Vec::new(),
        without: Vec::new(),
        until: "2030-12-31".parse().unwrap(),
        given: "2026-01-01T00:00:00Z".parse().unwrap(),
        recorded_by: Some((DOCTOR.into(), "Organization/quay".into())),
        acted_by: None,
    };
    let account = AccountId(ResourceId::from_bytes([1; 16]));
    let draft = Draft::new(&app.core, choice, &account, None).unwrap();
    let preimage = Preimage([7; 32]);
    let opening = draft.opening(&app.core, preimage.tag(), str::to_owned).unwrap();
    let by = Caller::new("test", scopes::parse("system/Consent.cu").unwrap());
    let key = give::give(app, by, &draft, opening, Some(preimage)).await.unwrap();
    for world in [&one, &other] {
        until_seen(world, "Observation/o", 200).await;
    }
    let given = app.core.store.given(key).unwrap().unwrap();
    let begun = Instant::now();
    give::revoke(app, &given, None).await.unwrap();
    assert_eq!(seen(&one, "Observation/o").await, 404, "here with the next request");
    // The Consent that says so lies in the index of both, which is asked with each request: there is no bound to wait for.
    assert_eq!(seen(&other, "Observation/o").await, 404, "and there");
    assert!(begun.elapsed() < STANDING_FRESH, "{:?}", begun.elapsed());
    for world in [&one, &other] {
        until_revoked_on_chain(world, key).await;
    }
}

async fn until_revoked_on_chain(world: &World, key: GrantKey) {
    let core = &world.running.app.core;
    for _ in 0..600 {
        if core.grants.word(key).is_some_and(|word| word.revoked_at.is_some()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the chain does not show it");
}

/// A house whose grants stand on a node, where each block stays after two more.
pub(super) async fn on_chain() -> Option<(Anvil, World)> {
    let directory = tempfile::tempdir().unwrap();
    let (anvil, mut config) = chain::chain(&directory).await?;
    let settings = config.chain.as_mut().unwrap();
    settings.finality = "2".into();
    let registrar: &mut Registrar = settings.registry.as_mut().unwrap();
    registrar.poll_ms = 100;
    let mut file = std::fs::OpenOptions::new();
    let mut file = file.write(true).create_new(true).mode(0o600).open(config.data.join(&registrar.key)).unwrap();
    std::io::Write::write_all(&mut file, REGISTRAR.as_bytes()).unwrap();
    config.consent = toml("default = \"deny\"\nstale_seconds = 3");
    let world = World::with(directory, config).await;
    ward(&world).await;
    Some((anvil, world))
}

/// By the command that stands in the file of the code, from an account that is nobody's here; the same call where there is no cast.
pub(super) async fn relay(anvil: &Anvil, code: &RevocationCode) {
    if let Some(cast) = program("cast") {
        let text = code.to_text();
        let command = text[text.find("cast send").unwrap()..].split("\n\n").next().unwrap();
        let command = command.replace("\\\n", " ").replace('\'', "");
        let said: Vec<String> = command.split_whitespace().skip(1).map(str::to_owned).collect();
        let node = ["--rpc-url".to_owned(), anvil.url(), "--private-key".to_owned(), format!("0x{RELAY}")];
        let run = move || std::process::Command::new(cast).args(said).args(node).output().unwrap();
        let ran = tokio::task::spawn_blocking(run).await.unwrap();
        return assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
    let key = local_key(&hex::decode(RELAY).unwrap().try_into().unwrap()).unwrap();
    let call = registry::revoke(code.key, &code.preimage);
    transact(&Node::new(&anvil.url()).unwrap(), &key, code.registry.contract, call, u128::MAX).await.unwrap();
}

/// Waits until the registration is in a block, and that block stays.
async fn settled(anvil: &Anvil, world: &World, browser: &mut Browser<'_>) {
    let before = browser.page("/me/access").await;
    assert!(before.contains("Waiting"), "{before}");
    let from = registered(anvil, world).await;
    for _ in 0..600 {
        if registered(anvil, world).await > from || from > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(seen(world, "Observation/o").await, 404, "it is in a block that may still go");
    anvil.mine(3).await;
    until_seen(world, "Observation/o", 200).await;
}

/// Events of the registry.
pub(super) async fn registered(anvil: &Anvil, world: &World) -> usize {
    let contract = world.running.app.core.grants.registry().unwrap().contract;
    let filter = json!([{"fromBlock": "0x0", "toBlock": "latest", "address": contract}]);
    anvil.ask("eth_getLogs", filter).await.as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_chain_a_grant_counts_when_it_is_final_and_anybody_relays_its_revocation() {
    if stores::on_postgres() {
        return;
    }
    let Some((anvil, world)) = on_chain().await else { return };
    let (mut ada, passkey) = patient(&world, "ada").await;
    let code = give(&mut ada, &passkey, TERMS, false).await;
    settled(&anvil, &world, &mut ada).await;
    relay(&anvil, &code).await;
    until_seen(&world, "Observation/o", 404).await;
    until_shown(&mut ada, "It is withdrawn, here and on the chain.").await;
    for _ in 0..600 {
        if only_consent(&world).await["status"] == "inactive" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the Consent's status does not follow");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_chain_down_a_click_acts_at_once_and_what_is_stale_denies() {
    if stores::on_postgres() {
        return;
    }
    let Some((mut anvil, world)) = on_chain().await else { return };
    let (mut ada, passkey) = patient(&world, "ada").await;
    let code = give(&mut ada, &passkey, TERMS, true).await;
    settled(&anvil, &world, &mut ada).await;
    // The node keeps what it has each second.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    anvil.stop();
    until_seen(&world, "Observation/o", 404).await;
    until_shown(&mut ada, "the chain was not read lately").await;
    anvil.again().await;
    until_seen(&world, "Observation/o", 200).await;
    anvil.stop();
    assert_eq!(click(&mut ada, code.key).await, 303);
    assert_eq!(seen(&world, "Observation/o").await, 404);
    assert!(ada.page("/me/access").await.contains("The chain will show it in a moment."));
    anvil.again().await;
    until_shown(&mut ada, "It is withdrawn, here and on the chain.").await;
}
