//! Whether a block is a chain's, by the word of nodes that nobody trusts alone.

use super::{EvmError, Node};
use crate::verify::Said;
use alloy_primitives::B256;
use alloy_provider::Provider;

/// Asks each node for its block at a number. All that answer must have the one with this hash, on the chain of this id; one
/// at least must answer. A node that is behind that number has no answer.
pub async fn confirm(nodes: &[Node], chain_id: u64, number: u64, hash: B256) -> Result<Said, EvmError> {
    let (mut by, mut why) = (0, String::new());
    for node in nodes {
        match has(node, chain_id, number, hash).await {
            Ok(None) => by += 1,
            Ok(Some(foreign)) => return Ok(Said::Foreign(foreign)),
            Err(error) => why = error.to_string(),
        }
    }
    match by {
        0 => Err(EvmError::TooFew { found: 0, wanted: 1, why }),
        by => Ok(Said::Theirs { by, asked: nodes.len() }),
    }
}

/// Nothing where the node has that block, else what it has in its place.
async fn has(node: &Node, chain_id: u64, number: u64, hash: B256) -> Result<Option<String>, EvmError> {
    let id = node.ask(node.provider().get_chain_id()).await?;
    if id != chain_id {
        return Ok(Some(format!("the node at {} is of chain {id}, the receipt names chain {chain_id}", node.name())));
    }
    let behind = || EvmError::Away { node: node.name().to_owned(), why: format!("it has no block {number} yet") };
    let found = node.block(number.into()).await?.ok_or_else(behind)?.hash;
    let foreign =
        || format!("the node at {} has the block {found} at number {number}, the receipt has {hash}", node.name());
    Ok((found != hash).then(foreign))
}
