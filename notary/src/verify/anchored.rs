//! How far an anchor lifts the grade, under what the verifier trusts.

use super::{Cache, Grade, Policy, Refusal, Said, TrustedContract};
use crate::anchor::{AnchorBundle, AnchorError, Anchored, ChainKind};
use crate::checkpoint::Checkpoint;
use crate::receipt::Receipt;

/// Why a block counts, or does not.
#[derive(Clone, Copy)]
enum Known {
    Pinned,
    Confirmed { by: usize, asked: usize },
    Not,
}

/// The grade of the receipt's anchor, and what the anchor proves.
pub(super) fn anchored(
    receipt: &Receipt,
    checkpoint: &Checkpoint,
    policy: &Policy,
    cache: &mut Cache,
    rests_on: &mut Vec<String>,
) -> Result<(Grade, Option<Anchored>), Refusal> {
    let Some(bundle) = &receipt.anchor else {
        if policy.asks_for_an_anchor() {
            return Err(Refusal::NotAnchored);
        }
        rests_on.push("the operator's signature alone: not anchored yet".into());
        return Ok((Grade::Logged, None));
    };
    if bundle.size != checkpoint.size {
        return Err(Refusal::LogRewritten);
    }
    let anchored = cache.anchor(bundle, checkpoint.root).map_err(|error| match error {
        AnchorError::Storage => Refusal::LogRewritten,
        other => Refusal::Anchor(other),
    })?;
    let listed = listed(bundle, &anchored, policy)?;
    let known = known(bundle, &anchored, policy)?;
    rests_on.push(format!(
        "block {} ({}) of chain {}, contract {}{known}",
        anchored.block_number, anchored.block_hash, bundle.chain_id, bundle.contract,
    ));
    let grade = grade(listed, bundle.kind, known);
    if grade == Grade::AnchoredLocal {
        rests_on.push("ANCHORED-LOCAL: the ledger is the operator's own, no independent trust".into());
    }
    Ok((grade, Some(anchored)))
}

/// The contract among those that count. Where none is listed, none must be.
fn listed<'p>(
    bundle: &AnchorBundle,
    anchored: &Anchored,
    policy: &'p Policy,
) -> Result<Option<&'p TrustedContract>, Refusal> {
    let listed = policy.contracts.iter().find(|c| {
        c.chain_id == bundle.chain_id
            && c.address == bundle.contract
            && c.code_hash.is_none_or(|hash| hash == anchored.code_hash)
    });
    if listed.is_none() && !policy.contracts.is_empty() { Err(Refusal::UntrustedChain) } else { Ok(listed) }
}

/// Whether the block is one that the policy pins or that nodes have. A node that has another one is heard first.
fn known(bundle: &AnchorBundle, anchored: &Anchored, policy: &Policy) -> Result<Known, Refusal> {
    let block = anchored.block_hash;
    let pinned = policy.blocks.contains(&block);
    match policy.nodes.as_ref().and_then(|nodes| nodes.of(bundle.chain_id, block)) {
        Some(Said::Foreign(how)) => Err(Refusal::ForeignBlock(how.clone())),
        _ if pinned => Ok(Known::Pinned),
        Some(&Said::Theirs { by, asked }) => Ok(Known::Confirmed { by, asked }),
        None if policy.blocks.is_empty() => Ok(Known::Not),
        None => Err(Refusal::UntrustedChain),
    }
}

/// Nothing in a bundle proves that a block belongs to a chain, or what kind of chain that is: only a known block and a listed
/// contract lift the grade.
fn grade(listed: Option<&TrustedContract>, own_word: ChainKind, known: Known) -> Grade {
    match (listed.map(|c| c.kind), known) {
        (Some(ChainKind::Public), Known::Pinned | Known::Confirmed { .. }) => Grade::AnchoredPublic,
        (Some(ChainKind::Consortium), Known::Pinned | Known::Confirmed { .. }) => Grade::AnchoredConsortium,
        (Some(ChainKind::Embedded), _) => Grade::AnchoredLocal,
        (None, _) if own_word == ChainKind::Embedded => Grade::AnchoredLocal,
        _ => Grade::Logged,
    }
}

impl std::fmt::Display for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pinned => f.write_str(", a block that the policy pins"),
            Self::Confirmed { by, asked } => write!(f, ", a block that {by} of {asked} nodes asked have at its number"),
            Self::Not => f.write_str("; whether that block is the chain's is not checked offline"),
        }
    }
}
