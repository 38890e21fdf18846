//! What an AuditEvent tells, in plain words. Pure.

use super::words::{moment, title};
use crate::audit::emergency::{STARTED, STOPPED};
use crate::audit::event::{ANSWER, Answer};
use crate::audit::tells_of_emergency;
use crate::fhir::display::items;
use crate::ids::Name;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use notary::canonical::Json;
use std::collections::BTreeSet;

/// What goes to other hospitals.
pub(super) const ASKED: &str = "Asked other hospitals";
pub(super) const LOOKED: &str = "Looked at what another hospital has";

/// One event.
pub(super) struct Deed {
    pub(super) when: String,
    /// The person, if one is named.
    pub(super) person: Option<Name>,
    /// The program, or the name of a token.
    pub(super) program: String,
    pub(super) did: String,
    /// The kinds of entries that were shown or changed.
    pub(super) what: String,
    pub(super) patient: Option<Name>,
    pub(super) outcome: Outcome,
    /// Who of another organisation, where one asked.
    pub(super) outside: Option<Outside>,
    /// What other organisations answered, by their ids, where they were asked.
    pub(super) answers: Vec<(String, Answer)>,
    /// The event itself: it has a receipt.
    pub(super) name: Option<Name>,
    /// It was done in an emergency, or began or ended one.
    pub(super) emergency: bool,
}

/// On whose behalf another organisation asked, and what for. Which one it is says `program`.
pub(super) struct Outside {
    /// The user's address there, if one is named.
    pub(super) user: Option<String>,
    /// Of v3-ActReason.
    pub(super) purpose: String,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Refused,
    Failed,
}

/// Reads an event.
pub(super) fn deed(event: &Json) -> Deed {
    let agents = items(event, "agent");
    let who = |agent: &&Json| agent.get("who").and_then(|who| who.text("reference")).and_then(Name::parse);
    let code = items(event, "subtype").first().and_then(|code| code.text("code")).unwrap_or("");
    let named: Vec<Name> = items(event, "entity").iter().filter_map(named).collect();
    let (begins, ends) = (code == STARTED, code == STOPPED);
    Deed {
        when: moment(event.text("recorded").unwrap_or("")),
        person: agents.iter().find_map(|agent| who(&agent)),
        program: agents.iter().find_map(program).unwrap_or("somebody unknown").to_owned(),
        did: did(code, &asked(event), agents.iter().any(is_outside)).to_owned(),
        what: if begins {
            pleaded(event)
        } else if ends {
            String::new()
        } else {
            kinds(&named)
        },
        patient: items(event, "entity").iter().filter(|entity| is_patient(entity)).find_map(self::named),
        outcome: match event.text("outcome") {
            Some("0") => Outcome::Done,
            Some("4") => Outcome::Refused,
            _ => Outcome::Failed,
        },
        outside: agents.iter().find(|agent| is_outside(agent)).map(outside),
        answers: answers(event),
        name: event.text("id").and_then(|id| Name::parse(&format!("AuditEvent/{id}"))),
        emergency: tells_of_emergency(event),
    }
}

/// As what and why somebody has declared an emergency.
fn pleaded(event: &Json) -> String {
    let roles = items(event, "agent").iter().flat_map(|agent| items(agent, "role"));
    let role = roles.filter_map(|role| role.text("text")).next().unwrap_or("");
    let reason = items(event, "purposeOfEvent").iter().find_map(|purpose| purpose.text("text")).unwrap_or("");
    format!("as {role}: {reason}")
}

/// On whose behalf another organisation asks: he bears a purpose of use as who asks here may, and it is not he who asks here.
fn is_outside(agent: &Json) -> bool {
    agent.get("purposeOfUse").is_some() && agent.get("requestor") == Some(&Json::Bool(false))
}

fn outside(agent: &Json) -> Outside {
    let coding = items(agent, "purposeOfUse").first().and_then(|purpose| items(purpose, "coding").first());
    Outside {
        user: agent.get("who").and_then(|who| who.text("reference")).map(str::to_owned),
        purpose: coding.and_then(|coding| coding.text("code")).unwrap_or_default().to_owned(),
    }
}

fn answers(event: &Json) -> Vec<(String, Answer)> {
    let details = items(event, "entity").iter().flat_map(|entity| items(entity, "detail"));
    let told = details.filter(|detail| detail.text("type") == Some(ANSWER));
    let read = told.filter_map(|detail| Answer::read(detail.text("valueString")?));
    read.map(|(from, answer)| (from.to_owned(), answer)).collect()
}

