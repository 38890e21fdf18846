//! The nodes of an arena, in chunks that stay where they are: nothing is copied while a message grows.

use super::{Key, NONE, Shape};
use super::{Mark, Reason};
use std::ops::{Index, IndexMut};

/// How many nodes are allocated at a time.
const CHUNK: usize = 64;

/// Most of what a message takes of memory: 24 bytes for every two or three of its own. A leaf and what has children share
/// the words; what needs both, such as an item of a list of texts, is two nodes (see [`Shape::Held`]).
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    /// An array's item has a [`Key`], in three parts; any other node a name, in the key's `repetition`.
    pub repetition: u16,
    pub label: u8,
    pub shape: Shape,
    pub next: u32,
    /// A leaf: `a` and `b` of its [`Shape`], and the two of its [`Reason`]. Any other node: its first child, what
    /// [`Node::extra`] gives, the run of its key, and the number of an object's type.
    words: [u32; 4],
}

impl Node {
    /// A node that is nothing yet.
    pub fn of(Key { label, repetition, run }: Key) -> Self {
        Self { repetition, label, shape: Shape::Empty, next: NONE, words: [NONE, NONE, run, 0] }
    }

    pub fn key(&self) -> Key {
        let run = if self.shape.is_leaf() { 0 } else { self.words[2] };
        Key { label: self.label, repetition: self.repetition, run }
    }

    /// The first child.
    pub fn first(&self) -> u32 {
        if self.shape.is_leaf() { NONE } else { self.words[0] }
    }

    pub fn set_first(&mut self, first: u32) {
        self.words[0] = first;
    }

    /// An object or array: the last child. What is held: the leaf with the value.
    pub fn extra(&self) -> u32 {
        self.words[1]
    }

    pub fn set_extra(&mut self, extra: u32) {
        self.words[1] = extra;
    }

    /// The number of an object's type.
    pub fn kind(&self) -> u32 {
        self.words[3]
    }

    /// A leaf's `a` and `b`, as its [`Shape`] says.
    pub fn value(&self) -> (u32, u32) {
        (self.words[0], self.words[1])
    }

    /// Where a leaf came from.
    pub fn reason(&self) -> Reason {
        Reason { rule: self.words[2], source: Mark::from_word(self.words[3]) }
    }

    /// Makes it a leaf: its key must be a name, and it has no children.
    pub fn become_leaf(&mut self, shape: Shape, (a, b): (u32, u32), reason: Reason) {
        self.shape = shape;
        self.words = [a, b, reason.rule, reason.source.word()];
    }

    /// Makes it something with children, or nothing; it keeps its key.
    pub fn become_branch(&mut self, shape: Shape, first: u32, extra: u32, kind: u32) {
        self.words = [first, extra, self.key().run, kind];
        self.shape = shape;
    }
}

/// All chunks are full but the last.
#[derive(Default)]
pub(super) struct Nodes {
    #[expect(clippy::vec_box, reason = "a chunk is not moved when the list of them grows")]
    chunks: Vec<Box<[Node; CHUNK]>>,
    length: u32,
}

impl Nodes {
    pub fn len(&self) -> usize {
        self.length as usize
    }

    /// Adds a node and gives its number.
    pub fn push(&mut self, node: Node) -> u32 {
        let number = self.length;
        if self.len() == self.chunks.len() * CHUNK {
            self.chunks.push(Box::new([node; CHUNK]));
        } else {
            self[number] = node;
        }
        self.length += 1;
        number
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.chunks.iter_mut().flat_map(|chunk| chunk.iter_mut()).take(self.length as usize)
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
