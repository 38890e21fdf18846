//! The embedded ledger: the real bytecode of `NotaryAnchor`, and of `ConsentRegistry` from the first grant on, in an EVM of its
//! own, its transactions in a journal.
//! It lets medseal run with nothing set up and gives receipts the same form as on a real chain. It is the
//! operator's own: **no independent trust**.

use super::journal::{Block, Journal, Keeper, On};
use super::{ChainError, Contract, INotaryAnchor, refusal, registry, state};
use crate::anchor::{AnchorBundle, ChainKind, root_slot};
use crate::consent::{Accumulator, Event, Mirror, MirrorError, Point, Proved, Registry, Taken};
use crate::tree::Root;
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, Log, TxKind, U256, address, keccak256};
use alloy_sol_types::SolCall;
use revm::context::result::ExecutionResult;
use revm::context::{Context, TxEnv};
use revm::database::InMemoryDB;
use revm::primitives::hardfork::SpecId;
use revm::{ExecuteCommitEvm, ExecuteEvm, MainBuilder, MainContext};
use std::path::Path;

/// The embedded ledger's chain id: `medseal` has no public chain.
pub const CHAIN_ID: u64 = 0x6d65_6473;
/// The account that anchors on the embedded ledger. It has no key: nothing is signed inside one process.
const NOTARY: Address = address!("0x6d65647365616c000000000000000000000000a1");
/// The account that registers and revokes there, and administers the registry: the patient's preimage is what counts.
const REGISTRAR: Address = address!("0x6d65647365616c000000000000000000000000c1");
const GAS_LIMIT: u64 = 10_000_000;

/// The newest anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub size: u64,
    pub root: Root,
}

/// The ledger, open.
#[derive(Debug)]
pub struct Ledger {
    db: InMemoryDB,
    journal: Journal,
    contract: Address,
    tip: Option<Block>,
    /// All events of the consent registry.
    events: Vec<Event>,
}

impl Ledger {
    /// Opens the journal, replays it, and checks the state that comes out. A new journal gets its first block,
    /// which deploys the contract. `now`: seconds since 1970.
    pub fn open(path: &Path, now: u64) -> Result<Self, ChainError> {
        let (journal, blocks) = Journal::open(path)?;
        Self::on(journal, blocks, now)
    }

    /// The same with a journal that is no file: the lines that were kept, and who keeps the next one. `path` names the place in
    /// messages.
    pub fn kept(path: &Path, lines: &[String], keeper: Box<dyn Keeper>, now: u64) -> Result<Self, ChainError> {
        let journal = Journal::kept(path, keeper);
        let blocks = journal.read(0, lines)?;
        Self::on(journal, blocks, now)
    }

    fn on(journal: Journal, blocks: Vec<Block>, now: u64) -> Result<Self, ChainError> {
        let contract = place(On::NotaryAnchor);
        let mut ledger = Self { db: InMemoryDB::default(), journal, contract, tip: None, events: Vec::new() };
        ledger.follow(blocks)?;
        if ledger.tip.is_none() {
            ledger.create(On::NotaryAnchor, now)?;
        }
        Ok(ledger)
    }

    /// The number of the next block.
    pub fn next(&self) -> u64 {
        self.tip.as_ref().map_or(0, |tip| tip.number + 1)
    }

    /// Takes in the lines of blocks that another ledger on the same journal mined, from the next one on.
    pub fn catch_up(&mut self, lines: &[String]) -> Result<(), ChainError> {
        let blocks = self.journal.read(self.next(), lines)?;
        self.follow(blocks)
    }

    fn follow(&mut self, blocks: Vec<Block>) -> Result<(), ChainError> {
        let Some(state_root) = blocks.last().map(|block| block.state_root) else { return Ok(()) };
        // The line is counted: what a block says of itself may be false.
        for (line, block) in (self.next() as usize + 1..).zip(blocks) {
            self.replay(line, block)?;
        }
        if state::root(&self.db) != state_root {
            return Err(self.journal.corrupt(self.next() as usize, "replaying it leads to another state").into());
        }
        Ok(())
    }

