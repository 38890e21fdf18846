//! Grants of access as `ConsentRegistry` keeps them (`docs/adr/0014`, `docs/consent.md`), pure: what patients sign,
//! what opens a grant, what revokes it, and a mirror of the contract that knows when it missed something.
//!
//! The words and hashes are those of `notary/contracts/src/interfaces/IConsentRegistry.sol`, held to it by
//! `notary/vectors/consent.json`.

mod accumulator;
mod code;
mod mirror;
mod opening;
mod proof;
mod terms;
mod word;

pub use accumulator::{Accumulator, Event, Kind};
pub use code::{CodeError, RevocationCode};
pub use mirror::{Mirror, MirrorError, Point, Proved, Refusal, Standing, Taken};
pub use opening::{Instructed, Opening, Sealed};
pub use proof::{ProofError, Signer, passkey_proof, signer};
pub use terms::{Registry, STATEMENT, Terms};
pub use word::{GrantKey, Preimage, Tag, Word};

#[cfg(test)]
mod tests;