/// The paths that were asked, where they are told: without what was asked there, which anybody puts together as he likes.
fn asked(event: &Json) -> Vec<String> {
    let queries = items(event, "entity").iter().filter_map(|entity| entity.text("query"));
    let texts = queries.filter_map(|query| String::from_utf8(STANDARD.decode(query).ok()?).ok());
    texts.map(|text| text.split('?').next().unwrap_or_default().to_owned()).collect()
}

/// Whether nothing was asked but who would be shown something.
fn explains(asked: &[String]) -> bool {
    let one = |path: &String| path == "me/explain" || path.rsplit('/').next() == Some("$explain-access");
    !asked.is_empty() && asked.iter().all(one)
}

/// When a Provenance was recorded.
pub(super) fn when(provenance: &Json) -> String {
    moment(provenance.text("recorded").unwrap_or(""))
}

fn program(agent: &Json) -> Option<&str> {
    agent.get("who")?.get("identifier")?.text("value")
}

/// What an entity is of: without its version.
fn named(entity: &Json) -> Option<Name> {
    let reference = entity.get("what")?.text("reference")?;
    Name::parse(reference.split("/_history").next().unwrap_or(reference))
}

/// Role 1 of R4's `object-role`.
fn is_patient(entity: &Json) -> bool {
    entity.get("role").and_then(|role| role.text("code")) == Some("1")
}

/// What kinds of entries they are.
pub(super) fn kinds(named: &[Name]) -> String {
    let called = |kind: &'static str| match kind {
        "AuditEvent" => "Who looked",
        "Binary" => "Files",
        _ => title(kind),
    };
    let others = named.iter().map(|name| name.kind.as_str()).filter(|kind| *kind != "Patient");
    let kinds: BTreeSet<&str> = others.map(called).collect();
    if kinds.is_empty() && !named.is_empty() {
        return "Name, birth date and the like".to_owned();
    }
    kinds.into_iter().collect::<Vec<_>>().join(", ")
}

