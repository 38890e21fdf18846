//! Anchoring on a real EVM node, with the faults that chains have. Skipped, and says so, where anvil is not installed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod anvil;
mod besu;
mod consent;
#[path = "../sample/mod.rs"]
mod sample;
mod tiles;
mod watch;

use anvil::{Anvil, KEY, Proxy, down, pass};
use notary::anchor::ChainKind;
use notary::chain::Contract;
use notary::chain::evm::pending::Pending;
use notary::chain::evm::round::{AnchoredLog, Done, Manner, round};
use notary::chain::evm::{EvmError, Finality, Node, Nodes, Pins, Sender, SenderKey, View, deploy, local_key};
use notary::tree::{self, LeafHash, MemoryTree, Root};
use serde_json::json;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A log in memory, and what is kept of it.
#[derive(Default)]
struct Log {
    tree: MemoryTree,
    pending: Mutex<Option<Pending>>,
    /// What was ever kept, in order: nothing is sent that is not here.
    kept: Mutex<Vec<Pending>>,
}

impl Log {
    fn grow(&mut self, to: u64) {
        for n in self.tree.size()..to {
            self.tree.push(LeafHash::of_bytes(&n.to_be_bytes())).unwrap();
        }
    }
}

impl AnchoredLog for Log {
    type Error = EvmError;

    fn newest(&self) -> Result<Option<(u64, Root)>, EvmError> {
        let size = self.tree.size();
        Ok((size > 0).then(|| (size, tree::root(size, &self.tree).unwrap())))
    }

    fn root(&self, size: u64) -> Result<Option<Root>, EvmError> {
        Ok((size <= self.tree.size()).then(|| tree::root(size, &self.tree).unwrap()))
    }

    fn prove(&self, from: u64, to: u64) -> Result<Vec<[u8; 32]>, EvmError> {
        Ok(tree::prove_consistency(from, to, &self.tree).unwrap())
    }

    fn pending(&self) -> Result<Option<Pending>, EvmError> {
        Ok(self.pending.lock().unwrap().clone())
    }

    fn keep(&self, pending: Option<&Pending>) -> Result<(), EvmError> {
        self.kept.lock().unwrap().extend(pending.cloned());
        *self.pending.lock().unwrap() = pending.cloned();
        Ok(())
    }
}

const MANNER: Manner = Manner { finality: Finality::Depth(2), patience: 60, max_age: None };
const CAP: u128 = 500_000_000_000;

/// A chain with the contract on it.
struct Chain {
    anvil: Anvil,
    pins: Pins,
    key: SenderKey,
    state: Option<tempfile::TempDir>,
}

impl Chain {
    async fn start(arguments: &[&str]) -> Option<Self> {
        let anvil = Anvil::start(arguments).await?;
        let key = local_key(&KEY).unwrap();
        let node = Node::new(&anvil.url()).unwrap();
        let (chain_id, genesis) = node.identity().await.unwrap();
        let deployed = deploy(&node, &key, Contract::NotaryAnchor.creation(key.address()).unwrap(), CAP).await.unwrap();
        let pins = Pins { chain_id, genesis, contract: deployed.address, code_hash: deployed.code_hash };
        Some(Self { anvil, pins, key, state: None })
    }

    /// One that survives a kill, but for its pool.
    async fn durable() -> Option<Self> {
        let state = tempfile::tempdir().unwrap();
        let file = state.path().join("state").to_string_lossy().into_owned();
        let mut chain =
            Self::start(&["--state", &file, "--state-interval", "1", "--preserve-historical-states"]).await?;
        chain.state = Some(state);
        Some(chain)
    }

    fn sender_by(&self, urls: &[String], quorum: Option<usize>) -> Sender {
        Sender::new(Nodes::new(urls, quorum, self.pins).unwrap(), self.key.clone(), CAP)
    }

    fn sender(&self) -> Sender {
        self.sender_by(&[self.anvil.url()], None)
    }