    /// The contract's address.
    pub fn contract(&self) -> Address {
        self.contract
    }

    /// The number of blocks and the newest one's hash.
    pub fn tip(&self) -> Option<(u64, B256)> {
        self.tip.as_ref().map(|tip| (tip.number, header(tip).hash_slow()))
    }

    /// The contract's head.
    pub fn head(&mut self) -> Result<Head, ChainError> {
        let output = self.call(INotaryAnchor::headCall {}.abi_encode())?;
        let head = INotaryAnchor::headCall::abi_decode_returns(&output).map_err(undecodable)?;
        Ok(Head { size: head.size, root: Root(head.root.0) })
    }

    /// The root anchored at a size, if any.
    pub fn root_at(&mut self, size: u64) -> Result<Option<Root>, ChainError> {
        let output = self.call(INotaryAnchor::rootAtCall { size }.abi_encode())?;
        let root = INotaryAnchor::rootAtCall::abi_decode_returns(&output).map_err(undecodable)?;
        Ok((root != B256::ZERO).then_some(Root(root.0)))
    }

    /// Anchors a root; the contract checks the consistency proof. Returns the gas used. When this returns,
    /// the block is on disk.
    pub fn anchor(&mut self, size: u64, root: Root, proof: &[[u8; 32]], now: u64) -> Result<u64, ChainError> {
        let call = INotaryAnchor::anchorCall {
            size,
            root: B256::from(root.0),
            proof: proof.iter().copied().map(B256::from).collect(),
        };
        self.mine(On::NotaryAnchor, call.abi_encode().into(), now)
    }

    /// The proof that the root at `size` is in the newest block's state.
    pub fn bundle(&self, size: u64) -> Option<AnchorBundle> {
        let tip = self.tip.as_ref()?;
        let proved = state::prove(&self.db, self.contract, root_slot(size));
        Some(AnchorBundle {
            kind: ChainKind::Embedded,
            chain_id: CHAIN_ID,
            contract: self.contract,
            size,
            header: alloy_rlp::encode(header(tip)).into(),
            account_proof: proved.account,
            storage_proof: proved.storage,
        })
    }

    /// The consent registry. It is created with the first transaction for it, and its address is known before.
    pub fn registry(&self) -> Registry {
        Registry { chain_id: CHAIN_ID, contract: place(On::ConsentRegistry) }
    }

    /// Runs a transaction of [`registry`] on the consent registry. Returns the gas used. When this returns, the block is on disk.
    pub fn consent(&mut self, input: Bytes, now: u64) -> Result<u64, ChainError> {
        if self.nonce(REGISTRAR) == 0 {
            // A crash after this leaves a registry without grants.
            self.create(On::ConsentRegistry, now)?;
        }
        self.mine(On::ConsentRegistry, input, now)
    }

    /// Brings a mirror of the consent registry up to date: each block here stays. `now` in seconds since 1970.
    pub fn mirror(&self, mirror: &mut Mirror, now: u64) -> Result<Taken, MirrorError> {
        let Some((number, hash)) = self.tip() else { return Ok(Taken::default()) };
        let contract = self.db.cache.accounts.get(&place(On::ConsentRegistry));
        let accumulator = contract.and_then(|contract| contract.storage.get(&U256::ZERO)).copied().map(Accumulator);
        let proved = Proved { point: Point { number, hash }, accumulator };
        let settled = mirror.settled().map_or(0, |settled| settled.number);
        let known = self.events.partition_point(|event| event.block <= settled);
        mirror.take(&self.events[known..], proved, proved, now)
    }

    /// The hash of the contract's code.
    pub fn code_hash(&self) -> B256 {
        self.db.cache.accounts.get(&self.contract).map_or(B256::ZERO, |a| a.info.code_hash)
    }

