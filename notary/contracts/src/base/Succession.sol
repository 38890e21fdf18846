// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ISuccession} from "../interfaces/ISuccession.sol";
import {Accumulator} from "./Accumulator.sol";

/// @title The pointer to the contract that follows
abstract contract Succession is ISuccession, Accumulator {
    uint8 private constant NAMED = 0;

    /// @inheritdoc ISuccession
    address public successor;

    /// @inheritdoc ISuccession
    function nameSuccessor(address successor_) external {
        if (msg.sender != _administrator()) revert NotAdministrator(msg.sender);
        if (successor != address(0)) revert AlreadySucceeded(successor);
        if (successor_.code.length == 0 || successor_ == address(this)) revert NoSuccessor(successor_);

        successor = successor_;
        emit SuccessorNamed(successor_, _recorded(NAMED, bytes32(uint256(uint160(successor_))), 0));
    }

    function _administrator() internal view virtual returns (address);
}
