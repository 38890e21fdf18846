// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {P256} from "@openzeppelin/contracts/utils/cryptography/P256.sol";
import {Test} from "./Test.sol";

/// A wallet that takes what its one owner signed (ERC-1271).
contract OwnedWallet {
    address private immutable owner;

    constructor(address owner_) {
        owner = owner_;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        (bytes32 r, bytes32 s) = abi.decode(signature[:64], (bytes32, bytes32));
        bool right = ecrecover(digest, uint8(signature[64]), r, s) == owner;
        return right ? this.isValidSignature.selector : bytes4(0);
    }
}

/// Code that says no to every signature: to what an EIP-7702 account may have delegated.
contract Deaf {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return 0xffffffff;
    }
}

/// Code that answers whatever it is asked with a word that means nothing.
contract Babbler {
    fallback(bytes calldata) external returns (bytes memory) {
        return abi.encode(keccak256("yes, of course"));
    }
}

/// Code that fails.
contract Faulty {
    error Broken();

    fallback() external {
        revert Broken();
    }
}

/// What stands at 0x100 where a chain has RIP-7212: one word of 1 for a right signature, nothing for a wrong one.
contract P256Precompile {
    fallback(bytes calldata input) external returns (bytes memory) {
        (bytes32 h, bytes32 r, bytes32 s, bytes32 x, bytes32 y) =
            abi.decode(input, (bytes32, bytes32, bytes32, bytes32, bytes32));
        return P256.verifySolidity(h, r, s, x, y) ? abi.encode(1) : bytes("");
    }
}

/// Keys that sign, and the proofs that a ConsentRegistry takes.
abstract contract Accounts is Test {
    uint256 internal constant WALLET_KEY = uint256(keccak256("wallet"));
    uint256 internal constant PASSKEY = uint256(keccak256("passkey"));
    address internal constant RIP_7212 = address(0x100);

    /// What a passkey's answer consists of; the tests spoil one part at a time.
    struct Assertion {
        bytes32 x;
        bytes32 y;
        bytes authenticator;
        string client;
        uint256 challengeAt;
        uint256 typeAt;
    }

    function _ecdsa(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function _passkeyAddress(uint256 key) internal pure returns (address) {
        (uint256 x, uint256 y) = vm.publicKeyP256(key);
        return address(uint160(uint256(keccak256(abi.encode(x, y)))));
    }

    function _assertion(uint256 key, bytes32 digest) internal pure returns (Assertion memory a) {
        (uint256 x, uint256 y) = vm.publicKeyP256(key);
        (a.x, a.y) = (bytes32(x), bytes32(y));
        a.authenticator = abi.encodePacked(sha256("portal.example"), hex"0500000007");
        a.client = string.concat(
            '{"type":"webauthn.get","challenge":"', _base64url(digest), '","origin":"https://portal.example"}'
        );
        (a.typeAt, a.challengeAt) = (1, 23);
    }

    function _signed(uint256 key, Assertion memory a) internal pure returns (bytes memory) {
        (bytes32 r, bytes32 s) = vm.signP256(key, sha256(abi.encodePacked(a.authenticator, sha256(bytes(a.client)))));
        if (uint256(s) > P256.N / 2) s = bytes32(P256.N - uint256(s));
        return bytes.concat(a.x, a.y, abi.encode(r, s, a.challengeAt, a.typeAt, a.authenticator, a.client));
    }

    function _passkey(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        return _signed(key, _assertion(key, digest));
    }

    /// 32 bytes are 43 letters: ten times three bytes, and two more.
    function _base64url(bytes32 digest) private pure returns (string memory) {
        bytes memory alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        bytes memory letters = new bytes(43);
        for (uint256 i; i < 43; ++i) {
            uint256 shift = 6 * i;
            uint256 six =
                shift <= 250 ? (uint256(digest) >> (250 - shift)) & 63 : (uint256(digest) << (shift - 250)) & 63;
            letters[i] = alphabet[six];
        }
        return string(letters);
    }
}
