// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title A contract whose events cannot be left out
/// @notice A node may withhold events, and an absence proves nothing. So the contract chains every event into one
/// slot. Who replays the events he got, and comes to what a storage proof of that slot shows, has them all, in order.
/// @dev The accumulator is slot 0 of the contract, 32 bytes: hash208 | count48, the count in the low bits. It starts
/// as the high 208 bits of `keccak256(abi.encode(domain, block.chainid, address(this)))` and a count of zero, where
/// `domain` is what the contract's interface says. Each event then makes it
///
///     keccak256(abi.encode(accumulator, kind, key, word))   cut to its high 208 bits, and the count plus one
///
/// that is, over four words of 32 bytes, the first of which is the accumulator with its count. What `kind` (a small
/// number), `key` and `word` of an event are, the contract's interface says; each event carries them, and the
/// accumulator that it led to.
interface IAccumulator {
    /// The hash over all events so far, and how many they are: hash208 | count48.
    function accumulator() external view returns (uint256);
}
