//! `medseal client`: the programs that may ask for tokens by a key of their own (SMART backend services), beside a running service.

use super::Failed;
use crate::app::existing_index;
use crate::clock::{Clock, SystemClock, instant};
use crate::config::Config;
use crate::consent::policy::is_purpose;
use crate::index::clients::{Client, Keys};
use crate::limits::MAX_CLIENTS;
use crate::outgoing::{Outgoing, Refusal};
use crate::secret::{bytes, system_random};
use crate::smart::grant::has;
use crate::smart::registration::{self, MAX_NAME, MAX_REDIRECT, MAX_REDIRECTS, is_redirect};
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
    #[arg(long, required_unless_present_any = ["jwks_uri", "public"], conflicts_with_all = ["jwks_uri", "public"])]
    jwks: Option<PathBuf>,
    /// Where it publishes its public keys, https.
    #[arg(long)]
    jwks_uri: Option<String>,
    /// An app, which people let in: it gets patient, user and launch scopes.
    #[arg(long, requires = "redirect")]
    app: bool,
    /// Where an app is called back, to the letter: https, or http on the person's own machine. May be given several times.
    #[arg(long, requires = "app")]
    redirect: Vec<String>,
    /// Where an app is opened that people open from a record (EHR launch), by the rules of redirect addresses.
    #[arg(long, requires = "app")]
    launch: Option<String>,
    /// What it uses records for, a code of v3-ActReason such as HRESCH; else PATRQT for patients' apps, and what is configured.
    #[arg(long)]
    purpose: Option<String>,
    /// An app that can keep no key to itself: one in a browser or on a phone.
    #[arg(long, requires = "app", conflicts_with = "jwks_uri")]
    public: bool,
}

/// Registers a client and prints its id.
pub async fn add(config: &Config, new: &New) -> Result<(), Failed> {
    let store = existing_index(config).map_err(Failed::from_error)?;
    let id = hex::encode(bytes::<16>(&system_random).map_err(Failed::from_error)?);
    let client = Client {
        id: id.clone(),
        name: named(&new.name)?,
        scope: scope(&new.scope, new.app)?,
        launch: launch(new)?,
        purpose: purpose(new.purpose.as_deref())?,
        keys: keys_of(config, new).await?,
        redirects: redirects(&new.redirect)?,
        by_itself: false,
        made: SystemClock.now().as_millisecond(),
    };
    match store.add_client(&client, MAX_CLIENTS).map_err(Failed::from_error)? {
        true => say!("{id}"),
        false => return Err(Failed(format!("there are {MAX_CLIENTS} clients already: remove some"))),
    }
    Ok(())
}

fn named(name: &str) -> Result<String, Failed> {
    registration::named(name).ok_or_else(|| Failed(format!("--name: 1 to {MAX_NAME} bytes, printable")))
}

/// A program on its own has no patient and no user; an app has nothing but what people let it have.
fn scope(text: &str, app: bool) -> Result<String, Failed> {
    let scopes = scopes::parse(text).map_err(|what| Failed(format!("--scope: {what}")))?;
    match scopes.iter().find(|scope| scope.is_system() == app) {
        Some(other) if app => Err(Failed(format!("--scope: an app takes no system scopes such as `{other}`"))),
        Some(other) => Err(Failed(format!("--scope: a backend service takes system scopes, not `{other}`"))),
        None => Ok(scopes::text(&scopes)),
    }
}

/// One that Consents may speak of.
pub(super) fn purpose(text: Option<&str>) -> Result<Option<String>, Failed> {
    match text {
        Some(code) if !is_purpose(code) => {
            Err(Failed(format!("--purpose: a purpose of use of v3-ActReason, such as TREAT or HRESCH: not {code:?}")))
        }
        text => Ok(text.map(str::to_owned)),
    }
}

/// The scope lets it know what it was opened for: without it it would be opened for nothing.
fn launch(new: &New) -> Result<Option<String>, Failed> {
    let Some(address) = &new.launch else { return Ok(None) };
    if !is_redirect(address) {
        return Err(Failed(format!("--launch: an https address, or http on localhost, without `#`: not {address:?}")));
    }
    match has(&scopes::parse_known(&new.scope), "launch") {
        true => Ok(Some(address.clone())),
        false => Err(Failed("--launch: the app needs the scope `launch`".into())),
    }
}

fn redirects(given: &[String]) -> Result<Vec<String>, Failed> {
    if given.len() > MAX_REDIRECTS {
        return Err(Failed(format!("--redirect: at most {MAX_REDIRECTS}")));
    }
    match given.iter().find(|text| !is_redirect(text)) {
        Some(bad) => Err(Failed(format!(
            "--redirect: an https address, or http on localhost, without `#`, at most {MAX_REDIRECT} bytes: not {bad:?}"
        ))),
        None => Ok(given.to_vec()),
    }
}

async fn keys_of(config: &Config, new: &New) -> Result<Keys, Failed> {
    if new.public {
        return Ok(Keys::None);
    }
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

/// Prints the clients, one a line: id, since when, scopes, keys, name, where an app is called back, where it is opened, what it uses records for, whether it
/// registered itself.
pub fn list(config: &Config) -> Result<(), Failed> {
    let store = existing_index(config).map_err(Failed::from_error)?;
    for Client { id, name, scope, keys, redirects, launch, purpose, by_itself, made } in
        store.clients().map_err(Failed::from_error)?
    {
        let keys = match &keys {
            Keys::At(url) => url,
            Keys::Inline(_) => "inline",
            Keys::None => "public",
        };
        let made = instant(jiff::Timestamp::from_millisecond(made).unwrap_or_default());
        let (launch, purpose) = (launch.unwrap_or_default(), purpose.unwrap_or_default());
        let by = if by_itself { "registered itself" } else { "" };
        say!("{id}\t{made}\t{scope}\t{keys}\t{name}\t{}\t{launch}\t{purpose}\t{by}", redirects.join(" "));
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
        assert_eq!(scope("system/*.read", false).unwrap(), "system/*.rs");
        for bad in ["", "patient/*.rs", "system/*.rs openid", "system/Cat.r"] {
            assert!(scope(bad, false).is_err(), "{bad}");
        }
        assert_eq!(scope("patient/*.read openid", true).unwrap(), "patient/*.rs openid");
        assert!(scope("patient/*.rs system/*.rs", true).is_err());
    }

    #[test]
    fn a_purpose_is_one_that_consents_speak_of() {
        for good in ["TREAT", "HRESCH", "PATRQT", "FAMRQT", "BTG"] {
            assert_eq!(purpose(Some(good)).unwrap().as_deref(), Some(good));
        }
        for bad in ["", "treat", "PurposeOfUse", "N", "x y"] {
            assert!(purpose(Some(bad)).is_err(), "{bad}");
        }
        assert!(purpose(None).unwrap().is_none());
    }

    #[test]
    fn an_app_is_called_back_over_tls_or_on_the_same_machine() {
        for good in ["https://app.example/cb?x=1", "http://localhost:3000/", "http://127.0.0.1:9/cb", "http://[::1]/cb"]
        {
            assert!(is_redirect(good), "{good}");
        }
        let long = format!("https://a/{}", "a".repeat(MAX_REDIRECT));
        for bad in [
            "",
            "/cb",
            "http://app.example/cb",
            "https://app.example/cb#x",
            "https://u@app.example/",
            "http://localhost.evil.example/",
            "javascript:alert(1)",
            "https://a b/",
            &long,
        ] {
            assert!(!is_redirect(bad), "{bad}");
        }
    }
}
