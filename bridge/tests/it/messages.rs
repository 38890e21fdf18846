//! HL7 v2 in: mapping, identity, merging, acknowledgements, character sets, batches.

use super::world::{World, admission, msa};

#[tokio::test]
async fn an_admission_becomes_a_patient_and_an_encounter() {
    let world = World::new().await;
    assert_eq!(msa(&world.send(&admission("C1", "77", "Lovelace")).await), ("AA".into(), "C1".into()));
    let patient = world.only("/fhir/Patient?identifier=urn:oid:1.2.3.4%7C77").await;
    assert_eq!(patient["name"][0]["family"], "Lovelace");
    assert_eq!(patient["birthDate"], "1980-02-29");
    assert_eq!(patient["gender"], "female");
    let id = patient["id"].as_str().unwrap();
    let encounter = world.only(&format!("/fhir/Encounter?patient={id}")).await;
    assert_eq!(encounter["subject"]["reference"], format!("Patient/{id}"));
    assert_eq!(encounter["period"]["start"], "2026-03-02T08:00:00+01:00", "the feed's zone, and no other");
}

#[tokio::test]
async fn later_messages_change_the_same_resources() {
    let world = World::new().await;
    world.send(&admission("C1", "77", "Lovelace")).await;
    let update = admission("C2", "77", "King").replace("ADT^A01", "ADT^A08").replace("|F\n", "|F|||1 New Road^^Ely\n");
    assert_eq!(msa(&world.send(&update).await).0, "AA");
    let result = "MSH|^~\\&|LAB|NORTHQUAY|MED|SEAL|20260303||ORU^R01^ORU_R01|C3|P|2.5.1\n\
         PID|1||77^^^NQ&1.2.3.4&ISO^MR||King^Ada\n\
         OBR|1||F-9|2345-7^Glucose^LN|||20260303070000\n\
         OBX|1|NM|2345-7^Glucose^LN||5.10|mmol/L^^UCUM|||||F\n";
    assert_eq!(msa(&world.send(result).await).0, "AA");
    let patient = world.only("/fhir/Patient?identifier=77").await;
    assert_eq!(patient["name"][0]["family"], "King");
    assert_eq!(patient["address"][0]["city"], "Ely", "a result's short PID does not wipe the address out");
    assert_eq!(patient["birthDate"], "1980-02-29");
    let bytes = world.bytes(&format!("/fhir/Observation?patient={}", patient["id"].as_str().unwrap())).await;
    assert!(String::from_utf8_lossy(&bytes).contains("\"value\":5.10"), "digits are kept as sent");
    let corrected =
        result.replace("|C3|", "|C4|").replace("5.10", "5.20").replace("||F\n", "||C\n").replace("|||||F", "|||||C");
    assert_eq!(msa(&world.send(&corrected).await).0, "AA");
    let observation = world.only(&format!("/fhir/Observation?patient={}", patient["id"].as_str().unwrap())).await;
    assert_eq!(
        (observation["status"].as_str(), observation["meta"]["versionId"].as_str()),
        (Some("corrected"), Some("2"))
    );
}

#[tokio::test]
async fn an_explicit_null_deletes() {
    let world = World::new().await;
    world.send(&admission("C1", "77", "Lovelace")).await;
    world.send(&admission("C2", "77", "Lovelace").replace("19800229", "\"\"")).await;
    let patient = world.only("/fhir/Patient?identifier=77").await;
    assert_eq!(patient.get("birthDate"), None);
    assert_eq!(patient["gender"], "female");
}

#[tokio::test]
async fn a_message_sent_again_is_acknowledged_and_stored_once() {
    let world = World::new().await;
    let message = admission("C1", "77", "Lovelace");
    for _ in 0..3 {
        assert_eq!(msa(&world.send(&message).await), ("AA".into(), "C1".into()));
    }
    let (_, messages) = world.get("/fhir/MessageHeader").await;
    assert_eq!(messages["total"], 1);
    let patient = world.only("/fhir/Patient?identifier=77").await;
    assert_eq!(patient["meta"]["versionId"], "1");
}

#[tokio::test]
async fn two_messages_in_one_frame_are_two() {
    let world = World::new().await;
    let both = format!("{}{}", admission("C1", "77", "A"), admission("C2", "78", "B")).replace('\n', "\r");
    let mut connection = world.mllp().await;
    assert_eq!(msa(&connection.exchange(both.as_bytes()).await.unwrap()), ("AA".into(), "C1".into()));
    assert_eq!(world.only("/fhir/Patient?identifier=77").await["name"][0]["family"], "A");
    assert_eq!(world.only("/fhir/Patient?identifier=78").await["name"][0]["family"], "B");
}

