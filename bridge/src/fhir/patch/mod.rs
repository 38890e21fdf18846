//! Patches (R4 3.1.0.8): JSON Patch and FHIRPath Patch, read once and applied to whatever version is there then. Pure. What
//! comes out is validated by whoever applies it.

mod elements;
mod json_patch;
mod operations;
mod path;

use super::labels::Change;
use crate::error::Issue;
use crate::limits::{MAX_PATCH_OPERATIONS, MAX_PATCH_WORK};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use notary::canonical::{Json, MAX_DEPTH};

/// The media type of a JSON Patch.
pub const JSON_PATCH: &str = "application/json-patch+json";

/// A patch that could be read.
#[derive(Clone)]
pub enum Patch {
    /// RFC 6902.
    Json(Vec<json_patch::Operation>),
    /// <http://hl7.org/fhir/R4/fhirpatch.html>
    FhirPath(Vec<operations::Operation>),
    /// `$meta-add` and `$meta-delete`.
    Labels(Change),
}

crate::redacted_debug!(Patch);

impl Patch {
    /// Reads a JSON Patch.
    pub fn json(document: &Json) -> Result<Self, Issue> {
        let Json::Array(list) = document else {
            return Err(Issue::new("structure", "a JSON Patch is an array of operations"));
        };
        bounded(list.len())?;
        let read = |(n, one)| json_patch::Operation::read(one).map_err(|issue| numbered(issue, n));
        list.iter().enumerate().map(read).collect::<Result<_, _>>().map(Self::Json)
    }

    /// Reads a FHIRPath Patch.
    pub fn parameters(parameters: &Json) -> Result<Self, Issue> {
        if parameters.text("resourceType") != Some("Parameters") {
            let text = "a FHIRPath Patch is a Parameters resource; send a JSON Patch as application/json-patch+json";
            return Err(Issue::at("structure", "resourceType", text));
        }
        let list = parameters.get("parameter").map_or(&[][..], Json::items);
        bounded(list.len())?;
        let read = |(n, one)| operations::Operation::read(one).map_err(|issue| numbered(issue, n));
        list.iter().enumerate().map(read).collect::<Result<_, _>>().map(Self::FhirPath)
    }

    /// Reads what an entry of a Bundle holds: Parameters, or a Binary with a JSON Patch (R4 3.1.0.11.2).
    pub fn in_bundle(resource: &Json) -> Result<Self, Issue> {
        if resource.text("resourceType") != Some("Binary") {
            return Self::parameters(resource);
        }
        if resource.text("contentType") != Some(JSON_PATCH) {
            return Err(Issue::at("value", "Binary.contentType", format!("must be {JSON_PATCH}")));
        }
        let bad = |text: &str| Issue::at("value", "Binary.data", text);
        let bytes = STANDARD.decode(resource.text("data").unwrap_or("")).map_err(|_| bad("not base64"))?;
        Self::json(&Json::parse(&bytes).map_err(|error| bad(&error.to_string()))?)
    }

    /// The resource as it is after the patch: all of its operations or none.
    pub fn apply(&self, resource: &Json) -> Result<Json, Issue> {
        let work = self.operations().saturating_mul(resource.canonical().len());
        if work > MAX_PATCH_WORK {
            return Err(Issue::new("too-costly", "so many operations on so large a resource: send it whole"));
        }
        let mut patched = resource.clone();
        match self {
            Self::Json(list) => json_patch::apply(list, &mut patched),
            Self::FhirPath(list) => operations::apply(list, &mut patched),
            Self::Labels(change) => {
                change.apply(&mut patched);
                Ok(())
            }
        }?;
        prune(&mut patched);
        for name in ["resourceType", "id"] {
            if patched.text(name) != resource.text(name) {
                let kind = resource.text("resourceType").unwrap_or("");
                return Err(Issue::at("value", &format!("{kind}.{name}"), "a patch does not change it"));
            }
        }
        Ok(patched)
    }
}

impl Patch {
    fn operations(&self) -> usize {
        match self {
            Self::Json(list) => list.len(),
            Self::FhirPath(list) => list.len(),
            Self::Labels(_) => 1,
        }
    }
}

