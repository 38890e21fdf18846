//! `Patient/$match`: who here could be the person that is described. Answers, and changes nothing.

use super::fhir::page::{Entry, Page, raw};
use super::fhir::{may, read_json};
use super::parameters::{Given, named, parameters, refused};
use super::reply::{Reply, failures};
use super::routes::{Call, not_found};
use super::search::{self, one, surroundings};
use crate::error::Issue;
use crate::fhir::matching::{Grade, Score, blocks, score};
use crate::fhir::outcome;
use crate::fhir::validate::validate;
use crate::fhir::view::View;
use crate::ids::TypeName;
use crate::limits::{DEFAULT_MATCHES, MAX_PAGE};
use crate::read::Opened;
use crate::search::candidates::candidates;
use crate::smart::scopes::Interaction;
use notary::canonical::Json;
use serde_json::{Value, json};
use warp::http::StatusCode;

const GRADE: &str = "http://hl7.org/fhir/StructureDefinition/match-grade";

/// `POST /fhir/Patient/$match`.
pub async fn answer(call: Call<'_>) -> Result<Reply, Reply> {
    let kind = TypeName::parse("Patient").ok_or_else(not_found)?;
    may(&call.caller, Interaction::Search, Some(kind))?;
    let body = read_json(&call).await?;
    // The one resource that it takes may come without Parameters around it (R4 operations, 3.2.0.1.1).
    let is_alone = body.text("resourceType") == Some("Patient");
    let (asked, beside) = match is_alone {
        true => (described(body)?, Json::Null),
        false => parameters(body).and_then(|body| Ok((patient(&body)?, body)))?,
    };
    let given = Given::of(&call, &beside, &["count", "onlyCertainMatches"])?;
    let count = given.count("count")?.unwrap_or(DEFAULT_MATCHES).min(MAX_PAGE);
    let certain = given.truth("onlyCertainMatches")?;
    let around = surroundings(call.app);
    let found = candidates(&call.app.core, &call.caller, around, kind, &blocks(&asked)).await;
    let found = found.map_err(search::refused)?;
    let mut ranked = rank(&asked, found.found);
    let mut warnings = Vec::new();
    if found.wide {
        warnings.push("one of the searches for candidates found too many to compare: say more of the person");
    }
    if certain {
        ranked.retain(|(score, _)| score.grade == Grade::Certain);
        if ranked.len() > 1 {
            ranked.clear();
            warnings.push("several patients match for certain: ask without onlyCertainMatches to see them");
        }
    }
    ranked.truncate(count);
    Ok(bundle(&call, &ranked, &warnings).reply())
}

/// Who is asked for: a Patient that may lack whatever is not known.
fn patient(parameters: &Json) -> Result<Json, Reply> {
    let given = named(parameters, "resource").and_then(|parameter| parameter.get("resource"));
    let missing = || {
        refused(Issue::at("required", "Parameters.parameter", "the parameter `resource` holds the Patient to match"))
    };
    described(given.ok_or_else(missing)?.clone())
}

fn described(resource: Json) -> Result<Json, Reply> {
    let checked = validate(resource);
    let checked = checked.map_err(|issues| failures(StatusCode::UNPROCESSABLE_ENTITY, &issues))?;
    if checked.kind().as_str() != "Patient" {
        return Err(refused(Issue::at("value", "Parameters.parameter.resource", "must be a Patient")));
    }
    Ok(checked.into_json())
}

/// The best first; who scores the same stands in the order of the records.
fn rank(asked: &Json, found: Vec<Opened>) -> Vec<(Score, Opened)> {
    let mut ranked: Vec<(Score, Opened)> = found.into_iter().map(|o| (score(asked, &o.json()), o)).collect();
    ranked.retain(|(score, _)| score.grade > Grade::CertainlyNot);
    ranked.sort_by_key(|(score, opened)| (std::cmp::Reverse((score.hundredths, score.grade)), opened.stored.row));
    ranked
}

fn bundle(call: &Call<'_>, ranked: &[(Score, Opened)], warnings: &[&str]) -> Page {
    let matched = |(score, opened): &(Score, Opened)| Entry {
        search: Some(graded(*score)),
        ..one(call.app, opened, "match", &View::Whole)
    };
    let mut entry: Vec<Entry> = ranked.iter().map(matched).collect();
    entry.extend(warnings.iter().map(|text| warning(text)));
    let link = vec![json!({"relation": "self", "url": format!("{}/Patient/$match", call.app.core.base)})];
    Page { resource_type: "Bundle", kind: "searchset", total: Some(ranked.len() as u64), link, entry }
}

fn graded(score: Score) -> Value {
    let decimal = format!("{}.{:02}", score.hundredths / 100, score.hundredths % 100);
    let number: Value = serde_json::from_str(&decimal).unwrap_or(Value::Null);
    json!({"extension": [{"url": GRADE, "valueCode": score.grade.code()}], "mode": "match", "score": number})
}

fn warning(text: &str) -> Entry {
    let outcome = outcome::warnings(&[Issue::new("informational", text)]).to_string();
    let mode = Some(json!({"mode": "outcome"}));
    Entry { full_url: None, resource: Some(raw(outcome.as_bytes())), search: mode, request: None, response: None }
}
