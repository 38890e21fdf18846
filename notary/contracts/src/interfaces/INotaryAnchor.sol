// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title The permanent record of a notary's log
/// @notice Keeps the root of an append-only RFC 6962 log at each size the notary anchored, and
/// refuses a root that does not extend the one before it. What is anchored is a root over salted
/// commitments: nothing about a patient is on chain.
/// @dev All hashes are SHA-256: a leaf is `sha256(0x00 || entry)`, a node `sha256(0x01 || left || right)`.
///
/// Storage is part of this interface, because receipts carry Merkle-Patricia proofs of it:
/// slot 0 holds the head's size (uint64, the low eight bytes, the rest zero); the root at `size` is
/// at `keccak256(uint256(size) || uint256(1))`, a bytes32. The head's root is the root at its size.
interface INotaryAnchor {
    /// The log now has `size` entries under `root`.
    /// @dev Emitted once the proof held and both slots are written, so that a watcher who reads it
    /// needs no call back, and one who counts sizes sees every head there ever was. `size` is
    /// indexed: a receipt's reader looks for the anchor at one size.
    event Anchored(uint64 indexed size, bytes32 root);

    /// The deployer named no notary: nothing could ever be anchored.
    error NoNotary();

    /// `caller` is not the notary of this log.
    error NotNotary(address caller);

    /// A log only grows: `size` is not above the `head`'s.
    error SizeNotGrowing(uint64 head, uint64 size);

    /// Zero stands for "never anchored" and is no root.
    error ZeroRoot(uint64 size);

    /// `length` hashes are too few or too many to prove that `head` entries are a prefix of `size`.
    error BadProof(uint64 head, uint64 size, uint256 length);

    /// The proof starts from another history: it leads to `proven`, the head's root is `anchored`.
    error InconsistentHead(bytes32 anchored, bytes32 proven);

    /// The proof extends the head, but to `proven`, not to the `root` that was given.
    error InconsistentRoot(bytes32 root, bytes32 proven);

    /// The only account that may anchor. Fixed at deployment.
    function notary() external view returns (address);

    /// The latest anchor. (0, 0) until the first.
    function head() external view returns (uint64 size, bytes32 root);

    /// The root anchored at exactly `size`, for ever. Zero if none was anchored at that size.
    function rootAt(uint64 size) external view returns (bytes32 root);

    /// Makes (`size`, `root`) the new head if it extends the present one.
    /// @dev Refuses, in this order: a stranger, a size that does not grow, a zero root, a proof of
    /// the wrong length, one that does not start from the head, one that does not end at `root`.
    /// @param size How many entries the log has now.
    /// @param root The root over all of them.
    /// @param proof RFC 9162 section 2.1.4: that the head's entries are the first of these. Empty
    /// for the first anchor, which has nothing to be consistent with.
    function anchor(uint64 size, bytes32 root, bytes32[] calldata proof) external;

    /// Whether `leafHash` is entry `index` (from 0) of the log as anchored at `size`.
    /// @dev False, never a revert, for whatever does not hold, also where nothing was anchored at
    /// `size`. Hash the entry yourself: a leaf hash taken from a stranger proves no entry.
    /// @param proof RFC 9162 section 2.1.3: the sibling hashes, from the leaf upwards.
    function verifyInclusion(uint64 size, uint64 index, bytes32 leafHash, bytes32[] calldata proof)
        external
        view
        returns (bool);
}
