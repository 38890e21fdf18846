//! The mirror of a `ConsentRegistry` on a real EVM node, with the faults that hide a revocation.

use crate::CAP;
use crate::anvil::{Anvil, Fault, KEY, Proxy, down, pass, program};
use alloy_primitives::Bytes;
use notary::chain::evm::{
    Address, B256, EvmError, Finality, Node, Nodes, Pins, Reading, SenderKey, deploy, follow, local_key, transact,
};
use notary::chain::{Contract, registry};
use notary::consent::{
    GrantKey, Instructed, Mirror, MirrorError, Opening, Preimage, Refusal, Registry, RevocationCode, Sealed, Signer,
    Standing, Taken, Terms,
};
use serde_json::{Value, json};
use std::process::Command;

/// For how long what was read of the chain counts, in seconds.
const BOUND: u64 = 60;

/// A chain with a registry on it.
struct Chain {
    anvil: Anvil,
    pins: Pins,
    key: SenderKey,
    reading: Reading,
}

impl Chain {
    async fn start(finality: Finality) -> Option<Self> {
        let anvil = Anvil::start(&["--timestamp", "1700000000"]).await?;
        let (node, key) = (Node::new(&anvil.url()).unwrap(), local_key(&KEY).unwrap());
        let (chain_id, genesis) = node.identity().await.unwrap();
        let creation = Contract::ConsentRegistry.creation(key.address()).unwrap();
        let deployed = deploy(&node, &key, creation, CAP).await.unwrap();
        let pins = Pins { chain_id, genesis, contract: deployed.address, code_hash: deployed.code_hash };
        let reading = Reading { finality, max_age: None, from_block: deployed.block };
        Some(Self { anvil, pins, key, reading })
    }

    fn registry(&self) -> Registry {
        Registry { chain_id: self.pins.chain_id, contract: self.pins.contract }
    }

    fn nodes(&self, urls: &[String], quorum: Option<usize>) -> Nodes {
        Nodes::new(urls, quorum, self.pins).unwrap()
    }

    fn own(&self) -> Nodes {
        self.nodes(&[self.anvil.url()], None)
    }

    fn mirror(&self) -> Mirror {
        Mirror::new(self.registry())
    }

    fn grant(&self, n: u8) -> (Sealed, GrantKey, Preimage) {
        let preimage = Preimage([n; 32]);
        let grant = Sealed { commitment: B256::repeat_byte(n), tag: preimage.tag(), not_after: 1_800_000_000 };
        (grant, grant.key(&self.registry()), preimage)
    }

    async fn register(&self, numbers: impl IntoIterator<Item = u8>) {
        let grants: Vec<Sealed> = numbers.into_iter().map(|n| self.grant(n).0).collect();
        for call in registry::register(&grants) {
            self.send(call).await;
        }
    }

    async fn revoke(&self, n: u8) {
        let (_, key, preimage) = self.grant(n);
        self.send(registry::revoke(key, &preimage)).await;
    }

    async fn send(&self, call: Bytes) {
        let node = Node::new(&self.anvil.url()).unwrap();
        transact(&node, &self.key, self.pins.contract, call, CAP).await.unwrap();
    }

    async fn follow(&self, nodes: &Nodes, mirror: &mut Mirror) -> (Taken, Result<(), EvmError>) {
        follow(nodes, mirror, &self.reading, self.anvil.now().await).await
    }

    async fn followed(&self, mirror: &mut Mirror) -> Taken {
        let (taken, outcome) = self.follow(&self.own(), mirror).await;
        outcome.unwrap();
        // It is kept and read again each time.
        *mirror = Mirror::restore(&mirror.to_json(), self.registry()).unwrap();
        taken
    }

    async fn allow(&self, mirror: &Mirror, n: u8) -> Result<(), Refusal> {
        mirror.allow(self.grant(n).1, self.anvil.now().await, BOUND).map(|_| ())
    }
}

