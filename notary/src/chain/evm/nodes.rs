//! Several nodes of one chain. So many must answer and agree; one that contradicts the others stops everything, since nobody can
//! tell from here which of them lies.

use super::node::{Block, Node, State};
use super::{EvmError, Finality, Pins};
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::B256;

/// The nodes that are asked.
#[derive(Debug, Clone)]
pub struct Nodes {
    nodes: Vec<Node>,
    /// So many must agree.
    quorum: usize,
    pins: Pins,
}

/// What the nodes agree on.
#[derive(Debug, Clone)]
pub struct View {
    /// The contract in the newest block that stays.
    pub last: State,
    /// The contract in the newest block of all.
    pub newest: State,
    /// Which node answered it.
    node: Node,
}

/// The blocks that the nodes agree on.
#[derive(Debug, Clone)]
pub struct Agreed {
    /// A node that has them.
    pub node: Node,
    /// The newest block that stays.
    pub last: Block,
    /// The newest block of all.
    pub newest: Block,
}

impl View {
    /// The node that answered.
    pub fn node(&self) -> &Node {
        &self.node
    }
}

impl Nodes {
    /// The nodes at these URLs. `quorum`: how many must agree; more than half of them where it is not said.
    pub fn new(urls: &[String], quorum: Option<usize>, pins: Pins) -> Result<Self, EvmError> {
        let nodes = each_once(urls)?;
        let quorum = quorum.unwrap_or(nodes.len() / 2 + 1).clamp(1, nodes.len().max(1));
        Ok(Self { nodes, quorum, pins })
    }

    /// The nodes, one by one.
    pub fn each(&self) -> &[Node] {
        &self.nodes
    }

    /// What is pinned.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Reads the anchor contract. `now` in seconds since 1970; `max_age`: how old, in seconds, the newest block may be.
    pub async fn view(&self, finality: Finality, now: u64, max_age: Option<u64>) -> Result<View, EvmError> {
        let Agreed { node, last, newest } = self.agreed(finality, now, max_age).await?;
        let last = node.state(last, &self.pins).await?;
        let newest = if last.block == newest { last.clone() } else { node.state(newest, &self.pins).await? };
        if !newest.is_there {
            return Err(node.other_code(&self.pins));
        }
        Ok(View { last, newest, node })
    }

    /// The blocks that so many nodes have as must agree, and that none contradicts.
    pub async fn agreed(&self, finality: Finality, now: u64, max_age: Option<u64>) -> Result<Agreed, EvmError> {
        let mut answers = self.newest().await?;
        // The most that a quorum has: a single node that is ahead of all others decides nothing.
        answers.sort_by_key(|(_, block)| std::cmp::Reverse(block.number));
        let (node, newest) = answers.get(self.quorum - 1).cloned().ok_or_else(|| self.too_few(0, String::new()))?;
        self.agree(&answers, &newest).await?;
        let age = now.saturating_sub(newest.timestamp);
        if max_age.is_some_and(|most| age > most) {
            return Err(EvmError::Stale { age });
        }
        let last = self.last(&node, &newest, finality).await?;
        self.agree(&answers, &last).await?;
        Ok(Agreed { node, last, newest })
    }

    /// The newest block of each node that answers. One of another chain is an error, not an absence.
    async fn newest(&self) -> Result<Vec<(Node, Block)>, EvmError> {
        let (mut answers, mut why) = (Vec::new(), String::new());
        for node in &self.nodes {
            match self.newest_of(node).await {
                Ok(block) => answers.push((node.clone(), block)),
                Err(error) if error.is_away() => why = error.to_string(),
                Err(error) => return Err(error),
            }
        }
        if answers.len() < self.quorum { Err(self.too_few(answers.len(), why)) } else { Ok(answers) }
    }

    async fn newest_of(&self, node: &Node) -> Result<Block, EvmError> {
        node.check(&self.pins).await?;
        node.block(BlockNumberOrTag::Latest).await?.ok_or_else(|| node.unproved())
    }

    /// The newest block that stays.
    async fn last(&self, node: &Node, newest: &Block, finality: Finality) -> Result<Block, EvmError> {
        let which = match finality {
            Finality::Latest => return Ok(newest.clone()),
            Finality::Finalized => BlockNumberOrTag::Finalized,
            Finality::Depth(depth) => BlockNumberOrTag::Number(newest.number.saturating_sub(depth)),
        };
        match node.block(which).await? {
            Some(block) => Ok(block),
            // A chain that has finalised nothing yet: its first block stays.
            None => node.block(BlockNumberOrTag::Earliest).await?.ok_or_else(|| node.unproved()),
        }
    }

    /// Every node must have the same blocks, as far as it has any: at the block's height, or at its own newest if that is lower.
    async fn agree(&self, answers: &[(Node, Block)], block: &Block) -> Result<(), EvmError> {
        let at = self.quorum - 1;
        let Some((first, _)) = answers.get(at) else { return Ok(()) };
        for (_, (node, newest)) in answers.iter().enumerate().filter(|(place, _)| *place != at) {
            let number = block.number.min(newest.number);
            let ours = if number == block.number { Some(block.hash) } else { hash(first, number).await? };
            let theirs = if number == newest.number { Some(newest.hash) } else { hash(node, number).await? };
            // One that has gone back meanwhile has no answer, and is asked again next time.
            if ours.zip(theirs).is_some_and(|(ours, theirs)| ours != theirs) {
                let (one, other) = (first.name().to_owned(), node.name().to_owned());
                return Err(EvmError::Disagree { one, other, number });
            }
        }
        Ok(())
    }

    fn too_few(&self, found: usize, why: String) -> EvmError {
        EvmError::TooFew { found, wanted: self.quorum, why }
    }
}

/// The nodes, of which none may be named twice: it would agree with itself. Several at one host and port are told apart by number.
fn each_once(urls: &[String]) -> Result<Vec<Node>, EvmError> {
    let nodes = urls.iter().map(|url| Node::new(url)).collect::<Result<Vec<_>, _>>()?;
    if urls.iter().enumerate().any(|(n, url)| urls[..n].contains(url)) {
        return Err(EvmError::Twice);
    }
    let name = |n: usize| {
        let before = nodes[..n].iter().filter(|node| node.name() == nodes[n].name()).count();
        if before == 0 { nodes[n].name().to_owned() } else { format!("{} ({})", nodes[n].name(), before + 1) }
    };
    let names: Vec<String> = (0..nodes.len()).map(name).collect();
    Ok(nodes.into_iter().zip(names).map(|(node, name)| node.named(name)).collect())
}

async fn hash(node: &Node, number: u64) -> Result<Option<B256>, EvmError> {
    Ok(node.block(number.into()).await?.map(|block| block.hash))
}
