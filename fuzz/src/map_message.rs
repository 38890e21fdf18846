//! Mapping: a message is refused, or gives a Bundle that is whole JSON, refers only to what is in it, holds nothing empty and
//! is the same each time.

use jiff::tz::TimeZone;
use mappings::bundle::transaction;
use mappings::charset::{Charset, decode};
use mappings::engine::{Context, Mapped, map};
use mappings::maps::MapSet;
use mappings::parse::Message;
use mappings::r4::model;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::LazyLock;

static SET: LazyLock<MapSet> = LazyLock::new(|| MapSet::embedded().expect("the maps compile"));
static ZONE: LazyLock<TimeZone> = LazyLock::new(|| TimeZone::get("Europe/Berlin").expect("there is Berlin"));

/// Holds for each message of any bytes.
pub fn hold(bytes: &[u8]) {
    let Ok(decoded) = decode(bytes, Charset::Utf8) else { return };
    for text in mappings::batch::messages(&decoded.text) {
        if let Ok(message) = Message::parse(text) {
            message_holds(&message, decoded.charset);
        }
    }
}

fn message_holds(message: &Message<'_>, charset: Charset) {
    let context = Context { charset, zone: Some(&ZONE), now: "2026-03-01T12:00:00.000Z" };
    let Ok(mapped) = map(&SET, message, &context) else { return };
    let bundle = transaction(&mapped);
    let again = map(&SET, message, &context).map(|again| transaction(&again));
    assert!(again.as_ref() == Ok(&bundle), "mapped again, another Bundle comes out");
    let value: Value = serde_json::from_str(&bundle).expect("the Bundle is JSON");
    assert_eq!(value.to_string(), bundle, "a key stands twice, or something is not written as others write it");
    is_full(&value, "Bundle");
    resolves(&value);
    is_told(&mapped, &value);
}

/// Nothing is empty: no text, list or object, and `null` only where a list of primitives has its extension.
fn is_full(value: &Value, path: &str) {
    match value {
        Value::Null => panic!("{path} is null"),
        Value::String(text) => assert!(!text.trim().is_empty(), "{path} is blank"),
        Value::Array(items) => {
            assert!(items.iter().any(|item| !item.is_null()), "{path} is empty");
            items.iter().filter(|item| !item.is_null()).for_each(|item| is_full(item, path));
        }
        Value::Object(members) => {
            assert!(!members.is_empty(), "{path} is empty");
            members.iter().for_each(|(name, member)| is_full(member, &format!("{path}.{name}")));
        }
        Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Every reference leads to a resource of the Bundle, or is a contained or logical one.
fn resolves(bundle: &Value) {
    let entries = bundle["entry"].as_array().expect("a Bundle has entries");
    let urls: HashSet<&str> = entries.iter().filter_map(|entry| entry["fullUrl"].as_str()).collect();
    assert_eq!(urls.len(), entries.len(), "two resources have one url");
    for entry in entries {
        let kind = entry["resource"]["resourceType"].as_str().expect("a resource has a type");
        assert!(model().is_resource(kind), "{kind} is no resource");
        references(&entry["resource"], &mut |to| assert!(urls.contains(to), "{kind} refers to what is not there"));
    }
}

fn references(value: &Value, see: &mut dyn FnMut(&str)) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, see)),
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(to) if name == "reference" => see(to),
                    _ => references(member, see),
                }
            }
        }
        _ => {}
    }
}

/// The report can be written, and each origin is one of an element that is there.
fn is_told(mapped: &Mapped<'_>, bundle: &Value) {
    assert_eq!(mapped.report.lines(usize::MAX).len(), mapped.report.len());
    for (n, draft) in mapped.drafts.iter().enumerate() {
        for origin in mapped.origins(draft) {
            let resource = &bundle["entry"][n]["resource"];
            let path = origin.path.strip_prefix(draft.type_name).expect("a path begins with its type");
            assert!(is_there(resource, path), "{} is not there", origin.path);
        }
    }
}

/// Whether a FHIRPath such as `.name[0].given[1]` leads to something. An extension of a primitive stands under `_name`.
fn is_there(from: &Value, path: &str) -> bool {
    let (mut at, mut beside) = (from, &Value::Null);
    for step in path.split('.').skip(1) {
        let (name, index) = step.split_once('[').unwrap_or((step, ""));
        let shadow = format!("_{name}");
        let holder = if at.get(name).is_some() || at.get(&shadow).is_some() { at } else { beside };
        (at, beside) = (&holder[name], holder.get(&shadow).unwrap_or(&Value::Null));
        if let Ok(index) = index.trim_end_matches(']').parse::<usize>() {
            (at, beside) = (&at[index], &beside[index]);
        }
    }
    !at.is_null() || !beside.is_null()
}
