//! Asking nodes whether a receipt's block is their chain's.

use notary::anchor::read_header;
use notary::chain::evm::{Node, confirm};
use notary::receipt::Receipt;
use notary::verify::{NodeAnswers, Policy};
use std::future::Future;

/// Runs what waits for the network.
pub fn wait<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|error| format!("the network cannot be used: {error}"))?.block_on(future))
}

/// The nodes at these addresses.
pub fn nodes(urls: &[String]) -> Result<Vec<Node>, String> {
    urls.iter().map(|url| Node::new(url).map_err(|error| error.to_string())).collect()
}

/// Puts what the nodes say of the receipt's block into the policy. Why nobody answered, if nobody did. A receipt in which there
/// is no block to ask for is refused later, by the name of what is wrong with it.
pub fn ask(urls: &[String], receipt: &[u8], policy: &mut Policy) -> Result<Option<String>, String> {
    let nodes = nodes(urls)?;
    let answers = policy.nodes.insert(NodeAnswers::default());
    let Some(anchor) = Receipt::parse(receipt).ok().and_then(|receipt| receipt.anchor) else { return Ok(None) };
    let Ok(block) = read_header(&anchor.header) else { return Ok(None) };
    match wait(confirm(&nodes, anchor.chain_id, block.number, block.hash))? {
        Ok(said) => {
            answers.keep(anchor.chain_id, block.hash, said);
            Ok(None)
        }
        Err(silent) => Ok(Some(silent.to_string())),
    }
}
