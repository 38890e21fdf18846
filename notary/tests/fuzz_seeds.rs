//! The laws of `fuzz/` for the canonical form, receipts and what a witness is asked, held on their seeds: the vectors, a receipt that
//! holds, and requests that are agreed to, with each of their bytes changed.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[path = "../../fuzz/src/canonical.rs"]
mod canonical;
#[path = "../../fuzz/src/receipt.rs"]
mod receipt;
#[path = "../../fuzz/src/witness.rs"]
mod witness;

use notary::checkpoint::LogSigner;
use notary::receipt::Receipt;
use notary::tree::{LeafHash, MemoryTree, prove_consistency, root};
use notary::verify::{Policy, verify};
use notary::witness::AddCheckpoint;
use std::path::{Path, PathBuf};

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == extension)).collect()
}

#[test]
fn the_canonical_form_is_its_own() {
    let vectors = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/canonical.json")).unwrap();
    canonical::hold(&vectors);
    let vectors: serde_json::Value = serde_json::from_slice(&vectors).unwrap();
    let inputs = ["valid", "refused"].iter().flat_map(|kind| vectors[kind].as_array().unwrap());
    inputs.for_each(|vector| canonical::hold(vector["input"].as_str().unwrap().as_bytes()));
    files("../fuzz/seeds", "json").into_iter().for_each(|seed| canonical::hold(&std::fs::read(seed).unwrap()));
}

#[test]
fn receipts_print_as_they_read() {
    let seeds = files("../fuzz/seeds", "receipt");
    assert!(!seeds.is_empty());
    for seed in seeds {
        let bytes = std::fs::read(&seed).unwrap();
        let read = Receipt::parse(&bytes).unwrap();
        verify(&read, None, None, &Policy::default()).unwrap();
        receipt::hold(&bytes);
    }
}

#[test]
fn a_witness_signs_only_what_the_log_has_signed() {
    let log = LogSigner::from_seed("fuzz.example/log", &[1; 32]).unwrap();
    let mut tree = MemoryTree::default();
    (0..40_u64).for_each(|n| tree.push(LeafHash::of_bytes(&n.to_be_bytes())).unwrap());
    for (old, new) in [(0, 1), (0, 40), (7, 40), (32, 33), (40, 40)] {
        let proof = if old == 0 || old == new { Vec::new() } else { prove_consistency(old, new, &tree).unwrap() };
        let note = log.sign(new, root(new, &tree).unwrap()).unwrap();
        let bytes = AddCheckpoint { old, proof, note }.to_text().into_bytes();
        assert!(AddCheckpoint::parse(&bytes).is_ok());
        witness::hold(&bytes);
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] = other[at].wrapping_add(1);
            witness::hold(&other);
            witness::hold(&bytes[..at]);
        }
    }
}
