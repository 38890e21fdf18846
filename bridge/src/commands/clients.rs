//! `medseal client`: the programs that may ask for tokens by a key of their own (SMART backend services), beside a running service.

use super::Failed;
use crate::app::existing_index;
use crate::clock::{Clock, SystemClock, instant};
use crate::config::Config;
use crate::index::clients::{Client, Keys};
use crate::limits::MAX_CLIENTS;
use crate::outgoing::{Outgoing, Refusal};
use crate::secret::{bytes, system_random};
use crate::smart::{keys, scopes};
use std::path::PathBuf;

/// A client to register.
#[derive(Debug, clap::Args)]
pub struct New {
    /// What people call it.
    #[arg(long)]
    name: String,
    /// The most that it is granted, for example 'system/Patient.rs system/Observation.rs?category=laboratory'.
    #[arg(long)]
    scope: String,
    /// A file with its public keys, a JWK set.
    #[arg(long, required_unless_present = "jwks_uri", conflicts_with = "jwks_uri")]
    jwks: Option<PathBuf>,
    /// Where it publishes its public keys, https.
    #[arg(long)]
    jwks_uri: Option<String>,
}

/// The longest name.
const MAX_NAME: usize = 100;

/// Registers a client and prints its id.
pub async fn add(config: &Config, new: &New) -> Result<(), Failed> {
    let store = existing_index(config).map_err(Failed::from_error)?;
    let id = hex::encode(bytes::<16>(&system_random).map_err(Failed::from_error)?);
    let client = Client {
        id: id.clone(),
        name: named(&new.name)?,
        scope: scope(&new.scope)?,
        keys: keys_of(config, new).await?,
        made: SystemClock.now().as_millisecond(),
    };
    match store.add_client(&client, MAX_CLIENTS).map_err(Failed::from_error)? {
        true => println!("{id}"),
        false => return Err(Failed(format!("there are {MAX_CLIENTS} clients already: remove some"))),
    }
    Ok(())
}

fn named(name: &str) -> Result<String, Failed> {
    let fine = !name.trim().is_empty() && name.len() <= MAX_NAME && !name.chars().any(char::is_control);
    fine.then(|| name.trim().to_owned()).ok_or_else(|| Failed(format!("--name: 1 to {MAX_NAME} bytes, printable")))
}

/// A program on its own has no patient and no user.
fn scope(text: &str) -> Result<String, Failed> {
    let scopes = scopes::parse(text).map_err(|what| Failed(format!("--scope: {what}")))?;
    match scopes.iter().find(|scope| !scope.is_system()) {
        Some(other) => Err(Failed(format!("--scope: a backend service takes system scopes, not `{other}`"))),
        None => Ok(scopes::text(&scopes)),
    }
}

async fn keys_of(config: &Config, new: &New) -> Result<Keys, Failed> {
    if let Some(path) = &new.jwks {
        let at = |what: &dyn std::fmt::Display| Failed(format!("{}: {what}", path.display()));
        let text = std::fs::read(path).map_err(|error| at(&error))?;
        keys::parse(&text).map_err(|error| at(&error))?;
        return String::from_utf8(text).map(Keys::Inline).map_err(|error| at(&error));
    }
    let url = new.jwks_uri.clone().unwrap_or_default();
    match Outgoing::new(config.outgoing.clone()).allows(&url).await {
        // It may resolve where the service runs, or later: it is asked again then.
        Ok(()) | Err(Refusal::Unresolved) => Ok(Keys::At(url)),
        Err(refusal) => Err(Failed(format!("--jwks-uri: {refusal}"))),
    }
}

/// Prints the clients, one a line: id, since when, scopes, keys, name.
pub fn list(config: &Config) -> Result<(), Failed> {
    let store = existing_index(config).map_err(Failed::from_error)?;
    for Client { id, name, scope, keys, made } in store.clients().map_err(Failed::from_error)? {
        let keys = if let Keys::At(url) = &keys { url } else { "inline" };
        let made = instant(jiff::Timestamp::from_millisecond(made).unwrap_or_default());
        println!("{id}\t{made}\t{scope}\t{keys}\t{name}");
    }
    Ok(())
}

/// Removes a client; tokens that it has are refused within seconds.
pub fn remove(config: &Config, id: &str) -> Result<(), Failed> {
    let store = existing_index(config).map_err(Failed::from_error)?;
    match store.drop_client(id).map_err(Failed::from_error)? {
        true => Ok(()),
        false => Err(Failed(format!("there is no client {id}; `medseal client list` names them"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_a_name_and_system_scopes() {
        assert!(named("Lab of Northquay").is_ok() && named(" ").is_err() && named("a\nb").is_err());
        assert_eq!(scope("system/*.read").unwrap(), "system/*.rs");
        for bad in ["", "patient/*.rs", "system/*.rs openid", "system/Cat.r"] {
            assert!(scope(bad).is_err(), "{bad}");
        }
    }
}
