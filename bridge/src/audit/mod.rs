//! Who did what to whose record: AuditEvents after IHE's Basic Audit Log Patterns (BALP 1.1), kept like every resource, with log
//! entries of a kind of their own. What a write did is committed with the write itself; what was read or refused gathers for a moment
//! and is committed together, so that reading a chart of fifty resources makes one event and not fifty.

pub mod emergency;
pub mod event;
pub mod seen;
pub mod trail;
pub mod worker;

use crate::consent::policy::{Coding, PURPOSE_OF_USE, is_emergency};
use crate::fhir::display::items;
use crate::ids::TypeName;
use notary::canonical::Json;

/// The type of what is told.
pub const TYPE: &str = "AuditEvent";

/// Whether resources of a type are what is told.
pub fn is_trail(kind: TypeName) -> bool {
    kind.as_str() == TYPE
}

/// Whether an event is of an emergency: its beginning, its end, or what was done under it.
pub fn tells_of_emergency(event: &Json) -> bool {
    let codings = items(event, "purposeOfEvent").iter().flat_map(|purpose| items(purpose, "coding"));
    codings
        .filter(|coding| coding.text("system") == Some(PURPOSE_OF_USE))
        .any(|coding| coding.text("code").is_some_and(|code| is_emergency(&Coding::new(PURPOSE_OF_USE, code))))
}