#[tokio::test]
async fn one_persons_record_does_not_become_anothers() {
    let world = World::new().await;
    world.send(&admission("C1", "77", "Lovelace")).await;
    // The same visit number for another patient: refused, and nothing moves.
    let other = admission("C2", "78", "Hopper").replace("V78^^^NQ", "V77^^^NQ");
    let ack = world.send(&other).await;
    assert_eq!(msa(&ack).0, "AE", "{ack}");
    assert!(ack.contains("another patient"), "{ack}");
    assert_eq!(world.get("/fhir/Patient?identifier=78").await.1["total"], 0);
    // A number that was given to somebody else since: the old holder keeps the old record.
    let mut holder = world.only("/fhir/Patient?identifier=77").await;
    holder["identifier"][0]["value"] = "770".into();
    let path = format!("/fhir/Patient/{}", holder["id"].as_str().unwrap());
    assert_eq!(world.call("PUT", &path, &holder.to_string()).await.0, 200);
    let again = admission("C3", "77", "Hopper").replace("V77^^^NQ", "V79^^^NQ");
    assert_eq!(msa(&world.send(&again).await).0, "AA");
    assert_eq!(world.only("/fhir/Patient?identifier=770").await["name"][0]["family"], "Lovelace");
    assert_eq!(world.only("/fhir/Patient?identifier=77").await["name"][0]["family"], "Hopper");
    // The set id of the segment and a placeholder are nobody's names.
    for (control, pid) in [("C4", "PID|1|1|a^^^H||Fa^One"), ("C5", "PID|1|1|b^^^H||Fb^Two")] {
        let text =
            format!("MSH|^~\\&|ADT|H|||20260303||ADT^A04|{control}|P|2.5\n{pid}||||||||||||||999-99-9999\nPV1|1|O\n");
        assert_eq!(msa(&world.send(&text).await).0, "AA");
    }
    assert_eq!(world.only("/fhir/Patient?identifier=a").await["name"][0]["family"], "Fa");
    assert_eq!(world.only("/fhir/Patient?identifier=b").await["name"][0]["family"], "Fb");
}

#[tokio::test]
async fn two_systems_of_one_hospital_speak_of_one_patient() {
    let world = World::new().await;
    let text = |app: &str, control: &str, cx: &str| {
        format!("MSH|^~\\&|{app}|NORTHQUAY|||20260303||ADT^A04|{control}|P|2.5\nPID|1||{cx}||Ada^B\nPV1|1|O\n")
    };
    for (n, (app, cx)) in
        [("HIS", "900^^^HOSP^MR"), ("LAB", "900^^^HOSP^MR"), ("HIS", "900^^^HOSP")].into_iter().enumerate()
    {
        assert_eq!(msa(&world.send(&text(app, &format!("C{n}"), cx)).await).0, "AA");
    }
    world.only("/fhir/Patient?identifier=900").await;
}

#[tokio::test]
async fn a_merge_links_the_two_patients() {
    let world = World::new().await;
    world.send(&admission("C1", "77", "Lovelace")).await;
    world.send(&admission("C2", "78", "Lovelace")).await;
    let merge = "MSH|^~\\&|ADT|NORTHQUAY|MED|SEAL|20260303||ADT^A40^ADT_A39|C3|P|2.5.1\n\
         EVN|A40|20260303\nPID|1||77^^^NQ&1.2.3.4&ISO^MR||Lovelace^Ada\nMRG|78^^^NQ&1.2.3.4&ISO^MR\n";
    assert_eq!(msa(&world.send(merge).await).0, "AA");
    let (survivor, prior) =
        (world.only("/fhir/Patient?identifier=77").await, world.only("/fhir/Patient?identifier=78").await);
    assert_eq!(prior["active"], false);
    assert_eq!(prior["link"][0]["type"], "replaced-by");
    assert_eq!(prior["link"][0]["other"]["reference"], format!("Patient/{}", survivor["id"].as_str().unwrap()));
    assert_eq!(survivor["link"][0]["type"], "replaces");
    assert_eq!(prior["birthDate"], "1980-02-29", "what was known of the prior patient stays");
}

/// A merge of a patient's two numbers into one record.
fn merge(control: &str, stays: &str, goes: &str) -> String {
    format!(
        "MSH|^~\\&|ADT|NORTHQUAY|MED|SEAL|20260303||ADT^A40^ADT_A39|{control}|P|2.5.1\n\
         EVN|A40|20260303\nPID|1||{stays}||Lovelace^Ada\nMRG|{goes}\n"
    )
}

