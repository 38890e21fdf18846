//! The files that a log is published in (C2SP tlog-tiles), in the order in which they can be checked.

use crate::commitment::ENTRY_BYTES;

/// Entries of a whole bundle, hashes of a whole tile.
pub(super) const WIDTH: u64 = 256;
/// The hashes of tiles of level `n` stand so many levels of the tree above those of the level below.
pub(super) const HEIGHT: u32 = 8;
/// Tiles of level 8 would begin at 2^64 entries.
pub(super) const LEVELS: u8 = 8;

/// One file of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Entries { index: u64, width: u64 },
    Hashes { level: u8, index: u64, width: u64 },
}

impl Part {
    /// Its path under the log's address.
    pub fn path(&self) -> String {
        let (folder, index, width) = match *self {
            Self::Entries { index, width } => ("entries".to_owned(), index, width),
            Self::Hashes { level, index, width } => (level.to_string(), index, width),
        };
        let partial = if width == WIDTH { String::new() } else { format!(".p/{width}") };
        format!("tile/{folder}/{}{partial}", in_thousands(index))
    }

    /// The whole one of which this may be the beginning.
    #[cfg(feature = "rpc")]
    pub(super) fn whole(self) -> Self {
        match self {
            Self::Entries { index, .. } => Self::Entries { index, width: WIDTH },
            Self::Hashes { level, index, .. } => Self::Hashes { level, index, width: WIDTH },
        }
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        match *self {
            Self::Entries { width, .. } => width as usize * (2 + ENTRY_BYTES),
            Self::Hashes { width, .. } => width as usize * 32,
        }
    }

    /// The first and the last entry that it speaks of.
    pub(super) fn entries(&self) -> (u64, u64) {
        let (level, index, width) = match *self {
            Self::Entries { index, width } => (0, index, width),
            Self::Hashes { level, index, width } => (u32::from(level) * HEIGHT, index, width),
        };
        ((index * WIDTH) << level, ((index * WIDTH + width) << level) - 1)
    }
}

/// `1234067` is `x001/x234/067`.
fn in_thousands(mut index: u64) -> String {
    let mut text = format!("{:03}", index % 1_000);
    while index >= 1_000 {
        index /= 1_000;
        text = format!("x{:03}/{text}", index % 1_000);
    }
    text
}

/// All files of a log of so many entries. A bundle comes before the tile over it, and a tile once it is whole, so that what was
/// read can be checked and forgotten at once; those that are not whole come last.
pub fn parts(size: u64) -> impl Iterator<Item = Part> {
    let whole = (0..size.div_ceil(WIDTH)).flat_map(move |index| bundle(index, WIDTH.min(size - index * WIDTH)));
    whole.chain((1..LEVELS).filter_map(move |level| {
        let hashes = size >> (u32::from(level) * HEIGHT);
        let (index, width) = (hashes / WIDTH, hashes % WIDTH);
        (width > 0).then_some(Part::Hashes { level, index, width })
    }))
}

/// A bundle, the tile over it, and the tiles above that it completes.
fn bundle(index: u64, width: u64) -> Vec<Part> {
    let mut parts = vec![Part::Entries { index, width }, Part::Hashes { level: 0, index, width }];
    let mut above = if width == WIDTH { index + 1 } else { 0 };
    for level in 1..LEVELS {
        if above == 0 || !above.is_multiple_of(WIDTH) {
            break;
        }
        above /= WIDTH;
        parts.push(Part::Hashes { level, index: above - 1, width: WIDTH });
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_format() {
        let hashes = |level, index, width| Part::Hashes { level, index, width }.path();
        assert_eq!(hashes(0, 0, 256), "tile/0/000");
        assert_eq!(hashes(1, 1_234_067, 256), "tile/1/x001/x234/067");
        assert_eq!(Part::Entries { index: 1_234, width: 17 }.path(), "tile/entries/x001/234.p/17");
    }

    #[test]
    fn every_hash_of_every_level_is_in_one_part() {
        for size in [0, 1, 255, 256, 257, 65_535, 65_536, 66_000, 131_072 + 300] {
            let all: Vec<Part> = parts(size).collect();
            for level in 0..3_u8 {
                let of = |p: &Part| {
                    if let Part::Hashes { level: l, width, .. } = p { (*l == level).then_some(*width) } else { None }
                };
                let held: u64 = all.iter().filter_map(of).sum();
                assert_eq!(held, size >> (u32::from(level) * HEIGHT), "level {level} of {size}");
            }
            let last = all.iter().map(|part| part.entries().1 + 1).max().unwrap_or(0);
            assert_eq!(last, size);
        }
    }
}