    fn create(&mut self, on: On, now: u64) -> Result<(), ChainError> {
        let input = contract(on).creation(caller(on)).ok_or_else(|| undecodable("the contract's artifact"))?;
        self.mine(on, input, now).map(|_| ())
    }

    /// Runs a transaction, writes its block, and only then keeps its state.
    fn mine(&mut self, on: On, input: Bytes, now: u64) -> Result<u64, ChainError> {
        let (before, events) = (self.db.clone(), self.events.len());
        let (number, parent) = self.tip().map_or((0, B256::ZERO), |(number, hash)| (number + 1, hash));
        let timestamp = now.max(self.tip.as_ref().map_or(0, |tip| tip.timestamp));
        let mut block = Block { number, timestamp, on, input, gas_used: 0, parent, state_root: B256::ZERO };
        let outcome = self.execute(&block).and_then(|gas_used| {
            block.gas_used = gas_used;
            block.state_root = state::root(&self.db);
            // A crash here leaves no trace of the block: it is mined again after the restart.
            self.journal.append(&block).map_err(ChainError::from)
        });
        // A crash here leaves the block in the journal: the restart finds the anchor already made.
        if let Err(error) = outcome {
            self.db = before;
            self.events.truncate(events);
            return Err(error);
        }
        let gas_used = block.gas_used;
        self.tip = Some(block);
        Ok(gas_used)
    }

    fn replay(&mut self, line: usize, block: Block) -> Result<(), ChainError> {
        let expected = self.tip().map_or((0, B256::ZERO), |(number, hash)| (number + 1, hash));
        if (block.number, block.parent) != expected {
            return Err(self.journal.corrupt(line, "the block does not follow the one before it").into());
        }
        let gas = self.execute(&block).map_err(|e| self.journal.corrupt(line, e.to_string()))?;
        if gas != block.gas_used {
            return Err(self.journal.corrupt(line, "the block used other gas when replayed").into());
        }
        self.tip = Some(block);
        Ok(())
    }

    fn execute(&mut self, block: &Block) -> Result<u64, ChainError> {
        let (caller, nonce) = (caller(block.on), self.nonce(caller(block.on)));
        let kind = if nonce == 0 { TxKind::Create } else { TxKind::Call(place(block.on)) };
        let tx = transaction(caller, kind, block.input.clone(), nonce)?;
        let context = Context::mainnet().with_db(&mut self.db).modify_cfg_chained(configure);
        let mut evm = context
            .modify_block_chained(|env| {
                env.number = U256::from(block.number);
                env.timestamp = U256::from(block.timestamp);
            })
            .build_mainnet();
        let result = evm.transact_commit(tx).map_err(|e| ChainError::Execution(format!("{e:?}")))?;
        match result {
            ExecutionResult::Success { gas, logs, .. } => {
                self.events.extend(events(&logs, block.number));
                Ok(gas.tx_gas_used())
            }
            ExecutionResult::Revert { output, .. } => Err(ChainError::Refused(refusal(&output))),
            ExecutionResult::Halt { reason, .. } => Err(ChainError::Execution(format!("{reason:?}"))),
        }
    }

    /// How many transactions an account has sent.
    fn nonce(&self, account: Address) -> u64 {
        self.db.cache.accounts.get(&account).map_or(0, |account| account.info.nonce)
    }

    fn call(&mut self, input: Vec<u8>) -> Result<Bytes, ChainError> {
        let tx = transaction(NOTARY, TxKind::Call(self.contract), input.into(), self.nonce(NOTARY))?;
        let context = Context::mainnet().with_db(&mut self.db).modify_cfg_chained(configure);
        let result = context.build_mainnet().transact(tx).map_err(|e| ChainError::Execution(format!("{e:?}")))?;
        match result.result {
            ExecutionResult::Success { output, .. } => Ok(output.into_data()),
            ExecutionResult::Revert { output, .. } => Err(ChainError::Refused(refusal(&output))),
            ExecutionResult::Halt { reason, .. } => Err(ChainError::Execution(format!("{reason:?}"))),
        }
    }
}

