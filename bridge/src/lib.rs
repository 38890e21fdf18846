//! medseal: a FHIR/HL7 interoperability bridge with blockchain notarization. This crate is everything that touches the
//! network, a disk or the clock; maps are in `mappings`, proofs in `notary`.
//!
//! The flow: `intake` and `http` receive; [`ingest`] is the write path and [`read`] the read path, each on one page;
//! `commit` is the one writer; [`anchor`] carries what was committed into the log and onto the chain.
//!
//! Who may use whom (held by `tests/it/tidy.rs`):
//!
//! | layer | modules | may use |
//! |---|---|---|
//! | words | ids, secret, clock, limits | nothing above |
//! | pure | fhir, index::{tokens,blind,cells}, vault::{seal,pack}, consent::{decide,policy,labels,outside}, exchange::{document,signed}, smart::scopes, intake::frame, http::query, error, config | words, and the types of the next layer |
//! | outside world | vault::{keys,objects}, index::store, outgoing, smart, people, tls, feeds, places, rooms | pure, words |
//! | use cases | app, ingest, commit, read, search, summary, message, exchange, export, notify, lease, anchor, upkeep, quarantine, intake::ack | all above |
//! | edges | http, intake::{mllp,listeners}, reload, control, the commands | use cases |

pub mod anchor;
pub mod app;
pub mod audit;
pub mod clock;
pub mod commands;
pub mod commit;
pub mod config;
pub mod consent;
pub mod control;
pub mod error;
pub mod exchange;
pub mod export;
pub mod feeds;
pub mod fhir;
pub mod http;
pub mod ids;
pub mod index;
pub mod ingest;
pub mod intake;
pub mod lease;
pub mod limits;
pub mod message;
pub mod notify;
pub mod outgoing;
pub mod people;
pub mod places;
pub mod quarantine;
pub mod read;
pub mod reload;
pub mod rooms;
pub mod search;
pub mod secret;
pub mod smart;
pub mod summary;
pub mod telemetry;
pub mod tls;
pub mod upkeep;
pub mod vault;
