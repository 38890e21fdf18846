//! `$validate` (R4, Resource-validate): says what is wrong with a resource and stores nothing. The answer is 200 whatever
//! was found; other statuses mean that it could not be looked at.

use super::{may, parse_name, read_json, unknown_type};
use crate::app::App;
use crate::error::Issue;
use crate::fhir::fhirpath::node::Node;
use crate::fhir::outcome;
use crate::fhir::validate::{Findings, Severity, examine, references};
use crate::http::query;
use crate::http::reply::{Reply, failure, fhir, unreadable};
use crate::http::routes::{Call, not_found};
use crate::ids::{Name, TypeName};
use crate::read;
use crate::smart::scopes::Interaction;
use notary::canonical::Json;
use std::sync::Arc;
use warp::http::StatusCode;

/// What to look at, and how.
#[derive(Default)]
struct Question {
    resource: Option<Json>,
    mode: Option<String>,
    profiles: Vec<String>,
}

/// `POST /fhir/{type}/$validate`.
pub async fn of_type(call: Call<'_>, kind: &str) -> Result<Reply, Reply> {
    let kind = TypeName::parse(kind).ok_or_else(unknown_type)?;
    answer(&call, kind, None).await
}

/// `GET` and `POST /fhir/{type}/{id}/$validate`: without a body, of the stored resource.
pub async fn of_resource(call: Call<'_>, kind: &str, id: &str) -> Result<Reply, Reply> {
    let name = parse_name(kind, id).ok_or_else(unknown_type)?;
    answer(&call, name.kind, Some(name)).await
}

async fn answer(call: &Call<'_>, kind: TypeName, name: Option<Name>) -> Result<Reply, Reply> {
    let permit = may(&call.caller, Interaction::Read, Some(kind))?;
    let Question { resource, mode, profiles } = question(call, kind).await?;
    let mode = mode.as_deref().map(mode_of).transpose()?;
    let json = match (resource, &name) {
        (Some(json), _) => json,
        (None, Some(name)) => {
            let opened = read::read(&call.app.core, &permit, name, None).await.map_err(|e| unreadable(&e))?;
            opened.and_then(|opened| Json::parse(&opened.resource).ok()).ok_or_else(not_found)?
        }
        (None, None) => return Err(bad("required", "there is no resource to validate")),
    };
    if mode == Some(Mode::Delete) {
        // Nothing that is stored stands in the way of a deletion.
        return Ok(fhir(StatusCode::OK, outcome::findings(&[]).to_string()));
    }
    let mut findings = checked(call.app, json.clone(), profiles).await?;
    about_address(&json, kind, name.as_ref(), mode, &mut findings);
    unresolved(call, &json, &mut findings).await?;
    Ok(fhir(StatusCode::OK, outcome::findings(&findings.into_sorted()).to_string()))
}

fn bad(code: &'static str, text: &str) -> Reply {
    failure(StatusCode::BAD_REQUEST, Issue::new(code, text))
}

/// What the resource is validated for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Create,
    Update,
    Delete,
    Profile,
}

fn mode_of(text: &str) -> Result<Mode, Reply> {
    match text {
        "create" => Ok(Mode::Create),
        "update" => Ok(Mode::Update),
        "delete" => Ok(Mode::Delete),
        "profile" => Ok(Mode::Profile),
        _ => Err(bad("value", "mode is one of create, update, delete, profile")),
    }
}

/// Query, then body: a resource as it is, or Parameters that hold it.
async fn question(call: &Call<'_>, kind: TypeName) -> Result<Question, Reply> {
    let mut question = Question::default();
    for (name, value) in query::pairs(&call.request.query).map_err(|text| bad("value", &text))? {
        match name.as_str() {
            "mode" => question.mode = Some(value),
            "profile" => question.profiles.push(value),
            _ => {}
        }
    }
    if call.body.is_empty() {
        return Ok(question);
    }
    let json = read_json(call).await?;
    if is_question(&json, kind) {
        for parameter in json.get("parameter").map_or(&[][..], Json::items) {
            take(&mut question, parameter);
        }
    } else {
        question.resource = Some(json);
    }
    Ok(question)
}

/// Parameters of this operation; sent to their own type, they are what is to be validated unless they hold a `resource`.
fn is_question(json: &Json, kind: TypeName) -> bool {
    let holds_one = || {
        let parameters = json.get("parameter").map_or(&[][..], Json::items);
        parameters.iter().any(|p| p.text("name") == Some("resource"))
    };
    json.text("resourceType") == Some("Parameters") && (kind.as_str() != "Parameters" || holds_one())
}

fn take(question: &mut Question, parameter: &Json) {
    let value = || ["valueCode", "valueUri", "valueCanonical", "valueString"].iter().find_map(|n| parameter.text(n));
    match parameter.text("name") {
        Some("resource") => question.resource = parameter.get("resource").cloned(),
        Some("mode") => question.mode = value().map(str::to_owned),
        Some("profile") => question.profiles.extend(value().map(str::to_owned)),
        _ => {}
    }
}

/// Looks at it away from the threads that answer others: a Bundle may take seconds.
async fn checked(app: &Arc<App>, json: Json, asked: Vec<String>) -> Result<Findings, Reply> {
    let profiles = app.profiles.clone();
    let looked = tokio::task::spawn_blocking(move || {
        let mut findings = examine(&json);
        if let Some(node) = Node::resource(&json) {
            profiles.check(node, &asked, &mut findings);
        }
        findings
    });
    looked.await.map_err(|_| {
        tracing::error!("a validation broke off");
        failure(StatusCode::INTERNAL_SERVER_ERROR, Issue::new("exception", "the validation broke off"))
    })
}

/// What the resource must be where it was sent to.
fn about_address(json: &Json, kind: TypeName, name: Option<&Name>, mode: Option<Mode>, findings: &mut Findings) {
    let sent = json.text("resourceType").and_then(TypeName::parse);
    if sent.is_some_and(|sent| sent != kind) {
        findings.add(Severity::Error, Issue::at("value", "resourceType", "is not the type in the URL"));
    }
    let (id, path) = (json.text("id"), format!("{kind}.id"));
    match (name, id) {
        (Some(name), Some(id)) if id != name.id.as_str() => {
            findings.add(Severity::Error, Issue::at("value", &path, "must be the id in the URL"));
        }
        (_, None) if mode == Some(Mode::Update) => {
            findings.add(Severity::Error, Issue::at("required", &path, "an update carries the id of its URL"));
        }
        _ => {}
    }
}

/// Warns of references to what is not stored here, as far as the caller may know.
async fn unresolved(call: &Call<'_>, json: &Json, findings: &mut Findings) -> Result<(), Reply> {
    for (path, kind, id) in references(json) {
        let (Some(name), Ok(permit)) =
            (parse_name(kind.as_str(), &id), may(&call.caller, Interaction::Read, Some(kind)))
        else {
            continue;
        };
        let found = read::read(&call.app.core, &permit, &name, None).await.map_err(|e| unreadable(&e))?;
        if found.is_none_or(|opened| opened.stored.deleted) {
            findings.add(Severity::Warning, Issue::at("not-found", &path, "refers to what is not stored here"));
        }
    }
    Ok(())
}
