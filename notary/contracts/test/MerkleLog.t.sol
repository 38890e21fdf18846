// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {MerkleLog} from "../src/libraries/MerkleLog.sol";
import {ReferenceLog} from "./ReferenceLog.sol";
import {Vectors} from "./Vectors.sol";

/// Takes proofs as calldata, as the library wants them.
contract MerkleLogCaller {
    function includes(uint64 size, uint64 index, bytes32 leaf, bytes32 root, bytes32[] calldata proof)
        external
        pure
        returns (bool)
    {
        (bool fits, bytes32 proven) = MerkleLog.inclusionRoot(size, index, leaf, proof);
        return fits && proven == root;
    }

    function extends(uint64 first, uint64 second, bytes32 firstRoot, bytes32 secondRoot, bytes32[] calldata proof)
        external
        pure
        returns (bool)
    {
        (bool fits, bytes32 fromFirst, bytes32 fromSecond) = MerkleLog.consistencyRoots(first, second, firstRoot, proof);
        return fits && fromFirst == firstRoot && fromSecond == secondRoot;
    }

    function inclusionFits(uint64 size, uint64 index, bytes32[] calldata proof) external pure returns (bool fits) {
        (fits,) = MerkleLog.inclusionRoot(size, index, 0, proof);
    }

    function consistencyFits(uint64 first, uint64 second, bytes32[] calldata proof) external pure returns (bool fits) {
        (fits,,) = MerkleLog.consistencyRoots(first, second, 0, proof);
    }
}

