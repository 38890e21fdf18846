//! Reads transaction and batch Bundles (R4 3.1.0.11) and single requests into the writes that the write path takes.

use super::validate::{Validated, validate};
use crate::error::Issue;
use crate::ids::{ResourceId, TypeName, Version};
use crate::index::tokens::Identifier;
use crate::limits::MAX_BUNDLE_ENTRIES;
use mappings::identity::Identity;
use notary::canonical::Json;

/// One resource to write, and how.
#[derive(Debug, Clone)]
pub struct Write {
    /// The Bundle entry's name of it, which other entries may refer to.
    pub full_url: Option<String>,
    pub resource: Validated,
    pub how: How,
}

/// How a write finds its resource.
#[derive(Debug, Clone)]
pub enum How {
    Create {
        if_none_exist: Option<Criteria>,
    },
    Update {
        id: ResourceId,
        if_match: Option<Version>,
    },
    ConditionalUpdate {
        criteria: Criteria,
        if_match: Option<Version>,
    },
    /// From a message: the resource that this identity names, changed where the message says something.
    Recognise {
        identity: Option<Identity>,
        deleted: Vec<&'static str>,
        weak: bool,
        /// Elements that fill gaps of the stored resource and change nothing.
        gaps: Vec<&'static str>,
    },
}

/// A search that names one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Criteria {
    Identifier(Identifier),
    Id(ResourceId),
}

/// What a Bundle asks for.
#[derive(Debug)]
pub enum Request {
    /// All or nothing.
    Transaction(Vec<Write>),
    /// Each for itself; an entry that cannot be read is refused alone.
    Batch(Vec<Result<Write, Vec<Issue>>>),
}

/// Reads a Bundle.
pub fn read(bundle: Json) -> Result<Request, Vec<Issue>> {
    let fail = |issue| Err(vec![issue]);
    if bundle.text("resourceType") != Some("Bundle") {
        return fail(Issue::at(
            "structure",
            "resourceType",
            "POST to the base takes a Bundle; send a resource to its type",
        ));
    }
    let transaction = match bundle.text("type") {
        Some("transaction") => true,
        Some("batch") => false,
        _ => return fail(Issue::at("value", "Bundle.type", "must be transaction or batch")),
    };
    let entries = match bundle.get("entry") {
        Some(Json::Array(entries)) => entries.as_slice(),
        None => &[],
        Some(_) => return fail(Issue::at("structure", "Bundle.entry", "must be an array")),
    };
    if entries.len() > MAX_BUNDLE_ENTRIES {
        return fail(Issue::at("too-costly", "Bundle.entry", format!("more than {MAX_BUNDLE_ENTRIES} entries")));
    }
    let writes = entries.iter().enumerate().map(|(n, entry)| self::entry(entry, n));
    if transaction {
        writes.collect::<Result<_, _>>().map(Request::Transaction)
    } else {
        Ok(Request::Batch(writes.collect()))
    }
}

fn entry(entry: &Json, n: usize) -> Result<Write, Vec<Issue>> {
    let path = format!("Bundle.entry[{n}]");
    let at = |code, element: &str, text: &str| vec![Issue::at(code, &format!("{path}.{element}"), text)];
    let request = entry.get("request").ok_or_else(|| at("required", "request", "is required"))?;
    let method = request.text("method").ok_or_else(|| at("required", "request.method", "is required"))?;
    let url = request.text("url").ok_or_else(|| at("required", "request.url", "is required"))?;
    let how = how(method, url, request).map_err(|issue| {
        let expression = format!("{path}.request.{}", issue.expression.as_deref().unwrap_or("url"));
        vec![Issue { expression: Some(expression), ..issue }]
    })?;
    let resource = entry.get("resource").ok_or_else(|| at("required", "resource", "is required"))?;
    let resource =
        validate(resource.clone()).map_err(|issues| issues.into_iter().map(|i| below(i, &path)).collect::<Vec<_>>())?;
    let kind = url.split(['?', '/']).next().unwrap_or("");
    if kind != resource.kind().as_str() {
        return Err(at("value", "request.url", "names another type than the resource is"));
    }
    if let How::Update { id, .. } = &how {
        same_id(&resource, id).map_err(|issue| vec![below(issue, &path)])?;
    }
    Ok(Write { full_url: entry.text("fullUrl").map(str::to_owned), resource, how })
}

/// `Patient.name` inside entry 3 is `Bundle.entry[3].resource.name`.
fn below(issue: Issue, path: &str) -> Issue {
    let inner = issue.expression.as_deref().unwrap_or("");
    let rest = inner.split_once('.').map_or(String::new(), |(_, rest)| format!(".{rest}"));
    Issue { expression: Some(format!("{path}.resource{rest}")), ..issue }
}

