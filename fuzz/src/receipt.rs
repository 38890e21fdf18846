//! Receipts: one that is read prints as one that says the same, and verifying a forged one ends in a verdict or a refusal.

use notary::receipt::{Receipt, TlogProof};
use notary::verify::{Policy, verify};

/// Holds for any bytes.
pub fn hold(bytes: &[u8]) {
    let Ok(receipt) = Receipt::parse(bytes) else { return };
    assert!(Receipt::parse(receipt.to_json().as_bytes()).as_ref() == Ok(&receipt), "it prints as another receipt");
    if let Ok(entry) = receipt.log_entry() {
        assert_eq!(receipt.entry, hex(&entry.to_bytes()), "an entry has two spellings");
    }
    if let Ok(proof) = receipt.tlog_proof() {
        prints_as_it_reads(&receipt, &proof);
    }
    for resource in [None, Some(bytes)] {
        let _ = verify(&receipt, resource, resource, &Policy::default());
    }
}

fn prints_as_it_reads(receipt: &Receipt, proof: &TlogProof) {
    let printed = Receipt { proof: proof.to_text(), ..receipt.clone() };
    assert!(printed.tlog_proof().as_ref() == Ok(proof), "a proof prints as another");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