fn caller(on: On) -> Address {
    match on {
        On::NotaryAnchor => NOTARY,
        On::ConsentRegistry => REGISTRAR,
    }
}

fn contract(on: On) -> Contract {
    match on {
        On::NotaryAnchor => Contract::NotaryAnchor,
        On::ConsentRegistry => Contract::ConsentRegistry,
    }
}

/// Where a contract stands: it is the first thing that its account creates.
fn place(on: On) -> Address {
    caller(on).create(0)
}

fn events(logs: &[Log], block: u64) -> impl Iterator<Item = Event> {
    let ours = logs.iter().filter(|log| log.address == place(On::ConsentRegistry));
    ours.filter_map(move |log| registry::event(log, block))
}

fn configure(cfg: &mut revm::context::CfgEnv) {
    cfg.chain_id = CHAIN_ID;
    cfg.set_spec_and_mainnet_gas_params(SpecId::CANCUN);
}

fn transaction(caller: Address, kind: TxKind, data: Bytes, nonce: u64) -> Result<TxEnv, ChainError> {
    TxEnv::builder()
        .caller(caller)
        .kind(kind)
        .data(data)
        .nonce(nonce)
        .gas_limit(GAS_LIMIT)
        .gas_price(0)
        .chain_id(Some(CHAIN_ID))
        .build()
        .map_err(|e| ChainError::Execution(format!("{e:?}")))
}

/// The block's header: of Ethereum's form, its transaction root standing for the one input.
fn header(block: &Block) -> Header {
    Header {
        parent_hash: block.parent,
        number: block.number,
        timestamp: block.timestamp,
        gas_limit: GAS_LIMIT,
        gas_used: block.gas_used,
        state_root: block.state_root,
        transactions_root: keccak256(&block.input),
        ..Header::default()
    }
}

