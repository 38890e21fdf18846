//! The laws of the pure cores, one module for each fuzz target: `hold` takes any bytes and panics where its law is broken.
//!
//! The modules know nothing of the fuzzer, so that `cargo test` in the workspace holds the same laws on the seeds
//! (`fuzz_seeds` in the tests of `mappings` and `notary`, and in those of `bridge`).

pub mod canonical;
/// The framing itself and not the package around it, which is the whole service.
#[path = "../../bridge/src/intake/frame.rs"]
pub mod frame;
pub mod hl7_parse;
pub mod map_message;
pub mod mllp_frame;
pub mod receipt;