/// Of R4's `restful-interaction`; what goes to and from others by its address.
fn did(code: &str, all: &[String], outside: bool) -> &'static str {
    let asked = all.first().map_or("", String::as_str);
    match code {
        "operation" if asked.starts_with("me/hospitals/look") || asked.starts_with("exchange/view") => LOOKED,
        "operation" if asked.starts_with("me/hospitals/ask") || asked.starts_with("exchange/pull") => ASKED,
        "operation" if asked.starts_with("exchange/peer/pull") => "Asked for a copy, from another hospital",
        "operation" if asked.starts_with("exchange/peer/push") => "Sent entries from another hospital",
        "operation" if asked.starts_with("exchange/peer") => "Looked from another hospital",
        "operation" if outside => "Was sent entries",
        "operation" if asked.starts_with("me/people") => "Minded who may sign in",
        "operation" if asked.starts_with("me/guardians") => "Minded who acts for whom",
        "operation" if explains(all) => "Asked who may see it",
        "read" => "Looked at an entry",
        "vread" | "history-instance" | "history-type" | "history-system" => "Looked at older versions",
        "search-type" | "search-system" | "search" => "Looked through entries",
        "operation" => "Took a summary, a receipt or a copy",
        "create" => "Added",
        "update" | "patch" => "Changed",
        "delete" => "Deleted",
        STARTED => "Declared an emergency",
        STOPPED => "Ended an emergency",
        "batch" | "transaction" => "Sent several requests",
        _ => "Something else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::event::{Access, Behalf, Detail, Did, Naming, Who, audit_event};
    use crate::ids::Version;

    #[test]
    fn an_event_is_read_back_as_it_was_told() {
        let name = |text: &str| Name::parse(text).unwrap();
        let at = jiff::Timestamp::from_second(1_700_000_000).unwrap();
        let resources = [(name("Observation/o"), Version(2)), (name("Patient/p"), Version(1))].into();
        let answers = [("0xb".to_owned(), Answer::Asks), ("0xc".to_owned(), Answer::Gave)];
        let detail = Detail { resources, answers: answers.clone().into(), ..Detail::at(at) };
        let user = Some(name("Practitioner/d"));
        let who = Who { client: "portal/a".into(), user, purpose: None, behalf: None };
        let access = Access { who: Some(who), did: Did("read"), outcome: REFUSED, patient: Some(name("Patient/p")) };
        let told = deed(
            &Json::parse(audit_event(&access, &detail, Naming::Reference, "H", "http://h/fhir").to_string().as_bytes())
                .unwrap(),
        );
        assert_eq!(
            (told.when.as_str(), told.person, told.program.as_str()),
            ("2023-11-14 22:13", Some(name("Practitioner/d")), "portal/a")
        );
        assert_eq!((told.did.as_str(), told.what.as_str()), ("Looked at an entry", "Results and measurements"));
        assert_eq!((told.patient, told.outcome), (Some(name("Patient/p")), Outcome::Refused));
        assert!(told.outside.is_none());
        assert_eq!(told.answers, answers);
        let behalf = Behalf {
            user: Some("http://b/fhir/Practitioner/x".into()),
            system: "urn:p".into(),
            purpose: "TREAT".into(),
        };
        let who = Who { client: "0xb".into(), user: None, purpose: None, behalf: Some(behalf) };
        for (asked, did) in [
            ("exchange/peer/pull", "Asked for a copy, from another hospital"),
            ("exchange/peer/look", "Looked from another hospital"),
            ("", "Was sent entries"),
        ] {
            let queries = [asked].into_iter().filter(|asked| !asked.is_empty()).map(str::to_owned).collect();
            let detail = Detail { queries, ..Detail::at(at) };
            let access = Access { who: Some(who.clone()), did: Did("operation"), ..access.clone() };
            let event = audit_event(&access, &detail, Naming::Reference, "H", "http://h/fhir").to_string();
            let told = deed(&Json::parse(event.as_bytes()).unwrap());
            let outside = told.outside.unwrap();
            assert_eq!((told.program.as_str(), outside.purpose.as_str(), told.did.as_str()), ("0xb", "TREAT", did));
            assert_eq!((outside.user.as_deref(), told.person), (Some("http://b/fhir/Practitioner/x"), None));
        }
        // Who asks here says what for, too, and is no other organisation's.
        for user in [Some(name("Practitioner/d")), None] {
            let who = Some(Who { client: "portal/a".into(), user, purpose: Some("TREAT".into()), behalf: None });
            let access = Access { who, did: Did("operation"), ..access.clone() };
            let event = audit_event(&access, &detail, Naming::Reference, "H", "http://h/fhir").to_string();
            let told = deed(&Json::parse(event.as_bytes()).unwrap());
            assert!(told.outside.is_none() && told.did == "Took a summary, a receipt or a copy", "{}", told.did);
        }
        let nobody = Access { who: None, patient: None, ..access };
        let told = deed(
            &Json::parse(audit_event(&nobody, &detail, Naming::Reference, "H", "http://h/fhir").to_string().as_bytes())
                .unwrap(),
        );
        assert_eq!((told.person, told.program.as_str(), told.patient), (None, "somebody unknown", None));
    }

    #[test]
    fn what_is_asked_for_is_not_named_by_who_asks() {
        const COPY: &str = "Took a summary, a receipt or a copy";
        let at = jiff::Timestamp::from_second(1_700_000_000).unwrap();
        let access = Access { who: None, did: Did("operation"), outcome: REFUSED, patient: None };
        for (queries, told) in [
            (&["fhir/Observation/o/$explain-access?actor=*"][..], "Asked who may see it"),
            (&["me/explain?record=*"], "Asked who may see it"),
            (&["me/patients/p/download?$explain-access=*"], COPY),
            (&["fhir/Patient/p/$everything?_format=$explain-access"], COPY),
            (&["fhir/Patient/p/$explain-access", "fhir/Patient/p/$summary"], COPY),
            (&["exchange/peer/pull?$explain-access=*"], "Asked for a copy, from another hospital"),
        ] {
            let queries = queries.iter().map(|query| (*query).to_owned()).collect();
            let detail = Detail { queries, ..Detail::at(at) };
            let event = audit_event(&access, &detail, Naming::Reference, "H", "http://h/fhir").to_string();
            assert_eq!(deed(&Json::parse(event.as_bytes()).unwrap()).did, told, "{:?}", detail.queries);
        }
    }

    const REFUSED: crate::audit::event::Outcome = crate::audit::event::Outcome::Refused;
}
