//! Whole receipts: every bit of one, and many in one run of `medseal-verify`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod sample;

use alloy_primitives::B256;
use notary::anchor::{AnchorBundle, ChainKind};
use notary::bft::SealFault;
use notary::chain::Ledger;
use notary::receipt::Receipt;
use notary::verify::{Cache, Grade, Policy, Refusal, TrustedContract, Validators, verify, verify_with};
use sample::{Sample, qbft, resource};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

/// A receipt that is anchored, and the policy that pins all that it rests on.
fn pinned() -> (Receipt, Policy) {
    pinned_in(|_| {})
}

/// The same on a chain of QBFT, and the policy pins its validators. So many of them sealed the block.
fn sealed(by: usize, of: u8) -> (Receipt, Policy) {
    let chain = qbft::Validators::new(of);
    let (receipt, mut policy) = pinned_in(|bundle| bundle.header = chain.seal_rlp(&bundle.header, by).0);
    let chain_id = policy.contracts[0].chain_id;
    policy.validators = vec![Validators { chain_id, addresses: chain.addresses().into_iter().collect() }];
    policy.blocks.clear();
    (receipt, policy)
}

fn pinned_in(change: impl FnOnce(&mut AnchorBundle)) -> (Receipt, Policy) {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(&directory.path().join("journal"), 1).unwrap();
    let sample = Sample::new(3);
    ledger.anchor(3, sample.root(), &[], 2).unwrap();
    let mut bundle = ledger.bundle(3).unwrap();
    change(&mut bundle);
    let receipt = sample.receipt(1, Some(bundle));
    let bundle = receipt.anchor.as_ref().unwrap();
    let anchored = bundle.check(sample.root()).unwrap();
    let contract = TrustedContract {
        chain_id: bundle.chain_id,
        address: bundle.contract,
        code_hash: Some(anchored.code_hash),
        kind: ChainKind::Consortium,
    };
    let log_keys = vec![receipt.log_key.clone()];
    let blocks = vec![anchored.block_hash];
    let policy = Policy { log_keys, contracts: vec![contract], blocks, ..Policy::default() };
    (receipt, policy)
}

#[test]
fn every_single_bit_change_of_a_receipt_is_refused() {
    no_bit_can_change(pinned(), 0);
}

/// One validator: each of some thousand changed headers takes a recovery for each seal.
#[test]
fn every_single_bit_change_of_a_receipt_from_a_qbft_chain_is_refused() {
    let (receipt, policy) = sealed(1, 1);
    let anchor = serde_json::to_string(&receipt).unwrap().find("\"anchor\"").unwrap();
    no_bit_can_change((receipt, policy), anchor);
}

/// No bit from `from` on, where the text stands without the line that may be anything.
fn no_bit_can_change((mut receipt, policy): (Receipt, Policy), from: usize) {
    // An `extra` line proves nothing and is skipped: what stands in it may be anything that is one line of text.
    receipt.proof = receipt.proof.replacen("\nindex", "\nextra !\nindex", 1);
    let text = serde_json::to_string(&receipt).unwrap();
    let loose = text.find("extra !").unwrap() + "extra ".len();
    // With a cache, or the signature would be checked for each of the many bits that are not in the checkpoint.
    let accepted = |cache: &mut Cache, bytes: &[u8]| {
        let resource = resource(1);
        Receipt::parse(bytes).is_ok_and(|read| verify_with(cache, &read, Some(&resource), None, &policy).is_ok())
    };
    assert!(accepted(&mut Cache::default(), text.as_bytes()));
    let half = from.midpoint(text.len());
    std::thread::scope(|scope| {
        for part in [from..half, half..text.len()] {
            let (text, accepted) = (&text, &accepted);
            scope.spawn(move || {
                let mut cache = Cache::default();
                for (at, bit) in part.flat_map(|at| (0..8).map(move |bit| (at, bit))) {
                    let mut bytes = text.as_bytes().to_vec();
                    bytes[at] ^= 1 << bit;
                    let said =
                        String::from_utf8_lossy(&bytes[at.saturating_sub(20)..(at + 20).min(bytes.len())]).into_owned();
                    assert!(!accepted(&mut cache, &bytes) || at == loose, "bit {bit} of byte {at}: {said}");
                }
            });
        }
    });
}

