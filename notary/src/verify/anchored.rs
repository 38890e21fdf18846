//! How far an anchor lifts the grade, under what the verifier trusts.

use super::sealed::{Sealed, sealed};
use super::{Cache, Grade, Policy, Refusal, Said, TrustedContract};
use crate::anchor::{AnchorBundle, AnchorError, Anchored, ChainKind};
use crate::checkpoint::Checkpoint;
use crate::receipt::Receipt;

/// Why a block counts. It does not where nothing of this is so.
struct Known {
    pinned: bool,
    sealed: Option<Sealed>,
    /// So many of so many nodes.
    confirmed: Option<(usize, usize)>,
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
    let known = known(bundle, &anchored, policy, cache)?;
    rests_on.push(format!(
        "block {} ({}) of chain {}, contract {}{known}",
        anchored.block_number, anchored.block_hash, bundle.chain_id, bundle.contract,
    ));
    let grade = grade(listed, bundle.kind, known.is_so());
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

/// Whether the block is one that the policy pins, that its validators sealed, or that nodes have. A node that has another one is
/// heard first.
fn known(bundle: &AnchorBundle, anchored: &Anchored, policy: &Policy, cache: &mut Cache) -> Result<Known, Refusal> {
    let block = anchored.block_hash;
    let confirmed = match policy.nodes.as_ref().and_then(|nodes| nodes.of(bundle.chain_id, block)) {
        Some(Said::Foreign(how)) => return Err(Refusal::ForeignBlock(how.clone())),
        Some(&Said::Theirs { by, asked }) => Some((by, asked)),
        None => None,
    };
    let sealed = sealed(bundle, policy, cache)?;
    let known = Known { pinned: policy.blocks.contains(&block), sealed, confirmed };
    if known.is_so() || !policy.asks_for_a_known_block() { Ok(known) } else { Err(Refusal::UnknownBlock) }
}

/// Nothing in a bundle proves that a block belongs to a chain, or what kind of chain that is: only a known block and a listed
/// contract lift the grade.
fn grade(listed: Option<&TrustedContract>, own_word: ChainKind, is_known: bool) -> Grade {
    match (listed.map(|c| c.kind), is_known) {
        (Some(ChainKind::Public), true) => Grade::AnchoredPublic,
        (Some(ChainKind::Consortium), true) => Grade::AnchoredConsortium,
        (Some(ChainKind::Embedded), _) => Grade::AnchoredLocal,
        (None, _) if own_word == ChainKind::Embedded => Grade::AnchoredLocal,
        _ => Grade::Logged,
    }
}

impl Known {
    fn is_so(&self) -> bool {
        self.pinned || self.sealed.is_some() || self.confirmed.is_some()
    }
}

impl std::fmt::Display for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.pinned {
            f.write_str(", a block that the policy pins")?;
        }
        if let Some(Sealed { by, of }) = self.sealed {
            write!(f, ", sealed by {by} of the {of} validators that the policy pins")?;
        }
        match self.confirmed {
            Some((by, asked)) => write!(f, ", a block that {by} of {asked} nodes asked have at its number"),
            None if self.is_so() => Ok(()),
            None => f.write_str("; whether that block is the chain's is not checked offline"),
        }
    }
}
