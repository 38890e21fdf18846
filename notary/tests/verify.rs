//! Whole receipts: every bit of one, and many in one run of `medseal-verify`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod sample;

use notary::anchor::ChainKind;
use notary::chain::Ledger;
use notary::receipt::Receipt;
use notary::verify::{Cache, Grade, Policy, Refusal, TrustedContract, verify, verify_with};
use sample::{Sample, resource};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

/// A receipt that is anchored, and the policy that pins all that it rests on.
fn pinned() -> (Receipt, Policy) {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(&directory.path().join("journal"), 1).unwrap();
    let sample = Sample::new(3);
    ledger.anchor(3, sample.root(), &[], 2).unwrap();
    let receipt = sample.receipt(1, ledger.bundle(3));
    let bundle = receipt.anchor.as_ref().unwrap();
    let anchored = bundle.check(sample.root()).unwrap();
    let contract = TrustedContract {
        chain_id: bundle.chain_id,
        address: bundle.contract,
        code_hash: Some(anchored.code_hash),
        kind: ChainKind::Consortium,
    };
    let log_keys = vec![receipt.log_key.clone()];
    let policy = Policy { log_keys, contracts: vec![contract], blocks: vec![anchored.block_hash], nodes: None };
    (receipt, policy)
}

#[test]
fn every_single_bit_change_of_a_receipt_is_refused() {
    let (mut receipt, policy) = pinned();
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
    let half = text.len() / 2;
    std::thread::scope(|scope| {
        for part in [0..half, half..text.len()] {
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
