//! The nodes of an arena, in chunks that stay where they are: nothing is copied while a message grows.

use super::{Key, NONE, Shape};
use super::{Mark, Reason};
use std::ops::{Index, IndexMut};

/// How many nodes are allocated at a time.
const CHUNK: usize = 64;

/// Most of what a message takes of memory: 32 bytes for every two or three of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    /// An array's item has a [`Key`], in three parts; any other node a name, in the key's `repetition`.
    pub run: u32,
    pub repetition: u16,
    pub label: u8,
    pub shape: Shape,
    pub next: u32,
    pub first: u32,
    /// A leaf: see [`Shape`]. An object or array: its last child.
    pub a: u32,
    /// A leaf: see [`Shape`]. An object: the number of its type.
    pub b: u32,
    pub reason: Reason,
}

pub(super) const NO_REASON: Reason = Reason { rule: NONE, source: Mark::NOWHERE };

impl Node {
    /// A node that is nothing yet.
    pub fn of(key: Key) -> Self {
        let (Key { label, repetition, run }, shape) = (key, Shape::Empty);
        let (next, first, a, b, reason) = (NONE, NONE, NONE, 0, NO_REASON);
        Self { run, repetition, label, shape, next, first, a, b, reason }
    }

    pub fn key(&self) -> Key {
        Key { label: self.label, repetition: self.repetition, run: self.run }
    }
}

/// All chunks are full but the last.
#[derive(Default)]
pub(super) struct Nodes {
    chunks: Vec<Vec<Node>>,
}

impl Nodes {
    pub fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    /// Adds a node and gives its number.
    pub fn push(&mut self, node: Node) -> u32 {
        let number = self.len() as u32;
        if number as usize == self.chunks.len() * CHUNK {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks[number as usize / CHUNK].push(node);
        number
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.chunks.iter_mut().flatten()
    }
}

impl Index<u32> for Nodes {
    type Output = Node;

    fn index(&self, number: u32) -> &Node {
        &self.chunks[number as usize / CHUNK][number as usize % CHUNK]
    }
}

impl IndexMut<u32> for Nodes {
    fn index_mut(&mut self, number: u32) -> &mut Node {
        &mut self.chunks[number as usize / CHUNK][number as usize % CHUNK]
    }
}
