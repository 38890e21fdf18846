//! All anchors of a log that a contract holds. Events tell their sizes; that each is true, and which one is the newest, the
//! contract's storage proves.

use super::{Broken, Stop};
use crate::anchor::root_slot;
use crate::chain::evm::{Block, EvmError, Held, Node};
use crate::tree::Root;
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{Address, B256, U256};
use std::collections::BTreeMap;

/// So many blocks are asked for at once: what public nodes allow.
const RANGE: u64 = 2_000;
/// So many slots are proved in one answer of some 200 kB.
const SLOTS: usize = 64;
/// More blocks no chain has made since the contract could be deployed: ten a second for three years. A node that says so would have
/// us ask for ever.
const MAX_BLOCKS: u64 = 1_000_000_000;
/// So many anchors of one log are read: one a minute for two years.
const MAX_ANCHORS: usize = 1 << 20;

/// Whose anchors are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Question<'q> {
    pub nodes: &'q [Node],
    pub chain_id: u64,
    pub contract: Address,
    /// The code that the contract must have.
    pub code_hash: Option<B256>,
    /// No anchor is in a block before this one.
    pub from_block: u64,
}

/// What the contract holds.
#[derive(Debug, Clone)]
pub struct Anchors {
    /// In the state of this block.
    pub block: Block,
    /// By so many nodes.
    pub nodes: usize,
    pub code_hash: B256,
    /// (size, root) in the order of the sizes.
    pub list: Vec<(u64, Root)>,
}

/// Reads them. `tell` hears the number of the block that was read last, and of the newest.
pub async fn anchors(question: &Question<'_>, tell: &mut dyn FnMut(u64, u64)) -> Result<Anchors, Stop> {
    let (nodes, block) = agreed(question).await?;
    let blocks = block.number.saturating_sub(question.from_block);
    if blocks > MAX_BLOCKS {
        return Err(Stop::Away(format!("{blocks} blocks are too many to ask for: give --from-block")));
    }
    // Any node proves as much as all: they have the same block.
    let prover = nodes.first().copied().ok_or_else(|| Stop::Away("no node was named".to_owned()))?;
    let (head, code_hash) = head(prover, question, &block).await?;
    let mut shown = Vec::new();
    for node in &nodes {
        shown.push((*node, events(node, question, (block.number, head), tell).await?));
    }
    let all: BTreeMap<u64, (Root, &Node)> =
        shown.iter().flat_map(|(node, events)| events.iter().map(|(size, root)| (*size, (*root, *node)))).collect();
    bear_out(prover, question, (&block, head), &all).await?;
    for (node, events) in &shown {
        if let Some(size) = all.keys().find(|size| !events.contains_key(size)) {
            return Err(Broken::Withheld { size: *size, node: node.name().to_owned() }.into());
        }
    }
    let list = all.into_iter().map(|(size, (root, _))| (size, root)).collect();
    Ok(Anchors { block, nodes: nodes.len(), code_hash, list })
}

/// The nodes that answer, and the newest block that all of them have: they must have the same.
async fn agreed<'q>(question: &Question<'q>) -> Result<(Vec<&'q Node>, Block), Stop> {
    let (mut found, mut why) = (Vec::new(), "no node was named".to_owned());
    for node in question.nodes {
        match newest(node, question.chain_id).await {
            Ok(number) => found.push((node, number)),
            Err(Stop::Away(away)) => why = away,
            Err(other) => return Err(other),
        }
    }
    let number = found.iter().map(|(_, number)| *number).min().ok_or(Stop::Away(why))?;
    let mut first: Option<(&Node, Block)> = None;
    for (node, _) in &found {
        let block = at(node, number.into()).await?;
        match &first {
            Some((one, theirs)) if theirs.hash != block.hash => {
                let (one, other) = (one.name().to_owned(), node.name().to_owned());
                return Err(Broken::Block { one, other, number }.into());
            }
            Some(_) => {}
            None => first = Some((node, block)),
        }
    }
    let (_, block) = first.ok_or_else(|| Stop::Away("no node answers".to_owned()))?;
    Ok((found.into_iter().map(|(node, _)| node).collect(), block))
}

