// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Accumulator} from "./base/Accumulator.sol";
import {SealedGrants} from "./base/SealedGrants.sol";
import {Succession} from "./base/Succession.sol";
import {IConsentRegistry} from "./interfaces/IConsentRegistry.sol";
import {Approval} from "./libraries/Approval.sol";
import {GrantWord} from "./libraries/GrantWord.sol";

/// @title The permanent record of which grants of access stand
/// @dev SealedGrants comes first: its slots, 0 and 1, are promised by the interface.
contract ConsentRegistry is SealedGrants, Succession, EIP712 {
    using GrantWord for uint256;

    bytes32 private constant DIRECT_KEY = keccak256("medseal/v1/direct-grant");
    bytes32 private constant GRANT_TYPE = keccak256(
        "ConsentGrant(address grantor,Terms terms,uint48 notAfter)"
        "Terms(string recipient,string purpose,string records,string until,bytes32 consent,bytes32 salt)"
    );
    bytes32 private constant REVOCATION_TYPE =
        keccak256("ConsentRevocation(string statement,address grantor,bytes32 key)");
    // For the wallet to show. It never changes, so it costs no calldata and tells an observer nothing.
    bytes32 private constant STATEMENT = keccak256("I withdraw the consent with this key. This cannot be undone.");

    /// @inheritdoc IConsentRegistry
    address public immutable administrator;

    constructor(address administrator_)
        Accumulator(keccak256("medseal/v1/consent-registry"))
        EIP712("medseal ConsentRegistry", "1")
    {
        if (administrator_ == address(0)) {
            revert NoAdministrator();
        }
        administrator = administrator_;
    }

    /// @inheritdoc IConsentRegistry
    function directKey(address grantor, bytes32 terms, uint48 notAfter) public pure returns (bytes32) {
        return keccak256(abi.encode(DIRECT_KEY, grantor, terms, notAfter));
    }

    /// @inheritdoc IConsentRegistry
    function grantDigest(address grantor, bytes32 terms, uint48 notAfter) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(GRANT_TYPE, grantor, terms, notAfter)));
    }

    /// @inheritdoc IConsentRegistry
    function revocationDigest(address grantor, bytes32 key) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(REVOCATION_TYPE, STATEMENT, grantor, key)));
    }

    /// @inheritdoc IConsentRegistry
    function grantDirect(address grantor, bytes32 terms, uint48 notAfter, bytes calldata proof)
        external
        returns (bytes32 key)
    {
        _requireFit(0, terms, bytes20(grantor), notAfter);
        key = directKey(grantor, terms, notAfter);
        bool open = _requireOpen(key, notAfter);
        _requireApproval(grantor, grantDigest(grantor, terms, notAfter), proof);
        if (!open) return key;

        uint256 word = GrantWord.pack(bytes20(grantor), notAfter);
        _words[key] = word;
        emit Granted(key, grantor, word, _recorded(GRANTED, key, word));
    }

    /// @inheritdoc IConsentRegistry
    function revokeDirect(bytes32 key, bytes calldata proof) external {
        uint256 word = _words[key];
        if (word == 0) revert NotRegistered(0, key);
        address grantor = address(word.tag());
        _requireApproval(grantor, revocationDigest(grantor, key), proof);
        _store(_revoke(accumulator(), key, word));
    }

    /// @inheritdoc IConsentRegistry
    function forestallDirect(address grantor, bytes32 terms, uint48 notAfter, bytes calldata proof)
        external
        returns (bytes32 key)
    {
        key = directKey(grantor, terms, notAfter);
        _requireApproval(grantor, revocationDigest(grantor, key), proof);
        _store(_revoke(accumulator(), key, GrantWord.pack(bytes20(grantor), notAfter)));
    }

    function _requireApproval(address grantor, bytes32 digest, bytes calldata proof) private view {
        if (!Approval.isBy(grantor, digest, proof)) revert NotApproved(grantor, digest);
    }

    function _administrator() internal view override returns (address) {
        return administrator;
    }
}
