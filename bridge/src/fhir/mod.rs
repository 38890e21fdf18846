//! FHIR R4 as data: what comes in is validated, what goes out is built. No I/O.

pub mod bundle;
pub mod capability;
pub mod display;
pub mod fhirpath;
pub mod labels;
pub mod matching;
pub mod membership;
pub mod merge;
pub mod outcome;
pub mod patch;
pub mod profile;
pub mod references;
pub mod report;
pub mod search;
pub mod subscription;
pub mod summary;
pub mod topics;
pub mod validate;
pub mod view;
pub mod write;
