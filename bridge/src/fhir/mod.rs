//! FHIR R4 as data: what comes in is validated, what goes out is built. No I/O.

pub mod bundle;
pub mod capability;
pub mod fhirpath;
pub mod merge;
pub mod outcome;
pub mod patch;
pub mod profile;
pub mod references;
pub mod search;
pub mod summary;
pub mod validate;
pub mod write;
