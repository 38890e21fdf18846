//! Bundles of stored resources, in their very text.

use super::super::reply::{Reply, fhir};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use warp::http::StatusCode;

/// An entry that holds a stored resource in its very text: a number's spelling is part of what was sealed.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct Entry {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) full_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) resource: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) search: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) request: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) response: Option<Value>,
}

impl Entry {
    /// The bytes of its resource.
    pub(in crate::http) fn weight(&self) -> usize {
        self.resource.as_ref().map_or(0, |resource| resource.get().len())
    }
}

/// A Bundle of stored resources.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct Page {
    pub(in crate::http) resource_type: &'static str,
    #[serde(rename = "type")]
    pub(in crate::http) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) total: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::http) link: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::http) entry: Vec<Entry>,
}

impl Page {
    pub(in crate::http) fn reply(self) -> Reply {
        // Strings, numbers and JSON that was parsed before it was stored: serialisation cannot fail.
        fhir(StatusCode::OK, serde_json::to_string(&self).unwrap_or_default())
    }
}

pub(in crate::http) fn raw(resource: &[u8]) -> Box<RawValue> {
    let text = String::from_utf8_lossy(resource).into_owned();
    RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
