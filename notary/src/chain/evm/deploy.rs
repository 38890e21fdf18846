//! Putting the contracts onto a chain.

use super::sender::{Transaction, broadcast, fees, nonce};
use super::{EvmError, Node, SenderKey};
use alloy_network_primitives::ReceiptResponse;
use alloy_primitives::{Address, B256, Bytes, TxKind, keccak256};
use alloy_provider::Provider;
use alloy_rpc_types_eth::TransactionRequest;
use std::time::Duration;

/// No transaction may use more (EIP-7825), whatever a node says.
const MAX_GAS: u64 = 1 << 24;
/// How often a node is asked whether a transaction is in a block.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How long a deployment waits for its block: a public chain takes some minutes at worst.
const PATIENCE: u32 = 1_200;

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
    let (chain_id, _) = node.identity().await?;
    let account = key.address();
    let call = TransactionRequest::default().from(account).input(input.clone().into());
    let call = TransactionRequest { to: Some(TxKind::Create), ..call };
    let gas = node.ask(node.provider().estimate_gas(call)).await?;
    let nonce = nonce(node, account).await?;
    let transaction =
        Transaction { chain_id, nonce, gas_limit: gas.saturating_add(gas / 4).min(MAX_GAS), to: TxKind::Create, input };
    let fees = fees(node, cap).await?;
    let (raw, hash) = transaction.sign(key, fees).await?;
    broadcast(node, &raw).await?;
    let (block, gas) = mined(node, hash).await?;
    let address = account.create(nonce);
    let code = node.ask(node.provider().get_code_at(address)).await?;
    Ok(Deployed { address, code_hash: keccak256(&code), transaction: hash, block, gas })
}

async fn mined(node: &Node, hash: B256) -> Result<(u64, u64), EvmError> {
    for _ in 0..PATIENCE {
        let receipt = node.ask(node.provider().get_transaction_receipt(hash)).await?;
        match receipt.map(|r| (r.status(), r.block_number(), r.gas_used())) {
            Some((true, block, gas)) => return Ok((block.unwrap_or_default(), gas)),
            Some((false, _, _)) => return Err(EvmError::Refused("its creation failed".to_owned())),
            None => tokio::time::sleep(ASK_EVERY).await,
        }
    }
    Err(EvmError::NotTaken { node: node.name().to_owned(), why: format!("transaction {hash} is in no block") })
}
