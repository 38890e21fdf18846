//! The integration tests: one binary, the real service on temporary data directories, real sockets.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[path = "../../../notary/tests/evm/anvil.rs"]
#[expect(dead_code, reason = "the notary's tests need more of it")]
mod anvil;
mod audit;
mod backend;
mod bucket;
mod bundles;
mod chain;
mod chaos;
mod commands;
mod compaction;
mod consents;
mod contract;
mod corpora;
mod crash;
mod detours;
mod door;
mod drill;
mod emergency;
mod erasure;
mod exchange;
mod export;
mod faults;
mod feeds;
mod fhir;
mod files;
mod frames;
mod fuzz_seeds;
mod grants;
mod groups;
mod guardians;
mod hostile;
mod interactions;
mod kms;
mod launch;
mod ledger;
mod leftovers;
mod letting;
mod messages;
mod mutations;
mod notary;
mod objects;
mod openid;
mod operations;
mod people;
mod portal;
#[path = "../postgres/mod.rs"]
mod postgres;
mod power;
mod processes;
mod proxy;
mod recovery;
mod registration;
mod replicas;
mod rotation;
mod scopes;
mod search;
mod shown;
mod storage;
mod stores;
mod subscriptions;
mod telemetry;
mod tidy;
mod topics;
mod validate;
mod withheld;
mod witness;
mod world;
