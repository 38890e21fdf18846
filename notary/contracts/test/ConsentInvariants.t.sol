// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ConsentRegistry} from "../src/ConsentRegistry.sol";
import {IConsentRegistry} from "../src/interfaces/IConsentRegistry.sol";
import {ConsentMirror} from "./ConsentMirror.sol";
import {Test, Vm} from "./Test.sol";

/// Does anything that anyone may do to a few grants, in any order, also what is refused; follows it as a mirror does,
/// and remembers when each grant was revoked first.
contract ConsentHandler is Test {
    uint256 public constant GRANTS = 8;
    address private constant GRANTOR = address(uint160(uint256(keccak256("grantor"))));
    uint48 private constant NOW = 1_800_000_000;

    ConsentRegistry public immutable registry = new ConsentRegistry(address(this));
    ConsentMirror public immutable mirror = new ConsentMirror(address(registry));
    bytes32[] public keys;
    mapping(bytes32 key => uint256 word) public firstRevoked;
    mapping(bytes32 key => uint256 word) public first;
    uint256 public revocations;

    constructor() {
        vm.warp(NOW);
        for (uint256 i; i < GRANTS; ++i) {
            IConsentRegistry.Sealed memory grant = _sealed(i);
            keys.push(registry.sealedKey(grant.commitment, grant.tag, grant.notAfter));
            keys.push(registry.directKey(GRANTOR, bytes32(i + 1), _notAfter(i)));
        }
    }

    modifier followed() {
        vm.recordLogs();
        _;
        for (uint256 i; i < keys.length; ++i) {
            _remember(keys[i]);
        }
    }

    function wait(uint256 seconds_) external {
        vm.warp(block.timestamp + _bound(seconds_, 0, 40));
    }

    function register(uint256 i) external followed {
        IConsentRegistry.Sealed memory grant = _sealed(i);
        _try(abi.encodeCall(registry.registerSealed, (grant.commitment, grant.tag, grant.notAfter)));
    }

    function registerSome(uint256 from, uint256 count) external followed {
        IConsentRegistry.Sealed[] memory grants = new IConsentRegistry.Sealed[](_bound(count, 0, 4));
        for (uint256 i; i < grants.length; ++i) {
            grants[i] = _sealed(_bound(from, 0, GRANTS) + i);
        }
        _try(abi.encodeCall(registry.registerBatch, (grants)));
    }

    function revoke(uint256 i, uint256 preimage) external followed {
        // One in two knows the right one.
        bytes32 shown = preimage % 2 == 0 ? _preimage(i) : _preimage(preimage);
        _try(abi.encodeCall(registry.revokeSealed, (keys[2 * (i % GRANTS)], shown)));
    }

    function revokeSome(uint256 from, uint256 count) external followed {
        IConsentRegistry.Opening[] memory openings = new IConsentRegistry.Opening[](_bound(count, 0, 3));
        for (uint256 n; n < openings.length; ++n) {
            uint256 i = _bound(from, 0, GRANTS) + n;
            openings[n] = IConsentRegistry.Opening(keys[2 * (i % GRANTS)], _preimage(i));
        }
        _try(abi.encodeCall(registry.revokeBatch, (openings)));
    }

    function forestall(uint256 i) external followed {
        IConsentRegistry.Sealed memory grant = _sealed(i);
        bytes32 key = keys[2 * (i % GRANTS)];
        _try(abi.encodeCall(registry.forestallSealed, (key, grant.commitment, grant.notAfter, _preimage(i))));
    }

    function grantDirect(uint256 i) external followed {
        vm.prank(GRANTOR);
        _try(abi.encodeCall(registry.grantDirect, (GRANTOR, bytes32(i % GRANTS + 1), _notAfter(i), "")));
    }

    function revokeDirect(address caller, uint256 i) external followed {
        vm.prank(i % 3 == 0 ? caller : GRANTOR);
        _try(abi.encodeCall(registry.revokeDirect, (keys[2 * (i % GRANTS) + 1], "")));
    }

    function forestallDirect(uint256 i) external followed {
        vm.prank(GRANTOR);
        _try(abi.encodeCall(registry.forestallDirect, (GRANTOR, bytes32(i % GRANTS + 1), _notAfter(i), "")));
    }

    function known() external view returns (uint256) {
        return keys.length;
    }

    /// What is refused is part of the game: only what then stands counts.
    function _try(bytes memory call) private {
        (bool done,) = address(registry).call(call);
        Vm.Log[] memory logs = vm.getRecordedLogs(); // Of a refused call too, which on a chain leaves none.
        if (done) mirror.take(logs);
    }

    function _remember(bytes32 key) private {
        uint256 word = registry.wordOf(key);
        if (first[key] == 0) first[key] = word;
        if (firstRevoked[key] != 0 || uint48(word) == 0) return;
        firstRevoked[key] = word;
        ++revocations;
    }

    function _sealed(uint256 i) private pure returns (IConsentRegistry.Sealed memory) {
        bytes20 tag = bytes20(sha256(bytes.concat("medseal/v1/revocation", bytes1(0), _preimage(i))));
        return IConsentRegistry.Sealed(bytes32(i % GRANTS + 1), tag, _notAfter(i));
    }

    function _preimage(uint256 i) private pure returns (bytes32) {
        return keccak256(abi.encode("preimage", i % GRANTS));
    }

    /// Some lapse while the game goes on.
    function _notAfter(uint256 i) private pure returns (uint48) {
        return NOW + 50 * uint48(i % GRANTS + 1);
    }
}

contract ConsentInvariants is Test {
    ConsentHandler private handler;

    function setUp() public {
        handler = new ConsentHandler();
    }

    /// forge asks for this.
    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function invariant_the_accumulator_replays_to_the_events() public view {
        (ConsentRegistry registry, ConsentMirror mirror) = (handler.registry(), handler.mirror());
        vm.assertEq(mirror.accumulator(), registry.accumulator(), "accumulator");
        vm.assertEq(mirror.events(), uint48(registry.accumulator()), "count");
    }

    function invariant_a_mirror_of_the_events_knows_every_grant() public view {
        for (uint256 i; i < handler.known(); ++i) {
            bytes32 key = handler.keys(i);
            vm.assertEq(handler.mirror().wordOf(key), handler.registry().wordOf(key), "word");
        }
    }

    function invariant_a_revoked_grant_never_becomes_active_and_keeps_its_time() public view {
        for (uint256 i; i < handler.known(); ++i) {
            bytes32 key = handler.keys(i);
            uint256 revoked = handler.firstRevoked(key);
            if (revoked == 0) continue;
            vm.assertEq(handler.registry().wordOf(key), revoked, "as when it was revoked");
            _assertRevoked(key, 0);
            _assertRevoked(key, uint48(block.timestamp));
            _assertRevoked(key, type(uint48).max);
        }
    }

    function invariant_tag_and_term_never_change() public view {
        for (uint256 i; i < handler.known(); ++i) {
            bytes32 key = handler.keys(i);
            vm.assertEq(handler.registry().wordOf(key) >> 48, handler.first(key) >> 48, "tag and notAfter");
        }
    }

    /// A game in which nothing is ever revoked would prove little.
    function afterInvariant() external view {
        vm.assertTrue(handler.revocations() > 0, "nothing was revoked");
    }

    function _assertRevoked(bytes32 key, uint48 time) private view {
        bool revoked = handler.registry().statusOf(key, time) == IConsentRegistry.Status.Revoked;
        vm.assertTrue(revoked, "revoked");
    }
}
