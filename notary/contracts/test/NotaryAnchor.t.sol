// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {NotaryAnchor} from "../src/NotaryAnchor.sol";
import {INotaryAnchor} from "../src/interfaces/INotaryAnchor.sol";
import {ReferenceLog} from "./ReferenceLog.sol";
import {Vectors} from "./Vectors.sol";

contract NotaryAnchorTest is Vectors {
    using ReferenceLog for bytes32[];

    address private constant NOTARY = address(uint160(uint256(keccak256("notary"))));

    NotaryAnchor private record;
    bytes32[] private NONE;

    function setUp() public {
        record = new NotaryAnchor(NOTARY);
    }

    // Deployment.

    function test_deployment_without_a_notary_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(INotaryAnchor.NoNotary.selector));
        new NotaryAnchor(address(0));
    }

    function test_nothing_is_anchored_at_first() public view {
        vm.assertEq(record.notary(), NOTARY, "notary");
        _assertHead(0, 0);
        vm.assertEq(record.rootAt(0), 0, "size 0");
        vm.assertEq(record.rootAt(1), 0, "size 1");
        vm.assertFalse(record.verifyInclusion(0, 0, 0, NONE), "in nothing");
        vm.assertFalse(record.verifyInclusion(1, 0, 0, NONE), "zero is no root, though it equals the leaf");
    }

    function test_the_committed_artifact_is_what_is_tested_here() public view {
        _assertArtifact("NotaryAnchor", type(NotaryAnchor).creationCode);
    }

    // The first anchor.

    function testFuzz_first_anchor(address stranger, uint64 size, bytes32 root, bytes32[] calldata junk) public {
        vm.assume(stranger != NOTARY && size > 0 && root != 0 && junk.length > 0);

        // Every refusal...
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(INotaryAnchor.NotNotary.selector, stranger));
        record.anchor(size, root, NONE);

        _refuse(0, root, NONE, abi.encodeWithSelector(INotaryAnchor.SizeNotGrowing.selector, 0, 0));
        _refuse(size, 0, NONE, abi.encodeWithSelector(INotaryAnchor.ZeroRoot.selector, size));
        _refuse(size, root, junk, abi.encodeWithSelector(INotaryAnchor.BadProof.selector, 0, size, junk.length));
        _assertHead(0, 0);

        // ... before the success.
        _expectAnchored(size, root);
        vm.prank(NOTARY);
        record.anchor(size, root, NONE);
        _assertHead(size, root);
    }

    // Growth.

    function testFuzz_growth(address stranger, uint256 a, uint256 b, uint256 bit) public {
        vm.assume(stranger != NOTARY);
        uint64 second = _bound64(b, 2, 64);
        uint64 first = _bound64(a, 1, second - 1);
        bytes32[] memory log = ReferenceLog.leaves(second);
        (bytes32 from, bytes32 to) = (log.root(first), log.root(second));
        bytes32[] memory proof = log.consistency(first, second);
        _anchor(first, from, NONE);

        // Every refusal...
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(INotaryAnchor.NotNotary.selector, stranger));
        record.anchor(second, to, proof);

        bytes memory notGrowing = abi.encodeWithSelector(INotaryAnchor.SizeNotGrowing.selector, first, first);
        _refuse(first, from, NONE, notGrowing); // The same again,
        _refuse(first, to, proof, notGrowing); // another root at the same size,
        notGrowing = abi.encodeWithSelector(INotaryAnchor.SizeNotGrowing.selector, first, first - 1);
        _refuse(first - 1, to, NONE, notGrowing); // and entries removed.

        _refuse(second, 0, proof, abi.encodeWithSelector(INotaryAnchor.ZeroRoot.selector, second));

        _refuseLength(first, second, to, NONE);
        _refuseLength(first, second, to, _resized(proof, proof.length - 1));
        _refuseLength(first, second, to, _resized(proof, proof.length + 1));
        _refuseLength(first, second, to, _resized(proof, 500));

        _refuse(second, ~to, proof, abi.encodeWithSelector(INotaryAnchor.InconsistentRoot.selector, ~to, to));
        vm.prank(NOTARY);
        (bool anchored,) = address(record).call(abi.encodeCall(record.anchor, (second, to, _flipped(proof, bit))));
        vm.assertFalse(anchored, "bit flipped");

        _assertHead(first, from);
        vm.assertEq(record.rootAt(second), 0, "a refusal leaves nothing");

        // ... before the success.
        _expectAnchored(second, to);
        vm.prank(NOTARY);
        record.anchor(second, to, proof);
        _assertHead(second, to);
        vm.assertEq(record.rootAt(first), from, "the earlier root stays");
    }

    /// The case that the contract is for: a notary who alters an anchored entry and then does
    /// everything else right.
    function testFuzz_a_rewritten_log_is_refused(uint256 a, uint256 b, uint256 altered) public {
        uint64 second = _bound64(b, 2, 64);
        uint64 first = _bound64(a, 1, second - 1);
        bytes32[] memory log = ReferenceLog.leaves(second);
        bytes32 anchored = log.root(first);
        _anchor(first, anchored, NONE);

        log[_bound(altered, 0, first - 1)] ^= bytes32(uint256(1));
        bool powerOfTwo = first & (first - 1) == 0;
        bytes32[] memory proof = log.consistency(first, second);
        bytes32 root = log.root(second);
        if (powerOfTwo) {
            // The proof starts from the anchored root itself, so it ends elsewhere.
            _refusePartly(second, root, proof, INotaryAnchor.InconsistentRoot.selector);
        } else {
            bytes32 rewritten = log.root(first);
            bytes memory why = abi.encodeWithSelector(INotaryAnchor.InconsistentHead.selector, anchored, rewritten);
            _refuse(second, root, proof, why);
        }
        _assertHead(first, anchored);
    }

    function test_the_log_grows_entry_by_entry_to_64_and_every_root_stays() public {
        bytes32[] memory log = ReferenceLog.leaves(64);
        for (uint64 size = 1; size <= 64; ++size) {
            _anchor(size, log.root(size), size == 1 ? NONE : log.consistency(size - 1, size));
            _assertHead(size, log.root(size));
        }
        for (uint64 size = 1; size <= 64; ++size) {
            vm.assertEq(record.rootAt(size), log.root(size), "root");
            uint64 index = (size * 7) % size;
            vm.assertTrue(record.verifyInclusion(size, index, log[index], log.inclusion(size, index)), "inclusion");
        }
    }

    function test_the_largest_size_can_be_anchored_and_is_the_last() public {
        uint64 most = type(uint64).max;
        _anchor(most, "root", NONE);
        _refuse(most, "more", NONE, abi.encodeWithSelector(INotaryAnchor.SizeNotGrowing.selector, most, most));
        _assertHead(most, "root");
    }

    // Inclusion.

    function testFuzz_inclusion_is_against_the_root_at_that_size(uint256 a, uint256 b, uint256 bit) public {
        uint64 size = _bound64(a, 1, 64);
        uint64 index = _bound64(b, 0, size - 1);
        bytes32[] memory log = ReferenceLog.leaves(size + 1);
        bytes32[] memory proof = log.inclusion(size, index);
        vm.assertFalse(record.verifyInclusion(size, index, log[index], proof), "not anchored yet");
        _anchor(size, log.root(size), NONE);

        // Every refusal...
        vm.assertFalse(record.verifyInclusion(size + 1, index, log[index], proof), "size never anchored");
        vm.assertFalse(record.verifyInclusion(0, index, log[index], proof), "size 0");
        vm.assertFalse(record.verifyInclusion(size, size, log[index], proof), "index past the end");
        vm.assertFalse(record.verifyInclusion(size, index, log[size], proof), "another leaf");
        bytes32[] memory long = _resized(proof, proof.length + 1);
        vm.assertFalse(record.verifyInclusion(size, index, log[index], long), "one long");
        if (proof.length > 0) {
            bytes32[] memory short = _resized(proof, proof.length - 1);
            vm.assertFalse(record.verifyInclusion(size, index, log[index], short), "one short");
            vm.assertFalse(record.verifyInclusion(size, index, log[index], _flipped(proof, bit)), "bit flipped");
        }
        // ... before the success, which outlasts the next anchor.
        vm.assertTrue(record.verifyInclusion(size, index, log[index], proof), "inclusion");
        _anchor(size + 1, log.root(size + 1), log.consistency(size, size + 1));
        vm.assertTrue(record.verifyInclusion(size, index, log[index], proof), "inclusion, later");
    }

    function test_an_inner_node_is_no_entry() public {
        bytes32[] memory log = ReferenceLog.leaves(4);
        bytes32 left = log.root(2);
        bytes32 right = sha256(abi.encodePacked(hex"01", log[2], log[3]));
        bytes32[] memory proof = new bytes32[](1);
        proof[0] = right;
        _anchor(4, log.root(4), NONE);
        vm.assertEq(sha256(abi.encodePacked(hex"01", left, right)), log.root(4), "the hashes do fold to the root");
        vm.assertFalse(record.verifyInclusion(4, 0, left, proof), "but a level is missing");
    }

    // What others rest on.

    function testFuzz_storage_is_where_receipts_prove_it(uint64 size, bytes32 root) public {
        vm.assume(size > 0 && root != 0);
        vm.assertEq(vm.load(address(record), 0), 0, "slot 0");
        _anchor(size, root, NONE);
        vm.assertEq(vm.load(address(record), 0), bytes32(uint256(size)), "slot 0: the head's size and nothing else");
        vm.assertEq(vm.load(address(record), bytes32(uint256(1))), 0, "slot 1: the mapping's own slot stays empty");
        vm.assertEq(vm.load(address(record), keccak256(abi.encode(size, 1))), root, "the root at that size");
    }

    function test_vectors_anchor() public {
        Consistency[] memory list = _consistencies();
        for (uint256 i; i < list.length; ++i) {
            Consistency memory v = list[i];
            record = new NotaryAnchor(NOTARY);
            _anchor(v.first, v.firstRoot, NONE);
            _anchor(v.second, v.secondRoot, v.proof);
            _assertHead(v.second, v.secondRoot);
        }
    }

    // Gas, written to snapshots/NotaryAnchor.json: of an anchor what its sender pays, all in; of
    // verifyInclusion what it costs the contract that calls it.

    function test_gas() public {
        bytes32[] memory log = ReferenceLog.leaves(20_000);
        _anchor(1, log.root(1), NONE);
        vm.snapshotGasLastCall("NotaryAnchor", "anchor: 0 to 1, no proof");
        _measured(log, 1, 10_000, 14, "anchor: 1 to 10000, 14 hashes");
        _measured(log, 10_000, 10_001, 6, "anchor: 10000 to 10001, 6 hashes");
        _measured(log, 10_001, 20_000, 16, "anchor: 10001 to 20000, 16 hashes");

        bytes32[] memory proof = log.inclusion(20_000, 12_345);
        vm.assertTrue(record.verifyInclusion(20_000, 12_345, log[12_345], proof), "inclusion");
        vm.snapshotGasLastCall("NotaryAnchor", "verifyInclusion: 12345 of 20000, 15 hashes");
    }

    function _measured(bytes32[] memory log, uint64 from, uint64 to, uint256 length, string memory name) private {
        bytes32[] memory proof = log.consistency(from, to);
        vm.assertEq(proof.length, length, name);
        _anchor(to, log.root(to), proof);
        vm.snapshotGasLastCall("NotaryAnchor", name);
    }

    // Helpers.

    function _anchor(uint64 size, bytes32 root, bytes32[] memory proof) private {
        vm.prank(NOTARY);
        record.anchor(size, root, proof);
    }

    function _refuse(uint64 size, bytes32 root, bytes32[] memory proof, bytes memory why) private {
        vm.prank(NOTARY);
        vm.expectRevert(why);
        record.anchor(size, root, proof);
    }

    function _refusePartly(uint64 size, bytes32 root, bytes32[] memory proof, bytes4 why) private {
        vm.prank(NOTARY);
        vm.expectPartialRevert(why);
        record.anchor(size, root, proof);
    }

    function _refuseLength(uint64 first, uint64 second, bytes32 root, bytes32[] memory proof) private {
        bytes memory why = abi.encodeWithSelector(INotaryAnchor.BadProof.selector, first, second, proof.length);
        _refuse(second, root, proof, why);
    }

    function _expectAnchored(uint64 size, bytes32 root) private {
        vm.expectEmit(address(record));
        emit INotaryAnchor.Anchored(size, root);
    }

    function _assertHead(uint64 size, bytes32 root) private view {
        (uint64 headSize, bytes32 headRoot) = record.head();
        vm.assertEq(headSize, size, "head's size");
        vm.assertEq(headRoot, root, "head's root");
        vm.assertEq(record.rootAt(size), root, "root at the head's size");
    }
}
