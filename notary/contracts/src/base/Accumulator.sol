// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAccumulator} from "../interfaces/IAccumulator.sol";

/// @title A hash chain over every event, in one slot
abstract contract Accumulator is IAccumulator {
    uint256 private constant COUNT = type(uint48).max;

    // Slot 0 is promised by the interface: no base with storage may stand before this one. Hash and count share it,
    // because a second slot would cost every lone transaction 5,000 gas more.
    uint256 private _accumulator;

    constructor(bytes32 domain) {
        _accumulator = uint256(keccak256(abi.encode(domain, block.chainid, address(this)))) & ~COUNT;
    }

    /// @inheritdoc IAccumulator
    function accumulator() public view returns (uint256) {
        return _accumulator;
    }

    /// For one event: folds it in, and stores.
    function _recorded(uint8 kind, bytes32 key, uint256 word) internal returns (uint256 folded) {
        folded = _folded(_accumulator, kind, key, word);
        _accumulator = folded;
    }

    /// For many: fold each, store once.
    function _folded(uint256 before, uint8 kind, bytes32 key, uint256 word) internal pure returns (uint256) {
        uint256 hash = uint256(keccak256(abi.encode(before, kind, key, word)));
        // The count cannot run over: 2^48 events of 2,000 gas are more than any chain has.
        return (hash & ~COUNT) | ((before + 1) & COUNT);
    }

    function _store(uint256 folded) internal {
        _accumulator = folded;
    }
}
