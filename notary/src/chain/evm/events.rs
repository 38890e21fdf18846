//! What a watcher reads of the anchor contract beside its storage: its events.

use super::{EvmError, Node};
use crate::chain::INotaryAnchor::Anchored;
use crate::tree::Root;
use alloy_primitives::Address;
use alloy_provider::Provider;
use alloy_rpc_types_eth::{Filter, Log};
use alloy_sol_types::SolEvent;

impl Node {
    /// The `Anchored` events of a range of blocks, as the node gives them: nothing proves that these are all.
    pub async fn anchored(&self, contract: Address, blocks: (u64, u64)) -> Result<Vec<(u64, Root)>, EvmError> {
        let filter = Filter::new().address(contract).event_signature(Anchored::SIGNATURE_HASH);
        let filter = filter.from_block(blocks.0).to_block(blocks.1);
        let logs = self.ask(self.provider().get_logs(&filter)).await?;
        logs.iter().map(|log| anchor_of(log, contract)).collect::<Option<_>>().ok_or_else(|| self.unproved())
    }
}

fn anchor_of(log: &Log, contract: Address) -> Option<(u64, Root)> {
    let event = Anchored::decode_log(&log.inner).ok().filter(|event| event.address == contract)?;
    Some((event.size, Root(event.root.0)))
}
