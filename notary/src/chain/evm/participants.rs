//! Reading `Participants`. Who there is the events tell, of any node; how an account stands is proved, so that a node that keeps
//! something back can hide an organisation, and never pass one off.

use super::{EvmError, Finality, Node, Nodes};
use crate::chain::participants::{Entry, TELLING, Told, slots};
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::Address;
use alloy_provider::Provider;
use alloy_rpc_types_eth::Filter;

/// So many blocks are asked for at once: what public nodes allow.
const RANGE: u64 = 2_000;

/// Whose names were told in the blocks from one on, in their order, and the block to go on from. Every node is listened to: one
/// that answers is enough.
pub async fn told(nodes: &Nodes, from: u64) -> Result<(Vec<Told>, u64), EvmError> {
    let (mut all, mut next, mut refused) = (Vec::new(), None, None);
    for node in nodes.each() {
        match node.told(nodes.pins().contract, from).await {
            Ok((told, until)) => {
                all.extend(told);
                next = Some(next.map_or(until, |next: u64| next.min(until)));
            }
            Err(error) => refused = Some(error),
        }
    }
    match (next, refused) {
        (Some(next), _) => Ok((all, next)),
        (None, refused) => Err(refused.unwrap_or(EvmError::TooFew { found: 0, wanted: 1, why: String::new() })),
    }
}

/// How an account stands, as the nodes agree and prove. `now` and `max_age` in seconds.
pub async fn standing(
    nodes: &Nodes,
    account: Address,
    finality: Finality,
    (now, max_age): (u64, Option<u64>),
) -> Result<Entry, EvmError> {
    let agreed = nodes.agreed(finality, now, max_age).await?;
    let (node, last) = (agreed.node, agreed.last);
    let newest = node.entry(nodes, &agreed.newest, account).await?.ok_or_else(|| node.other_code(nodes.pins()))?;
    if last == agreed.newest {
        return Ok(newest);
    }
    Ok(newest.settled(node.entry(nodes, &last, account).await?))
}

impl Node {
    async fn entry(&self, nodes: &Nodes, block: &super::Block, account: Address) -> Result<Option<Entry>, EvmError> {
        let pins = nodes.pins();
        let Some(held) = self.held(block, pins.contract, &slots(account)).await? else { return Ok(None) };
        if held.code_hash != pins.code_hash {
            return Err(self.other_code(pins));
        }
        Entry::read(held.values()).map(Some).ok_or_else(|| self.unproved())
    }

    async fn told(&self, contract: Address, from: u64) -> Result<(Vec<Told>, u64), EvmError> {
        let newest = self.block(BlockNumberOrTag::Latest).await?.ok_or_else(|| self.unproved())?.number;
        let (mut all, mut next) = (Vec::new(), from);
        while next <= newest {
            let until = newest.min(next.saturating_add(RANGE - 1));
            let filter = Filter::new().address(contract).event_signature(TELLING.to_vec());
            let logs = self.ask(self.provider().get_logs(&filter.from_block(next).to_block(until))).await?;
            let ours = logs.iter().filter(|log| log.address() == contract && !log.removed);
            all.extend(ours.filter_map(|log| Told::read(&log.inner)));
            next = until + 1;
        }
        Ok((all, next))
    }
}
