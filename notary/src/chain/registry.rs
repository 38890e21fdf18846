//! The interface of `ConsentRegistry`, its events as the mirror reads them, and the calldata of its transactions.
//! Anybody may send these: none of them gives anything to who sends it.

use crate::consent::{Event, GrantKey, Kind, Preimage, Sealed};
use alloy_primitives::aliases::U48;
use alloy_primitives::{B256, Bytes, Log, U256};
use alloy_sol_types::{SolCall, SolEvent, sol};

/// So many grants go into one transaction: some 30,000 gas each, and a block has 30 million on most chains.
pub const MAX_BATCH: usize = 200;

sol! {
    /// `notary/contracts/src/interfaces/IConsentRegistry.sol`, `ISuccession.sol`
    #[derive(Debug)]
    interface IConsentRegistry {
        struct SealedGrant { bytes32 commitment; bytes20 tag; uint48 notAfter; }
        struct Shown { bytes32 key; bytes32 preimage; }
        event Registered(bytes32 indexed key, uint256 word, uint256 accumulator);
        event Granted(bytes32 indexed key, address indexed grantor, uint256 word, uint256 accumulator);
        event Revoked(bytes32 indexed key, uint256 word, uint256 accumulator);
        event SuccessorNamed(address indexed successor, uint256 accumulator);
        error NoAdministrator();
        error ZeroCommitment(uint256 index);
        error ZeroTag(uint256 index);
        error TermTooLong(uint256 index, uint48 notAfter, uint256 latest);
        error LapsedAlready(uint48 notAfter, uint256 blockTime);
        error RevokedAlready(bytes32 key);
        error NotRegistered(uint256 index, bytes32 key);
        error WrongPreimage(uint256 index, bytes32 key);
        error NotApproved(address grantor, bytes32 digest);
        function registerBatch(SealedGrant[] calldata grants) external returns (uint256 registered);
        function revokeSealed(bytes32 key, bytes32 preimage) external;
        function revokeBatch(Shown[] calldata openings) external;
        function forestallSealed(bytes32 key, bytes32 commitment, uint48 notAfter, bytes32 preimage) external;
    }
}

/// The signatures of all events that the accumulator stands for.
pub const EVENTS: [B256; 4] = [
    IConsentRegistry::SuccessorNamed::SIGNATURE_HASH,
    IConsentRegistry::Registered::SIGNATURE_HASH,
    IConsentRegistry::Granted::SIGNATURE_HASH,
    IConsentRegistry::Revoked::SIGNATURE_HASH,
];

/// Reads a log of the registry in a block; nothing if it is none of its events.
pub fn event(log: &Log, block: u64) -> Option<Event> {
    use IConsentRegistry::{Granted, Registered, Revoked, SuccessorNamed};
    let of = |kind, key, word| Some(Event { block, kind, key, word });
    match log.topics().first().copied()? {
        Registered::SIGNATURE_HASH => {
            Registered::decode_log(log).ok().and_then(|log| of(Kind::Registered, log.key, log.word))
        }
        Granted::SIGNATURE_HASH => Granted::decode_log(log).ok().and_then(|log| of(Kind::Granted, log.key, log.word)),
        Revoked::SIGNATURE_HASH => Revoked::decode_log(log).ok().and_then(|log| of(Kind::Revoked, log.key, log.word)),
        SuccessorNamed::SIGNATURE_HASH => SuccessorNamed::decode_log(log)
            .ok()
            .and_then(|log| of(Kind::Succeeded, log.successor.into_word(), U256::ZERO)),
        _ => None,
    }
}

/// The calls that register grants, [`MAX_BATCH`] in each. What is there already is passed over, so sending twice does
/// no harm.
pub fn register(grants: &[Sealed]) -> Vec<Bytes> {
    let one = |grant: &Sealed| IConsentRegistry::SealedGrant {
        commitment: grant.commitment,
        tag: grant.tag.0,
        notAfter: time(grant.not_after),
    };
    let call = |some: &[Sealed]| IConsentRegistry::registerBatchCall { grants: some.iter().map(one).collect() };
    grants.chunks(MAX_BATCH).map(|some| call(some).abi_encode().into()).collect()
}

/// The call that revokes a grant that stands. What was revoked already stays so, so sending twice does no harm.
pub fn revoke(key: GrantKey, preimage: &Preimage) -> Bytes {
    IConsentRegistry::revokeSealedCall { key: key.0, preimage: preimage.0.into() }.abi_encode().into()
}

/// The calls that revoke several, [`MAX_BATCH`] in each. One wrong preimage refuses its batch.
pub fn revoke_all(revocations: &[(GrantKey, Preimage)]) -> Vec<Bytes> {
    let one =
        |(key, preimage): &(GrantKey, Preimage)| IConsentRegistry::Shown { key: key.0, preimage: preimage.0.into() };
    let call = |some: &[_]| IConsentRegistry::revokeBatchCall { openings: some.iter().map(one).collect() };
    revocations.chunks(MAX_BATCH).map(|some| call(some).abi_encode().into()).collect()
}

/// The call that revokes a grant which may not have been registered yet; later it cannot be.
pub fn forestall(key: GrantKey, grant: &Sealed, preimage: &Preimage) -> Bytes {
    let (commitment, not_after) = (grant.commitment, time(grant.not_after));
    let call = IConsentRegistry::forestallSealedCall {
        key: key.0,
        commitment,
        notAfter: not_after,
        preimage: preimage.0.into(),
    };
    call.abi_encode().into()
}

fn time(seconds: u64) -> U48 {
    U48::saturating_from(seconds)
}
