//! One node, by JSON-RPC.

use super::transport::Transport;
use super::{EvmError, Pins};
use crate::anchor::{
    AnchorBundle, BlockHeader, ChainKind, proved_absent, proved_account, proved_slot, read_header, root_slot,
};
use crate::tree::Root;
use alloy_eips::BlockNumberOrTag;
use alloy_network_primitives::HeaderResponse;
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_provider::{Provider, RootProvider};
use alloy_rpc_client::RpcClient;
use alloy_transport::TransportError;
use std::future::IntoFuture;
use std::time::Duration;

/// How long one question may take. A node behind a busy proxy answers within a few seconds or not at all.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// How often a proof is asked for: a node that takes up the next block at that moment (or another one behind the same balancer) proves
/// another state than that of the block it was asked for. What proves nothing then never does.
const PROOF_TRIES: usize = 4;
const PROOF_PAUSE: Duration = Duration::from_millis(50);
/// How much of a node's own words stands in a message, in characters.
const MOST_WORDS: usize = 200;
/// The slot of the head's size in `NotaryAnchor`, which its storage layout promises.
const HEAD_SLOT: B256 = B256::ZERO;

/// A node.
#[derive(Debug, Clone)]
pub struct Node {
    /// Host and port: a URL's path may hold a secret.
    name: String,
    provider: RootProvider,
}

/// A block's header, whose hash fits it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub number: u64,
    pub hash: B256,
    /// Seconds since 1970.
    pub timestamp: u64,
    pub state_root: B256,
    /// RLP.
    pub header: Bytes,
}

/// What an account holds in a block, proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub code_hash: B256,
    pub nonce: u64,
    account_proof: Vec<Bytes>,
    /// What was asked for, in that order: each value and its proof.
    slots: Vec<(U256, Vec<Bytes>)>,
}

/// What the contract holds in a block, proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub block: Block,
    /// Whether the contract stands in it; it does not before its deployment.
    pub is_there: bool,
    /// The size of the head; 0 before the first anchor.
    pub size: u64,
    /// The root at that size.
    pub root: Option<Root>,
    /// What proves the root.
    held: Option<Held>,
}

impl Held {
    /// The values, in the order of the question.
    pub fn values(&self) -> impl Iterator<Item = U256> {
        self.slots.iter().map(|(value, _)| *value)
    }

    fn first(&self) -> U256 {
        self.values().next().unwrap_or_default()
    }
}

impl Node {
    /// A node at a URL. Connects to nothing yet.
    pub fn new(url: &str) -> Result<Self, EvmError> {
        let parsed: url::Url = url.parse().map_err(|_| EvmError::Url)?;
        // The parser skips further slashes and would take a path, which may hold a secret, for the host.
        if url.contains(":///") {
            return Err(EvmError::Url);
        }
        let host = parsed.host_str().filter(|_| matches!(parsed.scheme(), "http" | "https")).ok_or(EvmError::Url)?;
        let name = parsed.port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
        let transport = Transport::new(parsed, ANSWER_TIME).map_err(|_| EvmError::Url)?;
        Ok(Self { name, provider: RootProvider::new(RpcClient::new(transport, false)) })
    }

