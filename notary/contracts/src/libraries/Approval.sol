// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {WebAuthn} from "@openzeppelin/contracts/utils/cryptography/WebAuthn.sol";

/// @title Whether an account approves a digest
/// @dev Four kinds of account, one kind of address. False, never a revert, for a proof that does not hold.
library Approval {
    uint256 private constant KEY_BYTES = 64;

    function isBy(address account, bytes32 digest, bytes calldata proof) internal view returns (bool) {
        if (msg.sender == account && proof.length == 0) return true;
        // ECDSA before ERC-1271: an account with code may be one whose key signs all the same (EIP-7702), and the code
        // it has delegated to need not know ERC-1271. OpenZeppelin's own order would refuse it.
        (address signer, ECDSA.RecoverError problem,) = ECDSA.tryRecoverCalldata(digest, proof);
        if (problem == ECDSA.RecoverError.NoError && signer == account) return true;
        if (account.code.length != 0) {
            return SignatureChecker.isValidERC1271SignatureNowCalldata(account, digest, proof);
        }
        return _isByPasskey(account, digest, proof);
    }

    function _isByPasskey(address account, bytes32 digest, bytes calldata proof) private view returns (bool) {
        if (proof.length < KEY_BYTES) return false;
        // As Ethereum makes an address of a public key of its own curve.
        if (account != address(uint160(uint256(keccak256(proof[:KEY_BYTES]))))) return false;
        (bool fits, WebAuthn.WebAuthnAuth calldata assertion) = WebAuthn.tryDecodeAuth(proof[KEY_BYTES:]);
        // WebAuthn reads at typeIndex before it looks whether that is inside: far outside, reading takes all the gas.
        if (!fits || assertion.typeIndex >= bytes(assertion.clientDataJSON).length) return false;
        return WebAuthn.verify(abi.encode(digest), assertion, bytes32(proof[:32]), bytes32(proof[32:KEY_BYTES]));
    }
}
