//! Drafts as a FHIR transaction Bundle: what an analyst looks at. The bridge takes the drafts themselves.

use crate::engine::{Draft, Mapped, draft_urn};
use crate::identity::Identity;
use serde_json::{Value, json};

/// The Bundle of a mapped message: a resource with a business identifier is a conditional update.
pub fn transaction(mapped: &Mapped) -> Value {
    let entries: Vec<Value> = mapped.drafts.iter().enumerate().map(|(n, draft)| entry(n, draft)).collect();
    json!({"resourceType": "Bundle", "type": "transaction", "entry": entries})
}

fn entry(n: usize, draft: &Draft) -> Value {
    let request = match &draft.identity {
        Some(Identity::Identifier { system: Some(system), value, .. }) => {
            let url = format!("{}?identifier={}|{}", draft.type_name, encoded(system), encoded(value));
            json!({"method": "PUT", "url": url})
        }
        _ => json!({"method": "POST", "url": draft.type_name}),
    };
    json!({"fullUrl": draft_urn(n), "resource": draft.resource, "request": request})
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'/' => {
                char::from(b).to_string()
            }
            b => format!("%{b:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_business_identifier_makes_a_conditional_update() {
        let identity =
            Identity::Identifier { system: Some("urn:x y".into()), value: "a|b".into(), scope: String::new() };
        let draft = |identity| Draft {
            type_name: "Patient",
            resource: serde_json::Map::new(),
            identity,
            deleted: Vec::new(),
            weak: false,
            origins: Vec::new(),
        };
        let drafts = vec![draft(Some(identity)), draft(None)];
        let bundle = transaction(&Mapped { map: String::new(), drafts, report: Default::default() });
        assert_eq!(bundle["entry"][0]["request"]["url"], "Patient?identifier=urn:x%20y|a%7Cb");
        assert_eq!(bundle["entry"][1]["request"], json!({"method": "POST", "url": "Patient"}));
        assert_ne!(bundle["entry"][0]["fullUrl"], bundle["entry"][1]["fullUrl"]);
    }
}
