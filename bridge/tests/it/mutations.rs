//! Parsers of this package that outsiders reach, held to their laws on changed seeds. `fuzz/` hunts in the pure packages with a fuzzer that
//! sees what it reaches; what lies in the service itself is tried here, without one: the same changes each time, so that a run says the
//! same twice. `MEDSEAL_MUTATIONS=100000 cargo test --test it mutations` tries more of them, `MEDSEAL_SEED` others.

use super::door;
use bridge::exchange::document::Document;
use bridge::fhir::bundle;
use bridge::fhir::fhirpath::node::Node;
use bridge::fhir::fhirpath::{Budget, Path, Scope};
use bridge::fhir::patch::Patch;
use bridge::fhir::search::criterion::Surroundings;
use bridge::fhir::search::query::{Faulty, read_as};
use bridge::fhir::validate::validate;
use bridge::http::query;
use bridge::ids::TypeName;
use bridge::limits::MAX_STEPS;
use bridge::people::passkey::{self, Assertion, Attestation};
use bridge::people::site::Site;
use bridge::smart::token::TokenKey;
use bridge::smart::{assertion, keys, scopes};
use notary::canonical::Json;
use notary::chain::evm::{Address, B256};
use notary::commitment::Digest;
use notary::consent::{GrantKey, Preimage, Registry, RevocationCode};
use notary::witness::AddCheckpoint;
use serde_json::json;

/// Changes of each seed, unless more are asked for.
const CHANGES: usize = 300;
/// What grammars are made of.
const WORDS: &[&str] = &[
    "&",
    "=",
    ",",
    "$",
    "|",
    ":",
    "%",
    "%2",
    "%00",
    "\\",
    "\"",
    "'",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "..",
    "/",
    "-",
    "~1",
    "~0",
    "+",
    "null",
    "1e999",
    "0",
    "-1",
    "9999999999999999999",
    "_has:",
    ":missing",
    "where(",
    "\u{1F600}",
    "\u{0}",
    "a.b.c",
    "==",
    "_include",
];

/// Numbers that look like chance and are not (xorshift64*).
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let seed = std::env::var("MEDSEAL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_122);
        Self(seed)
    }

    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % most.max(1)
    }

    /// One to four changes; `other` is where parts are taken from.
    fn changed(&mut self, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(12)).min(bytes.len());
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 => _ = bytes.drain(at..end),
                2 => bytes = [&bytes[..end], &bytes[at..]].concat(),
                3 => bytes.truncate(at),
                4 => {
                    let from = self.below(other.len() + 1);
                    let part = &other[from..(from + self.below(30)).min(other.len())];
                    bytes = [&bytes[..at], part, &bytes[at..]].concat();
                }
                _ => bytes = [&bytes[..at], WORDS[self.below(WORDS.len())].as_bytes(), &bytes[end..]].concat(),
            }
        }
        bytes
    }
}

/// Holds a law on seeds and on what becomes of them. What breaks it is printed.
fn hold(seeds: &[String], law: impl Fn(&[u8])) {
    let changes = std::env::var("MEDSEAL_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(CHANGES);
    let mut dice = Dice::new();
    let tried = |bytes: &[u8]| {
        let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| law(bytes)));
        assert!(held.is_ok(), "it does not hold for {:?}", String::from_utf8_lossy(bytes));
    };
    for seed in seeds {
        tried(seed.as_bytes());
        for _ in 0..changes {
            let other = &seeds[dice.below(seeds.len())];
            tried(&dice.changed(seed.as_bytes(), other.as_bytes()));
        }
    }
}

fn texts(of: &[&str]) -> Vec<String> {
    of.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn queries_say_the_same_written_again_and_are_understood_or_refused() {
    let seeds = texts(&[
        "identifier=urn:oid:1.2.3|4711&birthdate=ge1980-02-29&name:contains=M%C3%BCller",
        "_has:Observation:patient:code=http://loinc.org|2339-0&_sort=-_lastUpdated&_count=50",
        "subject:Patient.name=Novak&value-quantity=gt5.4|http://unitsofmeasure.org|mmol/L&_include=Observation:subject",
        "code:not=a,b%2Cc&date=2026-01,2026-02-03T10:00:00Z&_summary=count&status:missing=true",
        "_elements=id,name&_revinclude:iterate=Provenance:target&combo-code-value-quantity=8480-6$lt60",
    ]);
    let around = Surroundings { base: "http://localhost/fhir", now: 1_790_000_000_000_000, labels: None };
    let kinds = ["Patient", "Observation", "AuditEvent"].map(|kind| TypeName::parse(kind).unwrap());
    hold(&seeds, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let Ok(pairs) = query::pairs(text) else { return };
        let written: Vec<String> =
            pairs.iter().map(|(name, value)| format!("{}={}", query::encode(name), query::encode(value))).collect();
        assert_eq!(query::pairs(&written.join("&")).as_ref(), Ok(&pairs));
        for kind in kinds {
            for faulty in [Faulty::Refused, Faulty::Passed] {
                _ = read_as(kind, &pairs, &around, faulty);
            }
        }
    });
}

