//! One node, by JSON-RPC.

use super::{EvmError, Pins};
use crate::anchor::{AnchorBundle, ChainKind, proved_absent, proved_account, proved_slot, read_header, root_slot};
use crate::tree::Root;
use alloy_eips::BlockNumberOrTag;
use alloy_network_primitives::HeaderResponse;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_provider::{Provider, RootProvider};
use alloy_rpc_client::RpcClient;
use alloy_rpc_types_eth::EIP1186AccountProofResponse;
use alloy_transport::TransportError;
use alloy_transport_http::Http;
use std::future::IntoFuture;
use std::time::Duration;

/// How long one question may take. A node behind a busy proxy answers within a few seconds or not at all.
const ANSWER_TIME: Duration = Duration::from_secs(10);
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

/// What the contract holds in a block, proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub block: Block,
    /// The size of the head; 0 before the first anchor.
    pub size: u64,
    /// The root at that size.
    pub root: Option<Root>,
    /// None in a block before the contract's deployment.
    pub code_hash: Option<B256>,
    account_proof: Vec<Bytes>,
    storage_proof: Vec<Bytes>,
}

impl Node {
    /// A node at a URL. Connects to nothing yet.
    pub fn new(url: &str) -> Result<Self, EvmError> {
        let wrong = || EvmError::Url(url.split('?').next().unwrap_or_default().to_owned());
        let parsed: url::Url = url.parse().map_err(|_| wrong())?;
        let host = parsed.host_str().filter(|_| matches!(parsed.scheme(), "http" | "https")).ok_or_else(wrong)?;
        let name = parsed.port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
        // No redirect: it would carry what is asked to whom nobody named.
        let client = reqwest::Client::builder().timeout(ANSWER_TIME).redirect(reqwest::redirect::Policy::none());
        let client = client.build().map_err(|_| wrong())?;
        let client = RpcClient::new(Http::with_client(client, parsed), false);
        Ok(Self { name, provider: RootProvider::new(client) })
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
        let hash = keccak256(&header);
        if hash != answer.header.hash() {
            return Err(self.unproved());
        }
        let (number, timestamp, state_root) = (read.number, read.timestamp, read.state_root);
        Ok(Some(Block { number, hash, timestamp, state_root, header }))
    }

    /// What the anchor contract holds in the state of a block; in a block before its deployment, nothing.
    pub async fn state(&self, block: Block, pins: &Pins) -> Result<State, EvmError> {
        let first = self.proof(pins.contract, HEAD_SLOT, block.number).await?;
        if proved_absent(block.state_root, pins.contract, &first.account_proof).is_ok() {
            let (account_proof, storage_proof) = (Vec::new(), Vec::new());
            return Ok(State { block, size: 0, root: None, code_hash: None, account_proof, storage_proof });
        }
        let size = first.storage_proof.first().map_or(U256::ZERO, |slot| slot.value);
        let size: u64 = size.try_into().map_err(|_| self.unproved())?;
        let (code_hash, _) = self.held(&block, pins, &first, HEAD_SLOT)?;
        let code_hash = Some(code_hash);
        if size == 0 {
            let (account_proof, storage_proof) = (first.account_proof, Vec::new());
            return Ok(State { block, size, root: None, code_hash, account_proof, storage_proof });
        }
        let at = root_slot(size);
        let second = self.proof(pins.contract, at, block.number).await?;
        let (_, root) = self.held(&block, pins, &second, at)?;
        let storage_proof = second.storage_proof.into_iter().next().map(|slot| slot.proof).unwrap_or_default();
        let (root, account_proof) = (Some(Root(root.to_be_bytes())), second.account_proof);
        Ok(State { block, size, root, code_hash, account_proof, storage_proof })
    }

    async fn proof(&self, contract: Address, slot: B256, at: u64) -> Result<EIP1186AccountProofResponse, EvmError> {
        self.ask(self.provider.get_proof(contract, vec![slot]).number(at)).await
    }

    /// Checks a proof and returns the code's hash and the slot's value.
    fn held(
        &self,
        block: &Block,
        pins: &Pins,
        proof: &EIP1186AccountProofResponse,
        slot: B256,
    ) -> Result<(B256, U256), EvmError> {
        let account = proved_account(block.state_root, pins.contract, &proof.account_proof);
        let account = account.map_err(|_| self.unproved())?;
        if account.code_hash != pins.code_hash {
            return Err(self.other_code(pins));
        }
        let told = proof.storage_proof.first().ok_or_else(|| self.unproved())?;
        let proved = proved_slot(account.storage_root, slot, told.value, &told.proof);
        proved.map(|()| (account.code_hash, told.value)).map_err(|_| self.unproved())
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
        self.root?;
        Some(AnchorBundle {
            kind,
            chain_id: pins.chain_id,
            contract: pins.contract,
            size: self.size,
            header: self.block.header.clone(),
            account_proof: self.account_proof.clone(),
            storage_proof: self.storage_proof.clone(),
        })
    }
}

/// An error in few words: a URL, which may hold a secret, is not among them.
fn told(error: &TransportError) -> String {
    match error {
        TransportError::ErrorResp(answer) => format!("error {}: {}", answer.code, answer.message),
        TransportError::DeserError { .. } => "an answer of another form".to_owned(),
        TransportError::NullResp => "an empty answer".to_owned(),
        _ => "no connection".to_owned(),
    }
}
