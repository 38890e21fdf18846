//! `DocumentReference/$docref` of US Core 6.1: the documents of a patient. Medseal makes none on demand: what is found is what
//! somebody sent.

use super::fhir::page::{Entry, Page, raw};
use super::parameters::{Given, named, refused, resource, without};
use super::reply::Reply;
use super::routes::{Call, not_found};
use super::search::{self, one, surroundings};
use crate::error::Issue;
use crate::fhir::outcome;
use crate::fhir::search::check::found;
use crate::fhir::search::query::read;
use crate::fhir::search::span::Span;
use crate::fhir::search::table::parameter;
use crate::fhir::search::text::escape;
use crate::fhir::search::value::Value;
use crate::fhir::view::View;
use crate::ids::{ResourceId, TypeName};
use crate::limits::MAX_PAGE;
use crate::read::Opened;
use crate::search::search;
use notary::canonical::Json;
use serde_json::json;

const KNOWN: &[&str] = &["patient", "start", "end", "type", "on-demand", "profile"];

/// `GET` or `POST /fhir/DocumentReference/$docref`.
pub(super) async fn answer(call: Call<'_>) -> Result<Reply, Reply> {
    let kind = TypeName::parse("DocumentReference").ok_or_else(not_found)?;
    let (given, coded) = given(&call).await?;
    let care = care(&given)?;
    let pairs = pairs(&given, coded, care.is_some())?;
    let around = surroundings(call.app);
    let asked = read(kind, &pairs, &around).map_err(|e| refused(Issue::new("value", e.to_string())))?;
    let page = search(&call.app.core, &call.caller, around, &asked, None).await.map_err(search::refused)?;
    let mut documents = page.matches;
    let mut remarks = Vec::new();
    if let Some(care) = care {
        documents.retain(|document| touches(kind, &document.json(), care));
        if page.next.is_some() {
            remarks.push("only the newest 1,000 documents of the patient were looked at: name a type, or search");
        }
    }
    if given.truth("on-demand")? {
        documents.clear();
        remarks.push("this server makes no documents on demand; Patient/[id]/$summary makes a patient summary");
    }
    Ok(bundle(&call, &documents, &remarks).reply())
}

/// The parameters, and the type of a posted request, which is a CodeableConcept there.
async fn given(call: &Call<'_>) -> Result<(Given, Option<String>), Reply> {
    if call.body.is_empty() {
        return Ok((Given::read(call, KNOWN).await?, None));
    }
    let posted = resource(call).await?;
    let coded = named(&posted, "type").and_then(|parameter| {
        let concept = parameter.get("valueCodeableConcept").and_then(|concept| concept.get("coding"));
        concept.map_or(parameter.get("valueCoding").map(std::slice::from_ref), |codings| Some(codings.items()))
    });
    let coded = coded.map(|codings| codings.iter().map(token).collect::<Vec<_>>().join(","));
    let plain = if coded.is_some() { without(posted, "type") } else { posted };
    Ok((Given::of(call, &plain, KNOWN)?, coded))
}

fn token(coding: &Json) -> String {
    let part = |name| escape(coding.text(name).unwrap_or(""));
    let system = coding.get("system").map_or(String::new(), |_| format!("{}|", part("system")));
    format!("{system}{}", part("code"))
}

/// The dates of care that are asked for.
fn care(given: &Given) -> Result<Option<Span>, Reply> {
    let (start, end) = (given.span("start")?, given.span("end")?);
    let open = Span { from: start.map_or(i64::MIN, |s| s.from), to: end.map_or(i64::MAX, |s| s.to) };
    Ok((start.is_some() || end.is_some()).then_some(open))
}

/// The search behind it, the newest document first. Without dates that one alone is asked for (US Core: the most recent or
/// current document).
fn pairs(given: &Given, coded: Option<String>, dated: bool) -> Result<Vec<(String, String)>, Reply> {
    let missing = || refused(Issue::new("required", "patient: the id of a patient is required"));
    let id = given.get("patient").map(|id| id.strip_prefix("Patient/").unwrap_or(id)).and_then(ResourceId::parse);
    let patient = format!("Patient/{}", id.ok_or_else(missing)?);
    let count = if dated { MAX_PAGE } else { 1 };
    let mut pairs = vec![
        ("patient", patient),
        ("status", "current".to_owned()),
        ("_sort", "-date".to_owned()),
        ("_count", count.to_string()),
    ];
    pairs.extend(coded.or_else(|| given.get("type").map(str::to_owned)).map(|text| ("type", text)));
    pairs.extend(given.get("profile").map(|url| ("_profile", escape(url))));
    Ok(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Whether a document tells of care in that time: by its period, else by its date. What has neither is not left out.
fn touches(kind: TypeName, document: &Json, care: Span) -> bool {
    let spans = |name| -> Vec<Span> {
        let values = parameter(kind, name).map_or(Vec::new(), |parameter| found(parameter, document));
        values.into_iter().filter_map(|value| if let Value::Span(span) = value { Some(span) } else { None }).collect()
    };
    let told = Some(spans("period")).filter(|spans| !spans.is_empty()).unwrap_or_else(|| spans("date"));
    told.is_empty() || told.iter().any(|span| span.from < care.to && care.from < span.to)
}

fn bundle(call: &Call<'_>, documents: &[Opened], remarks: &[&str]) -> Page {
    let mut entry: Vec<Entry> = documents.iter().map(|o| one(call.app, o, "match", &View::Whole)).collect();
    entry.extend(remarks.iter().map(|text| {
        let outcome = outcome::warnings(&[Issue::new("informational", *text)]).to_string();
        Entry { resource: Some(raw(outcome.as_bytes())), search: Some(json!({"mode": "outcome"})), ..Entry::default() }
    }));
    let link = vec![json!({"relation": "self", "url": format!("{}/DocumentReference/$docref", call.app.core.base)})];
    Page { resource_type: "Bundle", kind: "searchset", total: Some(documents.len() as u64), link, entry }
}
