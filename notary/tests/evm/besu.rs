//! A node of a QBFT chain: anvil, behind a proxy that seals its blocks as Besu's validators do.

use crate::anvil::{Fault, Proxy};
use crate::sample::qbft::{DIGEST, Validators};
use crate::{Chain, Log, MANNER};
use alloy_rpc_types_eth::Header;
use notary::anchor::ChainKind;
use notary::chain::evm::{EvmError, Node, confirm};
use notary::tree;
use notary::verify::Said;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const VALIDATORS: u8 = 4;

/// As a node of QBFT tells its blocks: the hash leaves out seals and round.
fn qbft(question: &str, answer: String) -> Option<String> {
    told(question, answer, |hash, _| hash)
}

/// The hash as Ethereum has it, which no node of QBFT tells.
fn plainly_hashed(question: &str, answer: String) -> Option<String> {
    told(question, answer, |_, plain| plain)
}

fn told(question: &str, answer: String, which: fn(String, String) -> String) -> Option<String> {
    if !question.contains("eth_getBlockByNumber") || answer.is_empty() {
        return Some(answer);
    }
    let mut answer: Value = serde_json::from_str(&answer).ok()?;
    let block = answer.get_mut("result").filter(|block| block["number"] != json!("0x0") && block.is_object());
    if let Some(block) = block {
        let header: Header = serde_json::from_value(block.clone()).ok()?;
        let (sealed, hash) = Validators::new(VALIDATORS).seal(&header.inner, 3);
        block["hash"] = json!(which(hash.to_string(), sealed.hash_slow().to_string()));
        (block["extraData"], block["mixHash"]) = (json!(sealed.extra_data), json!(DIGEST));
    }
    Some(answer.to_string())
}

async fn chain(manner: Fault) -> Option<(Chain, Proxy)> {
    let chain = Chain::start(&[]).await?;
    let proxy = Proxy::before(&chain.anvil).await;
    proxy.fail(manner);
    Some((chain, proxy))
}

#[tokio::test]
async fn anchors_on_a_qbft_chain_and_its_seals_prove_the_block() {
    let Some((chain, proxy)) = chain(qbft).await else { return };
    let (sender, mut log) = (chain.sender_by(&[proxy.url()], None), Log::default());
    for size in [1, 7, 100] {
        log.grow(size);
        chain.settle(&sender, &log).await;
    }
    let view = sender.nodes().view(MANNER.finality, chain.anvil.now().await, None).await.unwrap();
    let bundle = view.last.bundle(ChainKind::Consortium, &chain.pins).unwrap();
    let anchored = bundle.check(tree::root(100, &log.tree).unwrap()).unwrap();
    assert_eq!(anchored.block_hash, view.last.block.hash);
    let validators: BTreeSet<_> = Validators::new(VALIDATORS).addresses().into_iter().collect();
    let sealers = notary::bft::sealers(&bundle.header).unwrap();
    assert_eq!(notary::bft::enough(&sealers, &validators), Ok(3));
    let asked = [Node::new(&proxy.url()).unwrap(), Node::new(&chain.anvil.url()).unwrap()];
    let (id, block) = (chain.pins.chain_id, &view.last.block);
    let said = confirm(&asked[..1], id, block.number, block.hash).await.unwrap();
    assert_eq!(said, Said::Theirs { by: 1, asked: 1 });
    let foreign = confirm(&asked, id, block.number, block.hash).await.unwrap();
    assert!(matches!(foreign, Said::Foreign(_)), "the node behind the proxy has other blocks: {foreign:?}");
}

#[tokio::test]
async fn a_block_whose_hash_is_of_another_form_is_not_believed() {
    let Some((chain, proxy)) = chain(plainly_hashed).await else { return };
    chain.anvil.mine(1).await;
    let node = Node::new(&proxy.url()).unwrap();
    let refused = node.block(1.into()).await.unwrap_err();
    assert!(matches!(refused, EvmError::Unproved { .. }), "{refused}");
    proxy.fail(qbft);
    assert_eq!(node.block(1.into()).await.unwrap().unwrap().number, 1);
}