#[test]
fn seals_of_pinned_validators_count_like_a_pinned_block() {
    let (receipt, policy) = sealed(5, 7);
    let verdict = verify(&receipt, None, None, &policy).unwrap();
    assert_eq!(verdict.grade, Grade::AnchoredConsortium);
    let says = ", sealed by 5 of the 7 validators that the policy pins";
    assert!(verdict.rests_on.iter().any(|line| line.ends_with(says)), "{:?}", verdict.rests_on);
    let of = |policy: &Policy| verify(&receipt, None, None, policy).map(|verdict| verdict.grade);
    // Without the seals' word the block is anybody's.
    let block = verdict.anchored.unwrap().block_hash;
    let seals = policy.validators.clone();
    assert_eq!(of(&Policy { validators: vec![], ..policy.clone() }), Ok(Grade::Logged));
    assert_eq!(
        of(&Policy { validators: vec![], blocks: vec![block], ..policy.clone() }),
        Ok(Grade::AnchoredConsortium)
    );
    assert_eq!(of(&Policy { blocks: vec![B256::ZERO], ..policy.clone() }), Ok(Grade::AnchoredConsortium));
    // Another chain's validators say nothing of this one.
    let elsewhere = Validators { chain_id: 1, ..seals[0].clone() };
    assert_eq!(of(&Policy { validators: vec![elsewhere.clone()], ..policy.clone() }), Err(Refusal::UnknownBlock));
    // A chain has had several sets; each counts by itself, and a bare list of them asks for an anchor too.
    let but_one = qbft::Validators::new(7).addresses()[1..].iter().copied().collect();
    let fewer = Validators { addresses: but_one, ..seals[0].clone() };
    assert!(matches!(
        of(&Policy { validators: vec![fewer.clone()], ..policy.clone() }),
        Err(Refusal::NotSealed(SealFault::Stranger(_)))
    ));
    assert_eq!(
        of(&Policy { validators: vec![elsewhere, fewer, seals[0].clone()], ..policy.clone() }),
        Ok(Grade::AnchoredConsortium)
    );
    let bare = Receipt { anchor: None, ..receipt.clone() };
    let only = Policy { validators: seals, ..Policy::default() };
    assert_eq!(verify(&bare, None, None, &only), Err(Refusal::NotAnchored));
}

#[test]
fn too_few_seals_are_refused_though_the_block_is_pinned() {
    let (receipt, mut policy) = sealed(4, 7);
    let few = SealFault::TooFew { by: 4, of: 7, enough: 5 };
    assert_eq!(verify(&receipt, None, None, &policy), Err(Refusal::NotSealed(few)));
    policy.blocks = vec![receipt.anchor.as_ref().unwrap().check(Sample::new(3).root()).unwrap().block_hash];
    assert_eq!(verify(&receipt, None, None, &policy), Err(Refusal::NotSealed(few)));
    // Nor does a chain that seals nothing have seals.
    let (plain, pins) = pinned();
    let policy = Policy { validators: policy.validators, ..pins };
    assert_eq!(verify(&plain, None, None, &policy), Err(Refusal::NotSealed(SealFault::OtherConsensus)));
}

/// What is wrong with a receipt is refused as well after its like was proved.
#[test]
fn a_cache_answers_as_checking_again_would() {
    let (good, policy) = pinned();
    let cache = &mut Cache::default();
    let mut changed: Vec<Receipt> = std::iter::repeat_n(good.clone(), 7).collect();
    // The signature's last characters but the padding.
    let signature = good.proof.trim_end();
    changed[0].proof = format!("{}AAA=\n", &signature[..signature.len() - 4]);
    changed[1].proof = good.proof.replacen("\n3\n", "\n2\n", 1);
    changed[2].anchor.as_mut().unwrap().storage_proof.pop();
    changed[3].anchor.as_mut().unwrap().contract.0[0] ^= 1;
    changed[4].anchor.as_mut().unwrap().chain_id = 1;
    changed[5].log_key = good.log_key.replacen("test", "best", 1);
    changed[6].proof = good.proof.replacen("— test.example/log ", "— test.example/log A", 1);
    for _ in 0..2 {
        assert_eq!(verify_with(cache, &good, None, None, &policy), verify(&good, None, None, &policy));
        assert_eq!(verify_with(cache, &good, None, None, &policy).unwrap().grade, Grade::AnchoredConsortium);
        for (n, receipt) in changed.iter().enumerate() {
            let said = verify_with(cache, receipt, None, None, &policy);
            assert_eq!(said, verify(receipt, None, None, &policy), "{n}");
            assert!(said.is_err(), "{n}");
        }
    }
    assert_eq!(verify_with(cache, &changed[4], None, None, &policy), Err(Refusal::UntrustedChain));
}

