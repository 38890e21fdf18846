//! Who may see what. Today the token's scopes decide; patients' own consent joins in the same place.

pub mod decide;
pub mod labels;
pub mod policy;
