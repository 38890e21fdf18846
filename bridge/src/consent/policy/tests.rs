//! Readable situations from a file, the laws, and a second evaluator that must agree.

#![cfg(test)]

use super::naive::{self, Request};
use super::terms::{ACT_CODE, ACTION, CONFIDENTIALITY, PARTICIPATION, RESOURCE_TYPES, SCOPE, is_obligation};
use super::*;
use crate::fhir::search::span::moment;
use notary::canonical::Json;
use notary::chain::evm::B256;
use notary::consent::{GrantKey, Refusal};
use proptest::prelude::*;
use proptest::sample::subsequence;
use serde_json::{Value, json};

const BASE: &str = "http://here/fhir";
const REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";

/// `system|code`, or a code of the usual system.
fn code(value: &Value, usual: &str) -> Value {
    let text = value.as_str().unwrap();
    let (system, code) = text.rsplit_once('|').unwrap_or((usual, text));
    json!({"system": system, "code": code})
}

fn label(value: &Value) -> Value {
    let degree = matches!(value.as_str(), Some("U" | "L" | "M" | "N" | "R" | "V"));
    code(value, if degree { CONFIDENTIALITY } else { ACT_CODE })
}

/// The whole of a provision of which the usual was left out.
fn provision_of(short: &Value) -> Value {
    let mut long = short.clone();
    let mut each = |name: &str, write: &dyn Fn(&Value) -> Value| {
        for one in long.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten() {
            if one.is_string() || name == "provision" {
                *one = write(one);
            }
        }
    };
    let receiver = json!({"coding": [{"system": PARTICIPATION, "code": "IRCP"}]});
    each("purpose", &|one| code(one, REASON));
    each("actor", &|one| json!({"role": receiver, "reference": {"reference": one}}));
    each("action", &|one| json!({"coding": [code(one, ACTION)]}));
    each("securityLabel", &label);
    each("class", &|one| code(one, RESOURCE_TYPES));
    each("code", &|one| json!({"coding": [code(one, "")]}));
    each("provision", &provision_of);
    long
}

fn consent(short: &Value, n: usize) -> Value {
    let mut long =
        json!({"resourceType": "Consent", "id": format!("c{n}"), "status": "active", "scope": "patient-privacy"});
    long.as_object_mut().unwrap().extend(short.as_object().unwrap().clone());
    if let Some(short) = short.get("provision") {
        long["provision"] = provision_of(short);
    }
    long["scope"] = json!({"coding": [code(&long["scope"], SCOPE)]});
    long
}

fn over(usual: &Value, special: &Value) -> Value {
    let mut all = usual.clone();
    let members = special.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value.clone()));
    all.as_object_mut().unwrap().extend(members);
    all.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    all
}

