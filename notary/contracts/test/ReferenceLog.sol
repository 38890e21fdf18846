// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// The log as RFC 9162 defines it, by recursion, slowly: what the folding in src is held against.
/// A log here is a memory array of leaf hashes; a subtree is the range lo..hi of it, hi excluded.
library ReferenceLog {
    /// The log of ../vectors: leaf i is the hash of the ASCII entry "medseal-vector-i".
    function leaves(uint256 size) internal pure returns (bytes32[] memory log) {
        log = new bytes32[](size);
        for (uint256 i; i < size; ++i) {
            log[i] = sha256(abi.encodePacked(hex"00", "medseal-vector-", _decimal(i)));
        }
    }

    /// Section 2.1.1, of the first `size` entries.
    function root(bytes32[] memory log, uint256 size) internal pure returns (bytes32) {
        return _root(log, 0, size);
    }

    /// Section 2.1.3.1.
    function inclusion(bytes32[] memory log, uint256 size, uint256 index) internal pure returns (bytes32[] memory) {
        return _path(log, index, 0, size);
    }

    /// Section 2.1.4.1.
    function consistency(bytes32[] memory log, uint256 first, uint256 second) internal pure returns (bytes32[] memory) {
        return _subproof(log, first, 0, second, true);
    }

    function _root(bytes32[] memory log, uint256 lo, uint256 hi) private pure returns (bytes32) {
        if (hi - lo == 1) return log[lo];
        uint256 k = lo + _split(hi - lo);
        return sha256(bytes.concat(hex"01", _root(log, lo, k), _root(log, k, hi)));
    }

    function _path(bytes32[] memory log, uint256 index, uint256 lo, uint256 hi)
        private
        pure
        returns (bytes32[] memory)
    {
        if (hi - lo == 1) return new bytes32[](0);
        uint256 k = lo + _split(hi - lo);
        return index < k
            ? _append(_path(log, index, lo, k), _root(log, k, hi))
            : _append(_path(log, index, k, hi), _root(log, lo, k));
    }

    function _subproof(bytes32[] memory log, uint256 end, uint256 lo, uint256 hi, bool known)
        private
        pure
        returns (bytes32[] memory)
    {
        if (end == hi) return known ? new bytes32[](0) : _append(new bytes32[](0), _root(log, lo, hi));
        uint256 k = lo + _split(hi - lo);
        return end <= k
            ? _append(_subproof(log, end, lo, k, known), _root(log, k, hi))
            : _append(_subproof(log, end, k, hi, false), _root(log, lo, k));
    }

    /// The greatest power of two below `n`.
    function _split(uint256 n) private pure returns (uint256 k) {
        k = 1;
        while (k * 2 < n) k *= 2;
    }

    function _append(bytes32[] memory list, bytes32 last) private pure returns (bytes32[] memory longer) {
        longer = new bytes32[](list.length + 1);
        for (uint256 i; i < list.length; ++i) {
            longer[i] = list[i];
        }
        longer[list.length] = last;
    }

    function _decimal(uint256 n) private pure returns (bytes memory digits) {
        do {
            digits = bytes.concat(bytes1(uint8(48 + n % 10)), digits);
            n /= 10;
        } while (n != 0);
    }
}
