//! The CapabilityStatement: what this server does, from the same tables that it runs on.

use crate::http::query::PARAMETERS;
use mappings::r4;
use serde_json::{Value, json};

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
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "rest": [{
            "mode": "server",
            "security": {
                "service": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/restful-security-service", "code": "SMART-on-FHIR"}]}],
                "description": "Bearer tokens with SMART v2 system scopes"
            },
            "resource": resources,
            "interaction": [{"code": "transaction"}, {"code": "batch"}]
        }]
    })
}

fn resource(name: &str) -> Value {
    let interactions = ["read", "vread", "update", "history-instance", "create", "search-type"];
    let has_patient = r4::model().get(name).is_some_and(|t| {
        ["patient", "subject", "beneficiary", "for", "individual"].iter().any(|e| {
            t.element(e).is_some_and(|f| {
                f.type_name == "Reference" && (f.element.targets.is_empty() || f.element.targets.contains(&"Patient"))
            })
        })
    });
    let has_identifier = r4::model().get(name).is_some_and(|t| t.element("identifier").is_some());
    let served = |p: &str| match p {
        "patient" => has_patient,
        "identifier" => has_identifier,
        _ => true,
    };
    let parameters: Vec<Value> = PARAMETERS
        .iter()
        .filter(|(name, _)| served(name))
        .map(|(name, kind)| json!({"name": name, "type": kind}))
        .collect();
    json!({
        "type": name,
        "interaction": interactions.map(|code| json!({"code": code})),
        "versioning": "versioned-update",
        "readHistory": true,
        "updateCreate": true,
        "conditionalCreate": true,
        "conditionalRead": "full-support",
        "conditionalUpdate": true,
        "searchParam": parameters,
        "operation": [{"name": "validate", "definition": "http://hl7.org/fhir/OperationDefinition/Resource-validate"}],
    })
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
