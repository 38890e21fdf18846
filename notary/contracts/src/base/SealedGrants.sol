// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IConsentRegistry} from "../interfaces/IConsentRegistry.sol";
import {GrantWord} from "../libraries/GrantWord.sol";
import {Accumulator} from "./Accumulator.sol";

/// @title The grants, and those among them that say nothing of their grantor
abstract contract SealedGrants is IConsentRegistry, Accumulator {
    using GrantWord for uint256;

    /// @inheritdoc IConsentRegistry
    uint48 public constant MOST_TERM = 100 * 365 days;

    bytes32 private constant SEALED_KEY = keccak256("medseal/v1/sealed-grant");
    uint8 private constant REGISTERED = 1;
    uint8 internal constant GRANTED = 2;
    uint8 private constant REVOKED = 3;

    // Slot 1 is promised by the interface.
    mapping(bytes32 key => uint256 word) internal _words;

    /// @inheritdoc IConsentRegistry
    function wordOf(bytes32 key) external view returns (uint256) {
        return _words[key];
    }

    /// @inheritdoc IConsentRegistry
    function statusOf(bytes32 key, uint48 time) external view returns (Status) {
        uint256 word = _words[key];
        if (word == 0) return Status.Unknown;
        if (word.isRevoked()) return Status.Revoked;
        return time > word.notAfter() ? Status.Lapsed : Status.Active;
    }

    /// @inheritdoc IConsentRegistry
    function sealedKey(bytes32 commitment, bytes20 tag, uint48 notAfter) public pure returns (bytes32) {
        return keccak256(abi.encode(SEALED_KEY, commitment, tag, notAfter));
    }

    /// @inheritdoc IConsentRegistry
    function tagOf(bytes32 preimage) public pure returns (bytes20) {
        return bytes20(sha256(abi.encodePacked("medseal/v1/revocation", hex"00", preimage)));
    }

    /// @inheritdoc IConsentRegistry
    function registerSealed(bytes32 commitment, bytes20 tag, uint48 notAfter) external returns (bytes32 key) {
        _requireFit(0, commitment, tag, notAfter);
        key = sealedKey(commitment, tag, notAfter);
        if (!_requireOpen(key, notAfter)) return key;
        uint256 word = GrantWord.pack(tag, notAfter);
        _words[key] = word;
        emit Registered(key, word, _recorded(REGISTERED, key, word));
    }

    /// @inheritdoc IConsentRegistry
    function registerBatch(Sealed[] calldata grants) external returns (uint256 registered) {
        uint256 folded = accumulator();
        for (uint256 i; i < grants.length; ++i) {
            Sealed calldata grant = grants[i];
            _requireFit(i, grant.commitment, grant.tag, grant.notAfter);
            bytes32 key = sealedKey(grant.commitment, grant.tag, grant.notAfter);
            if (_words[key] != 0 || grant.notAfter < block.timestamp) continue;
            uint256 word = GrantWord.pack(grant.tag, grant.notAfter);
            _words[key] = word;
            folded = _folded(folded, REGISTERED, key, word);
            emit Registered(key, word, folded);
            ++registered;
        }
        _store(folded);
    }

    /// @inheritdoc IConsentRegistry
    function revokeSealed(bytes32 key, bytes32 preimage) external {
        _store(_revokeSealed(accumulator(), 0, key, preimage));
    }

    /// @inheritdoc IConsentRegistry
    function revokeBatch(Opening[] calldata openings) external {
        uint256 folded = accumulator();
        for (uint256 i; i < openings.length; ++i) {
            folded = _revokeSealed(folded, i, openings[i].key, openings[i].preimage);
        }
        _store(folded);
    }

    /// @inheritdoc IConsentRegistry
    function forestallSealed(bytes32 key, bytes32 commitment, uint48 notAfter, bytes32 preimage) external {
        bytes20 tag = tagOf(preimage);
        if (key != sealedKey(commitment, tag, notAfter)) revert WrongPreimage(0, key);
        _store(_revoke(accumulator(), key, GrantWord.pack(tag, notAfter)));
    }

    function _revokeSealed(uint256 before, uint256 index, bytes32 key, bytes32 preimage) private returns (uint256) {
        uint256 word = _words[key];
        if (word == 0) revert NotRegistered(index, key);
        if (word.tag() != tagOf(preimage)) revert WrongPreimage(index, key);
        return _revoke(before, key, word);
    }

    /// Revokes the grant at `key`, whose word is or would be `word`, unless it is revoked already. Returns the
    /// accumulator after that, for the caller to store.
    function _revoke(uint256 before, bytes32 key, uint256 word) internal returns (uint256 folded) {
        if (_words[key].isRevoked()) return before;
        word = word.revokedNow();
        _words[key] = word;
        folded = _folded(before, REVOKED, key, word);
        emit Revoked(key, word, folded);
    }

    /// Refuses what no time and no other transaction could make fit.
    function _requireFit(uint256 index, bytes32 commitment, bytes20 tag, uint48 notAfter) internal view {
        if (commitment == 0) revert ZeroCommitment(index);
        if (tag == 0) revert ZeroTag(index);
        uint256 latest = block.timestamp + MOST_TERM;
        if (notAfter > latest) revert TermTooLong(index, notAfter, latest);
    }

    /// Whether there is something to register at `key`. Not where it stands already; refused where it is over.
    function _requireOpen(bytes32 key, uint48 notAfter) internal view returns (bool) {
        uint256 word = _words[key];
        if (word.isRevoked()) revert RevokedAlready(key);
        if (notAfter < block.timestamp) revert LapsedAlready(notAfter, block.timestamp);
        return word == 0;
    }
}
