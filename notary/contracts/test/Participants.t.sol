// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {
    IAccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/IAccessControlDefaultAdminRules.sol";
import {Participants} from "../src/Participants.sol";
import {IParticipants} from "../src/interfaces/IParticipants.sol";
import {ISuccession} from "../src/interfaces/ISuccession.sol";
import {Test} from "./Test.sol";

contract ParticipantsTest is Test {
    address private constant ADMINISTRATOR = address(uint160(uint256(keccak256("administrator"))));
    address private constant CLINIC = address(uint160(uint256(keccak256("clinic"))));
    uint48 private constant DELAY = 2 days;
    uint48 private constant NOW = 1_800_000_000;
    string private constant NAME = "North Clinic";
    string private constant ENDPOINT = "https://north.example/fhir";
    bytes32 private constant KEY = keccak256("keys");

    Participants private network;

    function setUp() public {
        vm.warp(NOW);
        network = new Participants(ADMINISTRATOR, DELAY);
    }

    // Deployment.

    function test_the_committed_artifact_is_what_is_tested_here() public view {
        _assertArtifact("Participants", type(Participants).creationCode);
    }

    function test_deployment_without_an_administrator_is_refused() public {
        bytes4 why = IAccessControlDefaultAdminRules.AccessControlInvalidDefaultAdmin.selector;
        vm.expectRevert(abi.encodeWithSelector(why, address(0)));
        new Participants(address(0), DELAY);
    }

    // The life of a participant.

    function test_from_applying_to_being_readmitted() public {
        vm.assertFalse(network.isActive(CLINIC), "unknown");

        uint256 next = _next(1, IParticipants.Status.Applied, NAME, KEY);
        vm.expectEmit(address(network));
        emit IParticipants.Enrolled(CLINIC, NAME, ENDPOINT, KEY, next);
        _enrol(NAME, KEY);
        _assertIs(IParticipants.Status.Applied, NAME, KEY);

        next = _next(2, IParticipants.Status.Active, NAME, KEY);
        vm.expectEmit(address(network));
        emit IParticipants.Admitted(CLINIC, next);
        _admit(NAME, KEY);
        _assertIs(IParticipants.Status.Active, NAME, KEY);

        next = _next(6, IParticipants.Status.Active, NAME, "other keys");
        vm.expectEmit(address(network));
        emit IParticipants.KeyRotated(CLINIC, "other keys", next);
        vm.prank(CLINIC);
        network.rotateKey("other keys");
        _assertIs(IParticipants.Status.Active, NAME, "other keys");

        next = _next(3, IParticipants.Status.Suspended, NAME, "other keys");
        vm.expectEmit(address(network));
        emit IParticipants.Suspended(CLINIC, next);
        vm.prank(ADMINISTRATOR);
        network.suspend(CLINIC);
        _assertIs(IParticipants.Status.Suspended, NAME, "other keys");

        next = _next(5, IParticipants.Status.Suspended, "South Clinic", "other keys");
        vm.expectEmit(address(network));
        emit IParticipants.Updated(CLINIC, "South Clinic", ENDPOINT, next);
        vm.prank(ADMINISTRATOR);
        network.update(CLINIC, "South Clinic", ENDPOINT);
        _assertIs(IParticipants.Status.Suspended, "South Clinic", "other keys");

        next = _next(4, IParticipants.Status.Active, "South Clinic", "other keys");
        vm.expectEmit(address(network));
        emit IParticipants.Readmitted(CLINIC, next);
        vm.prank(ADMINISTRATOR);
        network.readmit(CLINIC);
        _assertIs(IParticipants.Status.Active, "South Clinic", "other keys");
        vm.assertEq(uint48(network.accumulator()), 6, "an event for each");
    }

    function test_an_application_may_be_changed_until_it_is_admitted_and_only_what_was_looked_at_is() public {
        _enrol(NAME, KEY);
        _enrol("Another Name", KEY);
        bytes32 seen = network.profileOf(NAME, ENDPOINT);
        bytes32 stored = network.profileOf("Another Name", ENDPOINT);
        bytes4 why = IParticipants.OtherApplication.selector;
        vm.prank(ADMINISTRATOR);
        vm.expectRevert(abi.encodeWithSelector(why, CLINIC, stored, KEY));
        network.admit(CLINIC, seen, KEY);
        vm.prank(ADMINISTRATOR);
        vm.expectRevert(abi.encodeWithSelector(why, CLINIC, stored, KEY));
        network.admit(CLINIC, stored, ~KEY);
        vm.assertFalse(network.isActive(CLINIC), "a refusal leaves nothing");
        _admit("Another Name", KEY);
        vm.assertTrue(network.isActive(CLINIC), "admitted");
    }

    function test_the_profile_parts_name_from_endpoint() public view {
        bytes32 one = network.profileOf("North", "https://a.example");
        vm.assertFalse(one == network.profileOf("Northhttps://", "a.example"), "the same letters, parted elsewhere");
    }

    // What is refused.

    function testFuzz_only_a_steward_admits_suspends_readmits_and_updates(address stranger) public {
        vm.assume(stranger != ADMINISTRATOR);
        _enrol(NAME, KEY);
        bytes32 profile = network.profileOf(NAME, ENDPOINT);
        bytes32 role = network.STEWARD();
        bytes memory why =
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, stranger, role);
        _refuse(stranger, abi.encodeCall(network.admit, (CLINIC, profile, KEY)), why);
        _admit(NAME, KEY);
        _refuse(stranger, abi.encodeCall(network.suspend, (CLINIC)), why);
        _refuse(stranger, abi.encodeCall(network.update, (CLINIC, "x", "y")), why);
        vm.prank(ADMINISTRATOR);
        network.suspend(CLINIC);
        _refuse(stranger, abi.encodeCall(network.readmit, (CLINIC)), why);
        _assertIs(IParticipants.Status.Suspended, NAME, KEY);
    }

    function test_what_does_not_fit_the_status_is_refused() public {
        _refuseAs(IParticipants.Status.Unknown, true, true, true, true, false);
        _enrol(NAME, KEY);
        _refuseAs(IParticipants.Status.Applied, false, true, true, true, false);
        _admit(NAME, KEY);
        _refuseAs(IParticipants.Status.Active, true, false, true, false, true);
        vm.prank(ADMINISTRATOR);
        network.suspend(CLINIC);
        _refuseAs(IParticipants.Status.Suspended, true, true, false, false, true);
        vm.prank(CLINIC);
        vm.expectRevert(_wrong(IParticipants.Status.Suspended));
        network.rotateKey("by which it would come back");
    }

    function test_texts_that_are_empty_or_too_long_are_refused() public {
        _refuseText("", "y");
        _refuseText("x", "");
        _refuseText(string(new bytes(201)), "y");
        _refuseText("x", string(new bytes(501)));
        vm.prank(CLINIC);
        network.enrol(string(new bytes(200)), string(new bytes(500)), KEY);
    }

    function test_no_key_is_no_key() public {
        vm.prank(CLINIC);
        vm.expectRevert(abi.encodeWithSelector(IParticipants.ZeroKey.selector));
        network.enrol(NAME, ENDPOINT, 0);
        _enrol(NAME, KEY);
        _admit(NAME, KEY);
        vm.prank(CLINIC);
        vm.expectRevert(abi.encodeWithSelector(IParticipants.ZeroKey.selector));
        network.rotateKey(0);
    }

    // The administrator.

    function test_stewards_are_appointed_and_dismissed() public {
        bytes32 role = network.STEWARD();
        _enrol(NAME, KEY);
        vm.prank(ADMINISTRATOR);
        network.grantRole(role, address(this));
        network.admit(CLINIC, network.profileOf(NAME, ENDPOINT), KEY);
        vm.prank(ADMINISTRATOR);
        network.revokeRole(role, address(this));
        bytes4 why = IAccessControl.AccessControlUnauthorizedAccount.selector;
        vm.expectRevert(abi.encodeWithSelector(why, address(this), role));
        network.suspend(CLINIC);
    }

    function test_the_office_moves_in_two_steps_and_not_at_once() public {
        vm.prank(ADMINISTRATOR);
        network.beginDefaultAdminTransfer(address(this));
        vm.warp(NOW + DELAY);
        bytes4 why = IAccessControlDefaultAdminRules.AccessControlEnforcedDefaultAdminDelay.selector;
        vm.expectRevert(abi.encodeWithSelector(why, NOW + DELAY));
        network.acceptDefaultAdminTransfer();
        vm.assertEq(network.defaultAdmin(), ADMINISTRATOR, "still");
        vm.warp(NOW + DELAY + 1);
        network.acceptDefaultAdminTransfer();
        vm.assertEq(network.defaultAdmin(), address(this), "moved");
    }

    function test_the_administrator_in_office_names_the_successor() public {
        vm.expectRevert(abi.encodeWithSelector(ISuccession.NotAdministrator.selector, address(this)));
        network.nameSuccessor(address(this));
        vm.prank(ADMINISTRATOR);
        network.nameSuccessor(address(this));
        vm.assertEq(network.successor(), address(this), "named");
    }

    // What others rest on.

    function test_storage_is_where_mirrors_prove_it() public {
        bytes32 start = keccak256(abi.encode(keccak256("medseal/v1/participants"), block.chainid, network));
        vm.assertEq(vm.load(address(network), 0), start >> 48 << 48, "slot 0: the domain, and no event");
        _enrol(NAME, KEY);
        _admit(NAME, KEY);
        vm.assertEq(vm.load(address(network), 0), bytes32(network.accumulator()), "slot 0");
        uint256 slot = uint256(keccak256(abi.encode(CLINIC, 5)));
        vm.assertEq(vm.load(address(network), bytes32(slot)), bytes32(uint256(2)), "status: active");
        bytes32 profile = keccak256(abi.encode(NAME, ENDPOINT));
        vm.assertEq(vm.load(address(network), bytes32(slot + 1)), profile, "profile");
        vm.assertEq(vm.load(address(network), bytes32(slot + 2)), KEY, "key");
    }

    // Gas, written to snapshots/Participants.json: what the sender pays, all in.

    function test_gas() public {
        _enrol("another, before", KEY);
        vm.prank(address(this));
        network.enrol(NAME, ENDPOINT, KEY);
        vm.snapshotGasLastCall("Participants", "enrol");
        bytes32 profile = network.profileOf(NAME, ENDPOINT);
        vm.prank(ADMINISTRATOR);
        network.admit(address(this), profile, KEY);
        vm.snapshotGasLastCall("Participants", "admit");
        network.rotateKey("other keys");
        vm.snapshotGasLastCall("Participants", "rotateKey");
        vm.prank(ADMINISTRATOR);
        network.suspend(address(this));
        vm.snapshotGasLastCall("Participants", "suspend");
    }

    // Helpers.

    function _enrol(string memory name, bytes32 key) private {
        vm.prank(CLINIC);
        network.enrol(name, ENDPOINT, key);
    }

    function _admit(string memory name, bytes32 key) private {
        bytes32 profile = network.profileOf(name, ENDPOINT);
        vm.prank(ADMINISTRATOR);
        network.admit(CLINIC, profile, key);
    }

    function _refuse(address caller, bytes memory call, bytes memory why) private {
        vm.prank(caller);
        (bool done, bytes memory answer) = address(network).call(call);
        vm.assertFalse(done, "refused");
        vm.assertEq(keccak256(answer), keccak256(why), "why");
    }

    function _refuseText(string memory name, string memory endpoint) private {
        vm.prank(CLINIC);
        bytes4 why = IParticipants.BadText.selector;
        vm.expectRevert(abi.encodeWithSelector(why, bytes(name).length, bytes(endpoint).length));
        network.enrol(name, endpoint, KEY);
    }

    /// That each of these is refused to a CLINIC of this status, so far as it is asked.
    function _refuseAs(IParticipants.Status status, bool admit, bool suspend, bool readmit, bool update, bool enrol)
        private
    {
        bytes memory why = _wrong(status);
        bytes32 profile = network.profileOf(NAME, ENDPOINT);
        if (admit) _refuse(ADMINISTRATOR, abi.encodeCall(network.admit, (CLINIC, profile, KEY)), why);
        if (suspend) _refuse(ADMINISTRATOR, abi.encodeCall(network.suspend, (CLINIC)), why);
        if (readmit) _refuse(ADMINISTRATOR, abi.encodeCall(network.readmit, (CLINIC)), why);
        if (update) _refuse(ADMINISTRATOR, abi.encodeCall(network.update, (CLINIC, NAME, ENDPOINT)), why);
        if (enrol) _refuse(CLINIC, abi.encodeCall(network.enrol, (NAME, ENDPOINT, KEY)), why);
        if (status != IParticipants.Status.Active) {
            _refuse(CLINIC, abi.encodeCall(network.rotateKey, (KEY)), why);
        }
    }

    function _wrong(IParticipants.Status status) private pure returns (bytes memory) {
        return abi.encodeWithSelector(IParticipants.WrongStatus.selector, CLINIC, status);
    }

    function _next(uint8 kind, IParticipants.Status status, string memory name, bytes32 key)
        private
        view
        returns (uint256)
    {
        uint256 before = network.accumulator();
        bytes32 word = keccak256(abi.encode(uint256(status), keccak256(abi.encode(name, ENDPOINT)), key));
        uint256 hash = uint256(keccak256(abi.encode(before, uint256(kind), CLINIC, word)));
        return hash >> 48 << 48 | uint48(before) + 1;
    }

    function _assertIs(IParticipants.Status status, string memory name, bytes32 key) private view {
        IParticipants.Participant memory it = network.participant(CLINIC);
        vm.assertEq(uint256(it.status), uint256(status), "status");
        vm.assertEq(it.profile, keccak256(abi.encode(name, ENDPOINT)), "profile");
        vm.assertEq(it.signingKey, key, "key");
        vm.assertTrue(network.isActive(CLINIC) == (status == IParticipants.Status.Active), "active");
    }
}
