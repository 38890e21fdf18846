// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAccumulator} from "./IAccumulator.sol";
import {ISuccession} from "./ISuccession.sol";

/// @title Which grants of access stand, and which were revoked
/// @notice A grant is one slot, under a key that looks random. Nothing says who granted what to whom: that is in the
/// grant's opening, which patient, custodian and recipient hold. Two forms:
///
/// *Sealed* (the usual one): no wallet and no signature on chain. The patient makes 32 random bytes, the preimage, and
/// gives away only its hash, the tag. Who shows the preimage revokes, so anyone can relay a revocation, and nobody who
/// lacks the preimage can make one. Anyone may register: that gives nobody access. A grant counts for those alone who
/// hold its opening, with the patient's signature over terms, tag and notAfter in it.
///
/// *Direct*: an account grants and revokes, by its own transaction, or by a proof that anyone relays. The account's
/// address is visible, its terms are not.
///
/// A revoked grant stays revoked, and no grant is ever changed in any other way.
/// @dev Storage is part of this interface, because receipts and mirrors carry Merkle-Patricia proofs of it. Slot 0:
/// the accumulator (IAccumulator), whose domain is `keccak256("medseal/v1/consent-registry")`. The word of a grant is
/// at `keccak256(key || uint256(1))`:
///
///     tag160 | notAfter48 | revokedAt48      revokedAt in the low bits; times in seconds since 1970
///
/// Zero: never heard of. The tag of a direct grant is its grantor. Keys are
///
///     sealed   keccak256(abi.encode(keccak256("medseal/v1/sealed-grant"), commitment, tag, notAfter))
///     direct   keccak256(abi.encode(keccak256("medseal/v1/direct-grant"), grantor, terms, notAfter))
///
/// with the tag as bytes20, so left-aligned. All that is stored is in the key: who sees a registration on its way and
/// copies it with another tag or date has made another grant, to which nobody holds an opening.
///
/// EIP-712, domain name "medseal ConsentRegistry", version "1", chain id, this contract:
///
///     Terms(string recipient,string purpose,string records,string until,bytes32 consent,bytes32 salt)
///     ConsentGrant(address grantor,Terms terms,uint48 notAfter)
///     ConsentRevocation(string statement,address grantor,bytes32 key)
///     SealedConsent(Terms terms,bytes20 tag,uint48 notAfter)
///
/// The wallet shows the texts. The chain gets `hashStruct(terms)` alone, in which 32 random bytes, `salt`, keep anyone
/// from guessing the texts. `consent` is the SHA-256 of the FHIR Consent that says the same. `statement` is always
/// "I withdraw the consent with this key. This cannot be undone." A SealedConsent never comes here: it is what a
/// wallet or passkey signs for the opening of a sealed grant. The commitment of that grant is, with `lp` putting a
/// length of four bytes before a text, and without the last part where the patient has nothing to sign with,
///
///     HMAC-SHA256(salt, "medseal/v1/grant" || 0x00 || lp(custodian) || digest || SHA256(signature))
interface IConsentRegistry is ISuccession, IAccumulator {
    enum Status {
        Unknown,
        Active,
        Lapsed,
        Revoked
    }

    /// A sealed grant. `notAfter` is the last second at which it holds.
    struct Sealed {
        bytes32 commitment;
        bytes20 tag;
        uint48 notAfter;
    }

    /// What revokes a sealed grant.
    struct Opening {
        bytes32 key;
        bytes32 preimage;
    }

    /// A sealed grant stands. Folded as kind 1, `key`, `word`.
    event Registered(bytes32 indexed key, uint256 word, uint256 accumulator);

    /// A direct grant by `grantor` stands. Folded as kind 2, `key`, `word`.
    event Granted(bytes32 indexed key, address indexed grantor, uint256 word, uint256 accumulator);

    /// A grant is revoked, sealed or direct, registered before or not. Folded as kind 3, `key`, `word`.
    event Revoked(bytes32 indexed key, uint256 word, uint256 accumulator);

    /// The deployer named no administrator.
    error NoAdministrator();

    /// Member `index` (0 where there is one only) commits to nothing.
    error ZeroCommitment(uint256 index);

    /// Member `index` has no tag: nobody could ever revoke it.
    error ZeroTag(uint256 index);

    /// Member `index` would hold for more than MOST_TERM seconds. Most likely `notAfter` is in milliseconds.
    error TermTooLong(uint256 index, uint48 notAfter, uint256 latest);

    /// The grant was over at `notAfter`, before it came here.
    error LapsedAlready(uint48 notAfter, uint256 blockTime);

    /// The grant was revoked, and stays so.
    error RevokedAlready(bytes32 key);

    /// Member `index` is not here. If it may still come, forestall it.
    error NotRegistered(uint256 index, bytes32 key);

