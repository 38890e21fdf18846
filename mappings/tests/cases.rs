//! One test a pair: each `cases/*/*.hl7` must give exactly its `.fhir.json`. `UPDATE_CASES=1` writes them anew, to be read before
//! they are committed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use jiff::tz::TimeZone;
use mappings::bundle::transaction;
use mappings::charset::{Charset, decode};
use mappings::engine::{Context, map};
use mappings::maps::MapSet;
use mappings::parse::Message;
use std::path::{Path, PathBuf};

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in std::fs::read_dir(folder).unwrap().flatten().map(|e| e.path()) {
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The Bundle, and a line for each finding of the report.
fn mapped(set: &MapSet, text: &str) -> (String, String) {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let context = Context { charset: Charset::Utf8, zone: Some(&zone), now: "2026-03-01T12:00:00.000Z" };
    let message = Message::parse(text).unwrap();
    let mapped = map(set, &message, &context).unwrap();
    let bundle: serde_json::Value = serde_json::from_str(&transaction(&mapped)).unwrap();
    let lines = mapped.report.lines(usize::MAX);
    let report = lines.into_iter().map(|line| format!("{}: {}\n", line.path, line.finding)).collect();
    (serde_json::to_string_pretty(&bundle).unwrap() + "\n", report)
}

#[test]
fn every_case_gives_its_bundle_and_its_report() {
    let set = MapSet::embedded().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let cases = files(&folder, "hl7");
    assert!(cases.len() >= 8, "{}", cases.len());
    for case in cases {
        let (bundle, report) = mapped(&set, &std::fs::read_to_string(&case).unwrap());
        for (got, extension) in [(bundle, "fhir.json"), (report, "report.txt")] {
            let expected = case.with_extension(extension);
            if std::env::var_os("UPDATE_CASES").is_some() {
                std::fs::write(&expected, &got).unwrap();
            }
            let want = std::fs::read_to_string(&expected).unwrap_or_default();
            assert!(got == want, "{} differs: see UPDATE_CASES in CONTRIBUTING.md", expected.display());
        }
    }
}

#[test]
fn references_resolve_inside_each_bundle() {
    let set = MapSet::embedded().unwrap();
    for case in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cases"), "hl7") {
        let (json, _) = mapped(&set, &std::fs::read_to_string(&case).unwrap());
        let bundle: serde_json::Value = serde_json::from_str(&json).unwrap();
        let urls: Vec<&str> =
            bundle["entry"].as_array().unwrap().iter().map(|e| e["fullUrl"].as_str().unwrap()).collect();
        for reference in json.lines().filter_map(|l| l.trim().strip_prefix("\"reference\": \"")) {
            let reference = reference.trim_end_matches([',', '"']);
            assert!(urls.contains(&reference), "{}: {reference}", case.display());
        }
    }
}

/// hl7-parser reads well-formed messages as we do. Elsewhere it is no oracle: see `docs/adr`.
#[test]
fn hl7_parser_agrees_on_well_formed_messages() {
    let mut compared = 0;
    for case in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cases"), "hl7") {
        let text = std::fs::read_to_string(&case).unwrap().trim_end().replace("\r\n", "\r").replace('\n', "\r");
        let ours = Message::parse(&text).unwrap();
        let theirs = hl7_parser::Message::parse(&text).unwrap();
        let names: Vec<&str> = theirs.segments().map(|s| s.name).collect();
        assert_eq!(ours.segments().map(|s| s.name()).collect::<Vec<_>>(), names, "{}", case.display());
        for (segment, other) in ours.segments().zip(theirs.segments()) {
            for number in 1..=segment.len() {
                let value = other.field(number).map_or("", |f| f.raw_value());
                assert_eq!(segment.field(number), value, "{} {}-{number}", case.display(), segment.name());
                compared += 1;
            }
        }
    }
    assert!(compared > 500, "{compared}");
}

#[test]
fn every_corpus_message_maps_or_is_refused_and_none_panics() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora/hl7v2");
    if !corpora.is_dir() {
        println!("skipped: the corpora are not here ({})", corpora.display());
        return;
    }
    let set = MapSet::embedded().unwrap();
    let context = Context { charset: Charset::Utf8, zone: None, now: "2026-03-01T12:00:00.000Z" };
    let (mut mapped, mut refused) = (0, 0);
    for path in ["hl7", "txt"].iter().flat_map(|e| files(&corpora, e)) {
        let bytes = std::fs::read(path).unwrap();
        let Ok(decoded) = decode(&bytes, Charset::Utf8) else { continue };
        for text in mappings::batch::messages(&decoded.text) {
            let message = Message::parse(text);
            match message.is_ok_and(|m| map(&set, &m, &context).is_ok()) {
                true => mapped += 1,
                false => refused += 1,
            }
        }
    }
    println!("{mapped} mapped, {refused} refused");
    assert!(mapped > 300, "{mapped}");
}

