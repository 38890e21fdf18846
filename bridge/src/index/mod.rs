//! The index finds without knowing: it holds blind tokens, places in packs, log entries, and no patient data.

pub mod history;
pub mod log;
pub mod store;
pub mod tokens;
