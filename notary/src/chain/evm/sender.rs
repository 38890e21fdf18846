//! Transactions: made, signed, sent. Nothing here remembers: what was signed is in [`Pending`], which the caller keeps before it is
//! sent.

use super::node::in_few_words;
use super::pending::{Pending, Seen, Sent};
use super::transact::estimate;
use super::{EvmError, Node, Nodes, View};
use crate::chain::{INotaryAnchor, refusal};
use crate::tree::Root;
use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::BlockNumberOrTag;
use alloy_eips::eip2718::Encodable2718;
use alloy_network_primitives::ReceiptResponse;
use alloy_primitives::{Address, B256, Bytes, TxKind};
use alloy_provider::Provider;
use alloy_rpc_types_eth::FeeHistory;
use alloy_signer::Signer;
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::SolCall;
use alloy_transport::TransportError;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What an anchor may use: the longest proof, of 126 hashes, takes a tenth of it.
const MAX_ANCHOR_GAS: u64 = 2_000_000;
/// The tips of so many blocks are looked at, of each the one that a fifth of its gas paid less than.
const FEE_BLOCKS: u64 = 10;
const FEE_PERCENTILE: f64 = 20.0;
/// The least tip, in wei: a chain whose blocks are empty takes anything but nothing.
const MIN_TIP: u128 = 1;

/// A key that signs transactions, wherever it lies.
pub type SenderKey = Arc<dyn Signer + Send + Sync>;

/// What a transaction pays at most for a unit of gas, in wei (EIP-1559).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fees {
    pub max: u128,
    pub tip: u128,
}

impl Fees {
    /// Fees that replace these in every node's pool, which asks for a tenth more of both; not above `cap`.
    pub fn raised(self, wanted: Fees, cap: u128) -> Option<Self> {
        let more = |fee: u128| fee.saturating_add(fee / 8).saturating_add(1);
        let max = wanted.max.max(more(self.max));
        let tip = wanted.tip.max(more(self.tip)).min(max);
        (max <= cap).then_some(Self { max, tip })
    }
}

/// What a transaction cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paid {
    pub gas: u64,
    /// In wei, without what an L2 asks for the data that it puts onto its L1.
    pub fee: u128,
}

impl Paid {
    /// A node's word for the gas and the price of a unit; nothing that goes beyond what was signed.
    fn within(gas: u64, price: u128, limit: u64, max: u128) -> Option<Self> {
        let fee = u128::from(gas).checked_mul(price)?;
        (gas <= limit && price <= max).then_some(Self { gas, fee })
    }
}

/// Sends anchors.
#[derive(Clone)]
pub struct Sender {
    nodes: Nodes,
    key: SenderKey,
    /// The most that a unit of gas may cost, in wei; 0 on a chain where gas is free.
    cap: u128,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("address", &self.key.address()).finish_non_exhaustive()
    }
}

/// A key of 32 bytes that lies in a file.
pub fn local_key(bytes: &[u8; 32]) -> Result<SenderKey, EvmError> {
    let key = PrivateKeySigner::from_slice(bytes).map_err(|_| EvmError::Key("it is no secp256k1 key".to_owned()))?;
    Ok(Arc::new(key))
}

impl Sender {
    /// A sender by these nodes with this key.
    pub fn new(nodes: Nodes, key: SenderKey, cap: u128) -> Self {
        Self { nodes, key, cap }
    }

    /// The nodes.
    pub fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// The account that anchors.
    pub fn address(&self) -> Address {
        self.key.address()
    }

    /// What is seen of a pending anchor.
    pub async fn seen(&self, view: &View, pending: &Pending) -> Result<Seen, EvmError> {
        let node = view.node();
        let nonce = self.nonce(view).await?;
        let mut mined = None;
        for sent in &pending.sent {
            let receipt = node.ask(node.provider().get_transaction_receipt(sent.hash)).await?;
            mined = receipt.map(|receipt| receipt.status()).or(mined);
        }
        let newest = pending.sent.last().map_or(B256::ZERO, |sent| sent.hash);
        let known = node.ask(node.provider().get_transaction_by_hash(newest)).await?.is_some();
        Ok(Seen { last: view.last.size, newest: view.newest.size, nonce, mined, known })
    }

    /// What a pending anchor that was mined has cost, by a node's word: for people to read, and nothing rests on it.
    pub async fn paid(&self, view: &View, pending: &Pending) -> Option<Paid> {
        let node = view.node();
        for sent in pending.sent.iter().rev() {
            if let Some(receipt) = node.ask(node.provider().get_transaction_receipt(sent.hash)).await.ok()? {
                let (gas, price) = (receipt.gas_used(), receipt.effective_gas_price());
                return Paid::within(gas, price, pending.gas_limit, sent.fees.max);
            }
        }
        None
    }

