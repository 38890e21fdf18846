//! Whether a block is its chain's, by the seals of validators whom the policy pins.

use super::{Cache, Policy, Refusal};
use crate::anchor::AnchorBundle;
use crate::bft;

/// So many of the validators that the policy pins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sealed {
    pub by: usize,
    pub of: usize,
}

/// Who sealed the bundle's block. Nothing where the policy pins nobody for its chain.
pub(super) fn sealed(bundle: &AnchorBundle, policy: &Policy, cache: &mut Cache) -> Result<Option<Sealed>, Refusal> {
    let sets = policy.validators.iter().filter(|set| set.chain_id == bundle.chain_id);
    let answers = sets.map(|set| {
        let sealers = cache.sealers(&bundle.header)?;
        Ok(Sealed { by: bft::enough(&sealers, &set.addresses)?, of: set.addresses.len() })
    });
    answers.reduce(Result::or).transpose()
}
