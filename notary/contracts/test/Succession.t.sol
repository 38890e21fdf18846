// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ConsentRegistry} from "../src/ConsentRegistry.sol";
import {ISuccession} from "../src/interfaces/ISuccession.sol";
import {Test} from "./Test.sol";

/// The pointer to the contract that follows, of a ConsentRegistry.
contract SuccessionTest is Test {
    address private constant ADMINISTRATOR = address(uint160(uint256(keccak256("administrator"))));

    ConsentRegistry private registry;

    function setUp() public {
        registry = new ConsentRegistry(ADMINISTRATOR);
    }

    function testFuzz_only_the_administrator_names_the_successor(address stranger) public {
        vm.assume(stranger != ADMINISTRATOR);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(ISuccession.NotAdministrator.selector, stranger));
        registry.nameSuccessor(address(this));
        vm.assertEq(registry.successor(), address(0), "a refusal leaves nothing");
    }

    function test_the_successor_is_a_contract_and_is_named_once() public {
        _refuseSuccessor(address(1234), abi.encodeWithSelector(ISuccession.NoSuccessor.selector, address(1234)));
        _refuseSuccessor(address(registry), abi.encodeWithSelector(ISuccession.NoSuccessor.selector, registry));

        vm.expectEmit(address(registry));
        bytes32 key = bytes32(uint256(uint160(address(this))));
        emit ISuccession.SuccessorNamed(address(this), _next(0, key, 0));
        vm.prank(ADMINISTRATOR);
        registry.nameSuccessor(address(this));

        vm.assertEq(registry.successor(), address(this), "named");
        vm.assertEq(vm.load(address(registry), bytes32(uint256(2))), key, "slot 2");
        address other = address(new ConsentRegistry(ADMINISTRATOR));
        _refuseSuccessor(other, abi.encodeWithSelector(ISuccession.AlreadySucceeded.selector, address(this)));
    }

    function _refuseSuccessor(address successor, bytes memory why) private {
        vm.prank(ADMINISTRATOR);
        vm.expectRevert(why);
        registry.nameSuccessor(successor);
    }

    function _next(uint8 kind, bytes32 key, uint256 word) private view returns (uint256) {
        uint256 before = registry.accumulator();
        uint256 hash = uint256(keccak256(abi.encode(before, uint256(kind), key, word)));
        return hash >> 48 << 48 | uint48(before) + 1;
    }
}
