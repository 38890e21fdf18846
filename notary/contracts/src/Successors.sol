// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {INotaryAnchor} from "./interfaces/INotaryAnchor.sol";
import {ISuccessors} from "./interfaces/ISuccessors.sol";

/// @title The pointers from one NotaryAnchor to the next
contract Successors is ISuccessors {
    // Slot 0 is promised by the interface.
    /// @inheritdoc ISuccessors
    mapping(address predecessor => address successor) public successorOf;

    /// @inheritdoc ISuccessors
    /// @dev A contract that only claims to be a NotaryAnchor can name a successor to itself, and to nothing else.
    function nameSuccessor(address predecessor, address successor) external {
        if (predecessor.code.length == 0) revert NoContract(predecessor);
        if (successor.code.length == 0 || successor == predecessor) revert NoContract(successor);
        if (msg.sender != INotaryAnchor(predecessor).notary()) revert NotNotaryOf(predecessor, msg.sender);
        address named = successorOf[predecessor];
        if (named != address(0)) revert AlreadySucceeded(named);

        successorOf[predecessor] = successor;
        (uint64 size, bytes32 root) = INotaryAnchor(predecessor).head();
        emit SuccessorNamed(predecessor, successor, size, root);
    }
}
