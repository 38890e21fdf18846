//! The state trie of the embedded ledger, as any Ethereum node would compute it, and proofs of it.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::Encodable;
use alloy_trie::proof::ProofRetainer;
use alloy_trie::{EMPTY_ROOT_HASH, HashBuilder, Nibbles, TrieAccount};
use revm::database::InMemoryDB;

/// The proof of one account and one of its slots.
#[derive(Debug)]
pub struct Proved {
    pub account: Vec<Bytes>,
    pub storage: Vec<Bytes>,
}

/// The state root alone.
pub fn root(db: &InMemoryDB) -> B256 {
    trie(accounts(db), None).0
}

/// The proofs for `slot` of `contract`.
pub fn prove(db: &InMemoryDB, contract: Address, slot: B256) -> Proved {
    let (_, account) = trie(accounts(db), Some(keccak256(contract)));
    let (_, storage) = trie(storage(db, contract), Some(keccak256(slot)));
    Proved { account, storage }
}

type Leaves = Vec<(B256, Vec<u8>)>;

fn accounts(db: &InMemoryDB) -> Leaves {
    let existing = db.cache.accounts.iter().filter(|(_, account)| !account.info.is_empty());
    existing
        .map(|(address, account)| {
            let value = TrieAccount {
                nonce: account.info.nonce,
                balance: account.info.balance,
                storage_root: trie(storage(db, *address), None).0,
                code_hash: account.info.code_hash,
            };
            (keccak256(address), alloy_rlp::encode(value))
        })
        .collect()
}

fn storage(db: &InMemoryDB, address: Address) -> Leaves {
    let Some(account) = db.cache.accounts.get(&address) else { return Vec::new() };
    let set = account.storage.iter().filter(|(_, value)| **value != U256::ZERO);
    set.map(|(slot, value)| {
        let mut out = Vec::new();
        value.encode(&mut out);
        (keccak256(B256::from(*slot)), out)
    })
    .collect()
}

fn trie(mut leaves: Leaves, prove: Option<B256>) -> (B256, Vec<Bytes>) {
    if leaves.is_empty() {
        return (EMPTY_ROOT_HASH, Vec::new());
    }
    leaves.sort_unstable();
    let targets: Vec<Nibbles> = prove.into_iter().map(Nibbles::unpack).collect();
    let mut builder = HashBuilder::default().with_proof_retainer(ProofRetainer::new(targets));
    for (key, value) in &leaves {
        builder.add_leaf(Nibbles::unpack(key), value);
    }
    let root = builder.root();
    let nodes = builder.take_proof_nodes().into_nodes_sorted();
    (root, nodes.into_iter().map(|(_, node)| node).collect())
}