    /// The same by another name.
    pub(super) fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// Host and port, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn provider(&self) -> &RootProvider {
        &self.provider
    }

    /// Waits for an answer, within bounds.
    pub(super) async fn ask<T>(
        &self,
        question: impl IntoFuture<Output = Result<T, TransportError>>,
    ) -> Result<T, EvmError> {
        let away = |why: String| EvmError::Away { node: self.name.clone(), why };
        match tokio::time::timeout(ANSWER_TIME, question.into_future()).await {
            Ok(answer) => answer.map_err(|error| away(told(&error))),
            Err(_) => Err(away("no answer in time".to_owned())),
        }
    }

    /// The chain's id and the hash of its first block.
    pub async fn identity(&self) -> Result<(u64, B256), EvmError> {
        let id = self.ask(self.provider.get_chain_id()).await?;
        let first = self.block(BlockNumberOrTag::Earliest).await?.ok_or_else(|| self.unproved())?;
        Ok((id, first.hash))
    }

    /// What an account has, in wei.
    pub async fn balance(&self, account: Address) -> Result<U256, EvmError> {
        self.ask(self.provider.get_balance(account)).await
    }

    /// Refuses a node of another chain.
    pub async fn check(&self, pins: &Pins) -> Result<(), EvmError> {
        let (id, genesis) = self.identity().await?;
        let other = |what, found: String, pinned: String| {
            Err(EvmError::OtherChain { node: self.name.clone(), what, found, pinned })
        };
        match (id == pins.chain_id, genesis == pins.genesis) {
            (false, _) => other("chain id", id.to_string(), pins.chain_id.to_string()),
            (_, false) => other("genesis block", genesis.to_string(), pins.genesis.to_string()),
            _ => Ok(()),
        }
    }

    /// A block; none if the node does not have it (yet).
    pub async fn block(&self, which: BlockNumberOrTag) -> Result<Option<Block>, EvmError> {
        let Some(answer) = self.ask(self.provider.get_block_by_number(which)).await? else { return Ok(None) };
        let header: Bytes = alloy_rlp::encode(&answer.header.inner).into();
        let read = read_header(&header).map_err(|_| self.unproved())?;
        // The node's own word for the hash is worth nothing; a header that does not lead to it is of a form we do not know.
        // Nor is a true block of another number an answer.
        let is_asked = !matches!(which, BlockNumberOrTag::Number(number) if number != read.number);
        if read.hash != answer.header.hash() || !is_asked {
            return Err(self.unproved());
        }
        let BlockHeader { number, hash, timestamp, state_root } = read;
        Ok(Some(Block { number, hash, timestamp, state_root, header }))
    }

    /// What the anchor contract holds in the state of a block; in a block before its deployment, nothing.
    pub async fn state(&self, block: Block, pins: &Pins) -> Result<State, EvmError> {
        let Some(head) = self.ours(&block, pins, HEAD_SLOT).await? else {
            return Ok(State { block, is_there: false, size: 0, root: None, held: None });
        };
        let size: u64 = head.first().try_into().map_err(|_| self.unproved())?;
        if size == 0 {
            return Ok(State { block, is_there: true, size, root: None, held: None });
        }
        let held = self.ours(&block, pins, root_slot(size)).await?.ok_or_else(|| self.unproved())?;
        let root = Some(Root(held.first().to_be_bytes()));
        Ok(State { block, is_there: true, size, root, held: Some(held) })
    }

    /// A slot of the contract, which has the code that is pinned.
    async fn ours(&self, block: &Block, pins: &Pins, slot: B256) -> Result<Option<Held>, EvmError> {
        let held = self.held(block, pins.contract, &[slot]).await?;
        match held {
            Some(held) if held.code_hash != pins.code_hash => Err(self.other_code(pins)),
            held => Ok(held),
        }
    }

    /// The values of slots in the state of a block; nothing where there is no such account, which is proved too.
    pub async fn held(&self, block: &Block, contract: Address, slots: &[B256]) -> Result<Option<Held>, EvmError> {
        for _ in 1..PROOF_TRIES {
            match self.held_once(block, contract, slots).await {
                Err(EvmError::Unproved { .. }) => tokio::time::sleep(PROOF_PAUSE).await,
                answered => return answered,
            }
        }
        self.held_once(block, contract, slots).await
    }

    async fn held_once(&self, block: &Block, contract: Address, slots: &[B256]) -> Result<Option<Held>, EvmError> {
        let answer = self.ask(self.provider.get_proof(contract, slots.to_vec()).number(block.number)).await?;
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
        let slots = answer.storage_proof.into_iter().map(|told| (told.value, told.proof)).collect();
        Ok(Some(Held {
            code_hash: account.code_hash,
            nonce: account.nonce,
            account_proof: answer.account_proof,
            slots,
        }))
    }

    pub(super) fn other_code(&self, pins: &Pins) -> EvmError {
        EvmError::OtherCode { node: self.name.clone(), contract: pins.contract }
    }

    pub(super) fn unproved(&self) -> EvmError {
        EvmError::Unproved { node: self.name.clone() }
    }
}

impl State {
    /// The proof of the head, for receipts.
    pub fn bundle(&self, kind: ChainKind, pins: &Pins) -> Option<AnchorBundle> {
        let held = self.held.as_ref()?;
        Some(AnchorBundle {
            kind,
            chain_id: pins.chain_id,
            contract: pins.contract,
            size: self.size,
            header: self.block.header.clone(),
            account_proof: held.account_proof.clone(),
            storage_proof: held.slots.first()?.1.clone(),
        })
    }
}

/// An error in few words: a URL, which may hold a secret, is not among them.
fn told(error: &TransportError) -> String {
    match error {
        TransportError::ErrorResp(answer) => format!("error {}: {}", answer.code, in_few_words(&answer.message)),
        TransportError::DeserError { .. } => "an answer of another form".to_owned(),
        TransportError::NullResp => "an empty answer".to_owned(),
        _ => "no connection, or an answer that is none".to_owned(),
    }
}

/// A stranger's words, as a log can bear them: on one line, and not many.
pub(super) fn in_few_words(message: &str) -> String {
    message.chars().take(MOST_WORDS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_fits_on_a_line_and_a_url_is_not_repeated() {
        assert_eq!(in_few_words("a\n\u{1b}[31mb"), "a  [31mb");
        assert_eq!(in_few_words(&"x".repeat(9_000)).len(), MOST_WORDS);
        for secret in ["ftp://node/KEY", "KEY", "http:///KEY"] {
            let refused = Node::new(secret).unwrap_err().to_string();
            assert!(!refused.contains("KEY"), "{refused}");
        }
        assert_eq!(Node::new("https://u:KEY@node.example:8545/KEY").unwrap().name(), "node.example:8545");
    }
}
