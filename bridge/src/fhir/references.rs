//! References inside a resource: entries of a transaction refer to each other by `fullUrl` (R4 3.1.0.11.2), and conditional
//! references by a search. What a Bundle holds is its own affair: its entries refer to each other, not to the outside.

use super::write::conditional_reference;
use crate::ids::TypeName;
use mappings::r4::{self, Type};
use notary::canonical::Json;
use std::collections::HashMap;

/// The types of element beside references that may name an entry. Canonicals are not replaced (R4 3.1.0.11.2).
const URIS: &[&str] = &["uri", "url", "uuid", "oid"];
/// Attributes of narrative that may.
const LINKS: &[&str] = &["href=", "src="];

/// Calls `change` with every literal reference in the resource and puts in what it gives.
pub fn rewrite<E>(json: &mut Json, change: &mut impl FnMut(&str) -> Result<Option<String>, E>) -> Result<(), E> {
    let bundle = is_bundle(json);
    match json {
        Json::Array(items) => items.iter_mut().try_for_each(|item| rewrite(item, change)),
        Json::Object(members) => members.iter_mut().try_for_each(|(name, value)| match value {
            Json::String(text) if name == "reference" => {
                if let Some(new) = change(text)? {
                    *text = new;
                }
                Ok(())
            }
            _ if bundle && name == "entry" => Ok(()),
            other => rewrite(other, change),
        }),
        _ => Ok(()),
    }
}

/// Puts the new names in where elements of a uri type and links of the narrative name an entry.
pub fn rename(json: &mut Json, names: &HashMap<String, String>) {
    // Nearly always there are none, and nothing has to be known of types.
    if !names.is_empty() && mentions(json, names) {
        let model = json.text("resourceType").and_then(|name| r4::model().get(name));
        rename_in(json, model, names);
    }
}

fn mentions(json: &Json, names: &HashMap<String, String>) -> bool {
    match json {
        Json::String(text) => names.contains_key(text) || LINKS.iter().any(|link| text.contains(link)),
        _ if is_bundle(json) => false,
        Json::Array(items) => items.iter().any(|item| mentions(item, names)),
        Json::Object(members) => members.iter().any(|(_, value)| mentions(value, names)),
        _ => false,
    }
}

fn rename_in(json: &mut Json, model: Option<&'static Type>, names: &HashMap<String, String>) {
    if is_bundle(json) {
        return;
    }
    let Json::Object(members) = json else { return };
    for (name, value) in members {
        let Some(type_name) = model.and_then(|model| model.element(name)).map(|found| found.type_name) else {
            continue;
        };
        let values = match value {
            Json::Array(items) => items.as_mut_slice(),
            one => std::slice::from_mut(one),
        };
        for value in values {
            match value {
                Json::String(text) if type_name == "xhtml" => *text = with_links(text, names),
                Json::String(text) if URIS.contains(&type_name) => {
                    if let Some(new) = names.get(text) {
                        new.clone_into(text);
                    }
                }
                other => {
                    let own = other.text("resourceType").unwrap_or(type_name).to_owned();
                    rename_in(other, r4::model().get(&own), names);
                }
            }
        }
    }
}

/// A narrative with its links renamed.
fn with_links(text: &str, names: &HashMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = LINKS.iter().filter_map(|link| rest.find(link).map(|at| at + link.len())).min() {
        let (before, behind) = rest.split_at(at);
        out.push_str(before);
        rest = behind;
        let Some(quote) = rest.chars().next().filter(|c| "\"'".contains(*c)) else { continue };
        let Some((link, _)) = rest[1..].split_once(quote) else { continue };
        if let Some(new) = names.get(link) {
            out.push(quote);
            out.push_str(new);
            rest = &rest[1 + link.len()..];
        }
    }
    out.push_str(rest);
    out
}

fn is_bundle(json: &Json) -> bool {
    json.text("resourceType") == Some("Bundle")
}

/// Every literal reference in the resource, in its order.
pub fn literals(json: &Json) -> Vec<&str> {
    let mut found = Vec::new();
    for (name, value) in json.members() {
        match value.as_str() {
            Some(text) if name == "reference" => found.push(text),
            _ => found.extend(literals(value)),
        }
    }
    found.extend(json.items().iter().flat_map(literals));
    found
}

/// Whether the resource has a reference that is a search.
pub fn has_conditional(json: &Json) -> bool {
    !conditional_types(json).is_empty()
}