    /// What was shown for member `index` does not open the grant at `key`: its hash is not the tag.
    error WrongPreimage(uint256 index, bytes32 key);

    /// `grantor` neither sent this nor signed `digest`.
    error NotApproved(address grantor, bytes32 digest);

    /// The longest term: 100 years of 365 days, which outlasts a patient, but not a mistaken unit.
    function MOST_TERM() external view returns (uint48);

    /// Who may name this contract's successor, and nothing else.
    function administrator() external view returns (address);

    /// What is stored of a grant: tag160 | notAfter48 | revokedAt48.
    function wordOf(bytes32 key) external view returns (uint256);

    /// Whether a grant holds at `time`, which may be now or later.
    /// @dev A revoked grant is revoked whatever `time` is: a caller whose clock is behind the chain's must not see it
    /// active. Who asks about the past reads the events.
    function statusOf(bytes32 key, uint48 time) external view returns (Status);

    /// The key of a sealed grant.
    function sealedKey(bytes32 commitment, bytes20 tag, uint48 notAfter) external pure returns (bytes32);

    /// The key of a direct grant.
    function directKey(address grantor, bytes32 terms, uint48 notAfter) external pure returns (bytes32);

    /// The tag of a preimage: the first twenty bytes of `sha256("medseal/v1/revocation" || 0x00 || preimage)`.
    /// @dev SHA-256, since a browser has it: the patient's device makes the tag with no library, and shows the
    /// preimage to nobody.
    function tagOf(bytes32 preimage) external pure returns (bytes20);

    /// What a grantor signs to grant: the EIP-712 digest of a ConsentGrant.
    function grantDigest(address grantor, bytes32 terms, uint48 notAfter) external view returns (bytes32);

    /// What a grantor signs to revoke: the EIP-712 digest of a ConsentRevocation.
    function revocationDigest(address grantor, bytes32 key) external view returns (bytes32);

    /// Registers a sealed grant. Anyone may.
    /// @dev A grant that stands already is left as it is, and that is no error: a copy differs in nothing.
    function registerSealed(bytes32 commitment, bytes20 tag, uint48 notAfter) external returns (bytes32 key);

    /// Registers many sealed grants, and tells how many are new.
    /// @dev Passes over those that others or the time have overtaken: registered, revoked or lapsed meanwhile. So
    /// nobody can hold up a batch by getting ahead of one of its members. Refuses all, with the index, where one was
    /// never fit.
    function registerBatch(Sealed[] calldata grants) external returns (uint256 registered);

    /// Revokes a sealed grant that is here. Anyone who has the preimage may.
    /// @dev A grant that is revoked already keeps its time, and that is no error: the copy of a revocation that came
    /// first must not make the patient's own look failed.
    function revokeSealed(bytes32 key, bytes32 preimage) external;

    /// Revokes many. Refuses all, with the index, where one is not here or its preimage is wrong.
    /// @dev Nothing that others do makes a member unfit, so what an estimate of the gas takes is taken.
    function revokeBatch(Opening[] calldata openings) external;

    /// Revokes a sealed grant whether it is here or not. If it comes later, it is refused.
    /// @dev For a revocation that overtakes its registration. There is no tag here yet to hold the preimage against,
    /// so the whole key is: a mistaken preimage must not pass for a revocation.
    function forestallSealed(bytes32 key, bytes32 commitment, uint48 notAfter, bytes32 preimage) external;

    /// Grants access in the name of `grantor`.
    /// @param terms `hashStruct` of the Terms.
    /// @param proof That `grantor` approves `grantDigest`. Tried in this order:
    /// empty, if the grantor sends this itself;
    /// an ECDSA signature (65 bytes), also of an account with code (EIP-7702);
    /// if the grantor has code, whatever its `isValidSignature` takes (ERC-1271);
    /// `abi.encode(qx, qy)`, then `abi.encode(r, s, challengeIndex, typeIndex, authenticatorData, clientDataJSON)`: a
    /// WebAuthn assertion by the passkey (qx, qy), whose address is the low twenty bytes of `keccak256(qx || qy)`.
    /// User verification is required, and `s` in the lower half of the order: replace a greater one by n - s.
    function grantDirect(address grantor, bytes32 terms, uint48 notAfter, bytes calldata proof)
        external
        returns (bytes32 key);

    /// Revokes a direct grant that is here.
    /// @param proof That its grantor approves `revocationDigest`; as for `grantDirect`.
    function revokeDirect(bytes32 key, bytes calldata proof) external;

    /// Revokes a direct grant whether it is here or not: one that was signed and given away, too.
    /// @param proof That `grantor` approves `revocationDigest` of its key; as for `grantDirect`.
    function forestallDirect(address grantor, bytes32 terms, uint48 notAfter, bytes calldata proof)
        external
        returns (bytes32 key);
}
