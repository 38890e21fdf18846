//! Who may see what: the token's scopes decide (`decide`), then the patients' own Consents (`gate`).

pub mod decide;
pub mod gate;
pub mod labels;
pub mod policy;
mod whose;