#[tokio::test]
async fn a_merge_never_replaces_a_patient_by_himself() {
    let world = World::new().await;
    world.send(&admission("C1", "77", "Lovelace")).await;
    let (one, two) = ("77^^^NQ&1.2.3.4&ISO^MR", "78^^^NQ&1.2.3.4&ISO^MR");
    let refused = world.send(&merge("C2", one, one)).await;
    assert_eq!(msa(&refused).0, "AE");
    assert!(refused.contains("ERR||MRG^1") && refused.contains("the same patient"), "{refused}");
    assert_eq!(world.only("/fhir/Patient?identifier=77").await.get("active"), None);
    assert_eq!(msa(&world.send(&merge("C3", &format!("{one}~{two}"), one)).await).0, "AA");
    let (_, prior) = world.get("/fhir/Patient?identifier=77&active=false").await;
    let (_, stays) = world.get("/fhir/Patient?identifier=78").await;
    let (prior, stays) = (&prior["entry"][0]["resource"], &stays["entry"][0]["resource"]);
    assert_ne!(prior["id"], stays["id"]);
    assert_eq!(stays.get("active"), None);
    assert_eq!(prior["link"][0]["other"]["reference"], format!("Patient/{}", stays["id"].as_str().unwrap()));
}

#[tokio::test]
async fn two_numbers_that_fhir_gave_one_patient_are_not_merged_into_him() {
    let world = World::new().await;
    let patient = r#"{"resourceType":"Patient","id":"ada","identifier":[{"system":"urn:oid:1.2.3.4","value":"77"},
        {"system":"urn:oid:1.2.3.4","value":"78"}]}"#;
    assert_eq!(world.call("PUT", "/fhir/Patient/ada", patient).await.0, 201);
    let refused = world.send(&merge("C1", "77^^^NQ&1.2.3.4&ISO^MR", "78^^^NQ&1.2.3.4&ISO^MR")).await;
    assert_eq!(msa(&refused).0, "AE");
    let (_, stays) = world.get("/fhir/Patient/ada").await;
    assert_eq!((stays.get("active"), stays.get("link")), (None, None));
}

#[tokio::test]
async fn an_update_does_not_reopen_a_visit_that_is_over() {
    let world = World::new().await;
    let event = |event: &str, control: &str, end: &str| {
        format!(
            "MSH|^~\\&|ADT|NORTHQUAY|MED|SEAL|20260303||ADT^{event}|{control}|P|2.5.1\nEVN|{event}|20260303\n\
             PID|1||77^^^NQ&1.2.3.4&ISO^MR||Lovelace^Ada\nPV1|1|I|W1^101^1^NQ{}V7{}20260301080000+0100|{end}\n",
            "|".repeat(16),
            "|".repeat(25)
        )
    };
    for (name, control, end) in [("A01", "C1", ""), ("A03", "C2", "20260302080000+0100"), ("A08", "C3", "")] {
        assert_eq!(msa(&world.send(&event(name, control, end)).await).0, "AA");
    }
    let visit = world.only("/fhir/Encounter?identifier=V7").await;
    assert_eq!((&visit["status"], &visit["location"][0]["status"]), (&"finished".into(), &"completed".into()));
    assert_eq!(visit["period"]["end"], "2026-03-02T08:00:00+01:00");
    assert_eq!(msa(&world.send(&event("A13", "C4", "")).await).0, "AA");
    let visit = world.only("/fhir/Encounter?identifier=V7").await;
    assert_eq!((&visit["status"], &visit["location"][0]["status"]), (&"in-progress".into(), &"active".into()));
    assert_eq!(visit["period"].get("end"), None, "A13 takes the end back");
}

#[tokio::test]
async fn a_sender_may_have_his_own_character_set() {
    let directory = tempfile::tempdir().unwrap();
    let overlays = directory.path().join("overlays");
    std::fs::create_dir(&overlays).unwrap();
    let site = "overlay: north\napplies: {sender: [\"ADT|*\"]}\ncharset: 8859/1";
    std::fs::write(overlays.join("north.yaml"), site).unwrap();
    let mut config = super::world::config(directory.path());
    config.overlays = Some(overlays);
    let world = World::with(directory, config).await;
    let text = admission("C1", "77", "M?ller").replace('\n', "\r");
    let bytes: Vec<u8> = text.bytes().map(|b| if b == b'?' { 0xfc } else { b }).collect();
    let mut connection = world.mllp().await;
    assert_eq!(msa(&connection.exchange(&bytes).await.unwrap()).0, "AA");
    assert_eq!(world.only("/fhir/Patient?identifier=77").await["name"][0]["family"], "M\u{fc}ller");
}

