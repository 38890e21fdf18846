//! Following a `ConsentRegistry`: events from any node, and from a proof of the accumulator that they are all. A node
//! that leaves some out is noticed, and another one's are taken.

use super::nodes::Agreed;
use super::{Block, EvmError, Finality, Node, Nodes, Pins};
use crate::chain::registry::{EVENTS, event};
use crate::consent::{Accumulator, Event, GrantKey, Mirror, MirrorError, Point, Proved, Taken};
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::B256;
use alloy_provider::Provider;
use alloy_rpc_types_eth::Filter;

/// The accumulator's slot, which the contract's storage layout promises.
const ACCUMULATOR_SLOT: B256 = B256::ZERO;
/// So many blocks are asked for at once: what public nodes allow.
const RANGE: u64 = 2_000;
/// How far beyond what is agreed a single node is listened to, in blocks: its word for the newest block may be any
/// number.
const AHEAD: u64 = 10 * RANGE;
/// So many events more than the contract counts are read of a node that goes on and on.
const TOO_MANY: u64 = 10_000;

/// How a registry is read.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    pub finality: Finality,
    /// How old the newest block may be, in seconds, where blocks come regularly. Without it a node that stands still is
    /// not noticed.
    pub max_age: Option<u64>,
    /// The block of the contract's deployment, or one before it.
    pub from_block: u64,
}

/// What was proved of the accumulator.
struct Shown {
    last: Proved,
    newest: Proved,
}

/// Takes in what has come since the last time. `now` in seconds since 1970. Revocations that any node shows are taken
/// in and told even where the rest is an error: then nothing else has changed, and the mirror grows stale until it goes
/// on.
pub async fn follow(nodes: &Nodes, mirror: &mut Mirror, reading: &Reading, now: u64) -> (Taken, Result<(), EvmError>) {
    let proved = prove(nodes, mirror, reading, now).await;
    let heard = hear(nodes, mirror, reading, proved.as_ref().ok()).await;
    let events = heard.iter().filter_map(|(_, events)| events.as_ref().ok());
    let revoked: Vec<GrantKey> = events.flat_map(|events| mirror.sight(events)).collect();
    let (taken, outcome) = match proved.and_then(|shown| take(mirror, heard, &shown, now)) {
        Ok(taken) => (taken, Ok(())),
        Err(error) => (Taken::default(), Err(error)),
    };
    (Taken { revoked: revoked.into_iter().chain(taken.revoked).collect(), ..taken }, outcome)
}

/// What the nodes agree on, and what the contract's slot holds there.
async fn prove(nodes: &Nodes, mirror: &Mirror, reading: &Reading, now: u64) -> Result<Shown, EvmError> {
    let agreed = nodes.agreed(reading.finality, now, reading.max_age).await?;
    let Agreed { node, last, newest } = agreed;
    same_history(&node, mirror, &newest).await?;
    let last = held(&node, last, nodes.pins()).await?;
    let newest = held(&node, newest, nodes.pins()).await?;
    if newest.accumulator.is_none() {
        return Err(node.other_code(nodes.pins()));
    }
    Ok(Shown { last, newest })
}

/// The block up to which all was replayed must still be there.
async fn same_history(node: &Node, mirror: &Mirror, newest: &Block) -> Result<(), EvmError> {
    let Some(settled) = mirror.settled().filter(|settled| settled.number <= newest.number) else { return Ok(()) };
    let block = node.block(settled.number.into()).await?.ok_or_else(|| node.unproved())?;
    if block.hash == settled.hash { Ok(()) } else { Err(EvmError::Rewritten { number: settled.number }) }
}

async fn held(node: &Node, block: Block, pins: &Pins) -> Result<Proved, EvmError> {
    let point = Point { number: block.number, hash: block.hash };
    let Some(held) = node.held(&block, pins.contract, &[ACCUMULATOR_SLOT]).await? else {
        return Ok(Proved { point, accumulator: None });
    };
    if held.code_hash != pins.code_hash {
        return Err(node.other_code(pins));
    }
    Ok(Proved { point, accumulator: held.values().next().map(Accumulator) })
}

