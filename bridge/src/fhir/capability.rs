//! The CapabilityStatement: what this server does, from the same tables that it runs on.

use crate::fhir::search::table::{self, Kind, Parameter};
use crate::fhir::topics::topics;
use crate::ids::TypeName;
use mappings::r4;
use serde_json::{Value, json};

/// The operations of a type: its name (`*` for each type, none for the whole system), the operation's, and its definition.
pub const OPERATIONS: &[(&str, &str, &str)] = &[
    ("", "export", "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export"),
    ("*", "validate", "http://hl7.org/fhir/OperationDefinition/Resource-validate"),
    ("*", "meta", "http://hl7.org/fhir/OperationDefinition/Resource-meta"),
    ("*", "meta-add", "http://hl7.org/fhir/OperationDefinition/Resource-meta-add"),
    ("*", "meta-delete", "http://hl7.org/fhir/OperationDefinition/Resource-meta-delete"),
    ("Encounter", "everything", "http://hl7.org/fhir/OperationDefinition/Encounter-everything"),
    ("Group", "export", "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/group-export"),
    ("Patient", "everything", "http://hl7.org/fhir/OperationDefinition/Patient-everything"),
    ("Patient", "export", "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/patient-export"),
    ("Patient", "match", "http://hl7.org/fhir/OperationDefinition/Patient-match"),
    ("Patient", "summary", "http://hl7.org/fhir/uv/ips/OperationDefinition/summary"),
    (
        "Subscription",
        "events",
        "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-events",
    ),
    (
        "Subscription",
        "status",
        "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-status",
    ),
];

/// The statement for a server at `base`.
pub fn statement(base: &str, date: &str) -> Value {
    let resources: Vec<Value> = r4::model().resource_types().into_iter().map(resource).collect();
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": date,
        "kind": "instance",
        "software": {"name": "medseal", "version": env!("CARGO_PKG_VERSION")},
        "implementation": {"description": "medseal", "url": base},
        "instantiates": ["http://hl7.org/fhir/uv/bulkdata/CapabilityStatement/bulk-data"],
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "patchFormat": ["application/json-patch+json", "application/fhir+json"],
        "rest": [{
            "mode": "server",
            "security": {
                "service": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/restful-security-service", "code": "SMART-on-FHIR"}]}],
                "description": "Bearer tokens with SMART v2 system scopes"
            },
            "resource": resources,
            "interaction": [{"code": "transaction"}, {"code": "batch"}, {"code": "history-system"}],
            "operation": operations("")
        }]
    })
}

/// Tells the topics of a server that has Subscriptions of the R5 backport.
const TOPIC: &str =
    "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/capabilitystatement-subscriptiontopic-canonical";

fn resource(name: &str) -> Value {
    let interactions =
        ["read", "vread", "update", "patch", "delete", "history-instance", "history-type", "create", "search-type"];
    let parameters: Vec<Value> = TypeName::parse(name).into_iter().flat_map(table::parameters).map(parameter).collect();
    let references =
        TypeName::parse(name).into_iter().flat_map(table::parameters).filter(|p| p.kind == Kind::Reference);
    let includes: Vec<String> =
        std::iter::once("*".to_owned()).chain(references.map(|p| format!("{name}:{}", p.name))).collect();
    let mut described = json!({
        "type": name,
        "interaction": interactions.map(|code| json!({"code": code})),
        "versioning": "versioned-update",
        "readHistory": true,
        "updateCreate": true,
        "conditionalCreate": true,
        "conditionalRead": "full-support",
        "conditionalUpdate": true,
        "conditionalDelete": "single",
        "searchInclude": includes,
        "searchParam": parameters,
        "operation": operations(name),
    });
    if name == "Subscription" {
        described["extension"] =
            topics().iter().map(|topic| json!({"url": TOPIC, "valueCanonical": topic.url})).collect();
    }
    let referring = referring(name);
    if !referring.is_empty() {
        described["searchRevInclude"] = json!(referring);
    }
    described
}

fn parameter(parameter: &Parameter) -> Value {
    let kind = match parameter.kind {
        Kind::Token => "token",
        Kind::String => "string",
        Kind::Date => "date",
        Kind::Number => "number",
        Kind::Quantity => "quantity",
        Kind::Uri => "uri",
        Kind::Reference => "reference",
        Kind::Composite => "composite",
    };
    json!({"name": parameter.name, "type": kind})
}

fn operations(kind: &str) -> Vec<Value> {
    let own = OPERATIONS.iter().filter(|(of, ..)| *of == kind || (*of == "*" && !kind.is_empty()));
    own.map(|(_, name, definition)| json!({"name": name, "definition": definition})).collect()
}

/// The references of other types that may point to this one.
fn referring(name: &str) -> Vec<String> {
    let points = |p: &&Parameter| p.kind == Kind::Reference && p.targets.contains(&name);
    let of = |kind: TypeName| table::parameters(kind).filter(points).map(move |p| format!("{kind}:{}", p.name));
    r4::model().resource_types().into_iter().filter_map(TypeName::parse).flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::validate::validate;
    use notary::canonical::Json;

    #[test]
    fn the_statement_is_valid_and_promises_what_is_there() {
        let statement = statement("http://x/fhir", "2026-01-01T00:00:00Z");
        let json = Json::parse(statement.to_string().as_bytes()).unwrap();
        assert_eq!(validate(json).err(), None);
        let types = statement["rest"][0]["resource"].as_array().unwrap();
        let parameters = |name: &str| {
            let found = types.iter().find(|t| t["type"] == name).unwrap()["searchParam"].as_array().unwrap();
            found.iter().map(|p| p["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert!(parameters("Observation").contains(&"patient".to_owned()));
        assert!(!parameters("Organization").contains(&"patient".to_owned()));
    }
}
