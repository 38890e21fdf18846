//! `medseal token`: mints a bearer token with the data directory's key.

use super::Failed;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::limits::MAX_TOKEN_LIFE;
use std::time::Duration;

/// Prints a token.
pub async fn run(config: &Config, subject: &str, scope: &str, life: &str) -> Result<(), Failed> {
    let life = duration(life)?;
    if !is_name(subject) {
        return Err(Failed(format!("--subject: 1 to {MAX_SUBJECT} letters, digits, `-`, `.`, `_`, `:` or `@`")));
    }
    crate::smart::scopes::parse(scope).map_err(Failed)?;
    if config.index.postgres.is_none() && !config.data.join("index.sqlite").exists() {
        let place = config.data.display();
        return Err(Failed(format!(
            "{place} is no data directory of a medseal: name it with --data, or start `medseal serve` first"
        )));
    }
    let key = crate::app::existing_token_key(config).await.map_err(Failed::from_error)?;
    let now = SystemClock.now().as_second().max(0) as u64;
    println!("{}", key.mint(subject, scope, now, life).map_err(Failed::from_error)?);
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