fn how(method: &str, url: &str, request: &Json) -> Result<How, Issue> {
    let at = |element, code, text: &str| Issue::at(code, element, text);
    let version = request
        .text("ifMatch")
        .map(|t| if_match(t).ok_or_else(|| at("ifMatch", "value", "not an ETag of this server")));
    let version = version.transpose()?;
    let (target, query) = url.split_once('?').map_or((url, None), |(t, q)| (t, Some(q)));
    match (method, target.split('/').collect::<Vec<_>>().as_slice(), query) {
        ("POST", [_], None) => {
            let condition = request.text("ifNoneExist").map(criteria).transpose()?;
            Ok(How::Create { if_none_exist: condition })
        }
        ("PUT", [_, id], None) => {
            let id = ResourceId::parse(id).ok_or_else(|| at("url", "value", "does not end in a valid id"))?;
            Ok(How::Update { id, if_match: version })
        }
        ("PUT", [_], Some(query)) => Ok(How::ConditionalUpdate { criteria: criteria(query)?, if_match: version }),
        ("POST" | "PUT", ..) => Err(at("url", "value", "not a URL that this method takes")),
        ("GET" | "HEAD" | "DELETE" | "PATCH", ..) => {
            Err(at("method", "not-supported", "a Bundle takes POST and PUT in this release"))
        }
        _ => Err(at("method", "code-invalid", "not a method")),
    }
}

/// Reads `W/"3"` or `"3"`.
pub fn if_match(text: &str) -> Option<Version> {
    let text = text.trim();
    Version::parse(text.strip_prefix("W/").unwrap_or(text).strip_prefix('"')?.strip_suffix('"')?)
}

/// Reads the search of a conditional interaction. This release knows `identifier` and `_id`.
pub fn criteria(query: &str) -> Result<Criteria, Issue> {
    let query = query.split_once('?').map_or(query, |(_, q)| q);
    let pairs = crate::http::query::pairs(query).map_err(|text| Issue::new("value", text))?;
    let refuse = |text: &str| Err(Issue::new("not-supported", text));
    match pairs.as_slice() {
        [(name, value)] if name == "identifier" => match Identifier::parse(value) {
            Some(identifier @ (Identifier::Both(..) | Identifier::Value(_) | Identifier::NoSystem(_))) => {
                Ok(Criteria::Identifier(identifier))
            }
            _ => refuse("a condition on identifier needs a value"),
        },
        [(name, value)] if name == "_id" => {
            ResourceId::parse(value).map(Criteria::Id).ok_or_else(|| Issue::new("value", "not a valid id"))
        }
        _ => refuse("conditions take one parameter, identifier or _id, in this release"),
    }
}

/// The reference that a conditional reference stands for: `Patient?identifier=system|value`.
pub fn conditional_reference(reference: &str) -> Option<(TypeName, Result<Criteria, Issue>)> {
    let (kind, query) = reference.split_once('?')?;
    Some((TypeName::parse(kind)?, criteria(query)))
}

/// An update names the resource twice, and must name the same one (R4 3.1.0.7).
pub fn same_id(resource: &Validated, id: &ResourceId) -> Result<(), Issue> {
    let path = format!("{}.id", resource.kind());
    match resource.json().text("id") {
        Some(own) if own == id.as_str() => Ok(()),
        Some(_) => Err(Issue::at("value", &path, "must be the id in the URL")),
        None => Err(Issue::at("required", &path, "an update carries the id of its URL")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Request, Vec<Issue>> {
        read(Json::parse(text.as_bytes()).unwrap())
    }

    fn bundle(entry: &str) -> String {
        format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entry}]}}"#)
    }

    #[test]
    fn each_form_of_a_write_is_read() {
        let patient = r#""resource":{"resourceType":"Patient","id":"7"}"#;
        for (request, expected) in [
            (r#"{"method":"POST","url":"Patient"}"#, "Create"),
            (r#"{"method":"POST","url":"Patient","ifNoneExist":"identifier=urn:a%7C1"}"#, "Both(\"urn:a\", \"1\")"),
            (r#"{"method":"PUT","url":"Patient/7","ifMatch":"W/\"3\""}"#, "Version(3)"),
            (r#"{"method":"PUT","url":"Patient?identifier=1"}"#, "ConditionalUpdate"),
        ] {
            let Ok(Request::Transaction(writes)) = parse(&bundle(&format!("{{{patient},\"request\":{request}}}")))
            else {
                panic!("{request}")
            };
            assert!(format!("{:?}", writes[0].how).contains(expected), "{:?}", writes[0].how);
        }
    }

    #[test]
    fn each_fault_is_located() {
        let patient = r#""resource":{"resourceType":"Patient","id":"7","x":1}"#;
        for (entry, expected) in [
            ("{}".to_owned(), "Bundle.entry[0].request"),
            (format!(r#"{{{patient},"request":{{"method":"PUT","url":"Patient/7"}}}}"#), "Bundle.entry[0].resource.x"),
            (r#"{"request":{"method":"DELETE","url":"Patient/7"}}"#.to_owned(), "Bundle.entry[0].request.method"),
            (r#"{"request":{"method":"PUT","url":"Patient/7"}}"#.to_owned(), "Bundle.entry[0].resource"),
            (
                r#"{"resource":{"resourceType":"Patient","id":"8"},"request":{"method":"PUT","url":"Patient/7"}}"#
                    .to_owned(),
                "Bundle.entry[0].resource.id",
            ),
            (
                r#"{"resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Observation"}}"#.to_owned(),
                "Bundle.entry[0].request.url",
            ),
        ] {
            let issues = parse(&bundle(&entry)).unwrap_err();
            assert_eq!(issues[0].expression.as_deref(), Some(expected));
        }
        assert!(parse(r#"{"resourceType":"Bundle","type":"collection"}"#).is_err());
        assert!(parse(r#"{"resourceType":"Patient"}"#).is_err());
    }
}