contract MerkleLogTest is Vectors {
    using ReferenceLog for bytes32[];

    uint64 private constant MOST = 64;
    uint64 private constant MAX = type(uint64).max;

    MerkleLogCaller private immutable log = new MerkleLogCaller();

    function test_node_is_sha256_with_the_prefix_of_rfc_6962() public pure {
        (bytes32 left, bytes32 right) = (bytes32(uint256(1)), bytes32(uint256(2)));
        vm.assertEq(MerkleLog.node(left, right), sha256(abi.encodePacked(uint8(1), left, right)), "0x01, left, right");
    }

    // Inclusion.

    function test_inclusion_holds_for_every_entry_up_to_64() public view {
        for (uint64 size = 1; size <= MOST; ++size) {
            this.checkInclusionAt(size); // A call each, so that its memory is freed.
        }
    }

    function checkInclusionAt(uint64 size) external view {
        bytes32[] memory leaves = ReferenceLog.leaves(size);
        bytes32 root = leaves.root(size);
        for (uint64 index; index < size; ++index) {
            bytes32 leaf = leaves[index];
            bytes32[] memory proof = leaves.inclusion(size, index);
            uint256 length = proof.length;

            // Every refusal...
            vm.assertFalse(log.includes(size, size + index, leaf, root, proof), "index past the end");
            if (length > 0) {
                vm.assertFalse(log.includes(size, index, leaf, root, _resized(proof, length - 1)), "one short");
                vm.assertFalse(log.includes(size, index, leaf, root, new bytes32[](0)), "empty");
            }
            vm.assertFalse(log.includes(size, index, leaf, root, _resized(proof, length + 1)), "one long");
            for (uint256 i; i < length; ++i) {
                vm.assertFalse(log.includes(size, index, leaf, root, _flipped(proof, i * 256 + index)), "bit flipped");
            }
            for (uint64 other; other < size; ++other) {
                if (other == index) continue;
                vm.assertFalse(log.includes(size, other, leaf, root, proof), "another index");
                vm.assertFalse(log.includes(size, index, leaves[other], root, proof), "another leaf");
            }
            vm.assertFalse(log.includes(size, index, leaf, ~root, proof), "another root");
            // ... before the success.
            vm.assertTrue(log.includes(size, index, leaf, root, proof), "inclusion");
        }
    }

    function test_the_only_entry_is_its_own_root() public view {
        bytes32[] memory none = new bytes32[](0);
        vm.assertFalse(log.includes(0, 0, "leaf", "leaf", none), "an empty log has no entry");
        vm.assertFalse(log.includes(1, 1, "leaf", "leaf", none), "index past the end");
        vm.assertFalse(log.includes(1, 0, "leaf", "leaf", new bytes32[](1)), "nothing to add");
        vm.assertTrue(log.includes(1, 0, "leaf", "leaf", none), "size 1");
    }

    function test_an_inner_node_is_no_entry_of_the_same_log() public view {
        bytes32[] memory leaves = ReferenceLog.leaves(4);
        bytes32 inner = MerkleLog.node(leaves[0], leaves[1]);
        bytes32[] memory proof = new bytes32[](1);
        proof[0] = MerkleLog.node(leaves[2], leaves[3]);
        vm.assertTrue(log.includes(2, 0, inner, leaves.root(4), proof), "the hashes do fold to the root");
        vm.assertFalse(log.includes(4, 0, inner, leaves.root(4), proof), "but not for four entries");
    }

    function testFuzz_an_inclusion_proof_has_one_length(uint64 size, uint64 index) public view {
        for (uint256 length; length <= 66; ++length) {
            vm.assertFalse(log.inclusionFits(0, index, new bytes32[](length)), "empty log");
            vm.assertFalse(log.inclusionFits(index, MAX, new bytes32[](length)), "index past the end");
        }
        vm.assume(size > 0);
        index %= size;
        uint256 fitting;
        for (uint256 length; length <= 66; ++length) {
            if (log.inclusionFits(size, index, new bytes32[](length))) ++fitting;
        }
        vm.assertEq(fitting, 1, "lengths that fit");
    }

    function test_inclusion_in_the_largest_log() public view {
        vm.assertFalse(log.inclusionFits(MAX, 0, new bytes32[](63)), "63");
        vm.assertFalse(log.inclusionFits(MAX, 0, new bytes32[](65)), "65");
        vm.assertFalse(log.inclusionFits(MAX, 0, new bytes32[](2000)), "2000");
        vm.assertTrue(log.inclusionFits(MAX, 0, new bytes32[](64)), "64 levels");
    }

    // Consistency.

    function test_consistency_holds_for_every_pair_up_to_64() public view {
        for (uint64 second = 2; second <= MOST; ++second) {
            this.checkConsistencyTo(second);
        }
    }

    function checkConsistencyTo(uint64 second) external view {
        bytes32[] memory leaves = ReferenceLog.leaves(second);
        bytes32 to = leaves.root(second);
        for (uint64 first = 1; first < second; ++first) {
            bytes32 from = leaves.root(first);
            bytes32[] memory proof = leaves.consistency(first, second);
            uint256 length = proof.length;

            // Every refusal...
            vm.assertFalse(log.extends(first, second, from, to, new bytes32[](0)), "empty");
            vm.assertFalse(log.extends(first, second, from, to, _resized(proof, length - 1)), "one short");
            vm.assertFalse(log.extends(first, second, from, to, _resized(proof, length + 1)), "one long");
            for (uint256 i; i < length; ++i) {
                vm.assertFalse(log.extends(first, second, from, to, _flipped(proof, i * 256 + first)), "bit flipped");
            }
            vm.assertFalse(log.extends(first, second, ~from, to, proof), "another first root");
            vm.assertFalse(log.extends(first, second, from, ~to, proof), "another second root");
            vm.assertFalse(log.extends(second, first, to, from, proof), "backwards");
            vm.assertFalse(log.extends(second, second, to, to, proof), "no growth");
            for (uint64 other = 1; other < second; ++other) {
                if (other == first) continue;
                // The true root of another size is no prefix of this one.
                vm.assertFalse(log.extends(other, second, from, to, proof), "another first size");
            }
            // ... before the success.
            vm.assertTrue(log.extends(first, second, from, to, proof), "consistency");
        }
    }

    function test_no_consistency_with_the_empty_log_or_without_growth() public view {
        for (uint256 length; length <= 3; ++length) {
            bytes32[] memory proof = new bytes32[](length);
            vm.assertFalse(log.consistencyFits(0, 0, proof), "0 to 0");
            vm.assertFalse(log.consistencyFits(0, 1, proof), "0 to 1");
            vm.assertFalse(log.consistencyFits(1, 1, proof), "1 to 1");
            vm.assertFalse(log.consistencyFits(2, 1, proof), "2 to 1");
        }
    }

    function test_from_a_power_of_two_the_proof_leaves_the_first_root_out() public view {
        bytes32[] memory leaves = ReferenceLog.leaves(2);
        bytes32[] memory proof = new bytes32[](2);
        (proof[0], proof[1]) = (leaves[0], leaves[1]);
        vm.assertFalse(log.extends(1, 2, leaves[0], leaves.root(2), proof), "given although known");
        proof = new bytes32[](1);
        proof[0] = leaves[1];
        vm.assertTrue(log.extends(1, 2, leaves[0], leaves.root(2), proof), "left out");
    }

    function testFuzz_a_consistency_proof_has_one_length(uint64 first, uint64 second) public view {
        for (uint256 length; length <= 67; ++length) {
            vm.assertFalse(log.consistencyFits(0, second, new bytes32[](length)), "from the empty log");
            vm.assertFalse(log.consistencyFits(first, first, new bytes32[](length)), "no growth");
        }
        second = _bound64(second, 2, MAX);
        first = _bound64(first, 1, second - 1);
        uint256 fitting;
        for (uint256 length; length <= 67; ++length) {
            vm.assertFalse(log.consistencyFits(second, first, new bytes32[](length)), "backwards");
            if (log.consistencyFits(first, second, new bytes32[](length))) ++fitting;
        }
        vm.assertEq(fitting, 1, "lengths that fit");
    }

    function test_consistency_with_the_largest_log() public view {
        vm.assertTrue(log.consistencyFits(1, MAX, new bytes32[](64)), "64 levels");
        vm.assertTrue(log.consistencyFits(3, MAX, new bytes32[](65)), "and the start, from no power of two");
        vm.assertTrue(log.consistencyFits(1 << 63, MAX, new bytes32[](1)), "the left half");
        vm.assertFalse(log.consistencyFits(1, MAX, new bytes32[](65)), "65");
        vm.assertFalse(log.consistencyFits(3, MAX, new bytes32[](66)), "66");
        vm.assertFalse(log.consistencyFits(3, MAX, new bytes32[](2000)), "2000");
    }

    // Both, in logs of up to 200 entries.

    function testFuzz_a_mutated_inclusion_proof_is_refused(uint256 a, uint256 b, uint256 bit, uint256 cut) public view {
        uint64 size = _bound64(a, 2, 200);
        uint64 index = _bound64(b, 0, size - 1);
        bytes32[] memory leaves = ReferenceLog.leaves(size);
        Inclusion memory v = Inclusion(size, index, leaves[index], leaves.root(size), leaves.inclusion(size, index));

        vm.assertFalse(_holds(v, _resized(v.proof, _otherLength(v.proof, cut))), "length");
        vm.assertFalse(_holds(v, _flipped(v.proof, bit)), "bit flipped");
        vm.assertTrue(_holds(v, v.proof), "inclusion");
    }

    function testFuzz_a_mutated_consistency_proof_is_refused(uint256 a, uint256 b, uint256 bit, uint256 cut)
        public
        view
    {
        uint64 second = _bound64(b, 2, 200);
        uint64 first = _bound64(a, 1, second - 1);
        bytes32[] memory leaves = ReferenceLog.leaves(second);
        Consistency memory v =
            Consistency(first, second, leaves.root(first), leaves.root(second), leaves.consistency(first, second));

        vm.assertFalse(_holds(v, _resized(v.proof, _otherLength(v.proof, cut))), "length");
        vm.assertFalse(_holds(v, _flipped(v.proof, bit)), "bit flipped");
        vm.assertTrue(_holds(v, v.proof), "consistency");
    }

    // The vectors that Rust verifies too.

    function test_vectors_of_trees() public view {
        Tree[] memory trees = _trees();
        vm.assertTrue(trees.length >= 23, "all sizes are there");
        bytes32[] memory leaves = ReferenceLog.leaves(100);
        for (uint256 i; i < trees.length; ++i) {
            vm.assertEq(leaves.root(trees[i].size), trees[i].root, "root");
        }
    }

    function test_vectors_of_inclusion() public view {
        Inclusion[] memory list = _inclusions();
        vm.assertTrue(list.length >= 100, "all are there");
        bytes32[] memory leaves = ReferenceLog.leaves(100);
        for (uint256 i; i < list.length; ++i) {
            Inclusion memory v = list[i];
            vm.assertEq(v.leaf, leaves[v.index], "leaf");
            vm.assertFalse(_holds(v, _resized(v.proof, v.proof.length + 1)), "one long");
            if (v.proof.length > 0) vm.assertFalse(_holds(v, _flipped(v.proof, i)), "bit flipped");
            vm.assertTrue(_holds(v, v.proof), "inclusion");
        }
    }

    function test_vectors_of_consistency() public view {
        Consistency[] memory list = _consistencies();
        vm.assertTrue(list.length >= 90, "all are there");
        for (uint256 i; i < list.length; ++i) {
            Consistency memory v = list[i];
            vm.assertFalse(_holds(v, _resized(v.proof, v.proof.length + 1)), "one long");
            vm.assertFalse(_holds(v, _flipped(v.proof, i)), "bit flipped");
            vm.assertTrue(_holds(v, v.proof), "consistency");
        }
    }

    // Helpers.

    function _holds(Inclusion memory v, bytes32[] memory proof) private view returns (bool) {
        return log.includes(v.size, v.index, v.leaf, v.root, proof);
    }

    function _holds(Consistency memory v, bytes32[] memory proof) private view returns (bool) {
        return log.extends(v.first, v.second, v.firstRoot, v.secondRoot, proof);
    }

    /// Any length up to twice the proof's, but its own.
    function _otherLength(bytes32[] memory proof, uint256 cut) private pure returns (uint256 length) {
        length = _bound(cut, 0, 2 * proof.length - 1);
        if (length >= proof.length) ++length;
    }
}
