//! The anchors of a world's log, for a contract: good ones and changed ones, with what Rust says of each.

use crate::random::Random;
use crate::world::World;
use notary::tree::{Root, check_consistency};
use serde_json::{Value, json};

/// An anchor behind another one.
struct Step {
    size: u64,
    root: Root,
    proof: Vec<[u8; 32]>,
}

impl Step {
    fn line(&self, before: (u64, Root), changed: bool) -> Value {
        let (root, holds) =
            (hex::encode(self.root.0), check_consistency(&self.proof, before, (self.size, self.root)).is_ok());
        let proof: Vec<_> = self.proof.iter().map(hex::encode).collect();
        json!({"size": self.size, "root": root, "proof": proof, "holds": holds, "changed": changed})
    }

    /// One thing of it is another.
    fn change(&mut self, random: &mut Random) {
        let at = random.below(self.proof.len());
        match (random.below(5), self.proof.get_mut(at)) {
            (0, Some(hash)) => hash[random.below(32)] ^= 1 << random.below(8),
            (1, Some(_)) => drop(self.proof.pop()),
            (2, Some(hash)) => {
                let hash = *hash;
                self.proof.push(hash);
            }
            // A proof may fit more than one size: its shape tells only where the tree's edge is.
            (3, Some(_)) => self.size += 1,
            (_, None) => self.proof.push(random.bytes()),
            _ => self.root.0[random.below(32)] ^= 1 << random.below(8),
        }
    }
}

/// All anchors of a world's log in their order, changed ones before each good one.
pub fn anchors(world: &World, random: &mut Random) -> Value {
    let (mut before, mut lines) = ((0, Root([0; 32])), Vec::new());
    for size in world.all_sizes() {
        let step = || Step { size, root: world.root(size), proof: world.consistency(before.0, size) };
        for _ in 0..random.below(4) {
            let mut changed = step();
            changed.change(random);
            lines.push(changed.line(before, true));
        }
        lines.push(step().line(before, false));
        before = (size, world.root(size));
    }
    json!({"anchors": lines})
}
