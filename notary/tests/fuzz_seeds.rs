//! The laws of `fuzz/` for the canonical form and receipts, held on their seeds: the vectors, and a receipt that holds.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[path = "../../fuzz/src/canonical.rs"]
mod canonical;
#[path = "../../fuzz/src/receipt.rs"]
mod receipt;

use notary::receipt::Receipt;
use notary::verify::{Policy, verify};
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