#[tokio::test]
async fn refusals_say_where_and_store_nothing() {
    let world = World::new().await;
    for (message, code, part) in [
        ("this is no message".to_owned(), "AR", "MSH segment"),
        (admission("C1", "77", "X").replace("ADT^A01^ADT_A01", "ZZZ^Z99"), "AE", "ERR||MSH^1^9^1|200^"),
        (admission("C1", "77", "X").replace("|C1|", "||"), "AE", "ERR||MSH^1^10^1|101^"),
        (admission("C1", "77", "X").replace("|P|2.5.1", "|P|2.5.1||||||KLINGON"), "AR", "ERR||MSH^1^18^1|102^"),
        ("MSH|^^\\&|A|B\n".to_owned(), "AR", "separators"),
    ] {
        let ack = world.send(&message).await;
        assert_eq!(msa(&ack).0, code, "{ack}");
        assert!(ack.contains(part), "{ack}");
    }
    assert_eq!(world.get("/fhir/Patient").await.1["total"], 0);
}

#[tokio::test]
async fn every_promised_character_set_arrives() {
    let world = World::new().await;
    for (n, set, name, expected) in [
        (1, "UNICODE UTF-8", "Zoë".as_bytes(), "Zoë"),
        (2, "8859/1", b"Zo\xeb".as_slice(), "Zoë"),
        (3, "8859/15", b"Zo\xeb \xa4".as_slice(), "Zoë €"),
        (4, "windows-1252", b"\x80uro".as_slice(), "€uro"),
        (5, "ISO IR6~ISO IR87", b"\x1b$B;3ED\x1b(B".as_slice(), "山田"),
        (6, "GB 18030-2000", b"\xcd\xf5".as_slice(), "王"),
        (7, "", b"Plain".as_slice(), "Plain"),
    ] {
        let text =
            admission(&format!("C{n}"), &format!("9{n}"), "@").replace("|2.5.1\n", &format!("|2.5.1||||||{set}\n"));
        let (before, after) = text.split_once('@').unwrap();
        let bytes = [before.as_bytes(), name, after.as_bytes()].concat();
        let bytes: Vec<u8> = bytes.into_iter().map(|b| if b == b'\n' { b'\r' } else { b }).collect();
        let ack = world.mllp().await.exchange(&bytes).await.unwrap();
        assert_eq!(msa(&ack).0, "AA", "{set}: {ack}");
        let patient = world.only(&format!("/fhir/Patient?identifier=9{n}")).await;
        assert_eq!(patient["name"][0]["family"], expected, "{set}");
    }
    let text = admission("C8", "98", "Žofie").replace("|2.5.1\n", "|2.5.1||||||UNICODE UTF-16\n").replace('\n', "\r");
    let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    // UTF-16 holds 0x1C and 0x0B bytes in no text of this message, so that a frame can carry it.
    assert_eq!(msa(&world.mllp().await.exchange(&bytes).await.unwrap()).0, "AA");
    assert_eq!(world.only("/fhir/Patient?identifier=98").await["name"][0]["family"], "Žofie");
}

#[tokio::test]
async fn http_and_mllp_are_one_path() {
    let world = World::new().await;
    let token = format!("Bearer {}", world.token);
    let headers = [("authorization", token.as_str()), ("content-type", "application/hl7-v2")];
    let message = admission("C1", "77", "Lovelace").replace('\n', "\r");
    let reply = world.request("POST", "/hl7v2", &headers, message.as_bytes()).await;
    assert_eq!(reply.status(), 200);
    assert_eq!(msa(&String::from_utf8_lossy(reply.body())).0, "AA");
    assert_eq!(msa(&world.send(&message).await).0, "AA", "the same message over MLLP is recognised");
    assert_eq!(world.get("/fhir/MessageHeader").await.1["total"], 1);
    let batch =
        format!("FHS|^~\\&|A\rBHS|^~\\&|A\r{}{}BTS|2\rFTS|1\r", admission("C2", "78", "A"), admission("C3", "79", "B"))
            .replace('\n', "\r");
    let reply = world.request("POST", "/hl7v2", &headers, batch.as_bytes()).await;
    let acks = String::from_utf8_lossy(reply.body()).into_owned();
    assert_eq!(acks.matches("MSA|AA|").count(), 2, "{acks}");
    for (headers, body, status) in [
        (vec![("authorization", token.as_str()), ("content-type", "text/csv")], "x", 415),
        (vec![("content-type", "application/hl7-v2")], "x", 401),
        (vec![("authorization", "Bearer x.y.z"), ("content-type", "application/hl7-v2")], "x", 401),
        (headers.to_vec(), "garbage", 400),
        (headers.to_vec(), "MSH|^~\\&|A|B|C|D|2026||ZZZ^Z01|1|P|2.5", 422),
    ] {
        let reply = world.request("POST", "/hl7v2", &headers, body.as_bytes()).await;
        assert_eq!(reply.status(), status, "{body}");
    }
    let narrow = super::world::mint(&world.running, "system/Patient.cruds");
    let bearer = format!("Bearer {narrow}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/hl7-v2")];
    assert_eq!(world.request("POST", "/hl7v2", &headers, b"x").await.status(), 403);
}

