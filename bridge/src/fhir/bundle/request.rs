//! `Bundle.entry.request`: the method, the URL and the conditions of one entry.

use crate::error::Issue;
use crate::fhir::search::table::COMPARTMENT;
use crate::fhir::write::{By, Criteria, Target, criteria, if_match, only_new};
use crate::http::query::decode;
use crate::ids::{Name, ResourceId, TypeName, Version};
use crate::index::history::Of;
use jiff::Timestamp;
use mappings::r4;
use notary::canonical::Json;

/// What an entry asks for. An issue's expression is below `request`.
#[derive(Debug, Clone)]
pub enum Request {
    Create { kind: TypeName, if_none_exist: Option<Criteria> },
    Update(Target),
    Patch(Target),
    Delete(Target),
    Get(Get),
    Operation(Operation),
}

/// An entry that invokes an operation, or asks for the CapabilityStatement.
#[derive(Debug, Clone)]
pub struct Operation {
    pub posted: bool,
    /// Without the body of the answer.
    pub head: bool,
    pub path: String,
    pub query: String,
}

/// An entry that reads.
#[derive(Debug, Clone)]
pub struct Get {
    pub what: What,
    /// The query behind the URL.
    pub query: String,
    /// Without the body.
    pub head: bool,
    pub if_none_match: Option<String>,
    pub if_modified_since: Option<Timestamp>,
}

/// What an entry reads.
#[derive(Debug, Clone)]
pub enum What {
    Read(Name),
    Version(Name, Version),
    History(Of),
    Search(TypeName),
}

/// Reads the request of an entry. A member that is not known, such as a mistyped condition, is refused: an entry carried out
/// without its condition does harm.
pub fn read(json: &Json) -> Result<Request, Issue> {
    known_members(json, "Bundle.entry.request")?;
    let method = text(json, "method")?.ok_or_else(|| Issue::at("required", "method", "is required"))?;
    let url = text(json, "url")?.ok_or_else(|| Issue::at("required", "url", "is required"))?;
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let operation = operation(method, path, query)?;
    let taken: &[&str] = match method {
        _ if operation.is_some() => &[],
        "POST" => &["ifNoneExist"],
        "PUT" => &["ifMatch", "ifNoneMatch"],
        "PATCH" | "DELETE" => &["ifMatch"],
        "GET" | "HEAD" => &["ifNoneMatch", "ifModifiedSince"],
        _ => return Err(Issue::at("code-invalid", "method", "not a method")),
    };
    for condition in ["ifNoneExist", "ifMatch", "ifNoneMatch", "ifModifiedSince"] {
        if json.get(condition).is_some() && !taken.contains(&condition) {
            return Err(Issue::at("not-supported", condition, format!("is no condition of {method}")));
        }
    }
    if let Some(operation) = operation {
        return Ok(Request::Operation(operation));
    }
    match (method, segments.as_slice(), query) {
        ("GET" | "HEAD", segments, query) => get(json, segments, query.unwrap_or(""), method == "HEAD"),
        ("POST", [kind], None) => {
            let kind = type_name(kind)?;
            let if_none_exist = text(json, "ifNoneExist")?.map(|text| criteria(kind, text)).transpose();
            let if_none_exist = if_none_exist.map_err(|issue| located(issue, "ifNoneExist"))?;
            Ok(Request::Create { kind, if_none_exist })
        }
        ("POST", ..) => Err(bad_url()),
        (_, segments, query) => {
            let target = target(json, segments, query)?;
            Ok(match method {
                "PUT" => Request::Update(target),
                "PATCH" => Request::Patch(target),
                _ => Request::Delete(target),
            })
        }
    }
}

/// An operation has a name with a `$` in it; it is got or posted.
fn operation(method: &str, path: &str, query: Option<&str>) -> Result<Option<Operation>, Issue> {
    let bad = |text: String| Issue::at("value", "url", text);
    let path = decode(&path.trim_start_matches('/').replace('+', "%2B")).map_err(bad)?;
    if path != "metadata" && !path.split('/').any(|segment| segment.starts_with('$')) {
        return Ok(None);
    }
    let query = query.unwrap_or("").to_owned();
    match method {
        "GET" | "HEAD" | "POST" => {
            Ok(Some(Operation { posted: method == "POST", head: method == "HEAD", path, query }))
        }
        _ => Err(Issue::at("not-supported", "method", "an operation is invoked by POST or GET")),
    }
}

