//! The mirror of a registry: its events replayed, and the proof that none is missing. Pure; it is kept as JSON.
//!
//! Grants count where the chain has settled them. A revocation counts from when it is first seen, wherever, and stays
//! when the block that brought it goes away again: a patient who has revoked has revoked.

use super::accumulator::{Accumulator, Event, Kind};
use super::terms::Registry;
use super::word::{GrantKey, Preimage, Word};
use alloy_primitives::{Address, B256, U256};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The form in which a mirror is kept.
const FORMAT: &str = "medseal-mirror/1";

/// A block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    pub number: u64,
    pub hash: B256,
}

/// What the accumulator's slot holds in a block; nothing before the contract's deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proved {
    pub point: Point,
    pub accumulator: Option<Accumulator>,
}

/// The registry, as far as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mirror {
    format: String,
    registry: Registry,
    /// The newest block that stays, up to which all was replayed.
    settled: Option<Point>,
    accumulator: Accumulator,
    grants: BTreeMap<GrantKey, Word>,
    successor: Option<Address>,
    /// What came after the settled block. It may go again.
    news: Vec<Event>,
    /// When each was revoked that was ever seen revoked, here or there.
    revoked: BTreeMap<GrantKey, u64>,
    /// When this last agreed with the chain, in seconds since 1970 by our clock.
    agreed_at: Option<u64>,
}

/// Why events were not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MirrorError {
    #[error("{0} events of the registry are withheld")]
    Withheld(u64),
    #[error("the events are not those of the registry")]
    OtherEvents,
    #[error("the chain is shown up to block {newest}, and up to block {settled} it was read already")]
    Behind { newest: u64, settled: u64 },
    #[error("the mirror that was kept is of another registry, or of a form that is not known")]
    OtherRegistry,
}

/// What has changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taken {
    /// Grants that count from now on.
    pub granted: Vec<GrantKey>,
    /// Grants that were seen revoked for the first time.
    pub revoked: Vec<GrantKey>,
}

/// How a grant stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Never heard of.
    Unknown,
    /// It is in a block that may still go.
    Pending,
    Active(Word),
    Lapsed(Word),
    Revoked {
        at: u64,
    },
}

/// Why a grant gives no access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the consent is not on the chain")]
    Unknown,
    #[error("the consent is on the chain, but not yet in a block that stays")]
    Pending,
    #[error("the consent has ended")]
    Lapsed,
    #[error("the consent was revoked")]
    Revoked,
    /// Retry later.
    #[error("the chain was not read for {0} seconds: a revocation may have been missed")]
    Stale(u64),
    /// Retry later.
    #[error("the chain was not read yet")]
    Unread,
}

impl Mirror {
    /// A mirror that has seen nothing.
    pub fn new(registry: Registry) -> Self {
        Self {
            format: FORMAT.to_owned(),
            registry,
            settled: None,
            accumulator: Accumulator::start(registry.chain_id, registry.contract),
            grants: BTreeMap::new(),
            successor: None,
            news: Vec::new(),
            revoked: BTreeMap::new(),
            agreed_at: None,
        }
    }

    /// One that was kept. It must be of the very registry.
    pub fn restore(json: &str, registry: Registry) -> Result<Self, MirrorError> {
        let kept: Self = serde_json::from_str(json).map_err(|_| MirrorError::OtherRegistry)?;
        let ours = kept.format == FORMAT && kept.registry == registry;
        ours.then_some(kept).ok_or(MirrorError::OtherRegistry)
    }

