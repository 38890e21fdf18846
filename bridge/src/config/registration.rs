//! `[registration]`: whether apps may register themselves.

use super::Hidden;
use serde::Deserialize;

/// More than that is no house's affair, and could be a flood.
const MAX_MOST: usize = 5_000;
/// A token that can be guessed is none.
const MIN_TOKEN: usize = 32;

/// Dynamic client registration (RFC 7591).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Registration {
    pub open: bool,
    /// What a registration must bear (an initial access token); without it anybody may register an app.
    pub token: Option<Hidden>,
    /// Apps that have registered themselves, at a time.
    pub most: usize,
}

impl Default for Registration {
    fn default() -> Self {
        Self { open: false, token: None, most: 100 }
    }
}

impl Registration {
    /// Checks the settings.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=MAX_MOST).contains(&self.most) {
            return Err(format!("registration.most: 1 to {MAX_MOST}"));
        }
        match &self.token {
            Some(token) if token.0.len() < MIN_TOKEN => {
                Err(format!("registration.token: at least {MIN_TOKEN} characters, such as of `openssl rand -hex 32`"))
            }
            _ => Ok(()),
        }
    }
}