fn run(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_medseal-verify")).args(arguments).current_dir(folder).output().unwrap()
}

#[test]
fn many_receipts_are_summed_up_by_verdict_and_by_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let sample = Sample::new(200);
    let lines: Vec<_> = (0..200).map(|n| serde_json::to_string(&sample.receipt(n, None)).unwrap()).collect();
    std::fs::write(at("all.ndjson"), lines.join("\n")).unwrap();
    std::fs::create_dir_all(at("resources")).unwrap();
    std::fs::create_dir_all(at("some/more")).unwrap();
    for n in 0..150 {
        std::fs::write(at(&format!("resources/Patient-p{n}-1.json")), resource(n)).unwrap();
    }
    let good = run(&["many", "all.ndjson", "--resources", "resources"], folder.path());
    let text = String::from_utf8(good.stdout).unwrap();
    assert_eq!(good.status.code(), Some(0), "{text}");
    assert!(text.starts_with("      200 LOGGED\n      200 receipts in"), "{text}");
    assert!(text.ends_with("200 hold, 150 of them checked with their resource\n"), "{text}");

    std::fs::write(at("resources/Patient-p7-1.json"), resource(8)).unwrap();
    std::fs::write(at("some/a.json"), lines[3].replace("\"versionId\":\"1\"", "\"versionId\":\"2\"")).unwrap();
    std::fs::write(at("some/more/b.json"), sample.receipt(4, None).to_json()).unwrap();
    let bad = run(&["many", "all.ndjson", "some", "--resources", "resources", "--json"], folder.path());
    assert_eq!(bad.status.code(), Some(1));
    let read: Vec<Value> =
        String::from_utf8(bad.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = read.iter().map(|line| line["receipt"].as_str().unwrap()).collect();
    let expected: Vec<_> = (1..=200).map(|n| format!("all.ndjson:{n}")).collect();
    assert_eq!(names[..200], expected, "in their order");
    assert_eq!(names[200..], ["some/a.json", "some/more/b.json"]);
    let refused: Vec<_> = read.iter().filter(|line| line["verdict"] == "REFUSED").collect();
    let refused: Vec<_> =
        refused.iter().map(|line| (line["receipt"].as_str().unwrap(), line["name"].as_str().unwrap())).collect();
    assert_eq!(refused, [("all.ndjson:8", "RESOURCE-SWAPPED"), ("some/a.json", "OPENING-FORGED")]);
    let summary = String::from_utf8(bad.stderr).unwrap();
    assert!(summary.contains("        1 REFUSED RESOURCE-SWAPPED\n"), "{summary}");

    let missing = run(&["many", "all.ndjson", "none.json"], folder.path());
    assert_eq!(missing.status.code(), Some(2), "what cannot be read is no pass");
    assert_eq!(run(&["many", "resources/none"], folder.path()).status.code(), Some(2));
    std::fs::create_dir(at("empty")).unwrap();
    assert_eq!(run(&["many", "empty"], folder.path()).status.code(), Some(2), "nothing was verified");
}

/// The program; what it is given stands in a folder.
fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_medseal-verify"));
    command.args(arguments);
    command
}

#[test]
fn every_end_is_told_as_json_to_who_asks_for_it() {
    for arguments in [
        &["/nowhere.json", "--json"][..],
        &["--json", "--nonsense"],
        &["--json"],
        &["many", "/dev/null", "--policy", "/nowhere.toml", "--json"],
        &["log", "ftp://nowhere", "--key", "x", "--json"],
    ] {
        let output = program(arguments).output().unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((output.status.code(), &said["verdict"]), (Some(2), &Value::from("ERROR")), "{arguments:?}: {said}");
        assert!(said["why"].is_string(), "{said}");
    }
}

#[test]
fn who_stops_reading_breaks_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("receipts.ndjson");
    // More refusals than a pipe holds.
    std::fs::write(&path, "{}\n".repeat(20_000)).unwrap();
    let mut command = program(&["many", path.to_str().unwrap()]);
    let mut child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), told.contains("panicked")), (Some(1), false), "{told}");
}
