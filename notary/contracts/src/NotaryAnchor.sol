// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {INotaryAnchor} from "./interfaces/INotaryAnchor.sol";
import {MerkleLog} from "./libraries/MerkleLog.sol";

/// @title The permanent record of a notary's log
contract NotaryAnchor is INotaryAnchor {
    // Slots 0 and 1 are promised by the interface: whatever a later version needs comes after them.
    uint64 private _headSize;
    mapping(uint64 size => bytes32 root) private _rootAt;

    /// @inheritdoc INotaryAnchor
    address public immutable notary;

    constructor(address notary_) {
        if (notary_ == address(0)) revert NoNotary();
        notary = notary_;
    }

    /// @inheritdoc INotaryAnchor
    function anchor(uint64 size, bytes32 root, bytes32[] calldata proof) external {
        if (msg.sender != notary) revert NotNotary(msg.sender);
        uint64 headSize = _headSize;
        if (size <= headSize) revert SizeNotGrowing(headSize, size);
        if (root == 0) revert ZeroRoot(size);
        _requireConsistent(headSize, size, root, proof);

        _headSize = size;
        _rootAt[size] = root;
        emit Anchored(size, root);
    }

    /// @inheritdoc INotaryAnchor
    function head() external view returns (uint64 size, bytes32 root) {
        size = _headSize;
        root = _rootAt[size];
    }

    /// @inheritdoc INotaryAnchor
    function rootAt(uint64 size) external view returns (bytes32 root) {
        return _rootAt[size];
    }

    /// @inheritdoc INotaryAnchor
    function verifyInclusion(uint64 size, uint64 index, bytes32 leafHash, bytes32[] calldata proof)
        external
        view
        returns (bool)
    {
        bytes32 anchored = _rootAt[size];
        if (anchored == 0) return false;
        (bool fits, bytes32 proven) = MerkleLog.inclusionRoot(size, index, leafHash, proof);
        return fits && proven == anchored;
    }

    function _requireConsistent(uint64 headSize, uint64 size, bytes32 root, bytes32[] calldata proof) private view {
        if (headSize == 0) {
            if (proof.length != 0) revert BadProof(headSize, size, proof.length);
            return;
        }
        bytes32 headRoot = _rootAt[headSize];
        (bool fits, bytes32 fromHead, bytes32 proven) = MerkleLog.consistencyRoots(headSize, size, headRoot, proof);
        if (!fits) revert BadProof(headSize, size, proof.length);
        if (fromHead != headRoot) revert InconsistentHead(headRoot, fromHead);
        if (proven != root) revert InconsistentRoot(root, proven);
    }
}
