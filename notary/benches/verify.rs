//! Verifies a receipt of a small anchored log, and makes commitments and leaves.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

use divan::Bencher;
use divan::counter::ItemsCount;
use notary::canonical::Json;
use notary::chain::Ledger;
use notary::checkpoint::LogSigner;
use notary::commitment::{Commitment, Digest, Entry, Kind, Salt, Subject};
use notary::receipt::{FORMAT, Opening, Receipt, TlogProof};
use notary::tree::{self, LeafHash, MemoryTree};
use notary::verify::{Cache, Policy, verify, verify_with};

const RESOURCE: &[u8] = br#"{"birthDate":"1980-02-29","id":"a","meta":{"lastUpdated":"2026-01-01T00:00:00.000Z","versionId":"1"},"resourceType":"Patient"}"#;

fn main() {
    divan::main();
}

fn anchored() -> Receipt {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(&directory.path().join("ledger.journal"), 1).unwrap();
    let signer = LogSigner::from_seed("bench/log", &[7; 32]).unwrap();
    let (salt, canonical) = (Salt([3; 32]), Digest::of(RESOURCE));
    let subject = Subject { custodian: "bench", reference: "Patient/a", version: "1", canonical, raw: None };
    let entry = Entry { kind: Kind::Resource, commitment: Commitment::new(&salt, &subject) };
    let mut log = MemoryTree::default();
    for n in 0..10_000u64 {
        let leaf = if n == 4_321 { LeafHash::of(&entry.to_bytes()) } else { LeafHash::of_bytes(&n.to_be_bytes()) };
        log.push(leaf).unwrap();
    }
    let root = tree::root(10_000, &log).unwrap();
    ledger.anchor(10_000, root, &[], 1).unwrap();
    let hashes = tree::prove_inclusion(10_000, 4_321, &log).unwrap();
    Receipt {
        format: FORMAT.into(),
        custodian: "bench".into(),
        reference: "Patient/a".into(),
        version_id: "1".into(),
        entry: hex::encode(entry.to_bytes()),
        proof: TlogProof { index: 4_321, hashes, checkpoint: signer.sign(10_000, root).unwrap() }.to_text(),
        log_key: signer.key().to_string(),
        opening: Some(Opening { salt: hex::encode(salt.0), canonical: canonical.to_string(), raw: None }),
        anchor: ledger.bundle(10_000),
        erasure: None,
    }
}

#[divan::bench]
fn verify_receipt(bencher: Bencher<'_, '_>) {
    let (receipt, policy) = (anchored(), Policy::default());
    bencher.counter(ItemsCount::new(1usize)).bench(|| verify(&receipt, Some(RESOURCE), None, &policy).unwrap());
}

#[divan::bench]
fn parse_and_verify_receipt(bencher: Bencher<'_, '_>) {
    let (json, policy) = (anchored().to_json(), Policy::default());
    bencher
        .counter(ItemsCount::new(1usize))
        .bench(|| verify(&Receipt::parse(json.as_bytes()).unwrap(), Some(RESOURCE), None, &policy).unwrap());
}

/// As `medseal-verify many` does it: all but the first receipt of a checkpoint find its signature and its anchor proved.
#[divan::bench]
fn parse_and_verify_receipt_cached(bencher: Bencher<'_, '_>) {
    let (json, policy, mut cache) = (anchored().to_json(), Policy::default(), Cache::default());
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| {
        verify_with(&mut cache, &Receipt::parse(json.as_bytes()).unwrap(), Some(RESOURCE), None, &policy).unwrap()
    });
}

#[divan::bench]
fn canonical_form(bencher: Bencher<'_, '_>) {
    bencher.counter(ItemsCount::new(1usize)).bench(|| Json::parse(RESOURCE).unwrap().canonical());
}

/// Who sealed a block of QBFT: five of seven validators. `many` asks once for each header.
#[divan::bench]
fn sealers_of_five_seals(bencher: Bencher<'_, '_>) {
    let vectors: serde_json::Value = serde_json::from_str(include_str!("../vectors/seals.json")).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    let case = cases.iter().find(|case| case["name"] == "five of seven").unwrap();
    let header = hex::decode(case["header"].as_str().unwrap().trim_start_matches("0x")).unwrap();
    bencher.counter(ItemsCount::new(5usize)).bench(|| notary::bft::sealers(&header).unwrap());
}

#[divan::bench]
fn append_10_000_leaves(bencher: Bencher<'_, '_>) {
    bencher.counter(ItemsCount::new(10_000usize)).bench(|| {
        let mut log = MemoryTree::default();
        (0..10_000u64).for_each(|n| log.push(LeafHash::of_bytes(&n.to_be_bytes())).unwrap());
        log.size()
    });
}
