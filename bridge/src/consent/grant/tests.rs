//! Grants: what is signed, what is refused.

#![cfg(test)]

use super::*;
use crate::consent::policy::{Action, Ask, Coding, Combining, Consent, Effect, Facts, Policy, decide_by};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use notary::chain::evm::Address;
use notary::consent::{Preimage, Refusal};
use proptest::prelude::*;

const BASE: &str = "http://h/fhir";
const REGISTRY: Registry = Registry { chain_id: 7, contract: Address::ZERO };

fn called(kind: &str) -> String {
    kind.to_owned()
}

fn choice() -> Choice {
    Choice {
        patient: "Patient/ada".into(),
        recipient: Recipient { reference: "Organization/quay".into(), called: "Quay Clinic".into() },
        purpose: Purpose::Treatment,
        kinds: kinds(["Observation", "Condition"].into_iter()),
        without: vec![Sensitive::Mind, Sensitive::Hiv],
        until: "2027-03-01".parse().unwrap(),
        given: "2026-03-01T10:00:00Z".parse().unwrap(),
        recorded_by: None,
        acted_by: None,
    }
}

/// It is no policy (`gate`): what forbids anything, or somebody else has said, must stay one.
#[test]
fn what_lets_an_app_in_forbids_nothing_and_is_the_patients_own() {
    let app = Recipient { reference: "Device/heart".into(), called: "Heart".into() };
    let own = Choice { recipient: app, purpose: Purpose::Own, without: Vec::new(), ..choice() };
    assert!(own.lets_in() && own.client() == Some("heart"));
    let recorded_by = Some(("Practitioner/doc".to_owned(), "Organization/quay".to_owned()));
    for other in [
        Choice { without: vec![Sensitive::Hiv], ..own.clone() },
        Choice { purpose: Purpose::Any, ..own.clone() },
        Choice { recorded_by, ..own.clone() },
        Choice { acted_by: Some("Patient/mother".into()), ..own.clone() },
        Choice { recipient: choice().recipient, ..own.clone() },
    ] {
        assert!(!other.lets_in());
        assert!(!Choice::read(&other.consent().unwrap()).unwrap().lets_in(), "nor as it is read back");
    }
    assert!(Choice::read(&own.consent().unwrap()).unwrap().lets_in());
}

/// Signed by a wallet, or recorded.
fn opened(choice: &Choice, sign: bool) -> (Json, Opening) {
    let tag = Preimage([7; 32]).tag();
    let terms = choice.terms(called, B256::repeat_byte(1)).unwrap();
    let (custodian, salt, not_after) = ("urn:h".to_owned(), B256::repeat_byte(2), choice.not_after());
    let mut opening = Opening { custodian, terms, tag, not_after, salt, signature: None };
    if sign {
        let signature = PrivateKeySigner::random().sign_hash_sync(&opening.digest(&REGISTRY)).unwrap();
        opening.signature = Some(signature.as_bytes().to_vec().into());
    }
    (proved(choice.consent().unwrap(), &opening, &REGISTRY).unwrap(), opening)
}

#[test]
fn another_organisation_is_named_by_its_account() {
    let to = Recipient::outside("0xab", "Hospital Northquay");
    assert_eq!(
        (to.participant(), Recipient { reference: "Organization/x".into(), ..to.clone() }.participant()),
        (Some("0xab"), None)
    );
    let choice = Choice { recipient: to, ..choice() };
    let (consent, opening) = opened(&choice, true);
    let actor =
        consent.get("provision").and_then(|p| p.get("actor")).unwrap().items()[0].get("reference").unwrap().clone();
    let identifier = actor.get("identifier").unwrap();
    assert_eq!((identifier.text("system"), identifier.text("value")), (Some(PARTICIPANT), Some("0xab")));
    assert!(actor.get("reference").is_none(), "no resource here is meant");
    assert_eq!(opening.terms.recipient, "Hospital Northquay (urn:medseal:participant|0xab)");
    assert!(Choice::read(&consent).unwrap() == choice);
    assert!(matches!(claim(&consent, "urn:h", Some(&REGISTRY)), Some(Claim::Of(_))));
    let text = consent.canonical();
    let other = String::from_utf8(text).unwrap().replace("0xab", "0xac");
    let other = Json::parse(other.as_bytes()).unwrap();
    assert!(matches!(claim(&other, "urn:h", Some(&REGISTRY)), Some(Claim::Unproved(_))), "not the one that was signed");
}

