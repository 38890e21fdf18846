//! Who calls, and with which scopes. The authorization server grows here; today it mints and checks tokens.

pub mod scopes;
pub mod token;
