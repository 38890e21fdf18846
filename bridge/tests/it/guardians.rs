//! Who acts for a patient who is not of age, and what ends with a life. All people are invented.

use super::consents::put;
use super::door::{Browser, Passkey, invitation};
use super::grants::{DOCTOR, Pending, TERMS, drafted, give, house, patient, seen, until_seen};
use super::world::World;
use bridge::audit::worker::flush;
use bridge::people::{AccountId, Role};
use jiff::ToSpan;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use warp::http::StatusCode;

/// Ada, a mother, with her account; her child, and others whom nobody can act for. And an administrator.
async fn family(world: &World) -> (Browser<'_>, Passkey, Browser<'_>) {
    for child in [
        json!({"resourceType": "Patient", "id": "kid", "birthDate": "2999-01-01", "name": [{"family": "Novak", "given": ["Kim"]}]}),
        json!({"resourceType": "Patient", "id": "grown", "birthDate": "1990-05-05"}),
        json!({"resourceType": "Patient", "id": "unknown"}),
        json!({"resourceType": "Patient", "id": "gone", "birthDate": "2999-01-01", "deceasedBoolean": true}),
        json!({"resourceType": "Observation", "id": "k", "status": "final", "code": {"text": "Height"}, "subject": {"reference": "Patient/kid"}}),
        json!({"resourceType": "Observation", "id": "b", "status": "final", "code": {"text": "y"}, "subject": {"reference": "Patient/bob"}}),
    ] {
        put(world, child).await;
    }
    let (ada, passkey) = patient(world, "ada").await;
    let mut administrator = Browser::new(world);
    administrator.join(&invitation(world, Role::Administrator, None, None)).await;
    (ada, passkey, administrator)
}

pub async fn link(administrator: &mut Browser<'_>, guardian: &str, patient: &str) -> StatusCode {
    let token = administrator.token().await;
    let body = format!("token={token}&guardian=Patient/{guardian}&patient=Patient/{patient}");
    administrator.form("/me/guardians/link", &body).await.status()
}

async fn link_kid(administrator: &mut Browser<'_>) -> StatusCode {
    link(administrator, "ada", "kid").await
}

async fn unlink(administrator: &mut Browser<'_>, account: &AccountId, patient: &str) -> StatusCode {
    let token = administrator.token().await;
    let body = format!("token={token}&account={account}&patient=Patient/{patient}");
    administrator.form("/me/guardians/unlink", &body).await.status()
}

