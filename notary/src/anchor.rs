//! The anchor bundle of a receipt: that a contract on an EVM chain holds a root, proved by the block's header
//! and the account and storage proofs of EIP-1186, so that no node need be asked.

use crate::bft;
use crate::tree::Root;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::{Decodable, Header, PayloadView};
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles, TrieAccount, proof::verify_proof};
use serde::{Deserialize, Serialize};

/// The slot of `rootAt` in `NotaryAnchor`, which its storage layout promises.
const ROOT_AT_SLOT: u64 = 1;
/// The most nodes of a Merkle-Patricia proof: a path has at most 64 nibbles.
const MAX_NODES: usize = 65;

/// What kind of chain holds the anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChainKind {
    /// The ledger inside one medseal: no independent trust.
    Embedded,
    /// A chain run by several known organisations.
    Consortium,
    /// A public chain.
    Public,
}

/// The proof that the root at `size` stands in the contract's storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnchorBundle {
    pub kind: ChainKind,
    pub chain_id: u64,
    pub contract: Address,
    /// The size that was anchored, and the checkpoint's.
    pub size: u64,
    /// The block's header, RLP-encoded.
    pub header: Bytes,
    pub account_proof: Vec<Bytes>,
    pub storage_proof: Vec<Bytes>,
}

/// What a checked bundle proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchored {
    pub block_hash: B256,
    pub block_number: u64,
    /// Seconds since 1970, as the block says.
    pub timestamp: u64,
    pub code_hash: B256,
}

/// Why a bundle proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    #[error("the anchor's block header cannot be read")]
    Header,
    #[error("the anchor's account proof does not lead to the block's state")]
    Account,
    #[error("the contract holds another root at this size, or none")]
    Storage,
}

impl AnchorBundle {
    /// Checks that the bundle's block holds `root` as the contract's root at the bundle's size.
    pub fn check(&self, root: Root) -> Result<Anchored, AnchorError> {
        if self.account_proof.len() > MAX_NODES || self.storage_proof.len() > MAX_NODES {
            return Err(AnchorError::Account);
        }
        let block = read_header(&self.header)?;
        let account = proved_account(block.state_root, self.contract, &self.account_proof)?;
        let held = U256::from_be_bytes(root.0);
        proved_slot(account.storage_root, root_slot(self.size), held, &self.storage_proof)?;
        Ok(Anchored {
            block_hash: block.hash,
            block_number: block.number,
            timestamp: block.timestamp,
            code_hash: account.code_hash,
        })
    }
}

/// The contract's account in the state of a block. It stands in the last node of its proof.
pub fn proved_account(state_root: B256, contract: Address, proof: &[Bytes]) -> Result<TrieAccount, AnchorError> {
    let leaf = proof.last().and_then(|node| leaf_value(node)).ok_or(AnchorError::Account)?;
    let account = TrieAccount::decode(&mut leaf.as_slice()).map_err(|_| AnchorError::Account)?;
    let key = Nibbles::unpack(keccak256(contract));
    verify_proof(state_root, key, Some(leaf), proof).map_err(|_| AnchorError::Account)?;
    Ok(account)
}

/// That there is no account at an address in the state of a block.
pub fn proved_absent(state_root: B256, contract: Address, proof: &[Bytes]) -> Result<(), AnchorError> {
    // An empty state has no node to prove by.
    if state_root == EMPTY_ROOT_HASH {
        return Ok(());
    }
    verify_proof(state_root, Nibbles::unpack(keccak256(contract)), None, proof).map_err(|_| AnchorError::Account)
}

/// That a slot of an account's storage holds a value; zero is proved by the slot's absence.
pub fn proved_slot(storage_root: B256, slot: B256, value: U256, proof: &[Bytes]) -> Result<(), AnchorError> {
    let held = (value != U256::ZERO).then(|| alloy_rlp::encode(value));
    // The storage of a contract that has stored nothing has no node at all.
    if held.is_none() && storage_root == EMPTY_ROOT_HASH {
        return Ok(());
    }
    verify_proof(storage_root, Nibbles::unpack(keccak256(slot)), held, proof).map_err(|_| AnchorError::Storage)
}

/// The storage slot of `rootAt[size]`.
pub fn root_slot(size: u64) -> B256 {
    let mut preimage = [0; 64];
    preimage[24..32].copy_from_slice(&size.to_be_bytes());
    preimage[56..].copy_from_slice(&ROOT_AT_SLOT.to_be_bytes());
    keccak256(preimage)
}

/// What is needed of a block's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockHeader {
    pub hash: B256,
    pub state_root: B256,
    pub number: u64,
    /// Seconds since 1970.
    pub timestamp: u64,
}

/// Reads fields 3, 8 and 11 of an RLP header; later forks only append fields. The hash is Keccak-256 of the header, but that blocks
/// of QBFT and IBFT 2.0 leave out their seals.
pub fn read_header(rlp: &[u8]) -> Result<BlockHeader, AnchorError> {
    let items = bft::list(rlp).ok_or(AnchorError::Header)?;
    let field = |n: usize| items.get(n).copied().ok_or(AnchorError::Header);
    let number = |n: usize| u64::decode(&mut field(n)?).map_err(|_| AnchorError::Header);
    Ok(BlockHeader {
        hash: bft::block_hash(rlp, &items),
        state_root: B256::decode(&mut field(3)?).map_err(|_| AnchorError::Header)?,
        number: number(8)?,
        timestamp: number(11)?,
    })
}

/// The value of a leaf node: the second item of a two-item list.
fn leaf_value(node: &[u8]) -> Option<Vec<u8>> {
    let mut rest = node;
    let PayloadView::List(items) = Header::decode_raw(&mut rest).ok()? else { return None };
    let [_, value] = items.as_slice() else { return None };
    let mut value: &[u8] = value;
    Header::decode_bytes(&mut value, false).ok().map(<[u8]>::to_vec)
}
