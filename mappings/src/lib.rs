//! HL7 v2 in, draft FHIR out: no network, no disk but the map files, no clock.
//!
//! `charset` and `batch` turn bytes into messages, `parse` and `escape` read them, `maps` holds the
//! compiled maps (`map_file` -> `plan`), and `engine` runs a message through them: [`engine::map`].
//! `r4` is the table of FHIR R4's elements. What gives a draft its id and version is the bridge.

mod answers;
pub mod batch;
pub mod bundle;
pub mod charset;
mod complete;
pub mod condition;
pub mod convert;
pub mod coverage;
pub mod engine;
pub mod escape;
mod finish;
pub mod identity;
mod json;
pub mod library;
mod look;
pub mod map_file;
pub mod maps;
pub mod overlay;
pub mod parse;
pub mod path;
pub mod plan;
pub mod r4;
pub mod report;
mod rules;
mod run;
pub mod schema;
pub mod sources;
pub mod structure;
pub mod time;
pub mod to_v2;
pub mod tree;
mod walk;
