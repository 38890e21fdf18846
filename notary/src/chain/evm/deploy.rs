//! Putting the contracts onto a chain.

use super::transact::send;
use super::{EvmError, Node, SenderKey};
use alloy_primitives::{Address, B256, Bytes, TxKind, keccak256};
use alloy_provider::Provider;

/// A contract that stands on a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deployed {
    pub address: Address,
    pub code_hash: B256,
    pub transaction: B256,
    pub block: u64,
    pub gas: u64,
}

/// Deploys `input` (creation code and constructor's arguments) and waits until it is in a block. `cap`: the most that a unit of gas
/// may cost, in wei; 0 where it costs nothing.
pub async fn deploy(node: &Node, key: &SenderKey, input: Bytes, cap: u128) -> Result<Deployed, EvmError> {
    let mined = send(node, key, TxKind::Create, input, cap).await?;
    let address = key.address().create(mined.nonce);
    let code = node.ask(node.provider().get_code_at(address)).await?;
    let (transaction, block, gas) = (mined.transaction, mined.block, mined.gas);
    Ok(Deployed { address, code_hash: keccak256(&code), transaction, block, gas })
}
