//! `medseal token`: mints a bearer token with the data directory's key.

use super::Failed;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::ids::Name;
use crate::limits::MAX_TOKEN_LIFE;
use crate::smart::scopes::{self, Access, Context, Scope};
use crate::smart::token::Caller;
use std::time::Duration;

/// Prints a token; for `patient/` and `user/` scopes, of whom they speak.
pub async fn run(
    config: &Config,
    subject: &str,
    scope: &str,
    (patient, user, purpose): (Option<&str>, Option<&str>, Option<&str>),
    life: &str,
) -> Result<(), Failed> {
    let life = duration(life)?;
    if !is_name(subject) {
        return Err(Failed(format!("--subject: 1 to {MAX_SUBJECT} letters, digits, `-`, `.`, `_`, `:` or `@`")));
    }
    let scopes = scopes::parse(scope).map_err(Failed)?;
    let patient = whom("--patient", patient, &["Patient"])?;
    let user = whom("--user", user, &["Practitioner", "PractitionerRole", "Patient"])?;
    let purpose = super::clients::purpose(purpose)?;
    let caller = Caller { patient, user, purpose, ..Caller::new(subject, scopes) };
    contexts(&caller)?;
    if config.index.postgres.is_none() && !config.data.join("index.sqlite").exists() {
        let place = config.data.display();
        return Err(Failed(format!(
            "{place} is no data directory of a medseal: name it with --data, or start `medseal serve` first"
        )));
    }
    let key = crate::app::existing_token_key(config).await.map_err(Failed::from_error)?;
    let now = SystemClock.now().as_second().max(0) as u64;
    say!("{}", key.issue(&caller, now, life).map_err(Failed::from_error)?);
    Ok(())
}

fn whom(argument: &str, text: Option<&str>, kinds: &[&str]) -> Result<Option<Name>, Failed> {
    let Some(text) = text else { return Ok(None) };
    let name = Name::parse(text).filter(|name| kinds.contains(&name.kind.as_str()));
    let wrong = || Failed(format!("{argument}: write {}/id", kinds.join("/id or ")));
    name.map(Some).ok_or_else(wrong)
}

/// A scope that speaks of nobody would open nothing, and who uses the token would not know why.
fn contexts(caller: &Caller) -> Result<(), Failed> {
    for scope in &caller.scopes {
        match scope {
            Scope::Access(Access { context: Context::Patient, .. }) if caller.patient.is_none() => {
                return Err(Failed(format!("`{scope}` needs --patient Patient/id")));
            }
            Scope::Access(Access { context: Context::User, .. }) if caller.user.is_none() => {
                return Err(Failed(format!("`{scope}` needs --user Practitioner/id")));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The longest name of a client.
const MAX_SUBJECT: usize = 64;

fn is_name(text: &str) -> bool {
    let harmless = |c: u8| c.is_ascii_alphanumeric() || b"-._:@".contains(&c);
    !text.is_empty() && text.len() <= MAX_SUBJECT && text.bytes().all(harmless)
}

/// `90s`, `15m`, `8h`, `7d`.
pub fn duration(text: &str) -> Result<Duration, Failed> {
    let wrong = || {
        Failed(format!("--ttl {text}: a number and s, m, h or d, at most {} days", MAX_TOKEN_LIFE.as_secs() / 86_400))
    };
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let life = Duration::from_secs(number.checked_mul(seconds).ok_or_else(wrong)?);
    if life.is_zero() || life > MAX_TOKEN_LIFE { Err(wrong()) } else { Ok(life) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_speaks_of_somebody() {
        let caller = |text: &str, patient: Option<&str>, user: Option<&str>| {
            let (patient, user) = (whom("p", patient, &["Patient"])?, whom("u", user, &["Practitioner"])?);
            contexts(&Caller { patient, user, ..Caller::new("x", scopes::parse(text).map_err(Failed)?) })
        };
        assert!(caller("patient/*.rs", Some("Patient/p"), None).is_ok());
        assert!(caller("user/*.rs system/*.rs", None, Some("Practitioner/d")).is_ok());
        assert!(caller("patient/*.rs", None, Some("Practitioner/d")).is_err());
        assert!(caller("user/*.rs", Some("Patient/p"), None).is_err());
        assert!(caller("patient/*.rs", Some("Observation/p"), None).is_err());
    }

    #[test]
    fn names_are_harmless() {
        assert!(is_name("lab:app-1@north") && is_name(&"x".repeat(MAX_SUBJECT)));
        for bad in ["", "a b", "é", "a\n", &"x".repeat(MAX_SUBJECT + 1)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn lives_are_bounded() {
        assert_eq!(duration("8h").unwrap(), Duration::from_secs(28_800));
        for bad in ["", "8", "h", "0s", "31d", "99999999999999999999d", "5w", "é"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
