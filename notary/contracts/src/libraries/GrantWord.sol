// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title What one slot says of a grant
/// @dev tag160 | notAfter48 | revokedAt48, the tag in the high bits.
library GrantWord {
    function pack(bytes20 tag_, uint48 notAfter_) internal pure returns (uint256) {
        return uint256(bytes32(tag_)) | (uint256(notAfter_) << 48);
    }

    function tag(uint256 word) internal pure returns (bytes20) {
        return bytes20(bytes32(word));
    }

    function notAfter(uint256 word) internal pure returns (uint48) {
        return uint48(word >> 48);
    }

    function isRevoked(uint256 word) internal pure returns (bool) {
        return uint48(word) != 0;
    }

    /// `word`, not revoked before, as revoked now.
    function revokedNow(uint256 word) internal view returns (uint256) {
        return word | uint48(block.timestamp);
    }
}
