//! The walk through a log, without any network: parts come in, in the order of `parts`, and must fit.

use super::parts::{HEIGHT, LEVELS, WIDTH};
use super::{Broken, Part};
use crate::checkpoint::Checkpoint;
use crate::commitment::{ENTRY_BYTES, Entry, Kind};
use crate::tree::{EdgeTree, LeafHash, Root, TreeError};
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::vec::IntoIter;

/// A log of which so much was read.
#[derive(Debug)]
pub struct Walk {
    checkpoint: Checkpoint,
    tree: EdgeTree,
    /// The entries that were read last: they are taken once their tile is seen to fit.
    leaves: Vec<LeafHash>,
    /// Per level the hashes that no whole tile was compared with yet.
    levels: Vec<Vec<[u8; 32]>>,
    anchors: Peekable<IntoIter<(u64, Root)>>,
    walked: Walked,
}

/// What was found to fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walked {
    /// The entries by what they speak of.
    pub entries: BTreeMap<&'static str, u64>,
    pub tiles: u64,
    pub anchors: u64,
    /// The size of the last anchor.
    pub anchored: u64,
}

impl Walk {
    /// A walk to a checkpoint whose signature was checked, past `anchors`: (size, root) in the order of their sizes.
    pub fn new(checkpoint: Checkpoint, anchors: Vec<(u64, Root)>) -> Self {
        let levels = vec![Vec::new(); usize::from(LEVELS)];
        let anchors = anchors.into_iter().peekable();
        let (tree, leaves, walked) = (EdgeTree::default(), Vec::new(), Walked::default());
        Self { checkpoint, tree, leaves, levels, anchors, walked }
    }

    /// How many entries fit so far.
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// Takes the next part; nothing where the log does not show it.
    pub fn take(&mut self, part: &Part, bytes: Option<&[u8]>) -> Result<(), Broken> {
        let (first, last) = part.entries();
        let bytes = bytes.filter(|bytes| bytes.len() == part.bytes()).ok_or_else(|| Broken::Truncated {
            path: part.path(),
            size: self.checkpoint.size,
            first,
            last,
        })?;
        match part {
            Part::Entries { .. } => self.entries(part, bytes),
            Part::Hashes { level: 0, .. } => self.leaves(part, bytes),
            Part::Hashes { level, width, .. } => self.above(part, usize::from(*level), *width, bytes),
        }
    }

    /// What stands at the end.
    pub fn finish(self) -> Result<Walked, Broken> {
        let Checkpoint { size, root: signed, .. } = self.checkpoint;
        let found = self.root()?;
        let agreed = self.walked.anchored;
        if self.tree.size() != size || found != signed {
            return Err(Broken::Root { size, signed, found, agreed });
        }
        // Last of all: what is shown may break before it ends.
        match self.anchors.last() {
            Some((anchored, _)) => Err(Broken::Behind { anchored, size }),
            None => Ok(self.walked),
        }
    }

    /// An entry has its length before it, as two bytes.
    fn entries(&mut self, part: &Part, bytes: &[u8]) -> Result<(), Broken> {
        let length = (ENTRY_BYTES as u16).to_be_bytes();
        for (entry, piece) in (part.entries().0..).zip(bytes.chunks(2 + ENTRY_BYTES)) {
            let wrong = || Broken::Entry { entry, path: part.path() };
            let record = piece.strip_prefix(&length).ok_or_else(wrong)?;
            let kind = Entry::from_bytes(record).map_err(|_| wrong())?.kind;
            *self.walked.entries.entry(Kind::name(kind)).or_default() += 1;
            self.leaves.push(LeafHash::of_bytes(record));
        }
        Ok(())
    }

    fn leaves(&mut self, part: &Part, bytes: &[u8]) -> Result<(), Broken> {
        let leaves = std::mem::take(&mut self.leaves);
        let hashes: Vec<_> = leaves.iter().map(|leaf| leaf.0).collect();
        self.same(part, &hashes, bytes)?;
        leaves.into_iter().try_for_each(|leaf| self.push(leaf))
    }