fn ask(value: &Value) -> Ask {
    let texts = |name: &str| -> Vec<String> {
        value[name].as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let identifier = |text: String| text.split_once('|').map(|(system, value)| Coding::new(system, value)).unwrap();
    Ask {
        actors: texts("actors"),
        identifiers: texts("identifiers").into_iter().map(identifier).collect(),
        purpose: Coding::new(REASON, value["purpose"].as_str().unwrap()),
        action: Action::parse(value["action"].as_str().unwrap()).unwrap(),
        now: moment(value["now"].as_str().unwrap()).unwrap().from,
    }
}

fn effect(value: &Value) -> Effect {
    if value == "permit" { Effect::Permit } else { Effect::Deny }
}

fn read(consents: &[Value]) -> Vec<Consent> {
    consents.iter().filter_map(|consent| Consent::read(&Json::from(consent.clone()), BASE)).collect()
}

#[test]
fn the_situations_are_decided_as_they_read() {
    let file: Value = serde_json::from_str(include_str!("cases.json")).unwrap();
    for case in file["cases"].as_array().unwrap() {
        let what = &case["what"];
        let shorts = case["consents"].as_array().unwrap();
        let consents: Vec<Value> = shorts.iter().enumerate().map(|(n, short)| consent(short, n)).collect();
        let mut resource = over(&file["usual"]["resource"], &case["resource"]);
        if let Some(labels) = case["labels"].as_array() {
            resource["meta"] = json!({"security": labels.iter().map(label).collect::<Vec<_>>()});
        }
        let purposes = case["purposes"].as_object().into_iter().flatten();
        let policy = Policy {
            purposes: purposes.map(|(code, what)| (Coding::new(REASON, code), effect(what))).collect(),
            otherwise: effect(&case["default"]),
            combining: if case["combining"] == "newest" { Combining::NewestWins } else { Combining::DenyWins },
        };
        let facts = Facts::of(&Json::from(resource), BASE);
        let decision = decide(&read(&consents), &ask(&over(&file["usual"]["ask"], &case["ask"])), &facts, &policy);
        assert_eq!(decision.effect, effect(&case["decided"]), "{what}: {decision}");
        if let Some(because) = case["because"].as_str() {
            assert_eq!(decision.because.to_string(), because, "{what}");
        }
        let obligations: Vec<Value> = decision.obligations.iter().map(|label| json!(label.code)).collect();
        assert_eq!(json!(obligations), *case.get("obligations").unwrap_or(&json!([])), "{what}");
    }
}

#[test]
fn when_something_took_place_is_found_in_each_type() {
    let year = |text: &str| Facts::of(&Json::parse(text.as_bytes()).unwrap(), BASE).span.map(|span| span.from);
    let y2022 = moment("2022").map(|span| span.from);
    for text in [
        r#"{"resourceType":"Condition","onsetDateTime":"2022","recordedDate":"2024"}"#,
        r#"{"resourceType":"Condition","recordedDate":"2022"}"#,
        r#"{"resourceType":"MedicationRequest","authoredOn":"2022","dosageInstruction":[{"timing":{"event":["2024"]}}]}"#,
        r#"{"resourceType":"ServiceRequest","authoredOn":"2022"}"#,
        r#"{"resourceType":"Encounter","period":{"start":"2022"}}"#,
        r#"{"resourceType":"Immunization","occurrenceDateTime":"2022"}"#,
        r#"{"resourceType":"Procedure","performedDateTime":"2022"}"#,
        r#"{"resourceType":"DocumentReference","date":"2022-01-01T00:00:00Z"}"#,
        r#"{"resourceType":"Specimen","collection":{"collectedDateTime":"2022"}}"#,
        r#"{"resourceType":"Task","authoredOn":"2022"}"#,
    ] {
        assert_eq!(year(text), y2022, "{text}");
    }
    assert_eq!(
        year(r#"{"resourceType":"Patient","birthDate":"2022"}"#),
        None,
        "when somebody was born is not when this took place"
    );
}

#[test]
fn what_is_a_kind_of_what() {
    let reason = |code| Coding::new(REASON, code);
    let act = |code| Coding::new(ACT_CODE, code);
    for (one, other, is) in [
        (reason("BTG"), reason("TREAT"), true),
        (reason("TREAT"), reason("BTG"), false),
        (reason("CLINTRCHPC"), reason("HRESCH"), true),
        (reason("CAREMGT"), reason("TREAT"), false),
        (act("OPIOIDUD"), act("SUD"), true),
        (act("OPIOIDUD"), act("ETH"), true),
        (act("PSY"), act("SPI"), true),
        (act("PSY"), reason("SPI"), false),
        (Coding::new("urn:own", "x"), Coding::new("urn:own", "x"), true),
    ] {
        assert_eq!(is_kind_of(&one, &other), is, "{one:?} {other:?}");
    }
    assert!(is_obligation(&act("NORDSCLCD")) && !is_obligation(&act("HIV")));
}

fn some(list: &'static [&'static str], most: usize) -> impl Strategy<Value = Value> {
    subsequence(list, 0..=most).prop_map(|some| json!(some))
}

fn one_provision() -> impl Strategy<Value = Value> {
    let period = prop::sample::select(vec![
        json!(null),
        json!(null),
        json!({"start": "2026-01-01"}),
        json!({"end": "2026-01-01"}),
        json!({"start": "2026-01-01", "end": "2026-12-31"}),
        json!({"end": "soon"}),
    ]);
    let years = prop::sample::select(vec![
        json!(null),
        json!(null),
        json!({"start": "2022", "end": "2022"}),
        json!({"start": "2023"}),
        json!({"end": "soon"}),
    ]);
    let data = prop::sample::select(vec![
        json!(null),
        json!(null),
        json!([{"meaning": "instance", "reference": {"reference": "Observation/o"}}]),
        json!([{"meaning": "related", "reference": {"reference": "Encounter/e"}}]),
        json!([{"meaning": "authoredby", "reference": {"reference": "Practitioner/anna"}}]),
        json!([{"meaning": "near", "reference": {"reference": "Observation/n"}}]),
    ]);
    let custodian = json!({"role": {"coding": [{"system": PARTICIPATION, "code": "CST"}]}, "reference": {"reference": "Organization/o"}});
    let actors = (some(&["Practitioner/anna", "Organization/clinic", "Organization/other"], 2), 0..12);
    let actors = actors.prop_map(move |(actors, n)| if n == 0 { json!([custodian.clone()]) } else { actors });
    let codes = (some(&["urn:c|a", "urn:c|b"], 1), 0..12)
        .prop_map(|(codes, n)| if n == 0 { json!([{"text": "a"}]) } else { codes });
    let frame =
        (actors, some(&["TREAT", "ETREAT", "BTG", "HRESCH"], 2), some(&["access", "correct", "peruse"], 1), period);
    let matter = (
        some(&["N", "R", "V", "PSY", "HIV", "ETH"], 2),
        some(&["Observation", "Condition", "urn:x|Labs"], 1),
        codes,
        years,
        data,
    );
    (any::<bool>(), frame, matter).prop_map(
        |(permits, (actor, purpose, action, period), (label, class, code, years, data))| {
            let kind = if permits { "permit" } else { "deny" };
            let all = json!({"type": kind, "actor": actor, "purpose": purpose, "action": action, "period": period,
            "securityLabel": label, "class": class, "code": code, "dataPeriod": years, "data": data});
            let said =
                |(name, value): (String, Value)| (value != json!([]) && !value.is_null()).then_some((name, value));
            Value::Object(all.as_object().unwrap().clone().into_iter().filter_map(said).collect())
        },
    )
}

fn provisions() -> impl Strategy<Value = Value> {
    one_provision().prop_recursive(3, 8, 3, |inner| {
        (one_provision(), prop::collection::vec(inner, 0..3)).prop_map(|(mut provision, exceptions)| {
            if !exceptions.is_empty() {
                provision["provision"] = json!(exceptions);
            }
            provision
        })
    })
}

fn consents() -> impl Strategy<Value = Vec<Value>> {
    let one = (provisions(), 0..20, 1..4).prop_map(|(provision, odd, day)| {
        let mut short = json!({"provision": provision, "dateTime": format!("2026-01-0{day}")});
        match odd {
            0 => short["modifierExtension"] = json!([{"url": "urn:x"}]),
            1 => short["status"] = json!("inactive"),
            2 | 3 => short["policyRule"] = json!({"coding": [{"system": ACT_CODE, "code": "OPTOUT"}]}),
            _ => {}
        }
        short
    });
    let number = |shorts: Vec<Value>| shorts.iter().enumerate().map(|(n, short)| consent(short, n)).collect();
    prop::collection::vec(one, 0..4).prop_map(number)
}

fn resources() -> impl Strategy<Value = Value> {
    let day = prop::sample::select(vec![json!(null), json!("2022-05-10"), json!("2023-05-10")]);
    (some(&["N", "R", "V", "PSY", "HIV", "ETHUD"], 3), day, any::<bool>(), any::<bool>()).prop_map(|(labels, day, a, e)| {
        let labels: Vec<Value> = labels.as_array().unwrap().iter().map(label).collect();
        let resource = json!({"resourceType": "Observation", "id": "o", "effectiveDateTime": day, "meta": {"security": labels},
            "code": {"coding": [{"system": "urn:c", "code": if a { "a" } else { "b" }}]},
            "encounter": {"reference": if e { "Encounter/e" } else { "Encounter/f" }},
            "performer": [{"reference": if a { "Practitioner/anna" } else { "Practitioner/bert" }}]});
        over(&resource, &json!({}))
    })
}

fn asks() -> impl Strategy<Value = Value> {
    let purpose = prop::sample::select(vec!["TREAT", "ETREAT", "BTG", "HRESCH"]);
    let action = prop::sample::select(vec!["access", "correct"]);
    let actors = some(&["Practitioner/anna", "Organization/clinic"], 2);
    (actors, purpose, action).prop_map(|(actors, purpose, action)| {
        json!({"actors": actors, "purpose": purpose, "action": action, "now": "2026-06-01"})
    })
}

/// Of grants that a Consent may rest on: how they stand, each by its key.
const GRANTS: [(&str, Result<(), Refusal>); 4] = [
    ("stands", Ok(())),
    ("lapsed", Err(Refusal::Lapsed)),
    ("revoked", Err(Refusal::Revoked)),
    ("stale", Err(Refusal::Stale(9))),
];
/// How one does not stand.
const NOT: &[&str] = &["lapsed", "revoked", "stale", "withdrawn", "unproved"];

fn stands(key: &GrantKey) -> Result<(), Refusal> {
    GRANTS[usize::from(key.0[31])].1
}

/// What the permissions of a Consent rest on; nothing for `none`.
fn claim(grant: &str) -> Option<Claim> {
    let key = |n: usize| GrantKey(B256::with_last_byte(u8::try_from(n).unwrap()));
    match grant {
        "none" => None,
        "withdrawn" => Some(Claim::Withdrawn),
        "unproved" => Some(Claim::Unproved("it shows none")),
        word => GRANTS.iter().position(|(known, _)| *known == word).map(|n| Claim::Of(key(n))),
    }
}

/// Those that speak, each on its grant.
fn under(consents: &[Value], grants: &[&str]) -> Vec<Consent> {
    let one = |(consent, grant): (&Value, &&str)| {
        let read = Consent::read(&Json::from(consent.clone()), BASE)?;
        Some(match claim(grant) {
            Some(claim) => read.under(claim),
            None => read,
        })
    };
    consents.iter().zip(grants).filter_map(one).collect()
}

/// As many as there may be Consents.
fn grants() -> impl Strategy<Value = Vec<&'static str>> {
    let words = vec!["none", "none", "stands", "lapsed", "revoked", "stale", "withdrawn", "unproved"];
    prop::collection::vec(prop::sample::select(words), 4)
}

