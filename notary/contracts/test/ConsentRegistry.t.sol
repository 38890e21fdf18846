// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ConsentRegistry} from "../src/ConsentRegistry.sol";
import {IConsentRegistry} from "../src/interfaces/IConsentRegistry.sol";
import {ConsentMirror} from "./ConsentMirror.sol";
import {Test, Vm} from "./Test.sol";

/// Sealed grants, batches, storage, the accumulator. Direct grants are in ConsentDirect.t.sol.
contract ConsentRegistryTest is Test {
    address private constant ADMINISTRATOR = address(uint160(uint256(keccak256("administrator"))));
    uint48 private constant NOW = 1_800_000_000;

    ConsentRegistry private registry;

    function setUp() public {
        vm.warp(NOW);
        registry = new ConsentRegistry(ADMINISTRATOR);
    }

    // Deployment.

    function test_the_committed_artifact_is_what_is_tested_here() public view {
        _assertArtifact("ConsentRegistry", type(ConsentRegistry).creationCode);
    }

    function test_deployment_without_an_administrator_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(IConsentRegistry.NoAdministrator.selector));
        new ConsentRegistry(address(0));
    }

    function test_it_fits_where_contracts_are_bounded() public view {
        vm.assertTrue(address(registry).code.length < 24_576, "EIP-170");
        vm.assertEq(registry.administrator(), ADMINISTRATOR, "administrator");
    }

    // Registering.

    function testFuzz_a_registered_grant_holds_until_its_last_second(
        address anyone,
        bytes32 commitment,
        bytes20 tag,
        uint256 term
    ) public {
        vm.assume(commitment != 0 && tag != 0);
        uint48 notAfter = _bound48(term, NOW, NOW + registry.MOST_TERM());
        bytes32 key = registry.sealedKey(commitment, tag, notAfter);
        _assertStatus(key, NOW, IConsentRegistry.Status.Unknown);

        uint256 word = uint256(uint160(tag)) << 96 | uint256(notAfter) << 48;
        vm.expectEmit(address(registry));
        emit IConsentRegistry.Registered(key, word, _next(1, key, word));
        vm.prank(anyone);
        registry.registerSealed(commitment, tag, notAfter);

        vm.assertEq(registry.wordOf(key), word, "word");
        _assertStatus(key, notAfter, IConsentRegistry.Status.Active);
        _assertStatus(key, notAfter + 1, IConsentRegistry.Status.Lapsed);
    }

    function testFuzz_registering_again_changes_nothing(bytes32 secret) public {
        (, bytes32 key, IConsentRegistry.Sealed memory grant) = _registered(secret, 100);
        uint256 before = registry.accumulator();
        vm.warp(NOW + 100);
        registry.registerSealed(grant.commitment, grant.tag, grant.notAfter);
        vm.assertEq(registry.accumulator(), before, "no event");
        _assertStatus(key, NOW + 100, IConsentRegistry.Status.Active);
    }

    /// Who sees a registration on its way and sends it first with another tag or date has registered another grant.
    function testFuzz_a_copy_with_another_tag_or_date_is_another_grant(bytes32 secret, bytes20 tag, uint256 term)
        public
    {
        IConsentRegistry.Sealed memory grant = _sealed(secret, 100);
        uint48 notAfter = _bound48(term, NOW, NOW + 1000);
        vm.assume(tag != 0 && tag != grant.tag && notAfter != grant.notAfter);
        registry.registerSealed(grant.commitment, tag, grant.notAfter);
        registry.registerSealed(grant.commitment, grant.tag, notAfter);

        bytes32 key = registry.registerSealed(grant.commitment, grant.tag, grant.notAfter);
        uint256 word = uint256(uint160(grant.tag)) << 96 | uint256(grant.notAfter) << 48;
        vm.assertEq(registry.wordOf(key), word, "as it was meant");
    }

    function test_what_can_never_be_a_grant_is_refused() public {
        IConsentRegistry.Sealed memory grant = _sealed("secret", 100);
        vm.expectRevert(abi.encodeWithSelector(IConsentRegistry.ZeroCommitment.selector, 0));
        registry.registerSealed(0, grant.tag, grant.notAfter);
        vm.expectRevert(abi.encodeWithSelector(IConsentRegistry.ZeroTag.selector, 0));
        registry.registerSealed(grant.commitment, 0, grant.notAfter);

        uint48 latest = NOW + registry.MOST_TERM();
        vm.expectRevert(abi.encodeWithSelector(IConsentRegistry.TermTooLong.selector, 0, latest + 1, latest));
        registry.registerSealed(grant.commitment, grant.tag, latest + 1);
        uint48 milliseconds = (NOW + 1) * 1000;
        vm.expectRevert(abi.encodeWithSelector(IConsentRegistry.TermTooLong.selector, 0, milliseconds, latest));
        registry.registerSealed(grant.commitment, grant.tag, milliseconds);
    }

    function test_a_grant_that_is_over_is_refused() public {
        IConsentRegistry.Sealed memory grant = _sealed("secret", 100);
        vm.warp(NOW + 101);
        vm.expectRevert(abi.encodeWithSelector(IConsentRegistry.LapsedAlready.selector, NOW + 100, NOW + 101));
        registry.registerSealed(grant.commitment, grant.tag, grant.notAfter);
    }

    // Revoking.

    function testFuzz_whoever_has_the_preimage_revokes(address anyone, bytes32 secret, uint256 later) public {
        (bytes32 preimage, bytes32 key, IConsentRegistry.Sealed memory grant) = _registered(secret, 100);
        uint48 time = _bound48(later, NOW, NOW + 1000); // Also once it has lapsed.
        vm.warp(time);
        uint256 word = registry.wordOf(key) | time;
        vm.expectEmit(address(registry));
        emit IConsentRegistry.Revoked(key, word, _next(3, key, word));
        vm.prank(anyone);
        registry.revokeSealed(key, preimage);

        vm.assertEq(registry.wordOf(key), word, "word");
        _assertRevokedForEver(key);
        vm.expectRevert(abi.encodeWithSelector(IConsentRegistry.RevokedAlready.selector, key));
        registry.registerSealed(grant.commitment, grant.tag, grant.notAfter);
    }

    function testFuzz_nobody_revokes_without_it(bytes32 secret, bytes32 other) public {
        (bytes32 preimage, bytes32 key,) = _registered(secret, 100);
        vm.assume(other != preimage);
        vm.expectRevert(abi.encodeWithSelector(IConsentRegistry.WrongPreimage.selector, 0, key));
        registry.revokeSealed(key, other);
        _assertStatus(key, NOW, IConsentRegistry.Status.Active);
    }

    function test_revoking_again_keeps_the_first_time() public {
        (bytes32 preimage, bytes32 key,) = _registered("secret", 100);
        registry.revokeSealed(key, preimage);
        (uint256 word, uint256 folded) = (registry.wordOf(key), registry.accumulator());
        vm.warp(NOW + 50);
        registry.revokeSealed(key, preimage);
        vm.assertEq(registry.wordOf(key), word, "word");
        vm.assertEq(registry.accumulator(), folded, "no event");
    }

    function testFuzz_what_is_not_here_cannot_be_revoked_by_its_key(bytes32 key, bytes32 preimage) public {
        vm.expectRevert(abi.encodeWithSelector(IConsentRegistry.NotRegistered.selector, 0, key));
        registry.revokeSealed(key, preimage);
    }

    function testFuzz_a_revocation_may_overtake_its_registration(bytes32 secret) public {
        bytes32 preimage = keccak256(abi.encode(secret));
        IConsentRegistry.Sealed memory grant = _sealed(secret, 100);
        bytes32 key = registry.sealedKey(grant.commitment, grant.tag, grant.notAfter);
        registry.forestallSealed(key, grant.commitment, grant.notAfter, preimage);
        _assertRevokedForEver(key);

        vm.expectRevert(abi.encodeWithSelector(IConsentRegistry.RevokedAlready.selector, key));
        registry.registerSealed(grant.commitment, grant.tag, grant.notAfter);
        vm.assertEq(registry.registerBatch(_list(grant)), 0, "passed over in a batch");
        _assertRevokedForEver(key);
    }

    function test_forestalling_what_is_here_revokes_it() public {
        (bytes32 preimage, bytes32 key, IConsentRegistry.Sealed memory grant) = _registered("secret", 100);
        registry.forestallSealed(key, grant.commitment, grant.notAfter, preimage);
        _assertRevokedForEver(key);
        uint256 folded = registry.accumulator();
        vm.warp(NOW + 1);
        registry.forestallSealed(key, grant.commitment, grant.notAfter, preimage);
        vm.assertEq(registry.accumulator(), folded, "once");
    }

    function testFuzz_forestalling_with_a_mistake_is_refused(bytes32 secret, bytes32 other) public {
        bytes32 preimage = keccak256(abi.encode(secret));
        IConsentRegistry.Sealed memory grant = _sealed(secret, 100);
        vm.assume(other != preimage && other != grant.commitment);
        bytes32 key = registry.sealedKey(grant.commitment, grant.tag, grant.notAfter);
        bytes memory why = abi.encodeWithSelector(IConsentRegistry.WrongPreimage.selector, 0, key);
        vm.expectRevert(why);
        registry.forestallSealed(key, grant.commitment, grant.notAfter, other);
        vm.expectRevert(why);
        registry.forestallSealed(key, other, grant.notAfter, preimage);
        vm.expectRevert(why);
        registry.forestallSealed(key, grant.commitment, grant.notAfter + 1, preimage);
        _assertStatus(key, NOW, IConsentRegistry.Status.Unknown);
    }

    // Batches.

    function testFuzz_a_batch_registers_what_is_fit_and_passes_over_what_was_overtaken(uint256 count) public {
        count = _bound(count, 5, 40);
        IConsentRegistry.Sealed[] memory grants = _many(count);
        registry.registerSealed(grants[1].commitment, grants[1].tag, grants[1].notAfter);
        registry.revokeSealed(_key(grants[1]), _preimage(1));
        registry.registerSealed(grants[2].commitment, grants[2].tag, grants[2].notAfter);
        grants[3].notAfter = NOW - 1;
        grants[4] = grants[0];

        vm.assertEq(registry.registerBatch(grants), count - 4, "two were here, one is over, one is there twice");
        _assertStatus(_key(grants[0]), NOW, IConsentRegistry.Status.Active);
        _assertStatus(_key(grants[1]), NOW, IConsentRegistry.Status.Revoked);
        _assertStatus(_key(grants[2]), NOW, IConsentRegistry.Status.Active);
        _assertStatus(_key(grants[3]), NOW, IConsentRegistry.Status.Unknown);
        vm.assertEq(uint48(registry.accumulator()), count - 4 + 3, "an event for each, and none for the others");
    }

    function testFuzz_a_batch_with_an_unfit_member_is_refused_by_its_index(uint256 count, uint256 odd) public {
        count = _bound(count, 1, 20);
        odd = _bound(odd, 0, count - 1);
        IConsentRegistry.Sealed[] memory grants = _many(count);
        uint256 folded = registry.accumulator();

        grants[odd].commitment = 0;
        vm.expectRevert(abi.encodeWithSelector(IConsentRegistry.ZeroCommitment.selector, odd));
        registry.registerBatch(grants);
        grants[odd].commitment = "again";
        grants[odd].tag = 0;
        vm.expectRevert(abi.encodeWithSelector(IConsentRegistry.ZeroTag.selector, odd));
        registry.registerBatch(grants);
        grants[odd].tag = bytes20("tag");
        uint48 latest = NOW + registry.MOST_TERM();
        grants[odd].notAfter = latest + 1;
        vm.expectRevert(abi.encodeWithSelector(IConsentRegistry.TermTooLong.selector, odd, latest + 1, latest));
        registry.registerBatch(grants);

        vm.assertEq(registry.accumulator(), folded, "a refusal leaves nothing");
        grants[odd].notAfter = latest;
        vm.assertEq(registry.registerBatch(grants), count, "mended, it is taken");
    }

    function testFuzz_a_batch_revokes_all_or_is_refused_by_index(uint256 count, uint256 odd) public {
        count = _bound(count, 2, 20);
        odd = _bound(odd, 0, count - 1);
        IConsentRegistry.Sealed[] memory grants = _many(count);
        registry.registerBatch(grants);
        IConsentRegistry.Opening[] memory openings = _openings(grants);
        uint256 folded = registry.accumulator();

        bytes32 key = openings[odd].key;
        openings[odd].preimage = ~openings[odd].preimage;
        vm.expectRevert(abi.encodeWithSelector(IConsentRegistry.WrongPreimage.selector, odd, key));
        registry.revokeBatch(openings);
        openings[odd] = IConsentRegistry.Opening(~key, _preimage(odd));
        vm.expectRevert(abi.encodeWithSelector(IConsentRegistry.NotRegistered.selector, odd, ~key));
        registry.revokeBatch(openings);
        vm.assertEq(registry.accumulator(), folded, "a refusal leaves nothing");

        openings[odd].key = key;
        registry.revokeSealed(openings[0].key, openings[0].preimage); // Somebody was first with one of them.
        registry.revokeBatch(openings);
        for (uint256 i; i < count; ++i) {
            _assertRevokedForEver(openings[i].key);
        }
        vm.assertEq(uint48(registry.accumulator()), 2 * count, "an event for each");
    }

    function test_an_empty_batch_does_nothing() public {
        uint256 folded = registry.accumulator();
        vm.assertEq(registry.registerBatch(new IConsentRegistry.Sealed[](0)), 0, "none");
        registry.revokeBatch(new IConsentRegistry.Opening[](0));
        vm.assertEq(registry.accumulator(), folded, "no event");
    }

    // What others rest on.

    function testFuzz_storage_is_where_receipts_prove_it(bytes32 secret) public {
        bytes32 start = keccak256(abi.encode(keccak256("medseal/v1/consent-registry"), block.chainid, registry));
        vm.assertEq(vm.load(address(registry), 0), start >> 48 << 48, "slot 0: the domain, and no event");
        (bytes32 preimage, bytes32 key,) = _registered(secret, 100);
        registry.revokeSealed(key, preimage);
        vm.assertEq(vm.load(address(registry), 0), bytes32(registry.accumulator()), "slot 0");
        vm.assertEq(uint48(uint256(vm.load(address(registry), 0))), 2, "two events");
        vm.assertEq(vm.load(address(registry), bytes32(uint256(1))), 0, "slot 1: the mapping's own slot stays empty");
        bytes32 slot = keccak256(abi.encode(key, 1));
        vm.assertEq(vm.load(address(registry), slot), bytes32(registry.wordOf(key)), "the word of that grant");
    }

    function test_a_mirror_of_all_events_comes_to_the_accumulator_and_one_that_lacks_any_does_not() public {
        vm.recordLogs();
        registry.registerBatch(_many(3));
        registry.revokeBatch(_openings(_many(2)));
        vm.prank(ADMINISTRATOR);
        registry.nameSuccessor(address(this));
        Vm.Log[] memory all = vm.getRecordedLogs();

        ConsentMirror whole = new ConsentMirror(address(registry));
        whole.take(all);
        vm.assertEq(whole.accumulator(), registry.accumulator(), "accumulator");
        vm.assertEq(whole.events(), 6, "events");

        for (uint256 missing; missing < 5; ++missing) {
            ConsentMirror other = new ConsentMirror(address(registry));
            other.take(_range(all, 0, missing));
            vm.assertFalse(other.accumulator() == registry.accumulator(), "the rest withheld");
            vm.expectPartialRevert(ConsentMirror.Gap.selector);
            other.take(_range(all, missing + 1, all.length));
        }
    }

    // The successor.

    function test_revoking_goes_on_under_a_successor() public {
        (bytes32 preimage, bytes32 key,) = _registered("secret", 100);
        vm.prank(ADMINISTRATOR);
        registry.nameSuccessor(address(this));
        registry.revokeSealed(key, preimage);
        _assertRevokedForEver(key);
    }

    // Helpers.

    function _range(Vm.Log[] memory all, uint256 from, uint256 to) private pure returns (Vm.Log[] memory part) {
        part = new Vm.Log[](to - from);
        for (uint256 i; i < part.length; ++i) {
            part[i] = all[from + i];
        }
    }

    function _next(uint8 kind, bytes32 key, uint256 word) private view returns (uint256) {
        uint256 before = registry.accumulator();
        uint256 hash = uint256(keccak256(abi.encode(before, uint256(kind), key, word)));
        return hash >> 48 << 48 | uint48(before) + 1;
    }

    function _assertStatus(bytes32 key, uint48 time, IConsentRegistry.Status status) private view {
        vm.assertEq(uint256(registry.statusOf(key, time)), uint256(status), "status");
    }

    function _assertRevokedForEver(bytes32 key) private view {
        _assertStatus(key, 0, IConsentRegistry.Status.Revoked);
        _assertStatus(key, NOW, IConsentRegistry.Status.Revoked);
        _assertStatus(key, type(uint48).max, IConsentRegistry.Status.Revoked);
    }

    function _tag(bytes32 preimage) private pure returns (bytes20) {
        return bytes20(sha256(bytes.concat("medseal/v1/revocation", bytes1(0), preimage)));
    }

    function _sealed(bytes32 secret, uint48 term) private pure returns (IConsentRegistry.Sealed memory) {
        bytes32 preimage = keccak256(abi.encode(secret));
        return IConsentRegistry.Sealed(keccak256(abi.encode("commitment", secret)), _tag(preimage), NOW + term);
    }

    function _registered(bytes32 secret, uint48 term)
        private
        returns (bytes32 preimage, bytes32 key, IConsentRegistry.Sealed memory grant)
    {
        preimage = keccak256(abi.encode(secret));
        grant = _sealed(secret, term);
        key = registry.registerSealed(grant.commitment, grant.tag, grant.notAfter);
    }

    function _preimage(uint256 i) private pure returns (bytes32) {
        return keccak256(abi.encode(bytes32(i)));
    }

    function _many(uint256 count) private pure returns (IConsentRegistry.Sealed[] memory grants) {
        grants = new IConsentRegistry.Sealed[](count);
        for (uint256 i; i < count; ++i) {
            grants[i] = _sealed(bytes32(i), 100);
        }
    }

    function _list(IConsentRegistry.Sealed memory grant) private pure returns (IConsentRegistry.Sealed[] memory list) {
        list = new IConsentRegistry.Sealed[](1);
        list[0] = grant;
    }

    function _key(IConsentRegistry.Sealed memory grant) private view returns (bytes32) {
        return registry.sealedKey(grant.commitment, grant.tag, grant.notAfter);
    }

    function _openings(IConsentRegistry.Sealed[] memory grants)
        private
        view
        returns (IConsentRegistry.Opening[] memory openings)
    {
        openings = new IConsentRegistry.Opening[](grants.length);
        for (uint256 i; i < grants.length; ++i) {
            openings[i] = IConsentRegistry.Opening(_key(grants[i]), _preimage(i));
        }
    }
}