fn bounded(operations: usize) -> Result<(), Issue> {
    if operations > MAX_PATCH_OPERATIONS {
        return Err(Issue::new("too-costly", format!("a patch has at most {MAX_PATCH_OPERATIONS} operations")));
    }
    Ok(())
}

/// Which operation is at fault, from 1.
fn numbered(issue: Issue, n: usize) -> Issue {
    Issue { text: format!("operation {}: {}", n + 1, issue.text), ..issue }
}

/// How many levels a value has. What was parsed has at most `MAX_DEPTH`.
fn depth(json: &Json) -> usize {
    let members = json.members().iter().map(|(_, value)| value);
    members.chain(json.items()).map(|value| 1 + depth(value)).max().unwrap_or(0)
}

/// No operation may build what could not be read again.
fn fits(above: usize, value: &Json) -> Result<(), Issue> {
    let text = format!("nested deeper than {MAX_DEPTH}");
    if above + depth(value) < MAX_DEPTH { Ok(()) } else { Err(Issue::new("too-costly", text)) }
}

/// FHIR has no empty lists and objects: what became empty is not there (R4 2.6.2).
fn prune(json: &mut Json) {
    match json {
        Json::Object(members) => {
            members.iter_mut().for_each(|(_, value)| prune(value));
            members.retain(|(_, value)| !is_empty(value));
        }
        Json::Array(items) => {
            items.iter_mut().for_each(prune);
            // In the array beside one of primitives a place is kept, elsewhere it is not.
            if items.contains(&Json::Null) {
                items.iter_mut().filter(|item| is_empty(item)).for_each(|item| *item = Json::Null);
            } else {
                items.retain(|item| !is_empty(item));
            }
        }
        _ => {}
    }
}

fn is_empty(json: &Json) -> bool {
    match json {
        Json::Object(members) => members.is_empty(),
        Json::Array(items) => items.iter().all(|item| *item == Json::Null),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `cases.json` holds for each patch what comes out, or the place of what is wrong.
    #[test]
    fn the_cases_hold() {
        let cases = Json::parse(include_bytes!("cases.json")).unwrap();
        for case in cases.items() {
            let name = case.text("name").unwrap();
            let patch = match case.get("patch").unwrap() {
                list @ Json::Array(_) => Patch::json(list),
                parameters => Patch::parameters(parameters),
            };
            let found = patch.and_then(|patch| patch.apply(case.get("resource").unwrap()));
            match (found, case.get("result"), case.text("refused")) {
                (Ok(found), Some(expected), _) => {
                    let text = |json: &Json| String::from_utf8(json.canonical()).unwrap();
                    assert_eq!(text(&found), text(expected), "{name}");
                }
                (Err(issue), None, Some(expected)) => {
                    let told = format!("{} {}", issue.expression.unwrap_or_default(), issue.text);
                    assert!(told.contains(expected), "{name}: {told}");
                }
                (found, ..) => panic!("{name}: {:?}", found.map(|json| String::from_utf8(json.canonical()))),
            }
        }
    }

    #[test]
    fn a_patch_that_doubles_and_one_that_digs_are_refused() {
        let resource = Json::parse(br#"{"resourceType":"Basic","a":{"b":"0123456789"}}"#).unwrap();
        let copy = |from: &str, path: &str| format!(r#"{{"op":"copy","from":"{from}","path":"{path}"}}"#);
        let patch = |operations: Vec<String>| {
            let list = Json::parse(format!("[{}]", operations.join(",")).as_bytes()).unwrap();
            Patch::json(&list).and_then(|patch| patch.apply(&resource))
        };
        let doubling = (0..64).map(|n| copy("/a", &format!("/a/n{n}"))).collect();
        assert_eq!(patch(doubling).unwrap_err().code, "too-costly");
        let many = vec![copy("/a/b", "/a/c"); MAX_PATCH_OPERATIONS + 1];
        assert_eq!(patch(many).unwrap_err().code, "too-costly");
        let deep = format!(r#"{{"op":"add","path":"/a/c","value":{}1{}}}"#, "[".repeat(90), "]".repeat(90));
        let deeper = format!(
            r#"{{"op":"add","path":"/a/c{}/-","value":{}1{}}}"#,
            "/0".repeat(89),
            "[".repeat(90),
            "]".repeat(90)
        );
        assert_eq!(patch(vec![deep, deeper]).unwrap_err().code, "too-costly");
    }
}
