// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title Where a notary names the contract that follows its NotaryAnchor
/// @notice NotaryAnchor itself has no pointer: its code and its storage are what receipts and journals rest on, and
/// stay as they are. This contract holds the pointers beside it, for any number of them.
/// @dev Storage: the successor of `predecessor` is at `keccak256(uint256(uint160(predecessor)) || uint256(0))`, an
/// address in the low twenty bytes.
interface ISuccessors {
    /// `successor` follows `predecessor`, whose head was (`size`, `root`) then.
    /// @dev What `successor` anchors has to go on from there. What is anchored at `predecessor` above `size` came
    /// after its notary left it, and counts for nothing.
    event SuccessorNamed(address indexed predecessor, address indexed successor, uint64 size, bytes32 root);

    /// `caller` is not the notary of `predecessor`.
    error NotNotaryOf(address predecessor, address caller);

    /// The pointer is set once; it names `successor`.
    error AlreadySucceeded(address successor);

    /// `account` has no code, or would follow itself.
    error NoContract(address account);

    /// The contract that follows `predecessor`. Zero while there is none.
    function successorOf(address predecessor) external view returns (address);

    /// Names the successor of `predecessor`, once and for ever. Only its notary may.
    function nameSuccessor(address predecessor, address successor) external;
}
