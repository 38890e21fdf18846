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
