//! What a watcher reads of the anchor contract: its events, and any of its slots with their proof.

use super::{Block, EvmError, Node};
use crate::anchor::{proved_absent, proved_account, proved_slot};
use crate::chain::INotaryAnchor::Anchored;
use crate::tree::Root;
use alloy_primitives::{Address, B256, U256};
use alloy_provider::Provider;
use alloy_rpc_types_eth::{Filter, Log};
use alloy_sol_types::SolEvent;

/// What the contract's account holds in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub code_hash: B256,
    /// The values of the slots that were asked for, in their order.
    pub values: Vec<U256>,
}

impl Node {
    /// The values of slots in the state of a block, proved; nothing where there is no such account, which is proved too.
    pub async fn slots(&self, block: &Block, contract: Address, slots: &[B256]) -> Result<Option<Held>, EvmError> {
        let question = self.provider().get_proof(contract, slots.to_vec()).number(block.number);
        let answer = self.ask(question).await?;
        if proved_absent(block.state_root, contract, &answer.account_proof).is_ok() {
            return Ok(None);
        }
        let account = proved_account(block.state_root, contract, &answer.account_proof);
        let account = account.map_err(|_| self.unproved())?;
        if answer.storage_proof.len() != slots.len() {
            return Err(self.unproved());
        }
        for (slot, told) in slots.iter().zip(&answer.storage_proof) {
            let proved = proved_slot(account.storage_root, *slot, told.value, &told.proof);
            proved.map_err(|_| self.unproved())?;
        }
        let values = answer.storage_proof.iter().map(|told| told.value).collect();
        Ok(Some(Held { code_hash: account.code_hash, values }))
    }

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