#[test]
fn patches_are_applied_whole_or_refused() {
    let resource = json!({"resourceType": "Patient", "id": "p", "active": true, "birthDate": "1980-02-29",
        "name": [{"family": "Novak", "given": ["Ada", "B"]}], "identifier": [{"system": "urn:a", "value": "1"}]});
    let resource = Json::parse(resource.to_string().as_bytes()).unwrap();
    let seeds = texts(&[
        r#"[{"op":"replace","path":"/name/0/family","value":"Okafor"},{"op":"add","path":"/name/0/given/-","value":"C"}]"#,
        r#"[{"op":"test","path":"/active","value":true},{"op":"move","from":"/identifier/0","path":"/identifier/0"},{"op":"copy","from":"/name/0","path":"/name/-"}]"#,
        r#"[{"op":"remove","path":"/birthDate"},{"op":"add","path":"","value":{"resourceType":"Patient"}}]"#,
        r#"{"resourceType":"Parameters","parameter":[{"name":"operation","part":[{"name":"type","valueCode":"replace"},{"name":"path","valueString":"Patient.name.where(family='Novak').family"},{"name":"value","valueString":"x"}]}]}"#,
        r#"{"resourceType":"Parameters","parameter":[{"name":"operation","part":[{"name":"type","valueCode":"insert"},{"name":"path","valueString":"Patient.name[0].given"},{"name":"value","valueString":"x"},{"name":"index","valueInteger":1}]}]}"#,
    ]);
    hold(&seeds, |bytes| {
        let Ok(json) = Json::parse(bytes) else { return };
        for patch in [Patch::json(&json), Patch::parameters(&json), Patch::in_bundle(&json)].into_iter().flatten() {
            let done = patch.apply(&resource);
            assert_eq!(
                patch.apply(&resource).ok(),
                done.as_ref().ok().cloned(),
                "applied again it gives something else"
            );
            if let Ok(patched) = done {
                assert_eq!(Json::parse(&patched.canonical()).map(|again| again.canonical()), Ok(patched.canonical()));
            }
        }
    });
}

#[test]
fn expressions_end_within_their_budget() {
    let resource = json!({"resourceType": "Patient", "id": "p", "name": [{"family": "Novak", "given": ["Ada", "B"]}, {"family": "X"}],
        "contact": [{"name": {"family": "Y"}}], "multipleBirthInteger": 2});
    let resource = Json::parse(resource.to_string().as_bytes()).unwrap();
    let seeds = texts(&[
        "name.where(family = 'Novak' and given.count() > 1).given.first() | contact.name.family",
        "descendants().where(%resource.name.exists()).count() >= 0 implies (id.matches('[a-z]+') xor false)",
        "name.all(family.exists() or given.empty()) and multipleBirth.ofType(integer) + 1 > 2",
        "iif(name.given.select($this & '-').distinct().isDistinct(), 'a'.substring(0, 1), {})",
        "(((name.repeat(given).skip(1).take(2))))[0].toString().startsWith('A') != true",
    ]);
    hold(&seeds, |bytes| {
        let Some(path) = std::str::from_utf8(bytes).ok().and_then(|text| Path::parse(text).ok()) else { return };
        let Some(node) = Node::resource(&resource) else { panic!("it is a Patient") };
        let found = || {
            let budget = Budget::new(MAX_STEPS.min(100_000));
            path.holds(&Scope { resource: node, root: node, context: node, budget: &budget })
        };
        assert_eq!(found(), found(), "it says something else the second time");
    });
}

#[test]
fn bundles_and_documents_of_others_are_read_or_refused() {
    let seeds = texts(&[
        r#"{"resourceType":"Bundle","type":"transaction","entry":[{"fullUrl":"urn:uuid:6b0b1a5e-0d0e-4c0e-8f3e-000000000001","resource":{"resourceType":"Patient","active":true},"request":{"method":"POST","url":"Patient","ifNoneExist":"identifier=a|b"}}]}"#,
        r#"{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Patient?name=x"}},{"request":{"method":"DELETE","url":"Patient/1","ifMatch":"W/\"2\""}},{"request":{"method":"PATCH","url":"Patient/1"},"resource":{"resourceType":"Parameters"}}]}"#,
        r#"{"keys":[{"kty":"EC","crv":"P-384","x":"AAAA","y":"BBBB","kid":"k","alg":"ES384"}],"id":"a","name":"A","endpoint":"https://a/fhir","custodian":"urn:a","logKey":"a+1+A","anchor":{"kind":"embedded","chainId":7,"contract":"0x0000000000000000000000000000000000000000"},"place":"x","services":[],"identifiers":[]}"#,
    ]);
    hold(&seeds, |bytes| {
        if let Ok(json) = Json::parse(bytes) {
            _ = bundle::read(json);
        }
        _ = Document::parse(bytes, Digest::of(bytes));
        assert!(Document::parse(bytes, Digest([0; 32])).is_err(), "a document counts by its digest alone");
        _ = keys::parse(bytes);
    });
}