fn account_of(world: &World, person: &str) -> AccountId {
    let all = world.running.app.core.store.accounts().unwrap();
    all.into_iter().find(|a| a.person.resource.as_ref().is_some_and(|r| r.to_string() == person)).unwrap().id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guardian_sees_and_grants_for_a_child_until_it_is_ended() {
    let world = house().await;
    let (mut ada, passkey, mut administrator) = family(&world).await;
    let explain = "/me/explain?ward=kid&record=Observation/k&actor=Practitioner/doc";
    for path in ["/me/wards/kid", explain] {
        assert_eq!(ada.get(path).await.status(), 404, "nobody has linked them");
    }
    assert_eq!(link(&mut administrator, "ada", "kid").await, 303);
    assert_eq!(link(&mut administrator, "ada", "kid").await, 303, "twice is once");
    let page = administrator.page("/me/guardians").await;
    assert!(page.matches("acts for Patient/kid").count() == 1 && page.contains("Patient/ada"), "{page}");
    assert!(ada.page("/me").await.contains("/me/wards/kid/grants"));
    let record = ada.page("/me/wards/kid").await;
    assert!(record.contains("Kim Novak") && record.contains("Height") && !record.contains("<h1>My record"), "{record}");
    assert!(record.contains("/me/wards/kid/Observation/k"), "{record}");
    let entry = ada.page("/me/wards/kid/Observation/k").await;
    assert!(entry.contains("Height") && entry.contains("/me/explain?ward=kid&amp;record=Observation/k"), "{entry}");
    let why = ada.page(explain).await;
    assert!(why.contains("<td class=\"mono\">Patient/kid") && why.contains("the default for TREAT"), "{why}");
    assert!(!why.contains("Height"), "{why}");
    for other in ["ward=kid&record=Observation/o", "record=Observation/k", "ward=other&record=Observation/k"] {
        let asked = format!("/me/explain?{other}&actor=Practitioner/doc");
        assert_eq!(ada.get(&asked).await.status(), 404, "{other}");
    }
    for path in ["Observation", "summary", "download", "access"] {
        assert_eq!(ada.get(&format!("/me/wards/kid/{path}")).await.status(), 200, "{path}");
    }
    for other in ["Observation/o", "Observation/b", "apps"] {
        assert_eq!(ada.get(&format!("/me/wards/kid/{other}")).await.status(), 404, "{other} is not of this record");
    }

    // Both are told: who looked, at whose record, and that it was for family.
    flush(&world.running.app).await.unwrap();
    let (_, events) = world.get("/fhir/AuditEvent?patient=Patient/kid&agent=Patient/ada&_count=100").await;
    let for_family = |event: &Value| {
        let agents = event["resource"]["agent"].as_array().unwrap();
        let person = agents.iter().find(|agent| agent["requestor"] == true).unwrap();
        assert_eq!(person["who"]["reference"], "Patient/ada", "{event}");
        person["purposeOfUse"][0]["coding"][0]["code"] == "FAMRQT"
    };
    // What she was refused before is told, too, and perhaps by itself.
    assert!(events["entry"].as_array().unwrap().iter().any(for_family), "{events}");
    let (_, events) = world.get("/fhir/AuditEvent?patient=Patient/kid&subtype=operation&_count=100").await;
    let by_others = |event: &Value| !event["resource"]["agent"].to_string().contains("Patient/ada");
    assert!(events["entry"].as_array().unwrap().iter().any(by_others), "who linked them: {events}");

    // Nothing is shown unless it is permitted: she permits it for the child.
    assert_eq!(seen(&world, "Observation/k").await, 404);
    let pending = Pending::new(drafted(&mut ada, "/me/wards/kid/grants/new", TERMS).await.unwrap(), true);
    let options = pending.options(&mut ada, "passkey").await;
    assert_eq!(pending.sign(&mut ada, "passkey", passkey.sign(&options)).await.0, 200);
    until_seen(&world, "Observation/k", 200).await;
    assert_eq!(seen(&world, "Observation/o").await, 404, "for the child, and not for herself");
    let consent = world.only("/fhir/Consent?patient=Patient/kid").await;
    assert_eq!(
        (&consent["performer"][0]["reference"], &consent["verification"][0]["verified"]),
        (&json!("Patient/ada"), &json!(true))
    );
    let page = ada.page("/me/wards/kid/grants").await;
    assert!(
        page.contains("Signed by Patient/ada, who acted for the patient") && page.contains("You act for"),
        "{page}"
    );
    assert!(!ada.page("/me/access").await.contains("Ilse Weiss"), "it is not her own");

    // Of the draft that she has when it is ended nothing comes, and she sees nothing any more.
    let late = Pending::new(drafted(&mut ada, "/me/wards/kid/grants/new", TERMS).await.unwrap(), true);
    let options = late.options(&mut ada, "passkey").await;
    let account = account_of(&world, "Patient/ada");
    assert_eq!(unlink(&mut administrator, &account, "kid").await, 303);
    assert_eq!(unlink(&mut administrator, &account, "kid").await, 404, "it has ended");
    assert_eq!(late.sign(&mut ada, "passkey", passkey.sign(&options)).await.0, 404);
    for path in ["", "/grants", "/grants/new", "/Observation/k", "/download"] {
        assert_eq!(ada.get(&format!("/me/wards/kid{path}")).await.status(), 404, "{path}");
    }
    // What she gave stands, and the child takes it back.
    assert_eq!(seen(&world, "Observation/k").await, 200);
    let (mut kid, _) = patient(&world, "kid").await;
    let key = consent["identifier"][0]["value"].as_str().unwrap();
    let token = kid.token().await;
    assert_eq!(kid.form("/me/access/revoke", &format!("token={token}&grant={key}")).await.status(), 303);
    assert_eq!(seen(&world, "Observation/k").await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_by_itself_when_the_record_says_so() {
    let world = house().await;
    let (mut ada, passkey, mut administrator) = family(&world).await;
    let kid = |more: Value| {
        let mut kid = json!({"resourceType": "Patient", "id": "kid", "birthDate": "2999-01-01"});
        kid.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        kid
    };
    assert_eq!(link(&mut administrator, "ada", "kid").await, 303);
    for (what, changed) in [
        ("of age", json!({"birthDate": "2000-01-01"})),
        ("perhaps of age", json!({"birthDate": "2000"})),
        ("nobody knows", json!({"birthDate": null})),
        ("dead", json!({"deceasedDateTime": "2026-01-01"})),
    ] {
        put(&world, kid(json!({}))).await;
        assert_eq!(ada.get("/me/wards/kid").await.status(), 200, "before: {what}");
        let pending = Pending::new(drafted(&mut ada, "/me/wards/kid/grants/new", TERMS).await.unwrap(), false);
        let options = pending.options(&mut ada, "passkey").await;
        let mut now = kid(changed);
        now.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        put(&world, now).await;
        for path in ["/me/wards/kid", "/me/wards/kid/grants", "/me/wards/kid/Observation/k"] {
            assert_eq!(ada.get(path).await.status(), 403, "{what}: {path}");
        }
        assert_eq!(pending.sign(&mut ada, "passkey", passkey.sign(&options)).await.0, 403, "{what}");
        assert_eq!(drafted(&mut ada, "/me/wards/kid/grants/new", TERMS).await, Err(403), "{what}");
    }
    // So does a record that was merged with the child's, in either direction, whichever of the two says it.
    let link = |kind: &str, other: &str| json!([{"type": kind, "other": {"reference": format!("Patient/{other}")}}]);
    for (what, other) in [
        ("of age", json!({"birthDate": "1990-01-01"})),
        ("dead", json!({"birthDate": "2999-01-01", "deceasedBoolean": true})),
    ] {
        for (ours, theirs) in [("replaced-by", "replaces"), ("replaces", "replaced-by")] {
            let mut other = other.clone();
            let more = json!({"resourceType": "Patient", "id": "kid2", "link": link(theirs, "kid")});
            other.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            put(&world, other).await;
            put(&world, kid(json!({}))).await;
            assert_eq!(ada.get("/me/wards/kid").await.status(), 200, "before: {what}");
            let pending = Pending::new(drafted(&mut ada, "/me/wards/kid/grants/new", TERMS).await.unwrap(), false);
            let options = pending.options(&mut ada, "passkey").await;
            put(&world, kid(json!({"link": link(ours, "kid2")}))).await;
            for path in ["", "/grants", "/Observation/k", "/download"] {
                assert_eq!(ada.get(&format!("/me/wards/kid{path}")).await.status(), 403, "{what}, {ours}: {path}");
            }
            assert_eq!(pending.sign(&mut ada, "passkey", passkey.sign(&options)).await.0, 403, "{what}, {ours}");
            assert_eq!(link_kid(&mut administrator).await, 403, "{what}, {ours}");
        }
    }
    // A closed account acts for nobody.
    put(&world, kid(json!({}))).await;
    assert_eq!(ada.get("/me/wards/kid").await.status(), 200);
    world.running.app.core.store.close_account(&account_of(&world, "Patient/ada"), true).unwrap();
    assert_ne!(ada.get("/me/wards/kid").await.status(), 200);
    assert_eq!(link_kid(&mut administrator).await, 400, "nor is it linked");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_guardian_signs_ends_when_the_child_is_of_age_and_the_child_knows_of_the_guardian() {
    let world = house().await;
    let (mut ada, passkey, mut administrator) = family(&world).await;
    let today = world.running.app.core.clock.now().to_zoned(TimeZone::UTC).date();
    // Of age in a few weeks, so that midnight changes nothing.
    let born = today.checked_add(40.days()).unwrap().checked_sub(18.years()).unwrap();
    let last = born.checked_add(18.years()).unwrap().yesterday().unwrap().to_string();
    put(&world, json!({"resourceType": "Patient", "id": "kid", "birthDate": born.to_string()})).await;
    let (mut kid, _) = patient(&world, "kid").await;
    assert!(!kid.page("/me/access").await.contains("Patient/ada"), "nobody acts for the child yet");
    assert_eq!(link_kid(&mut administrator).await, 303);
    let page = kid.page("/me/access").await;
    assert!(page.contains("<code>Patient/ada</code> acts for you"), "{page}");
    assert!(!ada.page("/me/access").await.contains("acts for you"));

    assert!(ada.page("/me/wards/kid/grants/new").await.contains(&format!("value=\"{last}\"")), "offered");
    for (until, expected) in [("2035-12-31", last.as_str()), (&today.to_string(), &today.to_string())] {
        let terms = TERMS.replace("2030-12-31", until);
        let pending = Pending::new(drafted(&mut ada, "/me/wards/kid/grants/new", &terms).await.unwrap(), false);
        let options = pending.options(&mut ada, "passkey").await;
        assert_eq!(pending.sign(&mut ada, "passkey", passkey.sign(&options)).await.0, 200);
        let (_, found) = world.get("/fhir/Consent?patient=Patient/kid&_sort=-_lastUpdated").await;
        let end = &found["entry"][0]["resource"]["provision"]["period"]["end"];
        assert!(end.as_str().unwrap().starts_with(expected), "{until}: {end}");
    }
    // In her own name she gives for as long as she likes.
    give(&mut ada, &passkey, TERMS, false).await;
    let consent = world.only("/fhir/Consent?patient=Patient/ada").await;
    assert!(consent["provision"]["period"]["end"].as_str().unwrap().starts_with("2030-12-31"), "{consent}");

    let account = account_of(&world, "Patient/ada");
    assert_eq!(unlink(&mut administrator, &account, "kid").await, 303);
    assert!(!kid.page("/me/access").await.contains("acts for you"), "it was ended");
    assert_eq!(link_kid(&mut administrator).await, 303);
    put(&world, json!({"resourceType": "Patient", "id": "kid", "birthDate": "2000-01-01"})).await;
    assert!(!kid.page("/me/access").await.contains("acts for you"), "of age");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_linked_who_cannot_be_and_by_nobody_else() {
    let world = house().await;
    let (mut ada, _, mut administrator) = family(&world).await;
    for (guardian, ward, expected) in [
        ("ada", "grown", 403),
        ("ada", "unknown", 403),
        ("ada", "gone", 403),
        ("ada", "nobody", 404),
        ("kid", "kid", 400),
        ("bob", "kid", 400),
        ("nobody", "kid", 400),
        ("ada", "..", 400),
    ] {
        assert_eq!(link(&mut administrator, guardian, ward).await, expected, "{guardian} for {ward}");
    }
    assert!(administrator.page("/me/guardians").await.contains("Nobody."));
    assert_eq!(link(&mut ada, "ada", "kid").await, 403, "only an administrator");
    assert_eq!(ada.get("/me/guardians").await.status(), 403);
    let token = administrator.token().await;
    let body = format!("token={token}&guardian=Patient/ada&patient=Patient/kid");
    let foreign = [("origin", "https://evil.example"), ("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(administrator.send("POST", "/me/guardians/link", &foreign, &body).await.status(), 403);
    let forged = body.replace(&token, &"0".repeat(64));
    assert_eq!(administrator.form("/me/guardians/link", &forged).await.status(), 403);
    assert_eq!(Browser::new(&world).form("/me/guardians/link", &body).await.status(), 401);
    assert_eq!(ada.get("/me/wards/kid").await.status(), 404);
    assert_eq!(ada.get("/me/wards/ada").await.status(), 404, "her own record has its own pages");
    let mut doctor = super::grants::doctor(&world).await;
    assert_eq!(doctor.get("/me/wards/kid").await.status(), 403);
    assert_eq!(administrator.get("/me/wards/kid").await.status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_patient_granted_ends_with_the_life() {
    let world = house().await;
    let (mut ada, passkey) = patient(&world, "ada").await;
    give(&mut ada, &passkey, TERMS, true).await;
    until_seen(&world, "Observation/o", 200).await;
    let pending = Pending::new(drafted(&mut ada, "/me/access/new", TERMS).await.unwrap(), false);
    let options = pending.options(&mut ada, "passkey").await;
    put(
        &world,
        json!({"resourceType": "Patient", "id": "ada", "birthDate": "1980-02-29", "deceasedDateTime": "2026-10-01"}),
    )
    .await;
    until_seen(&world, "Observation/o", 404).await;
    let draft = drafted(&mut ada, "/me/access/new", TERMS).await.unwrap();
    assert_eq!(pending.sign(&mut ada, "passkey", passkey.sign(&options)).await.0, 403, "nobody signs in that name");
    let consent = world.only("/fhir/Consent?patient=Patient/ada").await;
    let path = format!("/fhir/Observation/o/$explain-access?actor={DOCTOR}");
    let (status, said) = world.get(&path).await;
    assert!(status == 200 && said.to_string().contains("its patient has died"), "{said}");
    assert_eq!(consent["status"], "active", "what was signed is not changed");
    // Another number of hers says it.
    let link = |kind: &str, other: &str| json!([{"type": kind, "other": {"reference": format!("Patient/{other}")}}]);
    put(
        &world,
        json!({"resourceType": "Patient", "id": "ada2", "deceasedBoolean": true, "link": link("replaces", "ada")}),
    )
    .await;
    put(&world, json!({"resourceType": "Patient", "id": "ada", "link": link("replaced-by", "ada2")})).await;
    let pending = Pending::new(draft, false);
    let options = pending.options(&mut ada, "passkey").await;
    assert_eq!(pending.sign(&mut ada, "passkey", passkey.sign(&options)).await.0, 403, "nor under another number");
    assert_eq!(seen(&world, "Observation/o").await, 404);
    // It was a mistake of the office's.
    put(&world, json!({"resourceType": "Patient", "id": "ada", "birthDate": "1980-02-29"})).await;
    until_seen(&world, "Observation/o", 200).await;
}
