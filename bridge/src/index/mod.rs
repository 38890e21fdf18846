//! The index finds without knowing: it holds blind tokens, places in packs, log entries, and no patient data.

pub mod backup;
pub mod blind;
pub mod cells;
pub mod erasures;
pub mod history;
pub mod jobs;
pub mod log;
pub mod notices;
pub mod places;
pub mod restore;
pub mod scan;
mod sql;
pub mod standing;
pub mod store;
pub mod tokens;
