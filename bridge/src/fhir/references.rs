//! Rewrites references inside a resource: entries of a transaction refer to each other by `fullUrl` (R4 3.1.0.11.2), and
//! conditional references by a search.

use super::write::conditional_reference;
use notary::canonical::Json;

/// The elements beside references in which a transaction's fullUrl is looked for.
const URIS: &[&str] = &["uri", "valueUri", "valueUrl", "valueUuid"];

/// Calls `change` with every literal reference in the resource and puts in what it gives.
pub fn rewrite<E>(json: &mut Json, change: &mut impl FnMut(&str) -> Result<Option<String>, E>) -> Result<(), E> {
    match json {
        Json::Array(items) => items.iter_mut().try_for_each(|item| rewrite(item, change)),
        Json::Object(members) => members.iter_mut().try_for_each(|(name, value)| match value {
            Json::String(text) if name == "reference" => {
                if let Some(new) = change(text)? {
                    *text = new;
                }
                Ok(())
            }
            // Elements of type uri may name an entry of the transaction too; text that looks so is text.
            Json::String(text) if URIS.contains(&name.as_str()) => {
                if let Some(new) = change(text)? {
                    *text = new;
                }
                Ok(())
            }
            other => rewrite(other, change),
        }),
        _ => Ok(()),
    }
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
    let own = |(name, value): &(String, Json)| {
        name == "reference" && value.as_str().is_some_and(|text| conditional_reference(text).is_some())
    };
    json.members().iter().any(|member| own(member) || has_conditional(&member.1))
        || json.items().iter().any(has_conditional)
}

/// The path of a literal reference that still names an entry of a Bundle: once stored it would lead nowhere.
pub fn unresolved(json: &Json) -> Option<String> {
    fn search(json: &Json, path: &mut String) -> bool {
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
