//! Who may see what: the token's scopes decide (`decide`), then the patients' own Consents (`gate`), those of them that name a grant
//! (`grant`) while it stands on the registry (`registry`).

mod belong;
pub mod decide;
pub mod emergency;
pub mod gate;
pub mod give;
pub mod grant;
pub mod labels;
mod merged;
pub mod outside;
pub mod policy;
pub mod registry;
pub mod request;
pub mod whose;
pub mod worker;