    /// Signs the anchor of a root over what the newest block holds. The contract is asked first: what it would refuse is not sent.
    pub async fn prepare(
        &self,
        view: &View,
        (size, root): (u64, Root),
        proof: &[[u8; 32]],
        now: u64,
    ) -> Result<Pending, EvmError> {
        let proof = proof.iter().copied().map(B256::from).collect();
        let input: Bytes = INotaryAnchor::anchorCall { size, root: B256::from(root.0), proof }.abi_encode().into();
        let node = view.node();
        let gas_limit = self.gas(node, &input).await?;
        let nonce = self.nonce(view).await?;
        let (chain_id, contract) = (self.nodes.pins().chain_id, self.nodes.pins().contract);
        let mut pending = Pending { chain_id, contract, size, nonce, gas_limit, input, sent: Vec::new() };
        let fees = fees(node, self.cap).await?;
        pending.sent.push(self.sign(&pending, fees, now).await?);
        Ok(pending)
    }

    /// The same with higher fees; none if they would go above what may be paid.
    pub async fn raise(&self, view: &View, pending: &Pending, now: u64) -> Result<Option<Pending>, EvmError> {
        let Some(before) = pending.sent.last() else { return Ok(None) };
        let Some(fees) = before.fees.raised(fees(view.node(), self.cap).await?, self.cap) else { return Ok(None) };
        let mut raised = pending.clone();
        raised.sent.push(self.sign(pending, fees, now).await?);
        Ok(Some(raised))
    }

    /// Sends the newest transaction to all nodes. One that has it already is as good as one that takes it.
    pub async fn broadcast(&self, pending: &Pending) -> Result<(), EvmError> {
        let Some(sent) = pending.sent.last() else { return Ok(()) };
        let mut done = Err(EvmError::TooFew { found: 0, wanted: 1, why: "no node is named".to_owned() });
        for node in self.nodes.each() {
            match broadcast(node, &sent.raw).await {
                Ok(()) => done = Ok(()),
                Err(error) if done.is_err() => done = Err(error),
                Err(_) => {}
            }
        }
        done
    }

    /// The account's next nonce in the newest block, proved: a wrong one would leave an anchor that no block can ever hold.
    async fn nonce(&self, view: &View) -> Result<u64, EvmError> {
        let held = view.node().held(&view.newest.block, self.address(), &[]).await?;
        Ok(held.map_or(0, |held| held.nonce))
    }

    async fn gas(&self, node: &Node, input: &Bytes) -> Result<u64, EvmError> {
        let asked = estimate(node, self.address(), TxKind::Call(self.nodes.pins().contract), input).await?;
        // What is not used is given back.
        Ok(asked.saturating_add(asked / 4).min(MAX_ANCHOR_GAS))
    }

    async fn sign(&self, pending: &Pending, fees: Fees, now: u64) -> Result<Sent, EvmError> {
        let pins = self.nodes.pins();
        let transaction = Transaction {
            chain_id: pins.chain_id,
            nonce: pending.nonce,
            gas_limit: pending.gas_limit,
            to: TxKind::Call(pins.contract),
            input: pending.input.clone(),
        };
        let (raw, hash) = transaction.sign(&self.key, fees).await?;
        Ok(Sent { raw, hash, fees, at: now })
    }
}

/// A transaction but for what it pays.
pub(super) struct Transaction {
    pub chain_id: u64,
    pub nonce: u64,
    pub gas_limit: u64,
    pub to: TxKind,
    pub input: Bytes,
}

impl Transaction {
    /// The bytes to send, and their hash.
    pub(super) async fn sign(self, key: &SenderKey, fees: Fees) -> Result<(Bytes, B256), EvmError> {
        let transaction = TxEip1559 {
            chain_id: self.chain_id,
            nonce: self.nonce,
            gas_limit: self.gas_limit,
            max_fee_per_gas: fees.max,
            max_priority_fee_per_gas: fees.tip,
            to: self.to,
            input: self.input,
            ..TxEip1559::default()
        };
        let signature = key.sign_hash(&transaction.signature_hash()).await;
        let signature = signature.map_err(|error| EvmError::Key(error.to_string()))?;
        let signed = transaction.into_signed(signature);
        let hash = *signed.hash();
        Ok((TxEnvelope::from(signed).encoded_2718().into(), hash))
    }
}

/// The next nonce of an account in the newest block. What only lies in a pool does not count.
pub(super) async fn nonce(node: &Node, account: Address) -> Result<u64, EvmError> {
    node.ask(node.provider().get_transaction_count(account)).await
}

/// What the chain asks now, within the cap.
pub(super) async fn fees(node: &Node, cap: u128) -> Result<Fees, EvmError> {
    if cap == 0 {
        return Ok(Fees { max: 0, tip: 0 });
    }
    let history = node.provider().get_fee_history(FEE_BLOCKS, BlockNumberOrTag::Latest, &[FEE_PERCENTILE]);
    Ok(fees_after(&node.ask(history).await?, cap))
}

