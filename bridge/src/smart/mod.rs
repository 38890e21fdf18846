//! Who calls, and with which scopes: the authorization server (SMART App Launch 2.2), so far as it goes. Clients ask for tokens by
//! assertions that they sign (backend services); the administrator mints them at the machine.

pub mod assertion;
pub mod grant;
pub mod identity;
pub mod key_sets;
pub mod keys;
pub mod launch;
pub mod registration;
pub mod scopes;
pub mod standing;
pub mod token;
