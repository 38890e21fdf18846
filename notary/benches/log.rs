//! How fast a log takes leaves, and what its head costs at ten million of them.
//!
//! ```text
//! cargo bench -p notary --features chain --bench log
//! ```

use divan::Bencher;
use divan::counter::ItemsCount;
use notary::tree::{self, HashReader, LeafHash, MemoryTree, StoredHash, TlogError};
use std::cell::Cell;

/// Leaves that are taken at once: what a busy second brings.
const LEAVES: u64 = 10_000;
const MANY: u64 = 10_000_000;
/// One less than a power of two near it: the next leaf ends a subtree at each level.
const FULL: u64 = (1 << 23) - 1;

fn main() {
    let reader = Counting::default();
    // A root over made-up hashes is a root like any other.
    let _ = tree::root(MANY, &reader);
    println!("the root of {MANY} leaves reads {} hashes", reader.0.get());
    let reader = Counting::default();
    let _ = tree::append(FULL, LeafHash([7; 32]), &reader);
    println!("one leaf more on {FULL}, where it ends most subtrees, reads {} hashes", reader.0.get());
    divan::main();
}

/// A tree of any size, which counts what is read of it.
#[derive(Default)]
struct Counting(Cell<usize>);

impl HashReader for Counting {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<StoredHash>, TlogError> {
        self.0.set(self.0.get() + indexes.len());
        Ok(indexes.iter().map(|index| StoredHash([*index as u8; 32])).collect())
    }
}

#[divan::bench]
fn append(bencher: Bencher<'_, '_>) {
    bencher.counter(ItemsCount::new(LEAVES)).with_inputs(MemoryTree::default).bench_values(|mut tree| {
        for leaf in 0..LEAVES {
            let _ = tree.push(LeafHash::of_bytes(&leaf.to_be_bytes()));
        }
        tree
    });
}

#[divan::bench]
fn head_of_ten_million() -> Option<tree::Root> {
    tree::root(MANY, &Counting::default()).ok()
}