fn undecodable(error: impl std::fmt::Display) -> ChainError {
    ChainError::Execution(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consent::{Preimage, Sealed};
    use crate::tree::{self, LeafHash, MemoryTree};

    fn grow(tree: &mut MemoryTree, to: u64) -> Root {
        for i in tree.size()..to {
            tree.push(LeafHash::of_bytes(&i.to_be_bytes())).unwrap();
        }
        tree::root(to, tree).unwrap()
    }

    fn open(directory: &Path) -> Ledger {
        Ledger::open(&directory.join("ledger.journal"), 1_700_000_000).unwrap()
    }

    #[test]
    fn anchors_survive_a_restart_and_prove_themselves() {
        let directory = tempfile::tempdir().unwrap();
        let mut tree = MemoryTree::default();
        let mut ledger = open(directory.path());
        assert_eq!(ledger.head().unwrap().size, 0);
        let mut old = 0;
        for size in [1, 7, 8, 100] {
            let root = grow(&mut tree, size);
            let proof = tree::prove_consistency(old, size, &tree).unwrap();
            let gas = ledger.anchor(size, root, &proof, 1_700_000_001).unwrap();
            assert!((50_000..120_000).contains(&gas), "{gas}");
            old = size;
        }
        drop(ledger);
        let mut ledger = open(directory.path());
        assert_eq!(ledger.head().unwrap(), Head { size: 100, root: tree::root(100, &tree).unwrap() });
        for size in [1, 7, 8, 100] {
            let root = tree::root(size, &tree).unwrap();
            assert_eq!(ledger.root_at(size).unwrap(), Some(root));
            let bundle = ledger.bundle(size).unwrap();
            assert_eq!(bundle.check(root).unwrap().block_number, 4);
            assert!(bundle.check(Root([1; 32])).is_err());
        }
        assert_eq!(ledger.root_at(50).unwrap(), None);
        assert!(ledger.bundle(50).unwrap().check(Root([1; 32])).is_err());
    }

    /// Lines that two ledgers share.
    #[derive(Debug, Clone, Default)]
    struct Shared(std::sync::Arc<std::sync::Mutex<Vec<String>>>);

    impl Keeper for Shared {
        fn keep(&mut self, number: u64, line: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            let mut lines = self.0.lock().unwrap();
            if number != lines.len() as u64 {
                return Err("taken".into());
            }
            lines.push(line.to_owned());
            Ok(())
        }
    }

    #[test]
    fn two_ledgers_on_one_journal_are_one_chain() {
        let lines = Shared::default();
        let open = || {
            let kept = lines.0.lock().unwrap().clone();
            Ledger::kept(Path::new("shared"), &kept, Box::new(lines.clone()), 1).unwrap()
        };
        let (mut one, mut other) = (open(), open());
        let mut tree = MemoryTree::default();
        one.anchor(5, grow(&mut tree, 5), &[], 1).unwrap();
        let root = grow(&mut tree, 9);
        let behind = other.anchor(9, root, &[], 2);
        assert!(matches!(behind, Err(ChainError::Journal(_))), "what is behind mines nothing: {behind:?}");
        let news = lines.0.lock().unwrap()[other.next() as usize..].to_vec();
        other.catch_up(&news).unwrap();
        assert_eq!((other.head().unwrap().size, other.tip()), (5, one.tip()));
        other.anchor(9, root, &tree::prove_consistency(5, 9, &tree).unwrap(), 3).unwrap();
        let mut bad = lines.0.lock().unwrap()[one.next() as usize..].to_vec();
        bad[0] = bad[0].replacen("\"number\":2", "\"number\":3", 1);
        assert!(one.catch_up(&bad).unwrap_err().to_string().contains("corrupt at line 3"));
    }

    fn grant(n: u8) -> (Sealed, Preimage) {
        let preimage = Preimage([n; 32]);
        (Sealed { commitment: B256::repeat_byte(n), tag: preimage.tag(), not_after: 1_800_000_000 }, preimage)
    }

    #[test]
    fn grants_stand_on_the_embedded_ledger_beside_the_anchors() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.journal");
        let (mut ledger, mut tree) = (open(directory.path()), MemoryTree::default());
        ledger.anchor(3, grow(&mut tree, 3), &[], 1_700_000_001).unwrap();
        let before = std::fs::read_to_string(&path).unwrap();
        assert!(!before.contains("\"on\""), "journals without grants are as they were");
        let registry = ledger.registry();
        let mut mirror = Mirror::new(registry);
        assert_eq!(ledger.mirror(&mut mirror, 1).unwrap(), Taken::default());
        let (grants, preimages): (Vec<_>, Vec<_>) = (1..=5).map(grant).unzip();
        let keys: Vec<_> = grants.iter().map(|grant| grant.key(&registry)).collect();
        for call in registry::register(&grants) {
            ledger.consent(call, 1_700_000_002).unwrap();
        }
        assert_eq!(ledger.mirror(&mut mirror, 2).unwrap().granted, keys);
        ledger.consent(registry::revoke(keys[1], &preimages[1]), 1_700_000_003).unwrap();
        let wrong = ledger.consent(registry::revoke(keys[2], &preimages[1]), 1_700_000_004);
        assert!(matches!(&wrong, Err(ChainError::Refused(name)) if name == "WrongPreimage"), "{wrong:?}");
        let root = grow(&mut tree, 9);
        let proof = tree::prove_consistency(3, 9, &tree).unwrap();
        ledger.anchor(9, root, &proof, 1_700_000_005).unwrap();
        assert_eq!(ledger.mirror(&mut mirror, 3).unwrap().revoked, [keys[1]]);
        let standing = |mirror: &Mirror| keys.iter().map(|key| mirror.allow(*key, 3, 60).is_ok()).collect::<Vec<_>>();
        assert_eq!(standing(&mirror), [true, false, true, true, true]);
        assert_eq!(ledger.bundle(9).unwrap().check(root).unwrap().block_number, 5);
        // A restart, and a mirror that begins anew, come to the same.
        let tip = ledger.tip();
        drop(ledger);
        let ledger = open(directory.path());
        assert_eq!(ledger.tip(), tip);
        let mut again = Mirror::new(registry);
        ledger.mirror(&mut again, 3).unwrap();
        assert_eq!(again.grants().collect::<Vec<_>>(), mirror.grants().collect::<Vec<_>>());
        assert_eq!(ledger.mirror(&mut mirror, 4).unwrap(), Taken::default());
    }

    /// Written by the ledger before there was a consent registry.
    const OLD: &str = include_str!("../../tests/fixtures/old.journal");

    #[test]
    fn a_journal_from_before_grants_goes_on_with_them() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ledger.journal"), OLD).unwrap();
        let mut ledger = open(directory.path());
        assert_eq!(ledger.head().unwrap().size, 8);
        let (one, preimage) = grant(1);
        let key = one.key(&ledger.registry());
        ledger.consent(registry::forestall(key, &one, &preimage), 1_700_000_009).unwrap();
        drop(ledger);
        let mut ledger = open(directory.path());
        let refused = ledger.consent(registry::register(&[one]).remove(0), 1_700_000_010);
        assert!(refused.is_ok(), "a batch passes over what was revoked: {refused:?}");
        let mut mirror = Mirror::new(ledger.registry());
        ledger.mirror(&mut mirror, 1).unwrap();
        assert_eq!(mirror.allow(key, 1, 60), Err(crate::consent::Refusal::Revoked));
        assert!(std::fs::read_to_string(directory.path().join("ledger.journal")).unwrap().starts_with(OLD));
    }

    #[test]
    fn the_contract_refuses_a_rewritten_log() {
        let directory = tempfile::tempdir().unwrap();
        let mut ledger = open(directory.path());
        let mut tree = MemoryTree::default();
        ledger.anchor(5, grow(&mut tree, 5), &[], 1).unwrap();
        let mut forged = MemoryTree::default();
        forged.push(LeafHash([7; 32])).unwrap();
        let root = grow(&mut forged, 9);
        let proof = tree::prove_consistency(5, 9, &forged).unwrap();
        let refused = |result: Result<u64, ChainError>| match result {
            Err(ChainError::Refused(name)) => name,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(ledger.anchor(9, root, &proof, 2)), "InconsistentHead");
        assert_eq!(refused(ledger.anchor(5, root, &proof, 2)), "SizeNotGrowing");
        assert_eq!(refused(ledger.anchor(9, root, &[], 2)), "BadProof");
        // A refusal changes nothing: the honest log goes on.
        let root = grow(&mut tree, 9);
        let proof = tree::prove_consistency(5, 9, &tree).unwrap();
        ledger.anchor(9, root, &proof, 3).unwrap();
    }

    #[test]
    fn a_torn_line_is_cut_off_and_a_changed_one_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.journal");
        let mut tree = MemoryTree::default();
        let mut ledger = open(directory.path());
        ledger.anchor(3, grow(&mut tree, 3), &[], 1).unwrap();
        drop(ledger);
        let good = std::fs::read(&path).unwrap();
        let torn = [good.as_slice(), b"1234 {\"num"].concat();
        std::fs::write(&path, torn).unwrap();
        assert_eq!(open(directory.path()).head().unwrap().size, 3);
        assert_eq!(std::fs::read(&path).unwrap(), good);
        let mut bad = good.clone();
        bad[100] ^= 1;
        std::fs::write(&path, bad).unwrap();
        let error = Ledger::open(&path, 1).unwrap_err().to_string();
        assert!(error.contains("corrupt at line 1") && error.contains("ledger.journal"), "{error}");
    }
}
