// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {NotaryAnchor} from "../src/NotaryAnchor.sol";
import {Successors} from "../src/Successors.sol";
import {ISuccessors} from "../src/interfaces/ISuccessors.sol";
import {Test} from "./Test.sol";

contract SuccessorsTest is Test {
    address private constant NOTARY = address(uint160(uint256(keccak256("notary"))));

    Successors private pointers;
    NotaryAnchor private first;
    address private second;

    function setUp() public {
        pointers = new Successors();
        first = new NotaryAnchor(NOTARY);
        second = address(new NotaryAnchor(NOTARY));
    }

    function test_the_committed_artifact_is_what_is_tested_here() public view {
        _assertArtifact("Successors", type(Successors).creationCode);
    }

    function test_the_notary_names_a_successor_with_the_head_it_goes_on_from() public {
        vm.prank(NOTARY);
        first.anchor(7, "root", new bytes32[](0));
        vm.expectEmit(address(pointers));
        emit ISuccessors.SuccessorNamed(address(first), second, 7, "root");
        _name(NOTARY, address(first), second);

        vm.assertEq(pointers.successorOf(address(first)), second, "named");
        vm.assertEq(pointers.successorOf(second), address(0), "nothing follows the successor yet");
        bytes32 slot = keccak256(abi.encode(address(first), 0));
        vm.assertEq(vm.load(address(pointers), slot), bytes32(uint256(uint160(second))), "where the interface says");
    }

    function testFuzz_nobody_else_names_it(address stranger) public {
        vm.assume(stranger != NOTARY);
        vm.expectRevert(abi.encodeWithSelector(ISuccessors.NotNotaryOf.selector, first, stranger));
        _name(stranger, address(first), second);
        vm.assertEq(pointers.successorOf(address(first)), address(0), "a refusal leaves nothing");
    }

    function test_it_is_named_once() public {
        _name(NOTARY, address(first), second);
        address third = address(new NotaryAnchor(NOTARY));
        vm.expectRevert(abi.encodeWithSelector(ISuccessors.AlreadySucceeded.selector, second));
        _name(NOTARY, address(first), third);
        _name(NOTARY, second, third);
        vm.assertEq(pointers.successorOf(address(first)), second, "a chain of them is as it was named");
    }

    function test_what_has_no_code_neither_follows_nor_is_followed() public {
        vm.expectRevert(abi.encodeWithSelector(ISuccessors.NoContract.selector, address(1234)));
        _name(NOTARY, address(first), address(1234));
        vm.expectRevert(abi.encodeWithSelector(ISuccessors.NoContract.selector, address(1234)));
        _name(NOTARY, address(1234), second);
        vm.expectRevert(abi.encodeWithSelector(ISuccessors.NoContract.selector, first));
        _name(NOTARY, address(first), address(first));
    }

    function _name(address caller, address predecessor, address successor) private {
        vm.prank(caller);
        pointers.nameSuccessor(predecessor, successor);
    }
}
