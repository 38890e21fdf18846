//! One transaction, sent and waited for. For what does no harm if it is sent twice: deployments, registrations,
//! revocations.

use super::sender::{Transaction, broadcast, fees, nonce, reverted};
use super::{EvmError, Node, SenderKey};
use alloy_network_primitives::ReceiptResponse;
use alloy_primitives::{Address, B256, Bytes, TxKind};
use alloy_provider::Provider;
use alloy_rpc_types_eth::TransactionRequest;
use std::time::Duration;

/// No transaction may use more (EIP-7825), whatever a node says.
const MAX_GAS: u64 = 1 << 24;
/// How often a node is asked whether a transaction is in a block.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How long a transaction waits for its block: a public chain takes some minutes at worst.
const PATIENCE: u32 = 1_200;

/// A transaction in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mined {
    pub transaction: B256,
    pub block: u64,
    pub gas: u64,
    /// The sender's nonce, which makes the address of what was created.
    pub nonce: u64,
}

/// Calls a contract and waits until that is in a block. `cap`: the most that a unit of gas may cost, in wei; 0
/// where it costs nothing. The account must not be the one that anchors: the two would take each other's nonces.
pub async fn transact(node: &Node, key: &SenderKey, to: Address, input: Bytes, cap: u128) -> Result<Mined, EvmError> {
    send(node, key, TxKind::Call(to), input, cap).await
}

pub(super) async fn send(node: &Node, key: &SenderKey, to: TxKind, input: Bytes, cap: u128) -> Result<Mined, EvmError> {
    let (chain_id, _) = node.identity().await?;
    let gas = estimate(node, key.address(), to, &input).await?;
    let nonce = nonce(node, key.address()).await?;
    let transaction = Transaction { chain_id, nonce, gas_limit: gas.saturating_add(gas / 4).min(MAX_GAS), to, input };
    let fees = fees(node, cap).await?;
    let (raw, hash) = transaction.sign(key, fees).await?;
    broadcast(node, &raw).await?;
    let (block, gas) = mined(node, hash).await?;
    Ok(Mined { transaction: hash, block, gas, nonce })
}

/// What it will use; the contract's own word where it would refuse.
pub(super) async fn estimate(node: &Node, from: Address, to: TxKind, input: &Bytes) -> Result<u64, EvmError> {
    let call = TransactionRequest { to: Some(to), ..TransactionRequest::default().from(from) };
    // Not by `ask` alone: an error with data is the contract's answer.
    match node.provider().estimate_gas(call.input(input.clone().into())).await {
        Err(error) => match reverted(&error) {
            Some(name) => Err(EvmError::Refused(name)),
            None => node.ask(std::future::ready(Err(error))).await,
        },
        estimated => node.ask(std::future::ready(estimated)).await,
    }
}

async fn mined(node: &Node, hash: B256) -> Result<(u64, u64), EvmError> {
    for _ in 0..PATIENCE {
        let receipt = node.ask(node.provider().get_transaction_receipt(hash)).await?;
        match receipt.map(|r| (r.status(), r.block_number(), r.gas_used())) {
            Some((true, block, gas)) => return Ok((block.unwrap_or_default(), gas)),
            Some((false, _, _)) => return Err(EvmError::Refused("it failed when it ran".to_owned())),
            None => tokio::time::sleep(ASK_EVERY).await,
        }
    }
    Err(EvmError::NotTaken { node: node.name().to_owned(), why: format!("transaction {hash} is in no block") })
}