/// What comes of a message whose feed has no zone: the resources of one type, and the report.
fn zoneless(text: &str, kind: &str) -> (Vec<serde_json::Value>, String) {
    let set = MapSet::embedded().unwrap();
    let context = Context { charset: Charset::Utf8, zone: None, now: "2026-03-01T12:00:00.000Z" };
    let message = Message::parse(text).unwrap();
    let mapped = map(&set, &message, &context).unwrap();
    let of_kind = mapped.drafts.iter().filter(|draft| draft.type_name == kind);
    let resources = of_kind.map(|draft| serde_json::from_str(&mapped.json(draft)).unwrap()).collect();
    let report = mapped.report.lines(usize::MAX).into_iter().map(|line| format!("{}: {}\n", line.path, line.finding));
    (resources, report.collect())
}

#[test]
fn an_appointment_without_a_zone_has_no_times_and_says_so() {
    const LOST: &str = "a time of day without a zone";
    for (schedule, service, place) in [
        ("SCH|10^A|20^B|||||||30|min|^^^202603051400", "AIP|1||7^Arzt", "SCH-11.4"),
        ("SCH|10^A|20^B|||||||||^^30^202603051400^202603051430", "AIP|1||7^Arzt", "SCH-11.5"),
        ("SCH|10^A|20^B", "AIS|1||X^Y^L|202603051400|||30|min", "AIS-4"),
        ("SCH|10^A|20^B", "AIS|1||X^Y^L|202603051400", "AIS-4"),
    ] {
        let head = "MSH|^~\\&|SCH|NQ|||20260301||SIU^S12^SIU_S12|1|P|2.5.1";
        let (found, report) = zoneless(&format!("{head}\r{schedule}\rPID|1||4711\rRGS|1\r{service}\r"), "Appointment");
        let appointment = &found[0];
        assert_eq!(appointment["status"], "booked", "{schedule}");
        for time in ["start", "end"] {
            assert_eq!(appointment.get(time), None, "{schedule}");
            assert_eq!(appointment[format!("_{time}")]["extension"][0]["valueCode"], "unknown", "{schedule} {time}");
        }
        assert!(report.contains(&format!("{place}: {LOST}")), "{schedule}: {report}");
    }
}

#[test]
fn a_second_patient_where_there_is_one_takes_nothing() {
    let head = "MSH|^~\\&|ADM|NQ|||20260301||ADT^A01^ADT_A01|1|P|2.5.1\rEVN|A01|20260301";
    let text =
        format!("{head}\rPID|1||4711||Muster^Ida\rPID|2||4712||Anders^Udo\rPV1|1|I\rDG1|1||I10^Hypertension^I10\r");
    let (patients, report) = zoneless(&text, "Patient");
    assert_eq!((patients.len(), &patients[0]["name"][0]["family"]), (1, &"Muster".into()));
    assert!(report.contains("PID(2): the message structure has this segment once: the first was used"), "{report}");
}

#[test]
fn an_appointment_that_is_only_asked_for_needs_no_times() {
    let text = "MSH|^~\\&|SCH|NQ|||20260301||SIU^S15^SIU_S12|1|P|2.5.1\rSCH|10^A|20^B\rPID|1||4711\rRGS|1\r";
    let (found, report) = zoneless(text, "Appointment");
    assert_eq!((&found[0]["status"], found[0].get("_start")), (&"cancelled".into(), None));
    assert!(!report.contains("is required"), "{report}");
}

#[test]
fn a_merge_of_one_number_into_itself_is_refused() {
    let set = MapSet::embedded().unwrap();
    let context = Context { charset: Charset::Utf8, zone: None, now: "2026-03-01T12:00:00.000Z" };
    for (kind, number, prior) in
        [("A40", "4^^^H^MR", "4^^^H^MR"), ("A34", "5", "5"), ("A40", "4^^^H^MR", "4^^^H^MR~9^^^H^MR")]
    {
        let head = format!("MSH|^~\\&|ADT|H|||20260303||ADT^{kind}|C3|P|2.5.1\rEVN|{kind}|20260303\r");
        let text = format!("{head}PID|1||{number}||A^B\rMRG|{prior}\r");
        let message = Message::parse(&text).unwrap();
        let error = map(&set, &message, &context).map(|_| ()).unwrap_err();
        assert_eq!(error, mappings::engine::MapError::Itself("MRG".into()));
    }
}
