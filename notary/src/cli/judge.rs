//! One receipt's verdict, and its place in the results.

use notary::receipt::Receipt;
use notary::verify::{Cache, Policy, Refusal, Verdict, verify_with};

/// What was said of a receipt.
#[derive(Debug)]
pub enum Judged {
    Holds(Box<Verdict>),
    Refused(Refusal),
    /// Nothing can be said: a file could not be read.
    Unread(String),
}

/// Reads and verifies a receipt. `resource` gives what the receipt is to speak for, once its name is known.
pub fn judge(
    cache: &mut Cache,
    receipt: &[u8],
    raw: Option<&[u8]>,
    policy: &Policy,
    resource: impl FnOnce(&Receipt) -> Result<Option<Vec<u8>>, String>,
) -> Judged {
    let receipt = match Receipt::parse(receipt) {
        Ok(receipt) => receipt,
        Err(error) => return Judged::Refused(error.into()),
    };
    let resource = match resource(&receipt) {
        Ok(resource) => resource,
        Err(problem) => return Judged::Unread(problem),
    };
    match verify_with(cache, &receipt, resource.as_deref(), raw, policy) {
        Ok(verdict) => Judged::Holds(Box::new(verdict)),
        Err(refusal) => Judged::Refused(refusal),
    }
}
