//! The HTTP edge: `routes` and `operations` are the whole API on two pages, `fhir` and `hl7v2` do the work, `query` reads searches, `reply`
//! builds answers, `pretty` and `encoding` give them their form, `server` listens.

mod accept;
mod audit;
mod auth;
mod cursor;
mod docref;
mod edge;
pub mod encoding;
mod everything;
mod explain;
pub mod export;
pub mod fhir;
pub mod hl7v2;
mod ledger;
pub mod log;
mod login;
mod matching;
mod measured;
mod meta;
pub mod metrics;
mod operations;
mod parameters;
pub mod people;
mod portal;
pub mod pretty;
pub mod query;
pub mod reply;
mod report;
pub mod routes;
pub mod search;
pub mod server;
mod smart;
mod statuses;
pub mod subscription;
mod summary;
mod witness;
