//! Files in a record: who may save them, from where, and as what. All people are invented.

use super::consents::{DOCTOR, consent, put, to};
use super::door::{Browser, invitation};
use super::guardians::link;
use super::portal::{is_text, person, ward};
use super::world::World;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bridge::audit::worker::flush;
use bridge::people::Role;
use bytes::Bytes;
use serde_json::{Value, json};
use warp::http::Response;

const LETTER: &str = "Dear colleague, her knee hurts.";
const SCAN: &[u8] = b"%PDF-1.4 \xff\x00 scan";
const PAGE: &str = "<script>alert(1)</script>";
/// What the files of the letter are.
const OWN: usize = 0;
const HTML: usize = 1;
const SCANNED: usize = 2;
const FAR: usize = 3;
const OF_BOB: usize = 4;
const BROKEN: usize = 5;
const EMPTY: usize = 6;
const BEHIND: usize = 7;
const UNSAID: usize = 8;

fn document(id: &str, of_whom: &str, attachments: &[Value]) -> Value {
    let content: Vec<Value> = attachments.iter().map(|one| json!({"attachment": one})).collect();
    json!({"resourceType": "DocumentReference", "id": id, "status": "current", "content": content,
        "subject": {"reference": format!("Patient/{of_whom}")}})
}

fn binary(id: &str, context: Option<&str>) -> Value {
    let mut binary =
        json!({"resourceType": "Binary", "id": id, "contentType": "application/pdf", "data": STANDARD.encode(SCAN)});
    if let Some(context) = context {
        binary["securityContext"] = json!({"reference": context});
    }
    binary
}

/// Ada's letter with files of every kind, her report with one, and a child with a note.
async fn with_files() -> World {
    let world = ward().await;
    let text = |title: &str, said: &str, content: &str| json!({"title": title, "contentType": said, "data": STANDARD.encode(content)});
    let lies = |title: &str, url: &str| json!({"title": title, "contentType": "application/pdf", "url": url});
    let letter = [
        text("Letter\r\nA: \"b\".exe <b>", "text/plain; charset=utf-8", LETTER),
        text("Page", "text/html", PAGE),
        lies("Scan", "Binary/scan"),
        lies("Far", "https://elsewhere.example/fhir/Binary/scan"),
        lies("Wrong", "Binary/of-bob"),
        json!({"title": "Broken", "contentType": "text/plain", "data": "eB=="}),
        json!({"title": "Empty"}),
        lies("Behind", "Binary/behind"),
        lies("Unsaid", "Binary/unsaid"),
    ];
    let kid = json!({"resourceType": "Patient", "id": "kid", "birthDate": "2999-01-01"});
    for resource in [
        document("letter", "ada", &letter),
        binary("scan", Some("Patient/ada")),
        binary("of-bob", Some("Patient/bob")),
        binary("behind", Some("DocumentReference/letter")),
        binary("unsaid", None),
        json!({"resourceType": "DiagnosticReport", "id": "report", "status": "final", "code": {"text": "x"},
            "subject": {"reference": "Patient/ada"}, "presentedForm": [text("Report", "text/plain", LETTER)]}),
        kid,
        document("note", "kid", &[text("Note", "text/plain", LETTER)]),
    ] {
        put(&world, resource).await;
    }
    world
}

async fn file(browser: &mut Browser<'_>, entry: &str, n: usize) -> Response<Bytes> {
    browser.get(&format!("{entry}/file/{n}")).await
}

async fn status(browser: &mut Browser<'_>, entry: &str, n: usize) -> u16 {
    file(browser, entry, n).await.status().as_u16()
}

fn header<'r>(reply: &'r Response<Bytes>, name: &str) -> &'r str {
    reply.headers()[name].to_str().unwrap()
}

