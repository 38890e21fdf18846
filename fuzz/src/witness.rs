//! What a log asks of a witness: what is read prints as it reads, and whatever is asked, a witness signs only what bears the log's signature.

use notary::checkpoint::LogSigner;
use notary::tree::Root;
use notary::witness::{AddCheckpoint, Witness, with_cosignatures};
use std::sync::LazyLock;

static LOG: LazyLock<LogSigner> = LazyLock::new(|| LogSigner::from_seed("fuzz.example/log", &[1; 32]).expect("a log"));
static WITNESS: LazyLock<Witness> =
    LazyLock::new(|| Witness::from_seed("fuzz.example/witness", &[2; 32]).expect("a witness"));
const TIME: u64 = 1_790_000_000;

/// Holds for any bytes.
pub fn hold(bytes: &[u8]) {
    let Ok(asked) = AddCheckpoint::parse(bytes) else { return };
    let again = AddCheckpoint::parse(asked.to_text().as_bytes());
    assert!(again.as_ref() == Ok(&asked), "it prints as another request");
    decided(&asked);
    // Nobody finds a signature by chance: the same for a checkpoint that the log did sign.
    let size = asked.old % 1_000 + asked.proof.len() as u64;
    if let Ok(note) = LOG.sign(size, Root([7; 32])) {
        decided(&AddCheckpoint { note, ..asked });
    }
}

fn decided(asked: &AddCheckpoint) {
    for known in [None, Some((asked.old, Root([9; 32]))), Some((asked.old, Root([7; 32])))] {
        let Ok(checkpoint) = asked.consider(LOG.key(), known) else { continue };
        let signed = LOG.key().open(&asked.note).expect("a witness agrees to what the log has signed");
        assert_eq!((signed.size, signed.root), (checkpoint.size, checkpoint.root), "it agrees to another checkpoint");
        assert!(checkpoint.size >= asked.old, "a log grows");
        let line = WITNESS.cosign(&asked.note, TIME).expect("what a log has signed can be cosigned");
        let cosigned = with_cosignatures(&asked.note, &[line]);
        assert_eq!(WITNESS.key().cosigned(&cosigned), Some(TIME), "its own signature does not count");
        LOG.key().open(&cosigned).expect("the log's signature still counts");
    }
}
