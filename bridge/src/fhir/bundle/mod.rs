//! Reads transaction and batch Bundles (R4 3.1.0.11) into what their entries ask for.

mod request;

pub use request::{Get, Operation, What};

use super::patch::Patch;
use super::validate::{Validated, validate};
use super::write::{Act, By, Target, Write, same_id};
use crate::error::Issue;
use crate::http::query::shown;
use crate::ids::TypeName;
use crate::limits::MAX_BUNDLE_ENTRIES;
use bytes::Bytes;
use notary::canonical::Json;
use request::{Request, known_members};

/// What a Bundle asks for.
#[derive(Debug)]
pub enum Bundle {
    /// All or nothing.
    Transaction(Vec<Entry>),
    /// Each for itself; an entry that cannot be read is refused alone.
    Batch(Vec<Result<Entry, Vec<Issue>>>),
}

/// What an entry asks for.
#[derive(Debug)]
pub enum Entry {
    Write(Write),
    Get(Get),
    /// With the body that it is posted with. In batches only.
    Operation(Operation, Bytes),
}

/// Reads a Bundle.
pub fn read(mut bundle: Json) -> Result<Bundle, Vec<Issue>> {
    let fail = |issue| Err(vec![issue]);
    if bundle.text("resourceType") != Some("Bundle") {
        return fail(Issue::at(
            "structure",
            "resourceType",
            "POST to the base takes a Bundle; send a resource to its type",
        ));
    }
    known_members(&bundle, "Bundle").map_err(|issue| vec![inside(issue, "Bundle")])?;
    // Only what says that it is a transaction is one, and only what says so is a batch.
    let transaction = match bundle.text("type") {
        Some("transaction") => true,
        Some("batch") => false,
        _ => return fail(Issue::at("value", "Bundle.type", "must be transaction or batch")),
    };
    let entries = match bundle.remove("entry") {
        Some(Json::Array(entries)) => entries,
        None => Vec::new(),
        Some(_) => return fail(Issue::at("structure", "Bundle.entry", "must be an array")),
    };
    if entries.len() > MAX_BUNDLE_ENTRIES {
        return fail(Issue::at("too-costly", "Bundle.entry", format!("more than {MAX_BUNDLE_ENTRIES} entries")));
    }
    let entries = entries.into_iter().enumerate().map(|(n, entry)| self::entry(entry, n));
    if transaction {
        entries.enumerate().map(|(n, entry)| no_operation(entry?, n)).collect::<Result<_, _>>().map(Bundle::Transaction)
    } else {
        Ok(Bundle::Batch(entries.collect()))
    }
}

/// An operation is not undone where a later entry fails.
fn no_operation(entry: Entry, n: usize) -> Result<Entry, Vec<Issue>> {
    let Entry::Operation(operation, _) = &entry else { return Ok(entry) };
    let name = operation.path.split('/').find_map(|segment| segment.strip_prefix('$'));
    let name = name.map_or("metadata".to_owned(), |name| format!("${}", shown(name)));
    let text = format!("{name}: operations are not carried out in a transaction; send a batch");
    Err(vec![Issue::at("not-supported", &format!("Bundle.entry[{n}].request.url"), text)])
}

fn entry(mut entry: Json, n: usize) -> Result<Entry, Vec<Issue>> {
    let path = format!("Bundle.entry[{n}]");
    known_members(&entry, "Bundle.entry").map_err(|issue| vec![inside(issue, &path)])?;
    let missing = || vec![Issue::at("required", &format!("{path}.request"), "is required")];
    let request = entry.get("request").ok_or_else(missing)?;
    let request = request::read(request).map_err(|issue| vec![inside(issue, &format!("{path}.request"))])?;
    let act = match request {
        Request::Get(get) => return Ok(Entry::Get(get)),
        Request::Operation(operation) => {
            let body = entry.get("resource").filter(|_| operation.posted).map(Json::compact);
            return Ok(Entry::Operation(operation, body.unwrap_or_default().into()));
        }
        Request::Create { kind, if_none_exist } => {
            Act::Create { resource: resource(&mut entry, n, kind)?, if_none_exist }
        }
        Request::Update(target) => Act::Update { resource: updated(&mut entry, n, &target)?, target },
        Request::Patch(target) => {
            let patch = Patch::in_bundle(&given(&mut entry, n)?).map_err(|issue| vec![below(issue, n)])?;
            Act::Patch { target, patch }
        }
        Request::Delete(target) => Act::Delete { target },
    };
    let full_url = match entry.get("fullUrl") {
        Some(Json::String(url)) => Some(url.clone()),
        Some(_) => return Err(vec![Issue::at("value", &format!("{path}.fullUrl"), "must be text")]),
        None => None,
    };
    Ok(Entry::Write(Write { entry: Some(n), full_url, act }))
}

fn given(entry: &mut Json, n: usize) -> Result<Json, Vec<Issue>> {
    let missing = || vec![Issue::at("required", &format!("Bundle.entry[{n}].resource"), "is required")];
    entry.remove("resource").ok_or_else(missing)
}

fn resource(entry: &mut Json, n: usize, kind: TypeName) -> Result<Validated, Vec<Issue>> {
    let resource = validate(given(entry, n)?)
        .map_err(|issues| issues.into_iter().map(|issue| below(issue, n)).collect::<Vec<_>>())?;
    if resource.kind() != kind {
        let path = format!("Bundle.entry[{n}].request.url");
        return Err(vec![Issue::at("value", &path, "names another type than the resource is")]);
    }
    Ok(resource)
}

/// An update by id brings a resource of that id.
fn updated(entry: &mut Json, n: usize, target: &Target) -> Result<Validated, Vec<Issue>> {
    let resource = resource(entry, n, target.kind)?;
    if let By::Id(id) = &target.by {
        same_id(&resource, id).map_err(|issue| vec![below(issue, n)])?;
    }
    Ok(resource)
}

