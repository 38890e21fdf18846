//! `Prefer: return=` (R4 3.1.0.1.9): what a client wants to see of what it wrote.

use super::text;
use crate::commit::Done;
use crate::error::Issue;
use crate::fhir::outcome;
use warp::http::{HeaderMap, header};

/// What a client wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefer {
    Minimal,
    Representation,
    Outcome,
    /// Nothing was said.
    Unsaid,
}

impl Prefer {
    /// Reads the header; what is not known is not preferred (RFC 7240 section 2).
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let prefer = text(headers, header::HeaderName::from_static("prefer")).unwrap_or("");
        let mut wishes = prefer.split([',', ';']).filter_map(|wish| wish.trim().strip_prefix("return="));
        match wishes.next() {
            Some("minimal") => Self::Minimal,
            Some("representation") => Self::Representation,
            Some("OperationOutcome") => Self::Outcome,
            _ => Self::Unsaid,
        }
    }
}

/// An OperationOutcome of what was done.
pub(super) fn told(done: &Done) -> serde_json::Value {
    let text = match done {
        Done::Written(one) if one.created => format!("{} was created, version {}", one.name, one.version),
        Done::Written(one) => format!("{} is there, version {}", one.name, one.version),
        Done::Deleted(one) => format!("{} is deleted, version {}", one.name, one.version),
        Done::Nothing => "there was nothing to delete".to_owned(),
    };
    outcome::information(&[Issue::new("informational", text)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_read() {
        for (header, expected) in [
            ("return=minimal", Prefer::Minimal),
            ("handling=strict; return=representation", Prefer::Representation),
            ("handling=lenient, return=OperationOutcome", Prefer::Outcome),
            ("return=everything", Prefer::Unsaid),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("prefer", header.parse().unwrap());
            assert_eq!(Prefer::of(&headers), expected, "{header}");
        }
    }
}