/// The most special first, as a configuration has them.
fn defaults() -> impl Strategy<Value = Vec<(&'static str, bool)>> {
    const PURPOSES: &[&str] = &["BTG", "ETREAT", "TREAT", "HRESCH"];
    (subsequence(PURPOSES, 0..=4), prop::collection::vec(any::<bool>(), 4))
        .prop_map(|(some, truths)| some.into_iter().zip(truths).collect())
}

/// For which purpose, and what it goes before.
fn emergencies() -> impl Strategy<Value = Option<(&'static str, &'static str)>> {
    let one = (prop::sample::select(vec!["ETREAT", "BTG"]), prop::sample::select(vec!["nothing", "unrefused", "all"]));
    prop::option::of(one)
}

/// The decision, once more where somebody has declared an emergency.
fn in_emergency(
    consents: &[Consent],
    (question, facts): (&Ask, &Facts),
    policy: &Policy,
    emergency: Option<(&str, &str)>,
) -> Decision {
    let decision = decide_by(consents, question, facts, policy, &stands);
    let Some((purpose, before)) = emergency.filter(|_| decision.effect == Effect::Deny) else { return decision };
    let overrides = match before {
        "nothing" => Overrides::Nothing,
        "all" => Overrides::All,
        _ => Overrides::Unrefused,
    };
    let declared = Declared { event: "AuditEvent/e".into(), purpose: Coding::new(REASON, purpose) };
    let urgent = Ask { purpose: declared.purpose.clone(), ..question.clone() };
    decide_in_emergency((consents, decision), (&urgent, facts), (policy, &stands), (overrides, &declared))
}

