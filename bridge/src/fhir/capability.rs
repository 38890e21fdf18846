//! The CapabilityStatement: what this server does, from the same tables that it runs on.

use crate::fhir::search::table::{self, Kind, Parameter};
use crate::fhir::topics::topics;
use crate::ids::TypeName;
use crate::smart::token::Server;
use mappings::r4;
use serde_json::{Value, json};

/// An operation: of which type (`*` for each, nothing for the whole system), its name and definition, and at which levels it
/// works, which the definitions of the standard leave open.
pub struct Operation {
    pub of: &'static str,
    pub name: &'static str,
    definition: &'static str,
    levels: &'static str,
}

const fn operation(of: &'static str, name: &'static str, definition: &'static str, levels: &'static str) -> Operation {
    Operation { of, name, definition, levels }
}

/// What `http::operations` routes.
pub const OPERATIONS: &[Operation] = &[
    operation("", "export", "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export", "the system"),
    operation(
        "*",
        "validate",
        "http://hl7.org/fhir/OperationDefinition/Resource-validate",
        "a type (POST) and a resource",
    ),
    operation(
        "*",
        "explain-access",
        "urn:medseal:operation:explain-access",
        "a resource; what its patients' Consents say to somebody",
    ),
    operation("*", "meta", "http://hl7.org/fhir/OperationDefinition/Resource-meta", "a resource"),
    operation(
        "*",
        "meta-add",
        "http://hl7.org/fhir/OperationDefinition/Resource-meta-add",
        "a resource; makes a version",
    ),
    operation(
        "*",
        "meta-delete",
        "http://hl7.org/fhir/OperationDefinition/Resource-meta-delete",
        "a resource; makes a version",
    ),
    operation(
        "*",
        "receipt",
        "urn:medseal:operation:receipt",
        "a resource and a version; answers with a medseal-receipt/1",
    ),
    operation("DocumentReference", "docref", "http://hl7.org/fhir/us/core/OperationDefinition/docref", "the type"),
    operation("Encounter", "everything", "http://hl7.org/fhir/OperationDefinition/Encounter-everything", "a resource"),
    operation("Group", "export", "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/group-export", "a resource"),
    operation(
        "Patient",
        "emergency-access",
        "urn:medseal:operation:emergency-access",
        "a resource (POST); a clinician declares an emergency",
    ),
    operation(
        "Patient",
        "end-emergency-access",
        "urn:medseal:operation:end-emergency-access",
        "a resource (POST); ends it before its time",
    ),
    operation("Patient", "everything", "http://hl7.org/fhir/OperationDefinition/Patient-everything", "a resource"),
    operation("Patient", "export", "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/patient-export", "the type"),
    operation("Patient", "match", "http://hl7.org/fhir/OperationDefinition/Patient-match", "the type (POST)"),
    operation(
        "Patient",
        "report",
        "urn:medseal:operation:report",
        "a resource; answers with a page to print, or its FHIR document",
    ),
    operation("Patient", "summary", "http://hl7.org/fhir/uv/ips/OperationDefinition/summary", "a resource"),
    operation(
        "Subscription",
        "events",
        "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-events",
        "a resource",
    ),
    operation(
        "Subscription",
        "status",
        "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-status",
        "the type and a resource",
    ),
];

/// The statement for a server at `base` that was started at that time, and whether pages of other origins may call it.
pub fn statement(base: &str, date: &str, cors: bool) -> Value {
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
            "security": security(base, cors),
            "resource": resources,
            "interaction": [{"code": "transaction"}, {"code": "batch"}, {"code": "history-system"}],
            "compartment": ["http://hl7.org/fhir/CompartmentDefinition/patient"],
            "operation": operations("")
        }]
    })
}