/// What a transaction offers after these blocks: the median of the tips that they took, and twice the next block's base fee, which
/// six full blocks in a row at most double (EIP-1559). A node may say anything: nothing overflows, and nothing goes above the cap.
fn fees_after(history: &FeeHistory, cap: u128) -> Fees {
    let base = history.base_fee_per_gas.last().copied().unwrap_or_default();
    let rewards = history.reward.iter().flatten().take(FEE_BLOCKS as usize);
    let mut tips: Vec<u128> = rewards.filter_map(|block| block.first().copied()).filter(|tip| *tip > 0).collect();
    tips.sort_unstable();
    let tip = tips.get(tips.len() / 2).copied().unwrap_or_default().max(MIN_TIP).min(cap);
    Fees { max: base.saturating_mul(2).saturating_add(tip).min(cap), tip }
}

/// Sends a transaction that may be there already.
pub(super) async fn broadcast(node: &Node, raw: &[u8]) -> Result<(), EvmError> {
    match node.provider().send_raw_transaction(raw).await {
        Ok(_) => Ok(()),
        Err(TransportError::ErrorResp(answer)) if is_there(&answer.message) => Ok(()),
        Err(TransportError::ErrorResp(answer)) => {
            Err(EvmError::NotTaken { node: node.name().to_owned(), why: in_few_words(&answer.message) })
        }
        Err(error) => node.ask(std::future::ready(Err(error))).await,
    }
}

/// geth, Besu, Nethermind and anvil each have their own words for it. One whose nonce is used was mined meanwhile.
fn is_there(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    let words =
        ["already known", "known transaction", "already imported", "alreadyknown", "nonce too low", "nonce_too_low"];
    words.iter().any(|word| message.contains(word))
}

/// The contract's word for a refusal; nothing if it was not the contract that refused.
pub(super) fn reverted(error: &TransportError) -> Option<String> {
    let answer = error.as_error_resp()?;
    answer.as_revert_data().map(|data| refusal(&data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fees_follow_the_chain_and_a_node_that_lies_costs_no_more_than_the_cap() {
        let history = |bases: &[u128], tips: &[u128]| FeeHistory {
            base_fee_per_gas: bases.to_vec(),
            reward: Some(tips.iter().map(|tip| vec![*tip]).collect()),
            ..FeeHistory::default()
        };
        let cap = 1_000;
        for (bases, tips, max, tip) in [
            (&[90, 100][..], &[5, 0, 7, 9][..], 207, 7),
            (&[100], &[], 201, 1),
            (&[], &[], 1, 1),
            (&[400], &[500], 1_000, 500),
            (&[u128::MAX], &[1], 1_000, 1),
            (&[1], &[u128::MAX, u128::MAX], 1_000, 1_000),
            (&[u128::MAX; 3], &[u128::MAX; 3], 1_000, 1_000),
        ] {
            assert_eq!(fees_after(&history(bases, tips), cap), Fees { max, tip }, "{bases:?} {tips:?}");
        }
        let bare = FeeHistory { reward: Some(vec![vec![]; 9]), ..history(&[100], &[]) };
        assert_eq!(fees_after(&bare, cap), Fees { max: 201, tip: 1 }, "blocks without percentiles");
        let most = fees_after(&history(&[u128::MAX], &[u128::MAX]), u128::MAX);
        assert_eq!(most, Fees { max: u128::MAX, tip: u128::MAX }, "a cap that bounds nothing");
    }

    #[test]
    fn what_a_node_says_was_paid_is_within_what_was_signed() {
        assert_eq!(Paid::within(80_000, 7, 100_000, 10), Some(Paid { gas: 80_000, fee: 560_000 }));
        assert_eq!(Paid::within(21_000, 0, 100_000, 0), Some(Paid { gas: 21_000, fee: 0 }));
        for (gas, price) in [(100_001, 1), (80_000, 11), (u64::MAX, u128::MAX), (1, u128::MAX)] {
            assert_eq!(Paid::within(gas, price, 100_000, 10), None, "{gas} {price}");
        }
        assert_eq!(Paid::within(u64::MAX, u128::MAX, u64::MAX, u128::MAX), None, "no such sum");
    }

    #[test]
    fn raised_fees_replace_the_old_ones_and_keep_below_the_cap() {
        let old = Fees { max: 800, tip: 80 };
        let slack = Fees { max: 1, tip: 1 };
        assert_eq!(old.raised(slack, 10_000), Some(Fees { max: 901, tip: 91 }));
        assert_eq!(old.raised(Fees { max: 5_000, tip: 2 }, 10_000), Some(Fees { max: 5_000, tip: 91 }));
        assert_eq!(old.raised(slack, 900), None, "an eighth more is above the cap");
        assert_eq!(Fees { max: 0, tip: 0 }.raised(slack, 0), None, "what is free is not raised");
    }
}
