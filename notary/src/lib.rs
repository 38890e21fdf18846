pub mod anchor;
pub mod bft;
pub mod canonical;
pub mod checkpoint;
pub mod commitment;
pub mod erasure;
pub mod monitor;
pub mod receipt;
pub mod tree;
pub mod verify;
pub mod witness;

#[cfg(feature = "rpc")]
pub mod chain;
#[cfg(feature = "rpc")]
pub mod consent;
