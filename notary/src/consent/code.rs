//! The revocation code: what a patient holds to revoke a grant without asking anybody. A text file that a person can
//! read, and a secret in it that can be printed, read out and typed.

use super::terms::Registry;
use super::word::{GrantKey, Preimage};
use crate::commitment::Digest;
use alloy_primitives::{Address, B256};
use data_encoding::{Encoding, Specification};
use std::fmt;

/// The first line of the file.
const FORMAT: &str = "medseal-revocation/1";
/// What a secret begins with.
const PREFIX: &str = "MSR1";
/// Four bytes of SHA-256: one mistyped code in four thousand million passes.
const CHECK_BYTES: usize = 4;
const SECRET_BYTES: usize = 32 + CHECK_BYTES;
/// The secret is written in groups of so many letters.
const GROUP: usize = 6;
/// The longest file that is read: one has some 800 bytes.
const MAX_BYTES: usize = 8_192;

/// What revokes one grant, and where. It holds a secret and does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct RevocationCode {
    pub registry: Registry,
    pub key: GrantKey,
    pub preimage: Preimage,
}

/// Why a text is no revocation code. The reader's fault; carries nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    #[error("it is no revocation code: it has no line `{FORMAT}`, or is too long")]
    Format,
    #[error("the line `{0}:` is missing or cannot be read")]
    Line(&'static str),
    #[error("a letter of the secret is wrong or missing")]
    Secret,
    #[error("the lines do not belong together: one of them was changed")]
    Check,
}

impl fmt::Debug for RevocationCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RevocationCode(<redacted>)")
    }
}

impl Preimage {
    /// As it is printed: letters that are not mistaken for each other, in groups, with a check.
    pub fn to_code(&self) -> String {
        let letters = letters().encode(&[&self.0[..], &check(&self.0)].concat());
        let groups: Vec<&str> = (0..letters.len()).step_by(GROUP).map(|at| slice(&letters, at)).collect();
        format!("{PREFIX}-{}", groups.join("-"))
    }

    /// Reads it, in capitals or not, with O for 0 and I or L for 1, whatever stands between the groups.
    pub fn from_code(text: &str) -> Result<Self, CodeError> {
        let text = text.trim();
        let begins = text.get(..PREFIX.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(PREFIX));
        let rest =
            text.get(PREFIX.len()..).filter(|rest| begins && rest.len() <= MAX_BYTES).ok_or(CodeError::Secret)?;
        let bytes = letters().decode(rest.as_bytes()).map_err(|_| CodeError::Secret)?;
        let (secret, sum) = bytes.split_at_checked(32).ok_or(CodeError::Secret)?;
        let whole = bytes.len() == SECRET_BYTES && check(secret) == sum;
        secret.try_into().ok().filter(|_| whole).map(Self).ok_or(CodeError::Secret)
    }
}

impl RevocationCode {
    /// The file: what it is, what to do with it, and the values.
    pub fn to_text(&self) -> String {
        let Self { registry, key, preimage } = self;
        let (contract, code) = (registry.contract, preimage.to_code());
        let secret = B256::from(preimage.0);
        format!(
            "{FORMAT}\n\n\
            Whoever has this file can withdraw one consent, for ever. Keep it where you keep your papers.\n\
            Give it to the hospital's page, or to anybody who can send a transaction:\n\n\
            cast send {contract} 'revokeSealed(bytes32,bytes32)' \\\n  {key} \\\n  {secret}\n\n\
            chain: {}\ncontract: {contract}\ngrant: {key}\nsecret: {code}\ncheck: {}\n",
            registry.chain_id,
            hex::encode(self.check()),
        )
    }

    /// Reads the file. Lines that it does not know are passed over.
    pub fn parse(text: &str) -> Result<Self, CodeError> {
        if text.len() > MAX_BYTES || !text.lines().any(|line| line.trim() == FORMAT) {
            return Err(CodeError::Format);
        }
        let line = |name: &'static str| {
            let mut values = text.lines().filter_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
            values.next_back().map(str::trim).ok_or(CodeError::Line(name))
        };
        let chain_id = line("chain")?.parse().map_err(|_| CodeError::Line("chain"))?;
        let contract: Address = line("contract")?.parse().map_err(|_| CodeError::Line("contract"))?;
        let key: B256 = line("grant")?.parse().map_err(|_| CodeError::Line("grant"))?;
        let preimage = Preimage::from_code(line("secret")?)?;
        let code = Self { registry: Registry { chain_id, contract }, key: GrantKey(key), preimage };
        if line("check")? == hex::encode(code.check()) { Ok(code) } else { Err(CodeError::Check) }
    }

    fn check(&self) -> [u8; CHECK_BYTES] {
        let chain = self.registry.chain_id.to_be_bytes();
        check(&[&chain[..], self.registry.contract.as_slice(), self.key.0.as_slice(), &self.preimage.0].concat())
    }
}

fn slice(letters: &str, at: usize) -> &str {
    &letters[at..letters.len().min(at + GROUP)]
}

fn check(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let mut out = [0; CHECK_BYTES];
    out.copy_from_slice(&Digest::of(bytes).0[..CHECK_BYTES]);
    out
}

/// Crockford's base 32.
fn letters() -> Encoding {
    let mut letters = Specification::new();
    letters.symbols.push_str("0123456789ABCDEFGHJKMNPQRSTVWXYZ");
    letters.translate.from.push_str("abcdefghjkmnpqrstvwxyzOoIiLl");
    letters.translate.to.push_str("ABCDEFGHJKMNPQRSTVWXYZ001111");
    letters.ignore.push_str("- \t");
    // The alphabet is a constant: were it not one, no test would pass.
    letters.encoding().unwrap_or(data_encoding::BASE32)
}