#[test]
fn terms_are_said_in_plain_words() {
    let terms = choice().terms(called, B256::ZERO).unwrap();
    assert_eq!(terms.recipient, "Quay Clinic (Organization/quay)");
    assert_eq!(terms.purpose, "my treatment");
    assert_eq!(
        terms.records,
        "Condition, Observation; name, birth date and the like; but nothing about mental health, HIV"
    );
    assert_eq!(terms.until, "the end of 2027-03-01 (UTC)");
    assert_eq!(choice().not_after(), 1_803_945_599);
    let all = Choice { kinds: Vec::new(), without: Vec::new(), ..choice() };
    assert_eq!(all.records(called), "everything in my record");
}

#[test]
fn a_last_day_is_within_bounds() {
    for (until, timely) in [
        ("2026-02-28", false),
        ("2026-03-01", true),
        ("2036-03-01", true),
        ("2036-03-02", false),
        ("9999-12-31", false),
    ] {
        assert_eq!(Choice { until: until.parse().unwrap(), ..choice() }.is_timely(), timely, "{until}");
    }
}

#[test]
fn only_the_consent_that_was_signed_rests_on_its_grant() {
    let claimed = |consent: &Json| claim(consent, "urn:h", Some(&REGISTRY));
    for recorded_by in [None, Some(("Practitioner/d".to_owned(), "Organization/o".to_owned()))] {
        let signed = recorded_by.is_none();
        let (consent, opening) = opened(&Choice { recorded_by, ..choice() }, signed);
        let good = Some(Claim::Of(opening.key(&REGISTRY)));
        assert_eq!(claimed(&consent), good);
        let mut stored = consent.clone();
        for (name, value) in [("id", "x"), ("status", "inactive")] {
            stored.set(name, Json::String(value.to_owned()));
        }
        assert_eq!(claimed(&stored), good, "what the server adds is not signed");
        let why = |consent: &Json| match claimed(consent) {
            Some(Claim::Unproved(why)) => why,
            other => panic!("{other:?}"),
        };
        let with = |name: &str, value: &str| {
            let mut changed = consent.clone();
            changed.set(name, Json::parse(value.as_bytes()).unwrap());
            changed
        };
        assert_eq!(why(&with("patient", r#"{"reference":"Patient/bob"}"#)), "it says something else than was signed");
        assert_eq!(why(&with("provision", r#"{"type":"permit"}"#)), "it says something else than was signed");
        assert_eq!(why(&with("identifier", "[]")), "it names no grant");
        let other = format!(r#"[{{"system":"{KEY_SYSTEM}","value":"{}"}}]"#, B256::ZERO);
        assert_eq!(why(&with("identifier", &other)), "its grant is another one");
        assert_eq!(why(&with("sourceAttachment", "{}")), "what opens its grant cannot be read");
        let unsigned = Opening { signature: None, ..opening.clone() };
        let unsigned = proved(consent.clone(), &unsigned, &REGISTRY).unwrap();
        assert_eq!(claimed(&unsigned) == good, !signed, "a signature cannot be left away");
        let elsewhere = claim(&consent, "urn:other", Some(&REGISTRY));
        assert_eq!(elsewhere, Some(Claim::Unproved("its grant was given to another organisation")));
        assert!(matches!(claim(&consent, "urn:h", None), Some(Claim::Unproved(_))));
    }
    assert_eq!(claimed(&choice().consent().unwrap()), None, "an ordinary Consent names none");
}

/// What a Consent lets the clinic see of a resource, and what rests on a grant that does not stand.
fn decided(consent: &Json, of: &str, stands: Result<(), Refusal>, otherwise: Effect, now: &str) -> Effect {
    let claim = claim(consent, "urn:h", Some(&REGISTRY)).unwrap();
    let consent = Consent::read(consent, BASE).unwrap().under(claim);
    let ask = Ask {
        actors: vec!["Organization/quay".into()],
        identifiers: Vec::new(),
        purpose: Coding::new(PURPOSES, "TREAT"),
        action: Action::Access,
        now: now.parse::<Timestamp>().unwrap().as_microsecond(),
    };
    let policy = Policy { purposes: Vec::new(), otherwise, combining: Combining::DenyWins };
    let facts = Facts::of(&Json::parse(of.as_bytes()).unwrap(), BASE);
    decide_by(&[consent], &ask, &facts, &policy, &|_| stands).effect
}

#[test]
fn a_grant_that_does_not_stand_opens_nothing_whatever_holds_otherwise() {
    let (consent, _) = opened(&choice(), true);
    let label = r#""meta":{"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"MH"}]}"#;
    let condition = r#"{"resourceType":"Condition","id":"c"}"#;
    let sensitive = format!(r#"{{"resourceType":"Condition","id":"c",{label}}}"#);
    let other = r#"{"resourceType":"Procedure","id":"p"}"#;
    let (then, later) = ("2026-06-01T00:00:00Z", "2027-03-02T00:00:00Z");
    use Effect::{Deny, Permit};
    for (stands, of, now, opt_in, opt_out) in [
        (Ok(()), condition, then, Permit, Permit),
        (Ok(()), sensitive.as_str(), then, Deny, Deny),
        (Ok(()), other, then, Deny, Deny),
        (Err(Refusal::Unknown), condition, then, Deny, Deny),
        (Err(Refusal::Stale(9)), condition, then, Deny, Deny),
        (Err(Refusal::Revoked), condition, then, Deny, Deny),
        (Err(Refusal::Revoked), condition, later, Deny, Deny),
        (Err(Refusal::Lapsed), condition, then, Deny, Deny),
        (Err(Refusal::Lapsed), condition, later, Deny, Permit),
        (Ok(()), condition, later, Deny, Permit),
    ] {
        assert_eq!(decided(&consent, of, stands, Deny, now), opt_in, "{stands:?} {of} {now}");
        assert_eq!(decided(&consent, of, stands, Permit, now), opt_out, "{stands:?} {of} {now}");
    }
}

fn any_choice() -> impl Strategy<Value = Choice> {
    let kinds = prop::sample::subsequence(vec!["Condition", "Observation", "Procedure"], 0..=3);
    let without = prop::sample::subsequence(Sensitive::ALL.to_vec(), 0..=6);
    let purpose = prop::sample::select(Purpose::ALL.to_vec());
    let who = prop::sample::select(vec!["patient", "recorder", "guardian"]);
    (kinds, without, purpose, 1_i8..28, who).prop_map(|(chosen, without, purpose, day, who)| Choice {
        kinds: kinds_of(chosen),
        without,
        purpose,
        until: jiff::civil::date(2027, 1, day),
        recorded_by: (who == "recorder").then(|| ("Practitioner/d".to_owned(), "Organization/o".to_owned())),
        acted_by: (who == "guardian").then(|| "Patient/mother".to_owned()),
        ..choice()
    })
}

/// As much of a choice as lies within another.
fn narrowed(wide: &Choice, choice: Choice) -> Choice {
    let within: Vec<String> = choice.kinds.iter().filter(|kind| wide.kinds.contains(kind)).cloned().collect();
    let kinds = if wide.kinds.is_empty() { choice.kinds } else { within };
    let kinds = if kinds.is_empty() { wide.kinds.clone() } else { kinds };
    let without = Sensitive::ALL.into_iter().filter(|one| wide.without.contains(one) || choice.without.contains(one));
    let purpose = if wide.purpose == Purpose::Any { choice.purpose } else { wide.purpose };
    Choice { kinds, without: without.collect(), purpose, until: wide.until.min(choice.until), ..choice }
}

fn kinds_of(chosen: Vec<&'static str>) -> Vec<String> {
    kinds(chosen.into_iter())
}

proptest! {
    #[test]
    fn a_choice_is_read_back_from_its_consent(choice in any_choice()) {
        let consent = choice.consent().unwrap();
        prop_assert!(Choice::read(&consent) == Some(choice.clone()));
        let mut changed = consent;
        changed.get_mut("provision").unwrap().set("code", Json::Array(Vec::new()));
        prop_assert!(Choice::read(&changed).is_none());
    }

    /// What is within another permits nothing that the other does not.
    #[test]
    fn narrowing_never_widens(wide in any_choice(), narrow in any_choice(), n in 0_usize..4, labelled in any::<bool>()) {
        let narrow = narrowed(&wide, narrow);
        prop_assert!(narrow.is_within(&wide));
        let label = if labelled { r#","meta":{"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"HIV"}]}"# } else { "" };
        let kind = ["Condition", "Observation", "Procedure", "Patient"][n];
        let of = format!(r#"{{"resourceType":"{kind}","id":"x"{label}}}"#);
        for now in ["2026-12-31T00:00:00Z", "2027-01-14T00:00:00Z", "2027-01-28T00:00:00Z"] {
            let of = |choice: &Choice| {
                let (consent, _) = opened(choice, choice.recorded_by.is_none());
                decided(&consent, &of, Ok(()), Effect::Deny, now)
            };
            prop_assert!(of(&narrow) == Effect::Deny || of(&wide) == Effect::Permit);
        }
    }
}
