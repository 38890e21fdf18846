//! A receipt as FHIR: a Provenance that an EHR can file beside the resource, with the receipt as its signature.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use notary::receipt::Receipt;
use serde_json::{Value, json};

/// The form of the signature's data.
const SIGNATURE_FORMAT: &str = "application/json";

/// The Provenance of a receipt. `now` is when it was made, a FHIR instant; `base` the address of the FHIR API.
pub(super) fn of(receipt: &Receipt, base: &str, now: &str) -> Value {
    let custodian = who(&receipt.custodian);
    json!({
        "resourceType": "Provenance",
        "target": [{"reference": format!("{base}/{}/_history/{}", receipt.reference, receipt.version_id)}],
        "recorded": now,
        "agent": [{"type": {"coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/provenance-participant-type",
            "code": "custodian",
        }]}, "who": custodian}],
        "signature": [{
            "type": [{
                "system": "urn:iso-astm:E1762-95:2013",
                "code": "1.2.840.10065.1.12.1.18",
                "display": "Timestamp Signature",
            }],
            "when": now,
            "who": custodian,
            "targetFormat": "application/fhir+json",
            "sigFormat": SIGNATURE_FORMAT,
            "data": STANDARD.encode(receipt.to_json()),
        }],
    })
}

/// The custodian as a Reference: by identifier where its name is a URI.
fn who(custodian: &str) -> Value {
    let is_uri = ["urn:", "http://", "https://"].iter().any(|scheme| custodian.starts_with(scheme));
    if is_uri {
        json!({"identifier": {"system": "urn:ietf:rfc:3986", "value": custodian}})
    } else {
        json!({"display": custodian})
    }
}