    fn push(&mut self, leaf: LeafHash) -> Result<(), Broken> {
        let hashes = self.tree.push(leaf).map_err(|error| self.unreadable(&error))?;
        for (level, hash) in hashes.into_iter().step_by(HEIGHT as usize).enumerate().skip(1) {
            self.levels[level].push(hash);
        }
        let size = self.tree.size();
        let Some((_, anchored)) = self.anchors.next_if(|(at, _)| *at == size) else { return Ok(()) };
        let (found, agreed) = (self.root()?, self.walked.anchored);
        if found != anchored {
            return Err(Broken::Anchor { size, anchored, found, agreed });
        }
        (self.walked.anchors, self.walked.anchored) = (self.walked.anchors + 1, size);
        Ok(())
    }

    fn above(&mut self, part: &Part, level: usize, width: u64, bytes: &[u8]) -> Result<(), Broken> {
        let hashes = std::mem::take(&mut self.levels[level]);
        debug_assert_eq!(hashes.len() as u64, width.min(WIDTH));
        self.same(part, &hashes, bytes)
    }

    /// Compares a tile with the hashes that the entries give.
    fn same(&mut self, part: &Part, hashes: &[[u8; 32]], bytes: &[u8]) -> Result<(), Broken> {
        let (start, last) = part.entries();
        let each = (last - start + 1) / hashes.len().max(1) as u64;
        match hashes.iter().zip(bytes.chunks(32)).position(|(ours, theirs)| ours != theirs) {
            Some(at) => {
                let first = start + at as u64 * each;
                Err(Broken::Tile { path: part.path(), first, last: first + each - 1 })
            }
            None => {
                self.walked.tiles += 1;
                Ok(())
            }
        }
    }

    fn root(&self) -> Result<Root, Broken> {
        self.tree.root().map_err(|error| self.unreadable(&error))
    }

