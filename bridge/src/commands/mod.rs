//! The commands of the program `medseal`.

pub mod backup;
pub mod client;
pub mod clients;
pub mod contracts;
pub mod demo;
pub mod erase;
pub mod keys;
pub mod quarantine;
pub mod receipt;
pub mod recover;
pub mod reload;
pub mod send;
pub mod serve;
pub mod storage;
pub mod token;
pub mod user;

/// A command that failed: one line for people, what, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub String);

impl Failed {
    /// Whatever went wrong, in its own words.
    pub fn from_error(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}
