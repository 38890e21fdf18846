//! Rewrites references inside a resource: entries of a transaction refer to each other by `fullUrl` (R4 3.1.0.11.2), and
//! conditional references by a search.

use notary::canonical::Json;

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
            // Elements of type uri may name an entry of the transaction too.
            Json::String(text) if text.starts_with("urn:uuid:") || text.starts_with("urn:oid:") => {
                if name != "system"
                    && name != "value"
                    && let Some(new) = change(text)?
                {
                    *text = new;
                }
                Ok(())
            }
            other => rewrite(other, change),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_change_wherever_they_stand() {
        let text = r#"{"a":{"reference":"urn:uuid:1"},"b":[{"c":{"reference":"Patient/2"}}],"identifier":{"value":"urn:uuid:1"}}"#;
        let mut json = Json::parse(text.as_bytes()).unwrap();
        let mut change = |r: &str| Ok::<_, ()>((r == "urn:uuid:1").then(|| "Patient/1".to_owned()));
        rewrite(&mut json, &mut change).unwrap();
        assert_eq!(
            String::from_utf8(json.compact()).unwrap(),
            r#"{"a":{"reference":"Patient/1"},"b":[{"c":{"reference":"Patient/2"}}],"identifier":{"value":"urn:uuid:1"}}"#
        );
    }
}
