// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title A contract that can name the one that follows it
/// @notice There are no proxies here: what a contract does never changes. To move on, its administrator deploys
/// another and signs one transaction that names it. The pointer changes nothing in this contract: what is recorded
/// stays, and revoking goes on working for ever. Nobody follows it blindly either: a bridge pins a contract by its
/// code's hash, so its operator decides.
interface ISuccession {
    /// `successor` follows this contract. Folded into the accumulator as kind 0, key the address, word 0.
    event SuccessorNamed(address indexed successor, uint256 accumulator);

    /// `caller` does not administrate this contract.
    error NotAdministrator(address caller);

    /// The pointer is set once; it names `successor`.
    error AlreadySucceeded(address successor);

    /// `account` is no other contract: it has no code, or is this one.
    error NoSuccessor(address account);

    /// The contract that follows this one. Zero while there is none.
    function successor() external view returns (address);

    /// Names the successor, once and for ever.
    function nameSuccessor(address successor_) external;
}
