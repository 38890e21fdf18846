//! Writes random receipts, good and changed ones, with what this verifier says of them:
//!
//!   cargo run -p notary --features chain --example receipts -- SEED COUNT | node notary/web/agree.mjs
//!
//! `--plain` writes the good receipts alone, one a line, for `medseal-verify many`; `--anchors` before the receipts of each log what a
//! contract is to take of it, for notary/contracts/agree.mjs. The same seed gives the same lines.
#![expect(clippy::unwrap_used, reason = "a generator that cannot go on stops")]

mod anchors;
mod change;
#[path = "../../tests/sample/qbft.rs"]
mod qbft;
mod random;
mod world;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use notary::anchor::ChainKind;
use notary::receipt::Receipt;
use notary::verify::{Policy, TrustedContract, Validators, verify};
use random::Random;
use serde_json::{Value, json};
use std::io::Write;
use world::{Case, World};

/// So many cases share a log.
const A_WORLD: u64 = 250;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let flag = |name: &str| arguments.iter().any(|a| a == name);
    let numbers: Vec<u64> = arguments.iter().filter_map(|a| a.parse().ok()).collect();
    let [seed, count] = numbers[..] else { panic!("usage: receipts SEED COUNT [--plain | --anchors]") };
    let (plain, with_anchors) = (flag("--plain"), flag("--anchors"));
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    // Who reads may have had enough.
    let _ = lines(&mut Random(seed), count, plain, with_anchors).try_for_each(|line| writeln!(out, "{line}"));
}

fn lines(random: &mut Random, count: u64, plain: bool, with_anchors: bool) -> impl Iterator<Item = String> {
    let mut world = World::new(random);
    (0..count).flat_map(move |n| {
        if n % A_WORLD == 0 && n > 0 {
            world = World::new(random);
        }
        // The anchors take no part in the chances of the cases: the same seed gives the same receipts with and without them.
        let anchors = (with_anchors && n % A_WORLD == 0).then(|| anchors::anchors(&world, &mut Random(n)).to_string());
        let case = world.case(random);
        let line = if plain { serde_json::to_string(&case.receipt).unwrap() } else { judged(case, &world, random) };
        anchors.into_iter().chain([line])
    })
}

/// A case, perhaps changed, under some policy, and what comes out.
fn judged(mut case: Case, world: &World, random: &mut Random) -> String {
    let mut policy = policy(&case, world, random);
    let receipt = match random.below(3) {
        0 => case.receipt.to_json().into_bytes(),
        _ => change::change(&mut case, &mut policy, world, random),
    };
    let mut line = json!({"receipt": STANDARD.encode(&receipt), "policy": as_json(&policy)});
    let judged = Receipt::parse(&receipt)
        .map_err(Into::into)
        .and_then(|read| verify(&read, case.resource.as_deref(), case.raw.as_deref(), &policy));
    for (name, bytes) in [("resource", &case.resource), ("raw", &case.raw)] {
        if let Some(bytes) = bytes {
            line[name] = json!(STANDARD.encode(bytes));
        }
    }
    match judged {
        Ok(verdict) => {
            line["verdict"] = json!(verdict.grade.to_string());
            (line["deletion"], line["erased"]) = (json!(verdict.deletion), json!(verdict.erased));
        }
        Err(refusal) => line["verdict"] = json!(refusal.to_string().split(':').next()),
    }
    line.to_string()
}

/// What somebody trusts who has this receipt: everything that it rests on, or some of it, or nothing.
fn policy(case: &Case, world: &World, random: &mut Random) -> Policy {
    let mut policy = Policy::default();
    if random.one_in(2) {
        policy.log_keys = vec![case.receipt.log_key.clone()];
    }
    let Some((anchor, anchored)) = case.receipt.anchor.as_ref().zip(case.anchored) else { return policy };
    if random.one_in(2) {
        let code_hash = random.one_in(2).then_some(anchored.code_hash);
        let kind = *random.of(&[ChainKind::Embedded, ChainKind::Consortium, ChainKind::Public]);
        policy.contracts =
            vec![TrustedContract { chain_id: anchor.chain_id, address: anchor.contract, code_hash, kind }];
    }
    if random.one_in(2) {
        policy.blocks = vec![anchored.block_hash];
    }
    // Of a chain that seals nothing, somebody may think that it does.
    let pins = if world.validators.is_some() { random.one_in(2) } else { random.one_in(12) };
    if pins {
        let chain = world.validators.as_ref().map_or_else(|| qbft::Validators::new(3).addresses(), |c| c.addresses());
        policy.validators = vec![Validators { chain_id: anchor.chain_id, addresses: chain.into_iter().collect() }];
    }
    policy
}

fn as_json(policy: &Policy) -> Value {
    let contract = |c: &TrustedContract| {
        let mut value = json!({"chain_id": c.chain_id, "address": c.address, "kind": c.kind});
        if let Some(hash) = c.code_hash {
            value["code_hash"] = json!(hash);
        }
        value
    };
    let contracts: Vec<_> = policy.contracts.iter().map(contract).collect();
    let validators: Vec<_> =
        policy.validators.iter().map(|set| json!({"chain_id": set.chain_id, "addresses": set.addresses})).collect();
    json!({"log_keys": policy.log_keys, "contracts": contracts, "blocks": policy.blocks, "validators": validators})
}
