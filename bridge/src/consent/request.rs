//! A Task by which an organisation asks a patient for consent. This service puts it down when such a request comes, signed; the portal
//! shows it.

use crate::fhir::display::items;
use notary::canonical::Json;

/// How it is coded.
pub const SYSTEM: &str = "urn:medseal:task";
pub const CODE: &str = "consent-request";

/// Whether a Task is one.
pub fn is_request(task: &Json) -> bool {
    let coded = task.get("code").map_or(&[][..], |code| items(code, "coding"));
    task.text("resourceType") == Some("Task")
        && coded.iter().any(|coding| (coding.text("system"), coding.text("code")) == (Some(SYSTEM), Some(CODE)))
}