fn policy(opt_out: bool, newest: bool) -> Policy {
    let otherwise = if opt_out { Effect::Permit } else { Effect::Deny };
    let combining = if newest { Combining::NewestWins } else { Combining::DenyWins };
    Policy { purposes: Vec::new(), otherwise, combining }
}

fn decided(consents: &[Value], asked: &Value, resource: &Value, policy: &Policy) -> Decision {
    decide(&read(consents), &ask(asked), &Facts::of(&Json::from(resource.clone()), BASE), policy)
}

/// Every provision of a Consent.
fn each(provision: &mut Value, change: &mut dyn FnMut(&mut Value)) {
    for one in provision.get_mut("provision").and_then(Value::as_array_mut).into_iter().flatten() {
        each(one, change);
    }
    change(provision);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_naive_evaluator_agrees(
        consents in consents(), grants in grants(), resource in resources(), asked in asks(), defaults in defaults(),
        (opt_out, newest) in any::<(bool, bool)>(), emergency in emergencies()
    ) {
        let effect = |permitted: bool| if permitted { Effect::Permit } else { Effect::Deny };
        let purposes = defaults.iter().map(|(code, permitted)| (Coding::new(REASON, code), effect(*permitted)));
        let policy = Policy { purposes: purposes.collect(), ..policy(opt_out, newest) };
        let facts = Facts::of(&Json::from(resource.clone()), BASE);
        let decision = in_emergency(&under(&consents, &grants), (&ask(&asked), &facts), &policy, emergency);
        let request = Request {
            actors: serde_json::from_value(asked["actors"].clone()).unwrap(),
            purpose: asked["purpose"].as_str().unwrap().to_owned(),
            action: asked["action"].as_str().unwrap().to_owned(),
            now: asked["now"].as_str().unwrap(),
            resource: &resource,
            grants: &grants,
            defaults: &defaults,
            opt_out,
            newest,
            emergency,
        };
        prop_assert_eq!(decision.effect == Effect::Permit, naive::permits(&consents, &request), "{}", decision);
    }

    /// One Consent that refuses by itself is refused with any others.
    #[test]
    fn deny_wins(consents in consents(), resource in resources(), asked in asks(), opt_out in any::<bool>()) {
        let policy = policy(opt_out, false);
        let all = decided(&consents, &asked, &resource, &policy).effect;
        for n in 0..consents.len() {
            let alone = decided(&consents[n..=n], &asked, &resource, &policy);
            let refuses = matches!(alone.because, Because::Provision { .. } | Because::Dark { .. });
            prop_assert!(!(refuses && alone.effect == Effect::Deny && all == Effect::Permit), "{}", alone);
        }
    }

    /// What permits nothing more by its words permits nothing more: a further prohibition anywhere, a permission fewer, a further condition
    /// for all of a Consent; but that where nothing is permitted by default: else who says less refuses less.
    #[test]
    fn narrowing_never_widens(
        consents in consents(), more in provisions(), n in 0_usize..8, resource in resources(), asked in asks(), opt_out in any::<bool>()
    ) {
        let policy = policy(opt_out, false);
        let before = decided(&consents, &asked, &resource, &policy).effect;
        let mut forbidden = consents.clone();
        let mut count = 0;
        for one in &mut forbidden {
            each(&mut one["provision"], &mut |provision| {
                if count == n {
                    let mut exceptions = provision["provision"].as_array().cloned().unwrap_or_default();
                    let mut deny = provision_of(&more);
                    deny.as_object_mut().unwrap().remove("provision");
                    deny["type"] = json!("deny");
                    exceptions.push(deny);
                    provision["provision"] = json!(exceptions);
                }
                count += 1;
            });
        }
        let mut fewer = consents.clone();
        for one in &mut fewer {
            each(&mut one["provision"], &mut |provision| {
                let leaf = |one: &Value| one["type"] == "permit" && one["provision"].is_null();
                let Some(exceptions) = provision.get_mut("provision").and_then(Value::as_array_mut) else { return };
                exceptions.retain(|one| !leaf(one));
            });
        }
        for narrowed in [forbidden, fewer] {
            let after = decided(&narrowed, &asked, &resource, &policy).effect;
            prop_assert!(!(before == Effect::Deny && after == Effect::Permit));
        }
        for one in consents.into_iter().filter(|_| !opt_out) {
            let before = decided(std::slice::from_ref(&one), &asked, &resource, &policy).effect;
            let mut narrowed = one;
            narrowed["provision"]["period"] = json!({"start": "2026-06-02"});
            let after = decided(&[narrowed], &asked, &resource, &policy).effect;
            prop_assert!(!(before == Effect::Deny && after == Effect::Permit));
        }
    }

    #[test]
    fn whoever_is_permitted_something_is_let_in(
        consents in consents(), resource in resources(), asked in asks(), opt_out in any::<bool>(), newest in any::<bool>()
    ) {
        let policy = policy(opt_out, newest);
        let permitted = decided(&consents, &asked, &resource, &policy).effect == Effect::Permit;
        prop_assert!(!permitted || opens_by(&read(&consents), &ask(&asked), &policy, &|_| Ok(())));
        // Whom nobody speaks of is let in where no Consent need speak, and nowhere else.
        prop_assert_eq!(opens_by(&[], &ask(&asked), &policy, &|_| Ok(())), opt_out);
    }

    #[test]
    fn what_has_expired_permits_nothing(
        mut consents in consents(), resource in resources(), asked in asks(), opt_out in any::<bool>(), newest in any::<bool>()
    ) {
        for one in &mut consents {
            one["provision"]["period"] = json!({"start": "2020-01-01", "end": "2026-05-31"});
        }
        let decision = decided(&consents, &asked, &resource, &policy(opt_out, newest));
        prop_assert!(decision.effect == Effect::Deny || (opt_out && decision.because.is_default()), "{}", decision);
    }

    /// What rests on a grant that does not stand permits nothing, and refuses what it refused while that stood: no grant opens anything by
    /// its end, whatever holds where none speaks.
    #[test]
    fn a_grant_that_has_ended_permits_nothing_and_opens_nothing(
        consents in consents(), ended in prop::sample::select(NOT), resource in resources(), asked in asks(),
        opt_out in any::<bool>(), newest in any::<bool>()
    ) {
        let (policy, question) = (policy(opt_out, newest), ask(&asked));
        let facts = Facts::of(&Json::from(resource.clone()), BASE);
        let of = |grant: &str| {
            let all = under(&consents, &vec![grant; consents.len()]);
            decide_by(&all, &question, &facts, &policy, &stands)
        };
        let (before, after) = (of("stands"), of(ended));
        prop_assert!(after.effect == Effect::Deny || (opt_out && after.because.is_default()), "{}", after);
        prop_assert!(!(before.effect == Effect::Deny && after.effect == Effect::Permit), "{} {}", before, after);
    }
}
