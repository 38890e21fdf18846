//! Who did what to whose record: AuditEvents after IHE's Basic Audit Log Patterns (BALP 1.1), kept like every resource, with log
//! entries of a kind of their own. What a write did is committed with the write itself; what was read or refused gathers for a moment
//! and is committed together, so that reading a chart of fifty resources makes one event and not fifty.

pub mod event;
pub mod seen;
pub mod trail;
pub mod worker;

use crate::ids::TypeName;

/// The type of what is told.
pub const TYPE: &str = "AuditEvent";

/// Whether resources of a type are what is told.
pub fn is_trail(kind: TypeName) -> bool {
    kind.as_str() == TYPE
}
