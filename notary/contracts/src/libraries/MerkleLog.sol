// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title Proofs of an append-only log
/// @notice Folds RFC 9162 proofs into the roots they lead to. Comparing those with trusted roots is
/// the caller's part.
/// @dev Sizes and the index alone decide how many hashes a proof has. `fits` is false for any other
/// number: no proof has a second encoding, and none is read past its 65th hash. The roots returned with
/// `fits == false` mean nothing.
library MerkleLog {
    /// Hash of the tree over two subtrees. The prefix keeps a node from passing for a leaf.
    function node(bytes32 left, bytes32 right) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(hex"01", left, right));
    }

    /// The root of the tree of `size` entries that has `leaf` at `index` (RFC 9162 section 2.1.3.2).
    function inclusionRoot(uint64 size, uint64 index, bytes32 leaf, bytes32[] calldata proof)
        internal
        pure
        returns (bool fits, bytes32 root)
    {
        if (index >= size) return (false, 0);
        (uint64 fn, uint64 sn) = (index, size - 1);
        root = leaf;
        for (uint256 i; i < proof.length; ++i) {
            if (sn == 0) return (false, 0); // More hashes than levels.
            if (fn & 1 == 1 || fn == sn) {
                root = node(proof[i], root);
                (fn, sn) = _skipLevelsWithoutSibling(fn, sn);
            } else {
                root = node(root, proof[i]);
            }
            (fn, sn) = (fn >> 1, sn >> 1);
        }
        fits = sn == 0; // Otherwise fewer hashes than levels.
    }

    /// The roots of `first` and of `second` entries to which a consistency proof leads (RFC 9162
    /// section 2.1.4.2), for 0 < first < second.
    /// @dev Where `first` is a power of two, its tree is a node of the greater one; the proof leaves
    /// it out and starts from `firstRoot`, which is then also what is returned for it.
    function consistencyRoots(uint64 first, uint64 second, bytes32 firstRoot, bytes32[] calldata proof)
        internal
        pure
        returns (bool fits, bytes32 fromFirst, bytes32 fromSecond)
    {
        if (first == 0 || first >= second || proof.length == 0) return (false, 0, 0);
        uint256 i;
        fromFirst = first & (first - 1) == 0 ? firstRoot : proof[i++];
        fromSecond = fromFirst;
        (uint64 fn, uint64 sn) = (first - 1, second - 1);
        while (fn & 1 == 1) (fn, sn) = (fn >> 1, sn >> 1);
        for (; i < proof.length; ++i) {
            if (sn == 0) return (false, 0, 0);
            if (fn & 1 == 1 || fn == sn) {
                fromFirst = node(proof[i], fromFirst);
                fromSecond = node(proof[i], fromSecond);
                (fn, sn) = _skipLevelsWithoutSibling(fn, sn);
            } else {
                fromSecond = node(fromSecond, proof[i]);
            }
            (fn, sn) = (fn >> 1, sn >> 1);
        }
        fits = sn == 0;
    }

    /// The last node of a level may have no right sibling and move up unhashed, as far as its number
    /// is even.
    function _skipLevelsWithoutSibling(uint64 fn, uint64 sn) private pure returns (uint64, uint64) {
        while (fn & 1 == 0 && fn != 0) (fn, sn) = (fn >> 1, sn >> 1);
        return (fn, sn);
    }
}
