//! What a record holds, once it is opened: recovery puts it into the index, the check compares it.

use crate::ids::Name;
use crate::message::Kept;
use crate::read::{Plain, opens};
use crate::vault::pack::Record;
use crate::vault::seal::RecordKind;
use notary::commitment::Entry;

/// What was sealed.
pub(super) enum Content {
    Resource(Name, Plain),
    Message,
    /// What was said of an erasure.
    Erasure,
}

/// Reads what was sealed in a record, and checks that it is what the record's log entry commits to.
pub(super) fn content(custodian: &str, record: &Record, opened: &[u8]) -> Result<Content, &'static str> {
    let label = &record.sealed.label;
    match label.kind {
        RecordKind::Message => {
            Kept::from_bytes(opened).map(|_| Content::Message).ok_or("its content is of no known form")
        }
        RecordKind::Erasure => Ok(Content::Erasure),
        RecordKind::Resource => {
            let plain = Plain::from_bytes(opened).ok_or("its content is of no known form")?;
            let name = Name::parse(&format!("{}/{}", label.type_name, label.id)).ok_or("it is of no known type")?;
            let entry = record.entry.as_deref().and_then(|entry| Entry::from_bytes(entry).ok());
            if !entry.is_some_and(|entry| opens(custodian, &name, label.version, &plain, &entry)) {
                return Err("its content does not open its log entry");
            }
            Ok(Content::Resource(name, plain))
        }
    }
}