async fn newest(node: &Node, chain_id: u64) -> Result<u64, Stop> {
    let (found, _) = node.identity().await.map_err(away)?;
    if found != chain_id {
        let (node, found, wanted) = (node.name().to_owned(), format!("chain {found}"), format!("chain {chain_id}"));
        return Err(Broken::Chain { node, found, wanted }.into());
    }
    Ok(at(node, BlockNumberOrTag::Latest).await?.number)
}

async fn at(node: &Node, which: BlockNumberOrTag) -> Result<Block, Stop> {
    let none = || Stop::Away(format!("the node at {} has no block {which}", node.name()));
    node.block(which).await.map_err(away)?.ok_or_else(none)
}

/// What one node shows up to the block `last`. Two events of one size cannot be: the contract's sizes grow, and none is above the
/// head that its storage proves.
async fn events(
    node: &Node,
    question: &Question<'_>,
    (last, head): (u64, u64),
    tell: &mut dyn FnMut(u64, u64),
) -> Result<BTreeMap<u64, Root>, Stop> {
    let (mut found, mut before) = (BTreeMap::new(), 0);
    for first in (question.from_block..=last).step_by(RANGE as usize) {
        let range = (first, last.min(first.saturating_add(RANGE - 1)));
        for (size, root) in node.anchored(question.contract, range).await.map_err(away)? {
            if size <= before || size > head {
                return Err(Broken::Event { size, node: node.name().to_owned() }.into());
            }
            before = size;
            found.insert(size, root);
        }
        if found.len() > MAX_ANCHORS {
            return Err(Stop::Away(format!("the node at {} shows too many anchors: give --from-block", node.name())));
        }
        tell(range.1, last);
    }
    Ok(found)
}

/// The head's size, which slot 0 holds, and the contract's code.
async fn head(prover: &Node, question: &Question<'_>, block: &Block) -> Result<(u64, B256), Stop> {
    let held = held(prover, question, block, &[B256::ZERO]).await?;
    let size = held.values().next().and_then(|value| u64::try_from(value).ok()).unwrap_or(u64::MAX);
    Ok((size, held.code_hash))
}

/// Compares the events with the contract's storage: each root, and that the head is the newest of them.
async fn bear_out(
    prover: &Node,
    question: &Question<'_>,
    (block, head): (&Block, u64),
    all: &BTreeMap<u64, (Root, &Node)>,
) -> Result<(), Stop> {
    let shown = all.last_key_value().map_or(0, |(size, _)| *size);
    let node = || question.nodes.iter().map(Node::name).collect::<Vec<_>>().join(", ");
    if head > shown {
        return Err(Broken::Withheld { size: head, node: node() }.into());
    }
    let events: Vec<_> = all.iter().collect();
    for some in events.chunks(SLOTS) {
        let slots: Vec<_> = some.iter().map(|(size, _)| root_slot(**size)).collect();
        let held = held(prover, question, block, &slots).await?;
        for ((size, (root, node)), value) in some.iter().zip(held.values()) {
            if value != U256::from_be_bytes(root.0) {
                return Err(Broken::Event { size: **size, node: node.name().to_owned() }.into());
            }
        }
    }
    Ok(())
}

/// Slots of the contract, which must be there with the code that was asked for.
async fn held(node: &Node, question: &Question<'_>, block: &Block, slots: &[B256]) -> Result<Held, Stop> {
    let contract = question.contract;
    let chain = |found: String, wanted: String| Broken::Chain { node: node.name().to_owned(), found, wanted };
    let held = node.held(block, contract, slots).await.map_err(away)?;
    let held = held.ok_or_else(|| chain(format!("nothing at {contract}"), "a contract".to_owned()))?;
    match question.code_hash.filter(|wanted| *wanted != held.code_hash) {
        Some(wanted) => Err(chain(format!("the code {} at {contract}", held.code_hash), wanted.to_string()).into()),
        None => Ok(held),
    }
}

fn away(error: EvmError) -> Stop {
    Stop::Away(error.to_string())
}