/// The types that the resource's conditional references search in.
pub fn conditional_types(json: &Json) -> Vec<TypeName> {
    if is_bundle(json) {
        return Vec::new();
    }
    let mut found: Vec<TypeName> = json.items().iter().flat_map(conditional_types).collect();
    for (name, value) in json.members() {
        match value.as_str() {
            Some(text) if name == "reference" => found.extend(conditional_reference(text).map(|(kind, _)| kind)),
            _ => found.extend(conditional_types(value)),
        }
    }
    found
}

/// The path of a literal reference that still names an entry of a Bundle: once stored it would lead nowhere.
pub fn unresolved(json: &Json) -> Option<String> {
    fn search(json: &Json, path: &mut String) -> bool {
        if is_bundle(json) {
            return false;
        }
        let length = path.len();
        let members = json.members().iter().map(|(name, value)| (format!(".{name}"), value));
        let items = json.items().iter().enumerate().map(|(n, value)| (format!("[{n}]"), value));
        for (step, value) in members.chain(items) {
            path.push_str(&step);
            let dangling = step == ".reference" && value.as_str().is_some_and(|r| r.starts_with("urn:uuid:"));
            if dangling || search(value, path) {
                return true;
            }
            path.truncate(length);
        }
        false
    }
    let mut path = json.text("resourceType").unwrap_or("").to_owned();
    search(json, &mut path).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_to_no_entry_is_found() {
        let json = |text: &str| Json::parse(text.as_bytes()).unwrap();
        let dangling = json(r#"{"resourceType":"Group","member":[{"entity":{"reference":"urn:uuid:1"}}]}"#);
        assert_eq!(unresolved(&dangling).as_deref(), Some("Group.member[0].entity.reference"));
        assert_eq!(unresolved(&json(r#"{"resourceType":"Group","identifier":[{"value":"urn:uuid:1"}]}"#)), None);
        let document = r#"{"resourceType":"Bundle","type":"document","entry":[{"fullUrl":"urn:uuid:1","resource":
            {"resourceType":"Group","member":[{"entity":{"reference":"urn:uuid:1"}}]}}]}"#;
        assert_eq!(unresolved(&json(document)), None, "a document refers to its own entries");
    }

    #[test]
    fn elements_of_uri_types_and_links_name_entries_too() {
        let text = r#"{"resourceType":"Communication","text":{"status":"generated","div":"<div><a href=\"urn:uuid:1\">urn:uuid:1</a><img src='urn:uuid:2'/></div>"},
            "instantiatesUri":["urn:uuid:1"],"instantiatesCanonical":["urn:uuid:1"],"payload":[{"contentString":"urn:uuid:1"},
            {"contentAttachment":{"url":"urn:uuid:1","title":"urn:uuid:1"}}],"extension":[{"url":"http://e","valueUri":"urn:uuid:1"}]}"#;
        let mut json = Json::parse(text.as_bytes()).unwrap();
        rename(&mut json, &HashMap::from([("urn:uuid:1".to_owned(), "Patient/1".to_owned())]));
        let found = String::from_utf8(json.compact()).unwrap();
        for expected in [
            r#"href=\"Patient/1\">urn:uuid:1</a><img src='urn:uuid:2'/>"#,
            r#""instantiatesUri":["Patient/1"],"instantiatesCanonical":["urn:uuid:1"]"#,
            r#"{"contentString":"urn:uuid:1"}"#,
            r#"{"url":"Patient/1","title":"urn:uuid:1"}"#,
            r#""valueUri":"Patient/1""#,
        ] {
            assert!(found.contains(expected), "{expected} in {found}");
        }
    }

    #[test]
    fn literal_references_are_found_wherever_they_stand() {
        let text =
            r#"{"reference":"Patient/1","a":[{"b":{"reference":"Group/2"}}],"c":{"reference":{"reference":"List/3"}}}"#;
        let json = Json::parse(text.as_bytes()).unwrap();
        assert_eq!(literals(&json), ["Patient/1", "Group/2", "List/3"]);
    }

    #[test]
    fn references_change_wherever_they_stand() {
        let text = r#"{"a":{"reference":"urn:uuid:1"},"b":[{"c":{"reference":"Patient/2"}}],"identifier":{"value":"urn:uuid:1"},"valueString":"urn:uuid:1"}"#;
        let mut json = Json::parse(text.as_bytes()).unwrap();
        let mut change = |r: &str| Ok::<_, ()>((r == "urn:uuid:1").then(|| "Patient/1".to_owned()));
        rewrite(&mut json, &mut change).unwrap();
        assert_eq!(
            String::from_utf8(json.compact()).unwrap(),
            r#"{"a":{"reference":"Patient/1"},"b":[{"c":{"reference":"Patient/2"}}],"identifier":{"value":"urn:uuid:1"},"valueString":"urn:uuid:1"}"#
        );
    }
}