/// An issue of a member, of what stands at a path.
fn inside(issue: Issue, path: &str) -> Issue {
    let expression = match &issue.expression {
        Some(member) => format!("{path}.{member}"),
        None => path.to_owned(),
    };
    Issue { expression: Some(expression), ..issue }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Bundle, Vec<Issue>> {
        read(Json::parse(text.as_bytes()).unwrap())
    }

    fn bundle(entry: &str) -> String {
        format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entry}]}}"#)
    }

    #[test]
    fn each_form_of_an_entry_is_read() {
        let patient = r#""resource":{"resourceType":"Patient","id":"7"}"#;
        let binary =
            r#""resource":{"resourceType":"Binary","contentType":"application/json-patch+json","data":"W10="}"#;
        for (resource, request, expected) in [
            (patient, r#"{"method":"POST","url":"Patient"}"#, "Create"),
            (
                patient,
                r#"{"method":"POST","url":"Patient","ifNoneExist":"identifier=urn:a%7C1"}"#,
                "if_none_exist: Some(Criteria",
            ),
            (patient, r#"{"method":"PUT","url":"Patient/7","ifMatch":"W/\"3\""}"#, "Version(3)"),
            (patient, r#"{"method":"PUT","url":"Patient?identifier=1"}"#, "Search(Criteria"),
            (binary, r#"{"method":"PATCH","url":"Patient/7"}"#, "Patch"),
            (r#""fullUrl":"urn:uuid:1""#, r#"{"method":"DELETE","url":"/Patient/7"}"#, "Delete"),
            (r#""id":"1""#, r#"{"method":"GET","url":"Patient/7","ifNoneMatch":"W/\"1\""}"#, "Read(Name(Patient/7))"),
            (
                r#""id":"1""#,
                r#"{"method":"HEAD","url":"Patient/7/_history/2"}"#,
                "Version(Name(Patient/7), Version(2))",
            ),
            (r#""id":"1""#, r#"{"method":"GET","url":"Patient?_id=7&_count=1"}"#, "_id=7&_count=1"),
            (r#""id":"1""#, r#"{"method":"GET","url":"_history"}"#, "Everything"),
        ] {
            let Ok(Bundle::Transaction(entries)) = parse(&bundle(&format!("{{{resource},\"request\":{request}}}")))
            else {
                panic!("{request}")
            };
            assert!(format!("{:?}", entries[0]).contains(expected), "{:?}", entries[0]);
        }
    }

    #[test]
    fn each_fault_is_located() {
        let patient = r#""resource":{"resourceType":"Patient","id":"7"}"#;
        let post = |more: &str| format!(r#"{{{patient},"request":{{"method":"POST","url":"Patient"{more}}}}}"#);
        for (entry, expected) in [
            ("{}".to_owned(), ""),
            ("7".to_owned(), ""),
            (r#"{"requests":{}}"#.to_owned(), "requests"),
            (
                r#"{"resource":{"resourceType":"Patient","id":"7","x":1},"request":{"method":"PUT","url":"Patient/7"}}"#.to_owned(),
                "resource.x",
            ),
            (r#"{"request":{"method":"STEAL","url":"Patient/7"}}"#.to_owned(), "request.method"),
            (r#"{"request":{"method":"DELETE","url":"Patient"}}"#.to_owned(), "request.url"),
            (r#"{"request":{"method":"GET","url":"Patient/7/$everything"}}"#.to_owned(), "request.url"),
            (r#"{"request":{"method":"GET","url":"metadata"}}"#.to_owned(), "request.url"),
            (r#"{"request":{"method":"PUT","url":"Patient/7/$meta-add"}}"#.to_owned(), "request.method"),
            (r#"{"request":{"method":"GET","url":"Patient/7/$meta","ifNoneMatch":"*"}}"#.to_owned(), "request.ifNoneMatch"),
            (r#"{"request":{"method":"PUT","url":"Patient/7"}}"#.to_owned(), "resource"),
            (
                r#"{"resource":{"resourceType":"Patient","id":"8"},"request":{"method":"PUT","url":"Patient/7"}}"#.to_owned(),
                "resource.id",
            ),
            (
                r#"{"resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Observation"}}"#.to_owned(),
                "request.url",
            ),
            (
                r#"{"resource":{"resourceType":"Binary","contentType":"a/b"},"request":{"method":"PATCH","url":"Patient/7"}}"#.to_owned(),
                "resource.contentType",
            ),
            // A condition that is not understood is never left out.
            (post(r#","ifNoneExists":"identifier=1""#), "request.ifNoneExists"),
            (post(r#","ifNoneExist":["identifier=1"]"#), "request.ifNoneExist"),
            (post(r#","ifNoneExist":"nam=Ada""#), "request.ifNoneExist"),
            (post(r#","ifMatch":"W/\"1\"""#), "request.ifMatch"),
            (post(r#","ifNoneMatch":"*""#), "request.ifNoneMatch"),
        ] {
            let issues = parse(&bundle(&entry)).unwrap_err();
            let found = issues[0].expression.as_deref().unwrap();
            let place = found.strip_prefix("Bundle.entry[0]").unwrap().trim_start_matches('.');
            assert!(place == expected || (expected.is_empty() && place == "request"), "{entry}: {found}");
        }
        assert!(parse(r#"{"resourceType":"Bundle","type":"collection"}"#).is_err());
        assert!(parse(r#"{"resourceType":"Bundle","type":"transactions"}"#).is_err());
        assert!(parse(r#"{"resourceType":"Patient"}"#).is_err());
    }
}
