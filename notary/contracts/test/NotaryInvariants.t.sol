// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {NotaryAnchor} from "../src/NotaryAnchor.sol";
import {ReferenceLog} from "./ReferenceLog.sol";
import {Test} from "./Test.sol";

/// A notary that keeps two logs, one of them rewritten, and anchors either, at any size, with right and wrong proofs.
contract NotaryHandler is Test {
    using ReferenceLog for bytes32[];

    uint64 public constant MOST = 24;

    NotaryAnchor public immutable record = new NotaryAnchor(address(this));
    mapping(uint64 size => bytes32 root) public firstRoot;
    uint64 public greatest;
    uint256 public anchors;

    function anchor(uint256 to, uint256 rewritten, uint256 bit) external {
        (uint64 head,) = record.head();
        uint64 size = _bound64(to, 1, MOST);
        bytes32[] memory log = ReferenceLog.leaves(MOST);
        if (rewritten % 4 == 0) log[_bound(rewritten, 0, size - 1)] ^= bytes32(uint256(1));
        bytes32[] memory proof = head > 0 && head < size ? log.consistency(head, size) : new bytes32[](0);
        if (bit % 8 == 0 && proof.length > 0) proof = _flipped(proof, bit);

        try record.anchor(size, log.root(size), proof) {
            ++anchors;
        } catch {}
        _remember();
    }

    function _remember() private {
        (uint64 size, bytes32 root) = record.head();
        if (size > greatest) greatest = size;
        if (firstRoot[size] == 0) firstRoot[size] = root;
    }
}

contract NotaryInvariants is Test {
    NotaryHandler private handler;

    function setUp() public {
        handler = new NotaryHandler();
    }

    /// forge asks for this.
    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function invariant_size_only_grows() public view {
        (uint64 size,) = handler.record().head();
        vm.assertEq(uint256(size), handler.greatest(), "the head is the greatest there was");
    }

    function invariant_a_root_is_never_replaced() public view {
        for (uint64 size; size <= handler.MOST(); ++size) {
            vm.assertEq(handler.record().rootAt(size), handler.firstRoot(size), "the first root at that size");
        }
    }

    function afterInvariant() external view {
        vm.assertTrue(handler.anchors() > 0, "nothing was anchored");
    }
}