/// Elements that run something, or lead a reader away from what he reads.
fn runs(name: &str) -> bool {
    const ELEMENTS: &[&str] =
        &["script", "iframe", "object", "embed", "form", "input", "link", "meta", "base", "style", "svg"];
    ELEMENTS.contains(&name)
}

#[test]
fn no_narrative_that_is_taken_runs_anything() {
    let seeds = texts(&[
        r#"<div xmlns="http://www.w3.org/1999/xhtml"><p class="x">Ada <b>Novak</b> &amp; <a href="https://a.example/x">more</a><br/></p></div>"#,
        r##"<div xmlns="http://www.w3.org/1999/xhtml"><table border="1"><tr><td colspan="2">1</td></tr></table><img src="#x" alt="y"/></div>"##,
        r#"<div xmlns="http://www.w3.org/1999/xhtml"><script>alert(1)</script><p onclick="x()">x</p><a href="javascript:x()">x</a></div>"#,
        r#"<div xmlns="http://www.w3.org/1999/xhtml"><!-- x --><![CDATA[<iframe src="data:text/html,x"></iframe>]]><p style="x">&#x3c;script&#62;</p></div>"#,
    ]);
    hold(&seeds, |bytes| {
        let Ok(div) = std::str::from_utf8(bytes) else { return };
        let patient = json!({"resourceType": "Patient", "text": {"status": "generated", "div": div}}).to_string();
        let Ok(resource) = Json::parse(patient.as_bytes()) else { return };
        if validate(resource).is_err() {
            return;
        }
        let document = roxmltree::Document::parse(div).expect("what is taken is XHTML");
        for node in document.descendants().filter(roxmltree::Node::is_element) {
            assert!(!runs(&node.tag_name().name().to_ascii_lowercase()), "{div}");
            for attribute in node.attributes() {
                let value = attribute.value().trim().to_ascii_lowercase();
                let acts = attribute.name().to_ascii_lowercase().starts_with("on") || value.starts_with("javascript:");
                assert!(!acts, "{div}");
            }
        }
    });
}

#[test]
fn what_anybody_may_send_without_a_token_is_read_or_refused() {
    let registry = Registry { chain_id: 31_337, contract: Address::repeat_byte(0x42) };
    let code = RevocationCode { registry, key: GrantKey(B256::repeat_byte(7)), preimage: Preimage([9; 32]) }.to_text();
    let checkpoint = format!(
        "old 4\n{}\n\nlog.example\n8\n{}\n\n\u{2014} log.example AAAA\n",
        "A".repeat(43) + "=",
        "B".repeat(43) + "="
    );
    hold(&[code, checkpoint], |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if let Ok(read) = RevocationCode::parse(text) {
            // A digit of the key that is changed is another key; the secret bears a check of its own.
            assert_eq!(read.preimage.0, [9; 32], "another secret is taken: {text}");
        }
        _ = AddCheckpoint::parse(bytes);
        for scope in scopes::parse_known(text) {
            assert_eq!(scopes::parse_known(&scopes::text(std::slice::from_ref(&scope))), [scope], "{text}");
        }
    });
}

#[test]
fn a_changed_assertion_proves_nothing() {
    let key = TokenKey::from_der(&TokenKey::generate().unwrap(), std::path::Path::new("a test")).unwrap();
    let public = keys::parse(key.public().to_string().as_bytes()).unwrap();
    let (now, to) = (1_790_000_000_u64, "https://s/auth/token");
    let claims = json!({"iss": "lab", "sub": "lab", "aud": to, "exp": now + 200, "jti": "n1"});
    let good = key.sign(&claims).unwrap();
    let digest = assertion::read(&good).unwrap().check(&public, to, now).unwrap().digest;
    hold(&[good], |bytes| {
        let Some(claimed) = std::str::from_utf8(bytes).ok().and_then(|text| assertion::read(text).ok()) else { return };
        let checked = claimed.check(&public, to, now).map(|assertion| assertion.digest);
        assert!(checked.is_err() || checked == Ok(digest), "it counts as another one");
    });
}

#[test]
fn a_changed_passkey_signs_nothing() {
    let site = Site::of("http://localhost:8080/fhir");
    let options = json!({"challenge": "AAAA", "rp": {"id": site.host}, "user": {"id": "dQ"}});
    let device = door::Passkey::new(&site.origin, &options);
    let made = device.made(&options).to_string();
    let (passkey, _) = passkey::register(&site, &serde_json::from_str::<Attestation>(&made).unwrap()).unwrap();
    let signed = device.sign(&options).to_string();
    let good: Assertion = serde_json::from_str(&signed).unwrap();
    assert!(passkey::verify(&site, &good, &passkey).is_ok());
    hold(&[made, signed], |bytes| {
        if let Ok(said) = serde_json::from_slice::<Attestation>(bytes) {
            _ = passkey::challenge(&said.client);
            _ = passkey::register(&site, &said);
        }
        if let Ok(said) = serde_json::from_slice::<Assertion>(bytes)
            && passkey::verify(&site, &said, &passkey).is_ok()
        {
            assert!(
                (&said.client, &said.authenticator) == (&good.client, &good.authenticator),
                "something else is signed"
            );
        }
    });
}