/// `eth_getLogs` returns nothing.
fn withhold(question: &str, answer: String) -> Option<String> {
    let logs = question.contains("eth_getLogs") && !answer.is_empty();
    Some(if logs { r#"{"jsonrpc":"2.0","id":ID,"result":[]}"#.replace("ID", &id(question)) } else { answer })
}

fn id(question: &str) -> String {
    serde_json::from_str::<Value>(question).unwrap()["id"].to_string()
}

#[tokio::test]
async fn grants_count_at_finality_and_revocations_at_once() {
    let Some(chain) = Chain::start(Finality::Depth(3)).await else { return };
    let mut mirror = chain.mirror();
    assert_eq!(chain.allow(&mirror, 1).await, Err(Refusal::Unread));
    assert_eq!(chain.followed(&mut mirror).await, Taken::default());
    chain.register(1..=7).await;
    chain.followed(&mut mirror).await;
    assert_eq!(chain.allow(&mirror, 1).await, Err(Refusal::Pending));
    chain.anvil.mine(3).await;
    assert_eq!(chain.followed(&mut mirror).await.granted.len(), 7);
    assert_eq!(chain.allow(&mirror, 1).await, Ok(()));
    chain.revoke(1).await;
    assert_eq!(chain.followed(&mut mirror).await.revoked, [chain.grant(1).1]);
    assert_eq!(chain.allow(&mirror, 1).await, Err(Refusal::Revoked));
    assert_eq!(chain.allow(&mirror, 2).await, Ok(()));
    // Revoked before it was ever registered.
    let (grant, key, preimage) = chain.grant(9);
    chain.send(registry::forestall(key, &grant, &preimage)).await;
    assert_eq!(chain.followed(&mut mirror).await.revoked, [key]);
    chain.anvil.mine(5_000).await;
    chain.followed(&mut mirror).await;
    // Whoever begins anew comes to the same.
    let mut again = chain.mirror();
    chain.followed(&mut again).await;
    assert_eq!(again.accumulator(), mirror.accumulator());
    assert_eq!(again.grants().collect::<Vec<_>>(), mirror.grants().collect::<Vec<_>>());
    let now = chain.anvil.now().await;
    assert!(matches!(again.standing(key, now), Standing::Revoked { .. }));
    assert_eq!(mirror.allow(chain.grant(2).1, now + BOUND + 1, BOUND), Err(Refusal::Stale(BOUND + 1)));
}

#[tokio::test]
async fn logs_that_are_withheld_are_noticed_and_taken_from_another_node() {
    let Some(chain) = Chain::start(Finality::Depth(1)).await else { return };
    let proxy = Proxy::before(&chain.anvil).await;
    let mut mirror = chain.mirror();
    chain.register([1, 2]).await;
    chain.anvil.mine(1).await;
    chain.followed(&mut mirror).await;
    chain.revoke(1).await;
    chain.anvil.mine(1).await;
    proxy.fail(withhold);
    let before = mirror.clone();
    let (taken, outcome) = chain.follow(&chain.nodes(&[proxy.url()], None), &mut mirror).await;
    let error = outcome.unwrap_err();
    assert!(matches!(error, EvmError::Events { why: MirrorError::Withheld(1), .. }), "{error}");
    assert!(error.is_away() && error.is_withheld() && taken == Taken::default());
    assert_eq!(mirror, before, "it grows stale, and then denies all");
    // A second node that tells is enough, and so is one that tells while the first is down.
    for fault in [withhold as Fault, down] {
        proxy.fail(fault);
        let mut mirror = mirror.clone();
        let (taken, outcome) =
            chain.follow(&chain.nodes(&[proxy.url(), chain.anvil.url()], Some(1)), &mut mirror).await;
        outcome.unwrap();
        assert_eq!(taken.revoked, [chain.grant(1).1]);
    }
    // They do not agree on anything, and the revocation is heard all the same.
    proxy.fail(down);
    let nodes = chain.nodes(&[proxy.url(), chain.anvil.url()], Some(2));
    let (taken, outcome) = chain.follow(&nodes, &mut mirror).await;
    assert!(matches!(outcome, Err(EvmError::TooFew { .. })));
    assert_eq!(taken.revoked, [chain.grant(1).1]);
    assert_eq!(chain.allow(&mirror, 1).await, Err(Refusal::Revoked));
    assert_eq!(chain.allow(&mirror, 2).await, Ok(()), "within the bound");
}

/// Changes the events of an answer to `eth_getLogs`.
fn edited(question: &str, answer: String, edit: fn(&mut Vec<Value>)) -> Option<String> {
    let Ok(mut read) = serde_json::from_str::<Value>(&answer) else { return Some(answer) };
    if question.contains("eth_getLogs") {
        read["result"].as_array_mut().into_iter().for_each(edit);
    }
    Some(read.to_string())
}

#[tokio::test]
async fn an_event_that_is_changed_is_not_taken() {
    let Some(chain) = Chain::start(Finality::Latest).await else { return };
    let proxy = Proxy::before(&chain.anvil).await;
    chain.register([1, 2]).await;
    let lies: [Fault; 7] = [
        |q, answer| edited(q, answer, |events| events.truncate(1)),
        |q, answer| edited(q, answer, |events| events.reverse()),
        |q, answer| edited(q, answer, |events| events.extend(events.clone())),
        |q, answer| edited(q, answer, |events| events[0]["topics"][1] = json!(B256::repeat_byte(7))),
        |q, answer| edited(q, answer, |events| events[0]["topics"][0] = json!(B256::repeat_byte(7))),
        |q, answer| edited(q, answer, |events| events[0]["blockNumber"] = json!("0x0")),
        |q, answer| {
            Some(if q.contains("eth_getProof") { answer.replace("\"value\":\"0x", "\"value\":\"0x1") } else { answer })
        },
    ];
    for (n, lie) in lies.into_iter().enumerate() {
        proxy.fail(lie);
        let mut mirror = chain.mirror();
        let (_, outcome) = chain.follow(&chain.nodes(&[proxy.url()], None), &mut mirror).await;
        assert!(outcome.unwrap_err().is_away(), "{n}");
        assert!(mirror.grants().next().is_none() && mirror.agreed_at().is_none(), "{n}");
    }
    proxy.fail(pass);
    let (taken, outcome) = chain.follow(&chain.nodes(&[proxy.url()], None), &mut chain.mirror()).await;
    assert_eq!((outcome.is_ok(), taken.granted.len()), (true, 2));
}

#[tokio::test]
async fn a_reorganisation_takes_a_grant_away_but_no_revocation() {
    let Some(chain) = Chain::start(Finality::Depth(10)).await else { return };
    let mut mirror = chain.mirror();
    chain.register([1]).await;
    chain.anvil.mine(12).await;
    chain.followed(&mut mirror).await;
    assert_eq!(chain.allow(&mirror, 1).await, Ok(()));
    // The block with a registration goes.
    chain.register([2]).await;
    chain.followed(&mut mirror).await;
    assert_eq!(chain.allow(&mirror, 2).await, Err(Refusal::Pending));
    chain.anvil.ask("anvil_reorg", json!([1, []])).await;
    chain.anvil.mine(12).await;
    chain.followed(&mut mirror).await;
    assert_eq!(chain.allow(&mirror, 2).await, Err(Refusal::Unknown));
    // The blocks with a revocation go, five deep.
    chain.revoke(1).await;
    chain.anvil.mine(4).await;
    assert_eq!(chain.followed(&mut mirror).await.revoked, [chain.grant(1).1]);
    chain.anvil.ask("anvil_reorg", json!([5, []])).await;
    chain.anvil.mine(12).await;
    chain.followed(&mut mirror).await;
    assert_eq!(mirror.accumulator().count(), 1, "on the chain it is not revoked");
    assert_eq!(chain.allow(&mirror, 1).await, Err(Refusal::Revoked));
    // Relayed once more it stands there too.
    chain.revoke(1).await;
    chain.anvil.mine(12).await;
    assert_eq!(chain.followed(&mut mirror).await, Taken::default(), "that is no news");
    assert_eq!(mirror.accumulator().count(), 2);
    // Deeper than what was final: a person has to look.
    chain.anvil.ask("anvil_reorg", json!([12, []])).await;
    chain.anvil.mine(12).await;
    let (_, outcome) = chain.follow(&chain.own(), &mut mirror).await;
    let error = outcome.unwrap_err();
    assert!(matches!(error, EvmError::Rewritten { .. }) && !error.is_away(), "{error}");
    mirror.begin_again();
    chain.followed(&mut mirror).await;
    assert_eq!(chain.allow(&mirror, 1).await, Err(Refusal::Revoked));
}

#[tokio::test]
async fn a_stale_node_another_chain_and_other_code_are_refused() {
    let Some(chain) = Chain::start(Finality::Latest).await else { return };
    let mut mirror = chain.mirror();
    chain.register([1]).await;
    chain.followed(&mut mirror).await;
    let reading = Reading { max_age: Some(BOUND), ..chain.reading };
    let now = chain.anvil.now().await;
    let (_, outcome) = follow(&chain.own(), &mut mirror, &reading, now + BOUND + 1).await;
    assert!(matches!(outcome, Err(EvmError::Stale { age: 61 })), "the node stands still");
    assert_eq!(mirror.allow(chain.grant(1).1, now + BOUND + 1, BOUND), Err(Refusal::Stale(61)));
    let other = |change: fn(&mut Pins)| {
        let mut pins = chain.pins;
        change(&mut pins);
        Nodes::new(&[chain.anvil.url()], None, pins).unwrap()
    };
    let (_, outcome) = chain.follow(&other(|pins| pins.code_hash.0[0] ^= 1), &mut mirror).await;
    assert!(matches!(outcome, Err(EvmError::OtherCode { .. })));
    let (_, outcome) = chain.follow(&other(|pins| pins.genesis.0[0] ^= 1), &mut mirror).await;
    assert!(matches!(outcome, Err(EvmError::OtherChain { .. })));
    let nowhere = other(|pins| pins.contract.0.0[0] ^= 1);
    let (_, outcome) = chain.follow(&nowhere, &mut mirror).await;
    assert!(matches!(outcome, Err(EvmError::OtherCode { .. })), "there is no contract at that address");
    let Some(fork) = Anvil::start(&["--timestamp", "1700000000"]).await else { return };
    fork.mine(9).await;
    let nodes = chain.nodes(&[chain.anvil.url(), fork.url()], Some(1));
    let (_, outcome) = chain.follow(&nodes, &mut mirror).await;
    assert!(matches!(outcome, Err(EvmError::Disagree { .. })));
    assert_eq!(mirror.agreed_at(), Some(now), "none of it counts as having looked");
    assert_eq!(chain.allow(&mirror, 1).await, Ok(()));
}

#[tokio::test]
async fn a_patient_revokes_with_cast_and_the_code_alone() {
    let Some(chain) = Chain::start(Finality::Latest).await else { return };
    let Some(cast) = program("cast") else {
        eprintln!("skipped: cast is not installed (npm's @foundry-rs/cast; ./ci/test brings it)");
        return;
    };
    let mut mirror = chain.mirror();
    chain.register([1, 2]).await;
    chain.followed(&mut mirror).await;
    let (_, key, preimage) = chain.grant(1);
    let text = RevocationCode { registry: chain.registry(), key, preimage }.to_text();
    // The command stands in the file; node and account are the relayer's.
    let from = text.find("cast send").unwrap();
    let command = text[from..].split("\n\n").next().unwrap().replace("\\\n", " ").replace('\'', "");
    let mut arguments: Vec<String> = command.split_whitespace().skip(1).map(str::to_owned).collect();
    let stranger = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
    arguments.extend(["--rpc-url".to_owned(), chain.anvil.url(), "--private-key".to_owned(), stranger.to_owned()]);
    let ran = tokio::task::spawn_blocking(move || Command::new(cast).args(arguments).output().unwrap()).await.unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(chain.followed(&mut mirror).await.revoked, [key]);
    assert_eq!(chain.allow(&mirror, 1).await, Err(Refusal::Revoked));
    assert_eq!(chain.allow(&mirror, 2).await, Ok(()));
}

/// A wallet, which knows EIP-712 and nothing of medseal, signs the message as it was shown to it.
#[tokio::test]
async fn a_wallet_signs_what_an_opening_verifies() {
    let Some(cast) = program("cast") else {
        eprintln!("skipped: cast is not installed (npm's @foundry-rs/cast; ./ci/test brings it)");
        return;
    };
    let registry = Registry { chain_id: 31_337, contract: Address::repeat_byte(0x42) };
    let [recipient, purpose, records, until] = ["Härn Hospital", "treatment", "all", "2028"].map(str::to_owned);
    let (consent, salt) = (B256::repeat_byte(1), B256::repeat_byte(2));
    let terms = Terms { recipient, purpose, records, until, consent, salt };
    let (tag, not_after) = (Preimage([7; 32]).tag(), 1_831_449_600);
    let message = registry.sealed_message(&terms, tag, not_after).to_string();
    let key = alloy_primitives::hex::encode(KEY);
    let output =
        Command::new(cast).args(["wallet", "sign", "--private-key", &key, "--data", &message]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let signature: Bytes = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
    let custodian = "urn:oid:2.16.840.1.113883.19.5".to_owned();
    let opening = Opening { custodian, terms, tag, not_after, salt: B256::repeat_byte(3), signature: Some(signature) };
    let account = local_key(&KEY).unwrap().address();
    assert_eq!(opening.instructed(&registry), Ok(Instructed::Signed(Signer::Wallet(account))));
}
