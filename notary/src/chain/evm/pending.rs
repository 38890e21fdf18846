//! What becomes of an anchor that is on its way. Pure: what was seen comes in, what to do comes out.

use super::sender::Fees;
use alloy_primitives::{Address, B256, Bytes};
use serde::{Deserialize, Serialize};

/// How often fees are raised. Each time by an eighth at least: fifty times are more than three hundredfold.
const MAX_RAISES: usize = 50;

/// One anchor on its way. It is kept durably before any byte of it leaves, so that after a crash the same bytes go out again:
/// whichever of them is mined, they share one nonce, and the contract takes one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    /// The chain and the contract that it was signed for: it is nothing on another.
    pub chain_id: u64,
    pub contract: Address,
    /// The log size that it anchors.
    pub size: u64,
    pub nonce: u64,
    pub gas_limit: u64,
    pub input: Bytes,
    /// What was signed, the newest last; each pays more than the one before.
    pub sent: Vec<Sent>,
}

/// A signed transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    pub raw: Bytes,
    pub hash: B256,
    pub fees: Fees,
    /// When it was signed, seconds since 1970.
    pub at: u64,
}

/// What the chain shows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The head's size in the newest block that stays.
    pub last: u64,
    /// The head's size in the newest block.
    pub newest: u64,
    /// The next nonce of the account in the newest block, proved.
    pub nonce: u64,
    /// Whether one of them is in a block, and succeeded there.
    pub mined: Option<bool>,
    /// Whether a node still has the newest one.
    pub known: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It stands in a block that stays, or something that covers it does.
    Done,
    Wait,
    /// The same bytes go out once more.
    Again,
    /// It pays too little: the same nonce, higher fees.
    Raise,
    /// It can anchor nothing any more: begin anew.
    GiveUp(&'static str),
}

/// Decides. `patience`: after how many seconds without a block fees are raised.
pub fn step(pending: &Pending, seen: &Seen, now: u64, patience: u64) -> Step {
    let waited = pending.sent.last().map_or(0, |sent| now.saturating_sub(sent.at));
    match seen {
        Seen { last, .. } if *last >= pending.size => Step::Done,
        Seen { newest, .. } if *newest >= pending.size => Step::Wait,
        Seen { mined: Some(false), .. } => Step::GiveUp("it failed in its block"),
        // Its block is newer than the state that was read.
        Seen { mined: Some(true), .. } => Step::Wait,
        Seen { nonce, .. } if *nonce > pending.nonce => Step::GiveUp("another transaction took its nonce"),
        Seen { nonce, .. } if *nonce < pending.nonce => {
            Step::GiveUp("no block can hold it: nonces before its own are free")
        }
        _ if waited >= patience && pending.sent.len() < MAX_RAISES => Step::Raise,
        Seen { known: false, .. } => Step::Again,
        _ => Step::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending() -> Pending {
        let sent = |at| Sent { raw: Bytes::new(), hash: B256::ZERO, fees: Fees { max: 10, tip: 1 }, at };
        let (chain_id, contract) = (1, Address::ZERO);
        Pending {
            chain_id,
            contract,
            size: 100,
            nonce: 7,
            gas_limit: 1,
            input: Bytes::new(),
            sent: vec![sent(1_000), sent(1_060)],
        }
    }

    const SEEN: Seen = Seen { last: 50, newest: 50, nonce: 7, mined: None, known: true };

    #[test]
    fn each_thing_that_is_seen_has_its_step() {
        let cases = [
            (SEEN, 1_100, Step::Wait),
            (Seen { known: false, ..SEEN }, 1_100, Step::Again),
            (SEEN, 1_120, Step::Raise),
            (Seen { known: false, ..SEEN }, 1_120, Step::Raise),
            (Seen { nonce: 8, ..SEEN }, 1_100, Step::GiveUp("another transaction took its nonce")),
            (Seen { nonce: 8, mined: Some(false), ..SEEN }, 1_100, Step::GiveUp("it failed in its block")),
            (Seen { nonce: 8, mined: Some(true), ..SEEN }, 9_000, Step::Wait),
            (Seen { nonce: 8, mined: Some(true), newest: 100, ..SEEN }, 9_000, Step::Wait),
            (Seen { nonce: 8, mined: Some(true), newest: 100, last: 100, ..SEEN }, 1_100, Step::Done),
            // Another replica's anchor went further: this one's failure is no harm.
            (Seen { nonce: 9, mined: Some(false), newest: 120, last: 120, ..SEEN }, 1_100, Step::Done),
        ];
        for (seen, now, wanted) in cases {
            assert_eq!(step(&pending(), &seen, now, 60), wanted, "{seen:?} at {now}");
        }
    }

    #[test]
    fn fees_are_not_raised_for_ever() {
        let mut many = pending();
        many.sent = vec![many.sent[0].clone(); MAX_RAISES];
        assert_eq!(step(&many, &SEEN, 99_999, 60), Step::Wait);
    }
}