const MINE: &str = "/me/records/DocumentReference/letter";
const OF_ADA: &str = "/me/patients/ada/DocumentReference/letter";

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_record_are_saved_and_neither_run_nor_shown() {
    let world = with_files().await;
    let mut ada = person(&world, Role::Patient).await;
    let page = ada.page(MINE).await;
    is_text(&page);
    for shown in [
        format!("href=\"{MINE}/file/{OWN}\""),
        format!("(text, {} bytes)", LETTER.len()),
        format!("href=\"{MINE}/file/{SCANNED}\""),
        "Far is kept elsewhere".to_owned(),
        "https://elsewhere.example/fhir/Binary/scan".to_owned(),
    ] {
        assert!(page.contains(&shown), "{shown}: {page}");
    }
    for hidden in [format!("/file/{FAR}\""), format!("/file/{EMPTY}\""), "href=\"https:".to_owned()] {
        assert!(!page.contains(&hidden), "{hidden}: {page}");
    }
    for (n, media_type, name, content) in [
        (OWN, "text/plain", "Letter-A-b-exe-b.txt", LETTER.as_bytes()),
        (HTML, "application/octet-stream", "Page.bin", PAGE.as_bytes()),
        (SCANNED, "application/pdf", "Scan.pdf", SCAN),
    ] {
        let reply = file(&mut ada, MINE, n).await;
        assert_eq!((reply.status().as_u16(), reply.body().as_ref()), (200, content), "{name}");
        assert_eq!(header(&reply, "content-type"), media_type);
        assert_eq!(header(&reply, "content-disposition"), format!("attachment; filename=\"{name}\""));
        assert_eq!(
            (header(&reply, "x-content-type-options"), header(&reply, "cache-control")),
            ("nosniff", "no-store")
        );
        let policy = header(&reply, "content-security-policy");
        for part in ["default-src 'none'", "frame-ancestors 'none'", "sandbox"] {
            assert!(policy.contains(part), "{policy}");
        }
    }
    let report = file(&mut ada, "/me/records/DiagnosticReport/report", 0).await;
    assert_eq!((report.status().as_u16(), report.body().as_ref()), (200, LETTER.as_bytes()));
    assert_eq!(status(&mut ada, MINE, BROKEN).await, 406);
    for n in [FAR, EMPTY, UNSAID + 1, 1_000_000] {
        assert_eq!(status(&mut ada, MINE, n).await, 404, "{n}");
    }
    for odd in ["-1", "00", "+0", "x", "18446744073709551616"] {
        assert_eq!(ada.get(&format!("{MINE}/file/{odd}")).await.status(), 404, "{odd}");
    }
    assert_eq!(status(&mut ada, "/me/records/Observation/g1", 0).await, 404, "it has none");

    flush(&world.running.app).await.unwrap();
    let (_, events) = world.get("/fhir/AuditEvent?patient=Patient/ada&agent=Patient/ada&subtype=read&_count=100").await;
    let both =
        |event: &Value| ["DocumentReference/letter", "Binary/scan"].iter().all(|name| event.to_string().contains(name));
    assert!(events["entry"].as_array().unwrap().iter().any(both), "{events}");
    let itself = file(&mut ada, "/me/records/Binary/scan", 0).await;
    assert_eq!((itself.status().as_u16(), itself.body().as_ref()), (200, SCAN), "a Binary is a file, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_record_are_saved_from_its_pages_and_from_no_other() {
    let world = with_files().await;
    let mut nobody = Browser::new(&world);
    assert_eq!(status(&mut nobody, MINE, OWN).await, 303);
    let mut bob = Browser::new(&world);
    bob.join(&invitation(&world, Role::Patient, Some("Patient/bob"), None)).await;
    for n in [OWN, SCANNED, OF_BOB] {
        assert_eq!(status(&mut bob, MINE, n).await, 404, "not Bob's: {n}");
    }
    assert_eq!(status(&mut bob, "/me/records/Binary/scan", 0).await, 404);

    // Whatever a document leads to: a Binary is hers where it says so.
    let mut ada = person(&world, Role::Patient).await;
    for n in [OF_BOB, BEHIND, UNSAID] {
        assert_eq!(status(&mut ada, MINE, n).await, 404, "{n}");
    }
    flush(&world.running.app).await.unwrap();
    let (_, events) = world.get("/fhir/AuditEvent?patient=Patient/bob&agent=Patient/ada&outcome=4").await;
    assert!(events.to_string().contains("Binary/of-bob"), "who tries is told of: {events}");

    let mut doc = person(&world, Role::Clinician).await;
    for (n, expected) in [(OWN, 200), (SCANNED, 200), (BEHIND, 200), (UNSAID, 200), (FAR, 404), (OF_BOB, 404)] {
        assert_eq!(status(&mut doc, OF_ADA, n).await, expected, "{n}");
    }
    assert_eq!(status(&mut doc, "/me/patients/bob/DocumentReference/letter", OWN).await, 404, "not of that record");
    assert_eq!(status(&mut doc, MINE, OWN).await, 403);
    for role in [Role::Administrator, Role::Auditor] {
        let mut other = person(&world, role).await;
        for entry in [MINE, OF_ADA] {
            assert_eq!(status(&mut other, entry, OWN).await, 403, "{role:?} {entry}");
        }
    }

    // What she withholds is not opened: first files that lie in a Binary, then all from this doctor.
    let class = json!([{"system": "http://hl7.org/fhir/resource-types", "code": "Binary"}]);
    for (provision, expected) in [
        (json!({"type": "deny", "class": class}), [200, 404, 404]),
        (json!({"type": "deny", "actor": to(DOCTOR)}), [404, 404, 404]),
    ] {
        put(&world, consent("active", provision)).await;
        let found = [
            status(&mut doc, OF_ADA, OWN).await,
            status(&mut doc, OF_ADA, SCANNED).await,
            status(&mut doc, OF_ADA, BEHIND).await,
        ];
        assert_eq!(found, expected);
        assert_eq!(status(&mut ada, MINE, SCANNED).await, 200, "her own");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_acts_for_a_patient_saves_the_files_too() {
    let world = with_files().await;
    let mut ada = person(&world, Role::Patient).await;
    let mut chief = person(&world, Role::Administrator).await;
    const NOTE: &str = "/me/wards/kid/DocumentReference/note";
    assert_eq!(status(&mut ada, NOTE, 0).await, 404, "nobody has linked them");
    assert_eq!(link(&mut chief, "ada", "kid").await, 303);
    assert!(ada.page(NOTE).await.contains(&format!("href=\"{NOTE}/file/0\"")));
    let reply = file(&mut ada, NOTE, 0).await;
    assert_eq!((reply.status().as_u16(), reply.body().as_ref()), (200, LETTER.as_bytes()));
    assert_eq!(status(&mut ada, "/me/wards/kid/DocumentReference/letter", OWN).await, 404, "it is not the child's");
    assert_eq!(status(&mut ada, "/me/records/DocumentReference/note", 0).await, 404, "nor is the child's note her own");
}