#[tokio::test]
async fn many_senders_meet_in_group_commits_and_one_patient_stays_one() {
    let world = World::new().await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..64 {
        let address = world.running.mllp.to_string();
        tasks.spawn(async move {
            let mut connection = bridge::commands::send::Connection::open(&address).await.unwrap();
            let message = admission(&format!("M{n}"), &format!("{}", n % 4), "Same").replace('\n', "\r");
            msa(&connection.exchange(message.as_bytes()).await.unwrap()).0
        });
    }
    while let Some(code) = tasks.join_next().await {
        assert_eq!(code.unwrap(), "AA");
    }
    assert_eq!(world.get("/fhir/Patient").await.1["total"], 4);
    assert_eq!(world.get("/fhir/Encounter").await.1["total"], 4);
}

#[tokio::test]
async fn a_message_can_be_read_again_with_its_mapping_report() {
    let world = World::new().await;
    let message = admission("C1", "77", "Lovelace").replace("PV1|", "ZZZ|secret\nPV1|");
    let bearer = format!("Bearer {}", world.token);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/hl7-v2")];
    let sent = world.request("POST", "/hl7v2", &headers, message.as_bytes()).await;
    assert_eq!(sent.status(), 200);
    let location = sent.headers()["location"].to_str().unwrap().to_owned();
    let (status, head) = world.get(&location).await;
    assert_eq!((status, head["controlId"].as_str(), head["map"].as_str()), (200, Some("C1"), Some("ADT_A01")));
    let report = head["report"].as_array().unwrap();
    let line = report.iter().find(|line| line["path"] == "ZZZ").unwrap();
    assert_eq!(line["finding"], "the message structure has no place for this segment");
    assert!(!head.to_string().contains("Lovelace") && !head.to_string().contains("secret"), "places, no values");
    let patient = head["resources"].as_array().unwrap().iter().find(|r| r.as_str().unwrap().starts_with("Patient/"));
    assert_eq!(world.get(&format!("/fhir/{}", patient.unwrap().as_str().unwrap())).await.0, 200);
    let raw =
        world.request("GET", &location, &[("authorization", &bearer), ("accept", "application/hl7-v2")], b"").await;
    assert_eq!(raw.body().as_ref(), message.as_bytes(), "the very bytes");
    assert_eq!(world.get("/hl7v2/messages/nothing").await.0, 404);
    let narrow = super::world::mint(&world.running, "system/Patient.r");
    let refused = world.request("GET", &location, &[("authorization", &format!("Bearer {narrow}"))], b"").await;
    assert_eq!(refused.status(), 403);
}

#[tokio::test]
async fn overlays_are_read_anew_without_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let overlays = directory.path().join("overlays");
    std::fs::create_dir(&overlays).unwrap();
    let mut config = super::world::config(directory.path());
    config.overlays = Some(overlays.clone());
    let world = World::with(directory, config).await;
    let gender = |n: &'static str| {
        let message = admission(&format!("C{n}"), n, "Lovelace").replace("|F\n", "|W\n");
        let world = &world;
        async move {
            world.send(&message).await;
            world.only(&format!("/fhir/Patient?identifier={n}")).await["gender"].as_str().map(str::to_owned)
        }
    };
    assert_eq!(gender("1").await, None);
    let overlay = "overlay: w\ntables: [{table: AdministrativeSex, rows: [{from: W, to: female}]}]";
    std::fs::write(overlays.join("w.yaml"), overlay).unwrap();
    let reloader = &world.running.reloader;
    reloader.reload().await.unwrap();
    assert_eq!(gender("2").await.as_deref(), Some("female"));
    std::fs::write(overlays.join("x.yaml"), "overlay: x\nzone: Mars/Olympus").unwrap();
    assert!(reloader.reload().await.unwrap_err().contains("no zone Mars/Olympus"));
    assert_eq!(gender("3").await.as_deref(), Some("female"), "the old maps stay");
}