/// Refuses members that R4 does not know there.
pub fn known_members(json: &Json, type_name: &str) -> Result<(), Issue> {
    let Json::Object(members) = json else { return Err(Issue::new("structure", "must be an object")) };
    let model = r4::model().get(type_name);
    let known = |name: &str| {
        let plain = name.strip_prefix('_').unwrap_or(name);
        name == "resourceType" || model.is_some_and(|model| model.element(plain).is_some())
    };
    match members.iter().find(|(name, _)| !known(name)) {
        Some((name, _)) => Err(Issue::at("structure", crate::http::query::shown(name), "no such element in FHIR R4")),
        None => Ok(()),
    }
}

fn target(json: &Json, segments: &[&str], query: Option<&str>) -> Result<Target, Issue> {
    let if_match = text(json, "ifMatch")?
        .map(|text| if_match(text).ok_or_else(|| Issue::at("value", "ifMatch", "not an ETag of this server")));
    let only_new = text(json, "ifNoneMatch")?.map_or(Ok(false), only_new);
    let only_new = only_new.map_err(|issue| located(issue, "ifNoneMatch"))?;
    let (kind, by) = match (segments, query) {
        ([kind, id], None) => (kind, By::Id(resource_id(id)?)),
        ([kind], Some(query)) => {
            let criteria = criteria(type_name(kind)?, query).map_err(|issue| located(issue, "url"))?;
            (kind, By::Search(criteria))
        }
        _ => return Err(bad_url()),
    };
    Ok(Target { kind: type_name(kind)?, by, if_match: if_match.transpose()?, only_new })
}

fn get(json: &Json, segments: &[&str], query: &str, head: bool) -> Result<Request, Issue> {
    let name = |kind: &str, id: &str| Ok::<_, Issue>(Name { kind: type_name(kind)?, id: resource_id(id)? });
    let mut query = query.to_owned();
    let what = match segments {
        ["Patient", id, kind] if *kind != "_history" => {
            query = format!("{query}&{COMPARTMENT}={}", name("Patient", id)?);
            What::Search(type_name(kind)?)
        }
        ["_history"] => What::History(Of::Everything),
        [kind] => What::Search(type_name(kind)?),
        [kind, "_history"] => What::History(Of::Type(type_name(kind)?)),
        [kind, id] => What::Read(name(kind, id)?),
        [kind, id, "_history"] => What::History(Of::Resource(name(kind, id)?)),
        [kind, id, "_history", version] => What::Version(name(kind, id)?, Version::parse(version).ok_or_else(bad_url)?),
        _ => return Err(bad_url()),
    };
    let since = text(json, "ifModifiedSince")?
        .map(|text| text.parse().map_err(|_| Issue::at("value", "ifModifiedSince", "not an instant")));
    let if_none_match = text(json, "ifNoneMatch")?.map(str::to_owned);
    Ok(Request::Get(Get { what, query, head, if_none_match, if_modified_since: since.transpose()? }))
}

/// A member that is text where it is there.
fn text<'j>(json: &'j Json, name: &str) -> Result<Option<&'j str>, Issue> {
    match json.get(name) {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or_else(|| Issue::at("value", name, "must be text")),
    }
}

fn type_name(text: &str) -> Result<TypeName, Issue> {
    TypeName::parse(text).ok_or_else(|| Issue::at("value", "url", "does not begin with a resource type of FHIR R4"))
}

fn resource_id(text: &str) -> Result<ResourceId, Issue> {
    ResourceId::parse(text).ok_or_else(|| Issue::at("value", "url", "does not have a valid id"))
}

fn bad_url() -> Issue {
    Issue::at("value", "url", "not a URL that this method takes")
}

fn located(issue: Issue, member: &str) -> Issue {
    Issue { expression: Some(member.to_owned()), ..issue }
}