/// How one comes to tokens (SMART App Launch 2.2, appendix: the extension that older clients read).
fn security(base: &str, cors: bool) -> Value {
    let server = Server::of(base);
    let endpoints =
        [("token", "token"), ("authorize", "authorize"), ("introspect", "introspect"), ("revoke", "revoke")];
    let uris = endpoints.map(|(url, endpoint)| json!({"url": url, "valueUri": server.endpoint(endpoint)}));
    json!({
        "cors": cors,
        "extension": [{"url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris", "extension": uris}],
        "service": [{"coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
            "code": "SMART-on-FHIR",
        }]}],
        "description": "Bearer tokens with SMART v2 scopes: of the token endpoint for registered clients (apps that people let in, \
            backend services), or minted at the machine (`medseal token`).",
    })
}

/// Tells the topics of a server that has Subscriptions of the R5 backport.
const TOPIC: &str =
    "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/capabilitystatement-subscriptiontopic-canonical";

/// The backport's profile of Subscriptions (section 1.7.2.3).
const SUBSCRIPTION: &str = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-subscription";

fn resource(name: &str) -> Value {
    let interactions =
        ["read", "vread", "update", "patch", "delete", "history-instance", "history-type", "create", "search-type"];
    let parameters: Vec<Value> = TypeName::parse(name).into_iter().flat_map(table::parameters).map(parameter).collect();
    let references = TypeName::parse(name).into_iter().flat_map(table::parameters).filter(|p| p.is_followed());
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
    if name == "Binary" {
        described["documentation"] =
            "Content of any media type is posted and read as it is; FHIR where Accept names it.".into();
    }
    if name == "Subscription" {
        described["extension"] =
            topics().iter().map(|topic| json!({"url": TOPIC, "valueCanonical": topic.url})).collect();
        described["supportedProfile"] = json!([SUBSCRIPTION]);
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
    let own = OPERATIONS.iter().filter(|op| op.of == kind || (op.of == "*" && !kind.is_empty()));
    let one = |op: &Operation| json!({"name": op.name, "definition": op.definition, "documentation": format!("Of {}.", op.levels)});
    own.map(one).collect()
}

/// The references of other types that may point to this one.
fn referring(name: &str) -> Vec<String> {
    let points = |p: &&Parameter| p.is_followed() && (p.targets.is_empty() || p.targets.contains(&name));
    let of = |kind: TypeName| table::parameters(kind).filter(points).map(move |p| format!("{kind}:{}", p.name));
    r4::model().resource_types().into_iter().filter_map(TypeName::parse).flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::validate::validate;
    use notary::canonical::Json;

    // meets subscriptions 52 58 114
    #[test]
    fn the_statement_is_valid_and_promises_what_is_there() {
        let statement = statement("http://x/fhir", "2026-01-01T00:00:00Z", false);
        let uris = &statement["rest"][0]["security"]["extension"][0]["extension"];
        assert_eq!(uris[0], json!({"url": "token", "valueUri": "http://x/auth/token"}));
        let json = Json::parse(statement.to_string().as_bytes()).unwrap();
        assert_eq!(validate(json).err(), None);
        let types = statement["rest"][0]["resource"].as_array().unwrap();
        let parameters = |name: &str| {
            let found = types.iter().find(|t| t["type"] == name).unwrap()["searchParam"].as_array().unwrap();
            found.iter().map(|p| p["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert!(parameters("Observation").contains(&"patient".to_owned()));
        assert!(!parameters("Organization").contains(&"patient".to_owned()));
        // What the R5 backport asks of R4 servers.
        assert!(parameters("Subscription").contains(&"url".to_owned()));
        let subscription = types.iter().find(|t| t["type"] == "Subscription").unwrap();
        assert_eq!(subscription["supportedProfile"], json!([SUBSCRIPTION]));
        let has = |list: &str, name: &str, value: &str| {
            subscription[list].as_array().unwrap().iter().any(|one| one[name] == value)
        };
        assert!(["create", "read", "update", "delete"].iter().all(|code| has("interaction", "code", code)));
        assert!(has("operation", "name", "status") && has("operation", "name", "events"));
    }
}