    /// The edge holds all that is asked of it: this cannot be, and ends the walk rather than the program.
    fn unreadable(&self, error: &TreeError) -> Broken {
        Broken::Entry { entry: self.tree.size(), path: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commitment::Commitment;
    use crate::monitor::parts;
    use crate::tree::{MemoryTree, TILE_HEIGHT, Tile, root};

    struct Log {
        entries: Vec<[u8; ENTRY_BYTES]>,
        tree: MemoryTree,
    }

    fn log(size: u64) -> Log {
        let mut tree = MemoryTree::default();
        let commitment = |n: u64| Commitment(LeafHash::of_bytes(&n.to_be_bytes()).0);
        let entry =
            |n| Entry { kind: if n % 7 == 0 { Kind::Access } else { Kind::Resource }, commitment: commitment(n) };
        let entries: Vec<_> = (0..size).map(|n| entry(n).to_bytes()).collect();
        entries.iter().for_each(|entry| tree.push(LeafHash::of(entry)).unwrap());
        Log { entries, tree }
    }

    impl Log {
        fn part(&self, part: &Part) -> Vec<u8> {
            match *part {
                Part::Entries { index, width } => {
                    let at = (index * WIDTH) as usize;
                    self.entries[at..at + width as usize]
                        .iter()
                        .flat_map(|e| [&[0, 35], e.as_slice()].concat())
                        .collect()
                }
                Part::Hashes { level, index, width } => {
                    Tile::new(TILE_HEIGHT, level, index, width as u32, false).read_data(&self.tree).unwrap()
                }
            }
        }

        /// The walk, with a change to what the log shows.
        fn walk(&self, anchors: &[u64], change: impl Fn(&str, &mut Vec<u8>)) -> Result<Walked, Broken> {
            let at = |size: &u64| (*size, root(*size, &self.tree).unwrap());
            self.walk_past(anchors.iter().map(at).collect(), change)
        }

        fn walk_past(&self, anchors: Vec<(u64, Root)>, change: impl Fn(&str, &mut Vec<u8>)) -> Result<Walked, Broken> {
            let (size, root) = (self.tree.size(), root(self.tree.size(), &self.tree).unwrap());
            let mut walk = Walk::new(Checkpoint { origin: "log".into(), size, root }, anchors);
            for part in parts(size) {
                let mut bytes = self.part(&part);
                change(&part.path(), &mut bytes);
                walk.take(&part, Some(&bytes))?;
            }
            walk.finish()
        }
    }

    fn flip(tile: &'static str, at: usize) -> impl Fn(&str, &mut Vec<u8>) {
        move |path, bytes| {
            if path == tile {
                bytes[at] ^= 1
            }
        }
    }

    fn tile(path: &str, first: u64, last: u64) -> Broken {
        Broken::Tile { path: path.into(), first, last }
    }

    #[test]
    fn a_log_fits_or_says_where_it_breaks() {
        let log = log(1_500);
        let whole = log.walk(&[1, 256, 700, 1_500], |_, _| ()).unwrap();
        assert_eq!((whole.anchors, whole.anchored, whole.entries["access"], whole.tiles), (4, 1_500, 215, 7));
        let broken = |tile, at| log.walk(&[700], flip(tile, at)).unwrap_err();
        assert_eq!(broken("tile/0/002", 5 * 32), tile("tile/0/002", 517, 517));
        assert_eq!(broken("tile/entries/002", 5 * 37 + 9), tile("tile/0/002", 517, 517), "the entry or its hash");
        assert_eq!(broken("tile/0/005.p/220", 219 * 32 + 31), tile("tile/0/005.p/220", 1_499, 1_499));
        assert_eq!(broken("tile/1/000.p/5", 3 * 32), tile("tile/1/000.p/5", 768, 1_023));
        let entry = Broken::Entry { entry: 517, path: "tile/entries/002".into() };
        assert_eq!(broken("tile/entries/002", 5 * 37 + 3), entry, "an unknown kind");
        assert_eq!(broken("tile/entries/002", 5 * 37), entry, "another length");
        let last = "tile/entries/005.p/220";
        for length in [0, 37, 219 * 37, 220 * 37 + 1] {
            let cut = log
                .walk(&[], |path, bytes| {
                    if path == last {
                        bytes.resize(length, 0)
                    }
                })
                .unwrap_err();
            assert!(matches!(cut, Broken::Truncated { .. }), "{cut}");
            assert_eq!((cut.place().entries, cut.place().tile), (Some((1_280, 1_499)), Some(last.to_owned())));
        }
    }

    #[test]
    fn tiles_of_a_third_level_are_compared() {
        let log = log(65_536 + 300);
        let broken = log.walk(&[65_536], flip("tile/2/000.p/1", 31)).unwrap_err();
        assert_eq!(broken, tile("tile/2/000.p/1", 0, 65_535));
        let broken = log.walk(&[], flip("tile/1/000", 255 * 32)).unwrap_err();
        assert_eq!(broken, tile("tile/1/000", 65_280, 65_535));
    }

    #[test]
    fn anchors_of_another_history_are_told_with_the_last_that_agrees() {
        let log = log(1_500);
        let root_at = |size| root(size, &log.tree).unwrap();
        let (good, other) = ((300, root_at(300)), Root([9; 32]));
        let refused = log.walk_past(vec![good, (400, other)], |_, _| ()).unwrap_err();
        assert_eq!(refused, Broken::Anchor { size: 400, anchored: other, found: root_at(400), agreed: 300 });
        assert_eq!((refused.place().entries, refused.place().anchor), (Some((300, 399)), Some(400)));
        let behind = log.walk_past(vec![good, (1_501, other)], |_, _| ()).unwrap_err();
        assert_eq!(behind, Broken::Behind { anchored: 1_501, size: 1_500 });
        assert_eq!(behind.place().entries, Some((1_500, 1_500)), "what is missing");
        let both = log.walk_past(vec![good, (400, other), (1_501, other)], |_, _| ()).unwrap_err();
        assert!(matches!(both, Broken::Anchor { size: 400, .. }), "what breaks first is told: {both}");
        let signed = Checkpoint { origin: "log".into(), size: 256, root: other };
        let mut walk = Walk::new(signed, vec![]);
        parts(256).for_each(|part| walk.take(&part, Some(&log.part(&part))).unwrap());
        let refused = walk.finish().unwrap_err();
        assert_eq!(refused, Broken::Root { size: 256, signed: other, found: root_at(256), agreed: 0 });
    }
}
