//! Holds every reply of these tests against `openapi/medseal.yaml`: path, method, status, media type, headers, body.

use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{LazyLock, Mutex};
use warp::http::Response;

static CONTRACT: LazyLock<Value> = LazyLock::new(|| {
    let text = include_str!("../../../openapi/medseal.yaml");
    serde_saphyr::from_str(text).expect("openapi/medseal.yaml is YAML")
});
static VALIDATORS: LazyLock<Mutex<HashMap<String, jsonschema::Validator>>> = LazyLock::new(Mutex::default);

/// Panics with the reason if the reply is not one that the description promises.
pub fn check(method: &str, path: &str, reply: &Response<Bytes>) {
    assert!(reply.headers().contains_key("x-request-id"), "{method} {path}: no X-Request-Id");
    let path = path.split('?').next().unwrap();
    let status = reply.status().as_u16();
    let place = format!("{method} {path} {status}");
    let described = described(method, path, status).unwrap_or_else(|| panic!("{place} is not described"));
    for (name, header) in described["headers"].as_object().into_iter().flatten() {
        let header = resolve(header);
        assert!(header["required"] != json!(true) || reply.headers().contains_key(name), "{place}: no header {name}");
    }
    let media = reply.headers().get("content-type").map_or("", |v| v.to_str().unwrap());
    let media = media.split(';').next().unwrap();
    if reply.body().is_empty() && media.is_empty() && described["x-may-be-empty"] == json!(true) {
        return;
    }
    let Some(content) = described.get("content").and_then(Value::as_object) else { return };
    // The content of a Binary is of any type.
    let any = || content.get("*/*").filter(|_| path.starts_with("/fhir/Binary/"));
    let body = content.get(media).or_else(any).unwrap_or_else(|| panic!("{place}: {media} is not described"));
    if media.ends_with("ndjson") {
        let line = |line: &[u8]| serde_json::from_slice::<Value>(line).expect("each line is JSON");
        return reply.body().split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(line).for_each(drop);
    }
    if body.get("schema").is_some() && media.ends_with("json") && !reply.body().is_empty() {
        let value: Value = serde_json::from_slice(reply.body()).expect("a JSON body is JSON");
        validate(&place, &body["schema"], &value);
    }
}

fn validate(place: &str, schema: &Value, value: &Value) {
    let mut validators = VALIDATORS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let validator = validators.entry(schema.to_string()).or_insert_with(|| {
        let root = json!({"components": CONTRACT["components"], "allOf": [schema]});
        jsonschema::validator_for(&root).expect("the schema is a schema")
    });
    let errors: Vec<String> =
        validator.iter_errors(value).map(|e| format!("{} at {}", e.masked(), e.instance_path())).take(5).collect();
    assert!(errors.is_empty(), "{place}: {errors:#?}\n{}", value.to_string().chars().take(2_000).collect::<String>());
}

fn described(method: &str, path: &str, status: u16) -> Option<&'static Value> {
    let Some((_, item)) = item(path) else {
        // Where there are pages, one says that there is none.
        let said = if path.starts_with("/me/") { "RefusedPage" } else { "NotFound" };
        return (status == 404).then(|| &CONTRACT["components"]["responses"][said]);
    };
    if (method, status) == ("OPTIONS", 204) {
        return Some(&CONTRACT["components"]["responses"]["Preflight"]);
    }
    let operation = item.get(method.to_lowercase());
    let any = || item.as_object().unwrap().values().find(|o| o["responses"].get("405").is_some());
    let operation = operation.or_else(|| any().filter(|_| status == 405))?;
    operation["responses"].get(status.to_string()).map(resolve)
}

/// The path that is described, and what is said of it. Literal paths go before templates.
fn item(path: &str) -> Option<(&'static String, &'static Value)> {
    let matching = CONTRACT["paths"].as_object().unwrap().iter().filter(|(template, _)| matches(template, path));
    matching.min_by_key(|(template, _)| template.matches('{').count())
}

/// The operation as which a request is described, `GET /fhir/{type}`.
fn operation(method: &str, path: &str) -> Option<String> {
    item(path.split('?').next().unwrap()).map(|(template, _)| format!("{method} {template}"))
}

/// Holds a table to what is described: each operation at these addresses is asked by the table, or by a test that its `elsewhere` names, or
/// is `public`.
pub fn is_held(table: &Value, asked: &[(String, String)], at: impl Fn(&str) -> bool) {
    let asked: HashSet<String> = asked.iter().map(|(method, path)| operation(method, path).unwrap()).collect();
    let (elsewhere, public) = (table["elsewhere"].as_object().unwrap(), table["public"].as_array().unwrap());
    let all = operations();
    for operation in all.iter().filter(|operation| at(operation.split(' ').next_back().unwrap())) {
        let named = elsewhere.contains_key(operation) || public.iter().any(|one| one == operation);
        assert!(asked.contains(operation) != named, "{operation} is in no row, or named in vain");
    }
    for (operation, test) in elsewhere {
        let (module, name) = test.as_str().unwrap().split_once("::").unwrap();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/{module}.rs"));
        let is_there = std::fs::read_to_string(file).unwrap().contains(&format!("fn {name}("));
        assert!(is_there && all.contains(operation), "{operation}: {test}");
    }
}

/// All operations that are described.
fn operations() -> Vec<String> {
    const METHODS: &[&str] = &["get", "post", "put", "patch", "delete"];
    let mut operations = Vec::new();
    for (template, item) in CONTRACT["paths"].as_object().unwrap() {
        let methods = METHODS.iter().filter(|method| item.get(**method).is_some());
        operations.extend(methods.map(|method| format!("{} {template}", method.to_uppercase())));
    }
    operations
}

fn resolve(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(reference) => CONTRACT.pointer(reference.trim_start_matches('#')).expect("a $ref that resolves"),
        None => value,
    }
}

fn matches(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    let one = |(t, p): (&&str, &&str)| t == p || (t.starts_with('{') && !p.is_empty() && !p.starts_with(['$', '_']));
    let rest = template.last() == Some(&"{index}") && path.len() > template.len();
    (template.len() == path.len() || rest) && template.iter().zip(&path).all(one)
}
