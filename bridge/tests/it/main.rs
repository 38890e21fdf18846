//! The integration tests: one binary, the real service on temporary data directories, real sockets.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod commands;
mod contract;
mod corpora;
mod crash;
mod faults;
mod fhir;
mod fuzz_seeds;
mod messages;
mod notary;
mod objects;
mod tidy;
mod world;