    async fn round(&self, sender: &Sender, log: &Log) -> Result<(View, Done), EvmError> {
        round(sender, log, &MANNER, self.anvil.now().await).await
    }

    /// Rounds until the newest block has all of the log: a node mines when it comes to it.
    async fn mined(&self, sender: &Sender, log: &Log, manner: &Manner) -> (View, Done) {
        for _ in 0..500 {
            let (view, done) = round(sender, log, manner, self.anvil.now().await).await.unwrap();
            if view.newest.size == log.tree.size() {
                return (view, done);
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("not in a block after 500 rounds: {:?}", log.pending());
    }

    /// Rounds, a block after each, until all is anchored in a block that stays.
    async fn settle(&self, sender: &Sender, log: &Log) -> View {
        for _ in 0..20 {
            let (view, done) = self.round(sender, log).await.unwrap();
            if done == Done::Nothing {
                assert_eq!(view.last.size, log.tree.size());
                self.check(log, &view).await;
                return view;
            }
            self.anvil.mine(1).await;
        }
        panic!("not anchored after 20 rounds: {:?}", log.pending());
    }

    /// One history, each size once, no leaf lost, and a proof that needs no node.
    async fn check(&self, log: &Log, view: &View) {
        let root = tree::root(log.tree.size(), &log.tree).unwrap();
        assert_eq!(view.last.root, Some(root));
        let bundle = view.last.bundle(ChainKind::Consortium, &self.pins).unwrap();
        assert_eq!(bundle.check(root).unwrap().code_hash, self.pins.code_hash);
        let filter = json!([{"fromBlock": "0x0", "toBlock": "latest", "address": self.pins.contract}]);
        let events = self.anvil.ask("eth_getLogs", filter).await;
        let sizes: Vec<_> = events.as_array().unwrap().iter().map(|event| anvil::number(&event["topics"][1])).collect();
        assert!(sizes.is_sorted_by(|a, b| a < b), "an anchor was made twice: {sizes:?}");
        assert_eq!(sizes.last(), Some(&log.tree.size()));
    }

    async fn automine(&self, on: bool) {
        self.anvil.ask("evm_setAutomine", json!([on])).await;
    }
}

#[tokio::test]
async fn anchors_on_a_chain_are_final_before_they_count() {
    let Some(chain) = Chain::start(&[]).await else { return };
    let (sender, mut log) = (chain.sender(), Log::default());
    assert_eq!(chain.round(&sender, &log).await.unwrap().1, Done::Nothing, "an empty log");
    for size in [1, 7, 8, 1_000] {
        log.grow(size);
        assert_eq!(chain.round(&sender, &log).await.unwrap().1, Done::Sent);
        let (view, done) = chain.mined(&sender, &log, &MANNER).await;
        assert_eq!((done, view.newest.size), (Done::Waiting, size), "mined, and not final");
        assert!(view.last.size < size);
        chain.settle(&sender, &log).await;
    }
}

#[tokio::test]
async fn a_node_that_dies_between_broadcast_and_block_gets_the_same_bytes_again() {
    let Some(mut chain) = Chain::durable().await else { return };
    let (sender, mut log) = (chain.sender(), Log::default());
    log.grow(5);
    chain.settle(&sender, &log).await;
    // The state is dumped each second.
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    log.grow(9);
    chain.automine(false).await;
    assert_eq!(chain.round(&sender, &log).await.unwrap().1, Done::Sent);
    chain.anvil.stop();
    chain.anvil.again().await;
    assert_eq!(chain.round(&sender, &log).await.unwrap().1, Done::SentAgain);
    chain.settle(&sender, &log).await;
    assert_eq!(log.kept.lock().unwrap().len(), 2, "one signature for each anchor");
}

#[tokio::test]
async fn a_process_that_dies_after_keeping_sends_what_it_kept() {
    let Some(chain) = Chain::start(&[]).await else { return };
    let (sender, mut log) = (chain.sender(), Log::default());
    let proxy = Proxy::before(&chain.anvil).await;
    let cut_off = chain.sender_by(&[proxy.url()], None);
    log.grow(5);
    // As if the process died with the bytes kept and unsent.
    proxy.fail(|question, answer| if question.contains("eth_sendRaw") { None } else { pass(question, answer) });
    let unsent = chain.round(&cut_off, &log).await.unwrap_err();
    assert!(unsent.is_away(), "{unsent}");
    assert_eq!(log.kept.lock().unwrap().len(), 1);
    assert_eq!(chain.round(&sender, &log).await.unwrap().1, Done::SentAgain);
    chain.settle(&sender, &log).await;
    assert_eq!(log.kept.lock().unwrap().len(), 1, "the same bytes");
}

#[tokio::test]
async fn a_transaction_that_the_pool_drops_goes_out_again() {
    let Some(chain) = Chain::start(&[]).await else { return };
    let (sender, mut log) = (chain.sender(), Log::default());
    chain.automine(false).await;
    log.grow(5);
    chain.round(&sender, &log).await.unwrap();
    let hash = log.pending().unwrap().unwrap().sent[0].hash;
    chain.anvil.ask("anvil_dropTransaction", json!([hash])).await;
    assert_eq!(chain.round(&sender, &log).await.unwrap().1, Done::SentAgain);
    chain.automine(true).await;
    chain.settle(&sender, &log).await;
}

#[tokio::test]
async fn fees_rise_on_the_same_nonce_and_not_above_the_cap() {
    let Some(chain) = Chain::start(&[]).await else { return };
    let (sender, mut log) = (chain.sender(), Log::default());
    chain.automine(false).await;
    log.grow(5);
    chain.round(&sender, &log).await.unwrap();
    // The base fee jumps: what was sent can be in no block.
    chain.anvil.ask("anvil_setNextBlockBaseFeePerGas", json!(["0x174876e800"])).await;
    chain.anvil.mine(1).await;
    chain.anvil.ask("anvil_setNextBlockBaseFeePerGas", json!(["0x174876e800"])).await;
    let now = chain.anvil.now().await;
    assert_eq!(round(&sender, &log, &MANNER, now).await.unwrap().1, Done::Raised, "no node takes it any more");
    let pending = log.pending().unwrap().unwrap();
    assert_eq!(pending.sent.len(), 2);
    let (old, new) = (pending.sent[0].fees, pending.sent[1].fees);
    assert!(new.max >= old.max + old.max / 8 && new.tip >= old.tip + old.tip / 8, "{old:?} {new:?}");
    assert!(new.max >= 100_000_000_000, "it pays what the chain asks: {new:?}");
    assert_eq!(round(&sender, &log, &MANNER, now + 59).await.unwrap().1, Done::Waiting, "the new one has its time");
    let poor = Sender::new(Nodes::new(&[chain.anvil.url()], None, chain.pins).unwrap(), chain.key.clone(), new.max);
    assert_eq!(round(&poor, &log, &MANNER, now + 900).await.unwrap().1, Done::AboveCap);
    chain.automine(true).await;
    chain.settle(&sender, &log).await;
}

#[tokio::test]
async fn reorganisations_are_followed() {
    let Some(chain) = Chain::start(&[]).await else { return };
    let (sender, mut log) = (chain.sender(), Log::default());
    let manner = Manner { finality: Finality::Depth(30), ..MANNER };
    log.grow(3);
    round(&sender, &log, &manner, chain.anvil.now().await).await.unwrap();
    chain.anvil.mine(31).await;
    for depth in [1_u64, 5, 20] {
        log.grow(log.tree.size() + 4);
        let size = log.tree.size();
        let (_, done) = round(&sender, &log, &manner, chain.anvil.now().await).await.unwrap();
        assert_eq!(done, Done::Sent);
        chain.mined(&sender, &log, &manner).await;
        chain.anvil.mine(depth - 1).await;
        let seen = chain.mined(&sender, &log, &manner).await;
        assert_eq!((seen.1, seen.0.newest.size), (Done::Waiting, size));
        chain.anvil.ask("anvil_reorg", json!([depth, []])).await;
        let mut anchored = false;
        for _ in 0..60 {
            let (view, done) = round(&sender, &log, &manner, chain.anvil.now().await).await.unwrap();
            if done == Done::Nothing {
                chain.check(&log, &view).await;
                anchored = true;
                break;
            }
            chain.anvil.mine(1).await;
        }
        assert!(anchored, "after a reorganisation {depth} deep");
    }
}

#[tokio::test]
async fn a_chain_that_is_away_comes_back_and_nothing_is_lost() {
    let Some(chain) = Chain::start(&[]).await else { return };
    let mut log = Log::default();
    let proxy = Proxy::before(&chain.anvil).await;
    let sender = chain.sender_by(&[proxy.url()], None);
    proxy.fail(down);
    log.grow(5);
    let away = chain.round(&sender, &log).await.unwrap_err();
    assert!(away.is_away(), "{away}");
    assert!(log.pending().unwrap().is_none());
    log.grow(500);
    proxy.fail(pass);
    chain.settle(&sender, &log).await;
}

#[tokio::test]
async fn another_chain_other_code_and_an_old_block_are_refused() {
    let Some(chain) = Chain::start(&[]).await else { return };
    let Some(other) = Anvil::start(&["--chain-id", "4711"]).await else { return };
    let log = Log::default();
    let refused = chain.round(&chain.sender_by(&[other.url()], None), &log).await.unwrap_err();
    assert!(matches!(refused, EvmError::OtherChain { what: "chain id", .. }), "{refused}");
    let mut pins = chain.pins;
    pins.genesis.0[0] ^= 1;
    let by = |pins| Sender::new(Nodes::new(&[chain.anvil.url()], None, pins).unwrap(), chain.key.clone(), CAP);
    let refused = chain.round(&by(pins), &log).await.unwrap_err();
    assert!(matches!(refused, EvmError::OtherChain { what: "genesis block", .. }), "{refused}");
    let mut pins = chain.pins;
    pins.code_hash.0[0] ^= 1;
    let refused = chain.round(&by(pins), &log).await.unwrap_err();
    assert!(matches!(refused, EvmError::OtherCode { .. }), "{refused}");
    let manner = Manner { max_age: Some(600), ..MANNER };
    let stale = round(&chain.sender(), &log, &manner, chain.anvil.now().await + 601).await.unwrap_err();
    assert!(matches!(stale, EvmError::Stale { age: 601 }), "{stale}");
}

#[tokio::test]
async fn nodes_that_contradict_each_other_stop_everything() {
    let Some(chain) = Chain::start(&["--timestamp", "1700000000"]).await else { return };
    let Some(fork) = Anvil::start(&["--timestamp", "1700000000"]).await else { return };
    let mut log = Log::default();
    log.grow(5);
    chain.settle(&chain.sender(), &log).await;
    let both = [chain.anvil.url(), fork.url()];
    fork.mine(chain.anvil.now().await.min(40)).await;
    let refused = chain.round(&chain.sender_by(&both, Some(1)), &log).await.unwrap_err();
    assert!(matches!(refused, EvmError::Disagree { .. }), "{refused}");
    // One of them away: the quorum decides.
    drop(fork);
    let few = chain.round(&chain.sender_by(&both, Some(2)), &log).await.unwrap_err();
    assert!(matches!(few, EvmError::TooFew { found: 1, wanted: 2, .. }), "{few}");
    chain.round(&chain.sender_by(&both, Some(1)), &log).await.unwrap();
}

#[tokio::test]
async fn a_node_that_says_more_than_it_proves_is_not_believed() {
    let Some(chain) = Chain::start(&[]).await else { return };
    let mut log = Log::default();
    log.grow(5);
    chain.settle(&chain.sender(), &log).await;
    let proxy = Proxy::before(&chain.anvil).await;
    let sender = chain.sender_by(&[proxy.url()], None);
    let lies: [anvil::Fault; 3] = [
        |_, answer| Some(answer.replace("\"value\":\"0x5\"", "\"value\":\"0x4\"")),
        |_, answer| Some(answer.replace("\"value\":\"0x5\"", "\"value\":\"0x0\"")),
        |question, answer| {
            let block = question.contains("eth_getBlock");
            Some(if block { answer.replace("\"stateRoot\":\"0x", "\"stateRoot\":\"0x00") } else { answer })
        },
    ];
    for (n, lie) in lies.into_iter().enumerate() {
        proxy.fail(lie);
        let refused = chain.round(&sender, &log).await.unwrap_err();
        assert!(
            matches!(refused, EvmError::Unproved { .. } | EvmError::Away { .. } | EvmError::TooFew { .. }),
            "{n}: {refused}"
        );
    }
}

/// One that takes up the next block at this very moment, or is one of several behind a balancer.
#[tokio::test]
async fn what_a_node_proves_a_moment_later_is_taken() {
    static PROVED: AtomicUsize = AtomicUsize::new(0);
    let Some(chain) = Chain::start(&[]).await else { return };
    let mut log = Log::default();
    log.grow(5);
    chain.settle(&chain.sender(), &log).await;
    let proxy = Proxy::before(&chain.anvil).await;
    proxy.fail(|question, answer| {
        let too_soon = question.contains("eth_getProof") && PROVED.fetch_add(1, Ordering::SeqCst) < 2;
        Some(if too_soon { answer.replace("\"value\":\"0x5\"", "\"value\":\"0x4\"") } else { answer })
    });
    chain.round(&chain.sender_by(&[proxy.url()], None), &log).await.unwrap();
    assert!(PROVED.load(Ordering::SeqCst) > 2);
}

#[tokio::test]
async fn a_log_that_was_put_back_or_rewritten_is_reported_and_refused() {
    let Some(chain) = Chain::start(&[]).await else { return };
    let (sender, mut log) = (chain.sender(), Log::default());
    log.grow(9);
    chain.settle(&sender, &log).await;
    let mut old = Log::default();
    old.grow(5);
    let behind = chain.round(&sender, &old).await.unwrap_err();
    assert!(matches!(behind, EvmError::LogBehind { size: 9 }), "{behind}");
    // It goes on by itself, in ignorance: another history of the same length and more.
    for n in 5..12_u64 {
        old.tree.push(LeafHash::of_bytes(&(n + 1_000).to_be_bytes())).unwrap();
    }
    let other = chain.round(&sender, &old).await.unwrap_err();
    assert!(matches!(other, EvmError::OtherLog { size: 9 }), "{other}");
    // Whoever would leave that check out is refused by the contract.
    let view = sender.nodes().view(MANNER.finality, chain.anvil.now().await, None).await.unwrap();
    let proof = old.prove(9, 12).unwrap();
    let root = tree::root(12, &old.tree).unwrap();
    let refused = sender.prepare(&view, (12, root), &proof, 1).await.unwrap_err();
    assert!(matches!(&refused, EvmError::Refused(name) if name == "InconsistentHead"), "{refused}");
    let stranger = local_key(&[7; 32]).unwrap();
    let stranger = Sender::new(sender.nodes().clone(), stranger, CAP);
    log.grow(10);
    let refused = chain.round(&stranger, &log).await.unwrap_err();
    assert!(matches!(&refused, EvmError::Refused(name) if name == "NotNotary"), "{refused}");
}

#[tokio::test]
async fn every_contract_can_be_put_onto_a_chain() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let (node, key) = (Node::new(&anvil.url()).unwrap(), local_key(&KEY).unwrap());
    for contract in [Contract::NotaryAnchor, Contract::ConsentRegistry, Contract::Participants, Contract::Successors] {
        let deployed = deploy(&node, &key, contract.creation(key.address()).unwrap(), CAP).await.unwrap();
        assert!(deployed.gas > 100_000, "{contract:?}: {deployed:?}");
    }
}
