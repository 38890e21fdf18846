//! Reads transaction and batch Bundles (R4 3.1.0.11) and single requests into the writes that the write path takes.

use super::validate::{Validated, validate};
use super::write::{Act, By, Target, Write, criteria, if_match, same_id};
use crate::error::Issue;
use crate::ids::{ResourceId, TypeName};
use crate::limits::MAX_BUNDLE_ENTRIES;
use notary::canonical::Json;

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
    let located = |issue: Issue| {
        let expression = format!("{path}.request.{}", issue.expression.as_deref().unwrap_or("url"));
        vec![Issue { expression: Some(expression), ..issue }]
    };
    let (method, target) = target(request).map_err(located)?;
    let resource = || {
        let resource = entry.get("resource").ok_or_else(|| at("required", "resource", "is required"))?;
        let resource =
            validate(resource.clone()).map_err(|issues| issues.into_iter().map(|i| below(i, n)).collect::<Vec<_>>())?;
        if resource.kind() != target.kind() {
            return Err(at("value", "request.url", "names another type than the resource is"));
        }
        Ok(resource)
    };
    let act = match (method, target.clone()) {
        (Method::Post, Url::Type(kind)) => {
            let if_none_exist =
                request.text("ifNoneExist").map(|text| criteria(kind, text)).transpose().map_err(located)?;
            Act::Create { resource: resource()?, if_none_exist }
        }
        (Method::Put, Url::Resource(target)) => Act::Update { resource: with_id(resource()?, &target, n)?, target },
        (Method::Delete, Url::Resource(target)) => Act::Delete { target },
        _ => return Err(at("value", "request.url", "not a URL that this method takes")),
    };
    Ok(Write { entry: Some(n), full_url: entry.text("fullUrl").map(str::to_owned), act })
}

/// An update by id brings a resource of that id.
fn with_id(resource: Validated, target: &Target, n: usize) -> Result<Validated, Vec<Issue>> {
    if let By::Id(id) = &target.by {
        same_id(&resource, id).map_err(|issue| vec![below(issue, n)])?;
    }
    Ok(resource)
}

/// An issue of entry 3, or of something inside the resource that it speaks of.
pub fn at_entry(issue: Issue, n: usize) -> Issue {
    match issue.expression {
        None => Issue { expression: Some(format!("Bundle.entry[{n}]")), ..issue },
        Some(_) => below(issue, n),
    }
}

/// `Patient.name` inside entry 3 is `Bundle.entry[3].resource.name`.
fn below(issue: Issue, n: usize) -> Issue {
    let inner = issue.expression.as_deref().unwrap_or("");
    let rest = inner.split_once('.').map_or(String::new(), |(_, rest)| format!(".{rest}"));
    Issue { expression: Some(format!("Bundle.entry[{n}].resource{rest}")), ..issue }
}

#[derive(Clone, Copy)]
enum Method {
    Post,
    Put,
    Delete,
}

/// What a request's URL names.
#[derive(Clone)]
enum Url {
    Type(TypeName),
    Resource(Target),
}

impl Url {
    fn kind(&self) -> TypeName {
        match self {
            Self::Type(kind) => *kind,
            Self::Resource(target) => target.kind,
        }
    }
}

fn target(request: &Json) -> Result<(Method, Url), Issue> {
    let required = |element| Issue::at("required", element, "is required");
    let method = match request.text("method").ok_or_else(|| required("method"))? {
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "GET" | "HEAD" | "PATCH" => {
            return Err(Issue::at("not-supported", "method", "a Bundle takes DELETE, POST and PUT in this release"));
        }
        _ => return Err(Issue::at("code-invalid", "method", "not a method")),
    };
    let if_match = request
        .text("ifMatch")
        .map(|t| if_match(t).ok_or_else(|| Issue::at("value", "ifMatch", "not an ETag of this server")));
    let if_match = if_match.transpose()?;
    let url = request.text("url").ok_or_else(|| required("url"))?;
    let bad = |text| Issue::at("value", "url", text);
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    let (kind, id) = path.split_once('/').map_or((path, None), |(kind, id)| (kind, Some(id)));
    let kind = TypeName::parse(kind).ok_or_else(|| bad("does not begin with a resource type of FHIR R4"))?;
    let by = match (id, query) {
        (Some(id), None) => By::Id(ResourceId::parse(id).ok_or_else(|| bad("does not end in a valid id"))?),
        (None, Some(query)) => By::Search(criteria(kind, query)?),
        (None, None) => return Ok((method, Url::Type(kind))),
        (Some(_), Some(_)) => return Err(bad("has an id and a search")),
    };
    Ok((method, Url::Resource(Target { kind, by, if_match })))
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
            (
                r#"{"method":"POST","url":"Patient","ifNoneExist":"identifier=urn:a%7C1"}"#,
                "if_none_exist: Some(Criteria",
            ),
            (r#"{"method":"PUT","url":"Patient/7","ifMatch":"W/\"3\""}"#, "Version(3)"),
            (r#"{"method":"PUT","url":"Patient?identifier=1"}"#, "Search(Criteria"),
            (r#"{"method":"DELETE","url":"Patient/7"}"#, "Delete"),
        ] {
            let Ok(Request::Transaction(writes)) = parse(&bundle(&format!("{{{patient},\"request\":{request}}}")))
            else {
                panic!("{request}")
            };
            assert!(format!("{:?}", writes[0].act).contains(expected), "{:?}", writes[0].act);
        }
    }

    #[test]
    fn each_fault_is_located() {
        let patient = r#""resource":{"resourceType":"Patient","id":"7","x":1}"#;
        for (entry, expected) in [
            ("{}".to_owned(), "Bundle.entry[0].request"),
            (format!(r#"{{{patient},"request":{{"method":"PUT","url":"Patient/7"}}}}"#), "Bundle.entry[0].resource.x"),
            (r#"{"request":{"method":"STEAL","url":"Patient/7"}}"#.to_owned(), "Bundle.entry[0].request.method"),
            (r#"{"request":{"method":"DELETE","url":"Patient"}}"#.to_owned(), "Bundle.entry[0].request.url"),
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
