//! `[[login.openid]]`: providers of others that people may sign in by.

use super::Hidden;
use serde::Deserialize;

/// Each is a button on a page.
const MAX_PROVIDERS: usize = 8;
const MAX_NAME: usize = 60;
/// Ages at which laws let somebody decide on treatment or on everything.
const MAJORITY: std::ops::RangeInclusive<u8> = 12..=25;

/// How people sign in, beside passkeys and wallets.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Login {
    pub openid: Vec<Provider>,
    /// From which age, in years, a patient acts alone, and no guardian any more.
    pub majority: u8,
}

impl Default for Login {
    fn default() -> Self {
        Self { openid: Vec::new(), majority: 18 }
    }
}

/// An OpenID provider (OpenID Connect Core 1.0).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// What the button says.
    pub name: String,
    /// Its issuer, to the letter; its discovery document is under it.
    pub issuer: String,
    pub client_id: String,
    pub client_secret: Option<Hidden>,
}

impl Login {
    /// Checks the providers.
    pub fn check(&self) -> Result<(), String> {
        if self.openid.len() > MAX_PROVIDERS {
            return Err(format!("login.openid: at most {MAX_PROVIDERS} providers"));
        }
        if !MAJORITY.contains(&self.majority) {
            return Err(format!("login.majority: {} to {} years", MAJORITY.start(), MAJORITY.end()));
        }
        self.openid.iter().try_for_each(Provider::check)?;
        let names: std::collections::HashSet<_> = self.openid.iter().map(|provider| &provider.name).collect();
        if names.len() == self.openid.len() { Ok(()) } else { Err("login.openid.name: each name once".into()) }
    }
}

impl Provider {
    fn check(&self) -> Result<(), String> {
        let Self { name, issuer, client_id, .. } = self;
        if name.trim().is_empty() || name.chars().count() > MAX_NAME || client_id.is_empty() {
            return Err(format!("login.openid: a name of 1 to {MAX_NAME} characters, and a client_id"));
        }
        let whole = issuer.starts_with("https://") || issuer.starts_with("http://");
        if !whole || issuer.contains(['?', '#', ' ']) {
            return Err(format!("login.openid.issuer: `{issuer}` is no issuer; an example is `https://login.example`"));
        }
        Ok(())
    }
}