type Heard = (String, Result<Vec<Event>, EvmError>);

/// What each node shows, whether they agree or not.
async fn hear(nodes: &Nodes, mirror: &Mirror, reading: &Reading, shown: Option<&Shown>) -> Vec<Heard> {
    let mut heard = Vec::new();
    for node in nodes.each() {
        heard.push((node.name().to_owned(), listen(node, nodes.pins(), mirror, reading, shown).await));
    }
    heard
}

async fn listen(
    node: &Node,
    pins: &Pins,
    mirror: &Mirror,
    reading: &Reading,
    shown: Option<&Shown>,
) -> Result<Vec<Event>, EvmError> {
    let next = mirror.settled().map_or(0, |settled| settled.number + 1).max(reading.from_block);
    let newest = shown.map(|shown| shown.newest.point.number);
    let quiet = shown.is_some_and(|shown| shown.newest.accumulator == Some(mirror.accumulator()));
    // Nothing has come up to the newest block: only what is beyond it is asked for.
    let from = newest.filter(|_| quiet).map_or(next, |newest| newest + 1);
    let own = node.block(BlockNumberOrTag::Latest).await?.ok_or_else(|| node.unproved())?.number;
    let until = own.min(newest.unwrap_or(from).saturating_add(AHEAD));
    let count = shown.and_then(|shown| shown.newest.accumulator).map_or(0, Accumulator::count);
    let most = count.saturating_sub(mirror.accumulator().count()).saturating_add(TOO_MANY);
    let mut events = Vec::new();
    for first in (from..=until).step_by(RANGE as usize) {
        events.extend(node.consents(pins, (first, until.min(first + RANGE - 1))).await?);
        if events.len() as u64 > most {
            return Err(node.unproved());
        }
    }
    Ok(events)
}

/// The first node whose events lead to what is proved is believed.
fn take(mirror: &mut Mirror, heard: Vec<Heard>, shown: &Shown, now: u64) -> Result<Taken, EvmError> {
    let mut refused = None;
    for (node, events) in heard {
        let events = match events {
            Ok(events) => events,
            Err(error) => {
                refused.get_or_insert(error);
                continue;
            }
        };
        let known = events.partition_point(|event| event.block <= shown.newest.point.number);
        match mirror.take(&events[..known], shown.last, shown.newest, now) {
            Ok(taken) => return Ok(taken),
            // What a node does not show weighs more than that another one is away.
            Err(why) => refused = Some(EvmError::Events { node, why }),
        }
    }
    let none = || EvmError::TooFew { found: 0, wanted: 1, why: "no node is named".to_owned() };
    Err(refused.unwrap_or_else(none))
}

impl Node {
    /// The registry's events in a range of blocks, as the node gives them: nothing proves yet that these are all.
    async fn consents(&self, pins: &Pins, blocks: (u64, u64)) -> Result<Vec<Event>, EvmError> {
        let filter = Filter::new().address(pins.contract).event_signature(EVENTS.to_vec());
        let logs = self.ask(self.provider().get_logs(&filter.from_block(blocks.0).to_block(blocks.1))).await?;
        let read = |log: &alloy_rpc_types_eth::Log| {
            let block = log.block_number.filter(|block| (blocks.0..=blocks.1).contains(block))?;
            event(&log.inner, block).filter(|_| log.address() == pins.contract && !log.removed)
        };
        logs.iter().map(read).collect::<Option<_>>().ok_or_else(|| self.unproved())
    }
}

impl EvmError {
    /// Whether a node kept events of the registry back.
    pub fn is_withheld(&self) -> bool {
        matches!(self, Self::Events { why: MirrorError::Withheld(_), .. })
    }
}