    /// As JSON, to be kept.
    pub fn to_json(&self) -> String {
        // Numbers and hexadecimal only: serialisation cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Forgets all but revocations: for when a chain has changed what it called final, and a person has looked.
    pub fn begin_again(&mut self) {
        let settled = self.grants.iter().filter_map(|(key, word)| word.revoked_at.map(|at| (*key, at)));
        let mut revoked: BTreeMap<_, _> = settled.collect();
        revoked.append(&mut self.revoked);
        *self = Self { revoked, ..Self::new(self.registry) };
    }

    /// Which registry it mirrors.
    pub fn registry(&self) -> Registry {
        self.registry
    }

    /// The block up to which all has settled: reading goes on behind it.
    pub fn settled(&self) -> Option<Point> {
        self.settled
    }

    /// The accumulator at that block.
    pub fn accumulator(&self) -> Accumulator {
        self.accumulator
    }

    /// The contract that follows this one, once that has settled.
    pub fn successor(&self) -> Option<Address> {
        self.successor
    }

    /// When this last agreed with the chain.
    pub fn agreed_at(&self) -> Option<u64> {
        self.agreed_at
    }

    /// All settled grants.
    pub fn grants(&self) -> impl Iterator<Item = (GrantKey, &Word)> {
        self.grants.iter().map(|(key, word)| (*key, word))
    }

    /// Revocations among events that somebody shows. They need no proof: what is false in them only takes access away.
    pub fn sight(&mut self, events: &[Event]) -> Vec<GrantKey> {
        let revoked = events.iter().filter(|event| event.kind == Kind::Revoked);
        let new = revoked.filter(|event| {
            let at = Word::from(event.word).revoked_at.unwrap_or_default();
            self.stick(GrantKey(event.key), at)
        });
        new.map(|event| GrantKey(event.key)).collect()
    }

    /// A revocation from elsewhere: the patient's click, a preimage that was shown. Whether it is news. `at` in seconds
    /// since 1970.
    pub fn stick(&mut self, key: GrantKey, at: u64) -> bool {
        let known = self.grants.get(&key).is_some_and(|word| word.revoked_at.is_some());
        if known || self.revoked.contains_key(&key) {
            return false;
        }
        self.revoked.insert(key, at);
        true
    }

    /// A preimage that was shown to us: the grants that it revokes from now on.
    pub fn reveal(&mut self, preimage: &Preimage, now: u64) -> Vec<GrantKey> {
        let tag = preimage.tag();
        let settled = self.grants.iter().filter(|(_, word)| word.tag == tag).map(|(key, _)| *key);
        let news = self.news.iter().filter(|event| Word::from(event.word).tag == tag && event.kind == Kind::Registered);
        let keys: Vec<GrantKey> = settled.chain(news.map(|event| GrantKey(event.key))).collect();
        keys.into_iter().filter(|key| self.stick(*key, now)).collect()
    }

    /// Takes in what came after the settled block: events in their order up to `newest`, of which those up to `last`
    /// stay. `now` in seconds since 1970. Revocations stick even where the rest is refused.
    pub fn take(&mut self, events: &[Event], last: Proved, newest: Proved, now: u64) -> Result<Taken, MirrorError> {
        let revoked = self.sight(events);
        if let Some(settled) = self.settled.filter(|settled| newest.point.number < settled.number) {
            return Err(MirrorError::Behind { newest: newest.point.number, settled: settled.number });
        }
        // A node may be asked that settles later than the one before it: nothing is unsettled.
        let last = Some(last).filter(|last| self.settled.is_none_or(|settled| last.point.number >= settled.number));
        let until = last.map_or(0, |last| last.point.number);
        let (settling, news) = events.split_at(events.partition_point(|event| event.block <= until && last.is_some()));
        let at_last = fold(self.accumulator, settling);
        if let Some(last) = last {
            check(self.registry, at_last, last)?;
        }
        check(self.registry, fold(at_last, news), newest)?;
        let granted = settling.iter().filter_map(|event| self.settle(event)).collect();
        (self.accumulator, self.news, self.agreed_at) = (at_last, news.to_vec(), Some(now));
        self.settled = last.map(|last| last.point).or(self.settled);
        Ok(Taken { granted, revoked })
    }

    /// Its key, if it grants something.
    fn settle(&mut self, event: &Event) -> Option<GrantKey> {
        let key = GrantKey(event.key);
        if event.kind == Kind::Succeeded {
            self.successor = Some(Address::from_word(event.key));
            return None;
        }
        let word = self.grants.entry(key).or_insert_with(|| Word::from(event.word));
        // The contract never takes a revocation back; were it to, this does not.
        if word.revoked_at.is_none() {
            *word = Word::from(event.word);
        }
        (event.kind != Kind::Revoked).then_some(key)
    }

    /// What the registry holds of a grant in a block that stays.
    pub fn word(&self, key: GrantKey) -> Option<&Word> {
        self.grants.get(&key)
    }

    /// How a grant stands, as far as this has seen. `now` in seconds since 1970.
    pub fn standing(&self, key: GrantKey, now: u64) -> Standing {
        let word = self.grants.get(&key);
        let revoked = word.and_then(|word| word.revoked_at).or_else(|| self.revoked.get(&key).copied());
        match (revoked, word) {
            (Some(at), _) => Standing::Revoked { at },
            (None, Some(word)) if now > word.not_after => Standing::Lapsed(*word),
            (None, Some(word)) => Standing::Active(*word),
            (None, None) if self.news.iter().any(|event| event.key == key.0) => Standing::Pending,
            (None, None) => Standing::Unknown,
        }
    }

    /// Whether a grant gives access now. `bound`: for how many seconds what was read of the chain counts.
    pub fn allow(&self, key: GrantKey, now: u64, bound: u64) -> Result<Word, Refusal> {
        let word = match self.standing(key, now) {
            Standing::Active(word) => word,
            Standing::Unknown => return Err(self.stale(now, bound).unwrap_or(Refusal::Unknown)),
            Standing::Pending => return Err(Refusal::Pending),
            Standing::Lapsed(_) => return Err(Refusal::Lapsed),
            Standing::Revoked { .. } => return Err(Refusal::Revoked),
        };
        self.stale(now, bound).map_or(Ok(word), Err)
    }

    fn stale(&self, now: u64, bound: u64) -> Option<Refusal> {
        let Some(agreed) = self.agreed_at else { return Some(Refusal::Unread) };
        // A clock that was put back must not make what is old look new.
        let age = now.abs_diff(agreed);
        (age > bound).then_some(Refusal::Stale(age))
    }
}

fn fold(from: Accumulator, events: &[Event]) -> Accumulator {
    events.iter().fold(from, |accumulator, event| accumulator.with(event))
}

/// What the events lead to must be what the contract has.
fn check(registry: Registry, led_to: Accumulator, proved: Proved) -> Result<(), MirrorError> {
    let start = Accumulator::start(registry.chain_id, registry.contract);
    let held = proved.accumulator.filter(|held| held.0 != U256::ZERO).unwrap_or(start);
    match held.count().checked_sub(led_to.count()) {
        _ if held == led_to => Ok(()),
        Some(missing @ 1..) => Err(MirrorError::Withheld(missing)),
        _ => Err(MirrorError::OtherEvents),
    }
}
