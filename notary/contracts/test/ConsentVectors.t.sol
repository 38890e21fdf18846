// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ConsentRegistry} from "../src/ConsentRegistry.sol";
import {Approval} from "../src/libraries/Approval.sol";
import {ConsentMirror} from "./ConsentMirror.sol";
import {Test, Vm} from "./Test.sol";

/// Holds the contract to ../vectors/consent.json, which a script made that knows nothing of it, and which Rust reads.
contract ConsentVectorsTest is Test {
    ConsentRegistry private registry;
    string private json;

    function setUp() public {
        json = vm.readFile("../vectors/consent.json");
        vm.chainId(vm.parseJsonUint(json, ".chainId"));
        vm.prank(vm.parseJsonAddress(json, ".deployer"));
        registry = new ConsentRegistry(vm.parseJsonAddress(json, ".administrator"));
    }

    function test_domain() public view {
        vm.assertEq(address(registry), vm.parseJsonAddress(json, ".contract"), "contract");
        vm.assertEq(bytes32(registry.accumulator()), _word(".accumulator"), "accumulator at the start");
        (, string memory name, string memory version, uint256 chainId, address contract_,,) = registry.eip712Domain();
        bytes32 separator = keccak256(
            abi.encode(_named(".types.domain"), keccak256(bytes(name)), keccak256(bytes(version)), chainId, contract_)
        );
        vm.assertEq(separator, _word(".domainSeparator"), "domain separator");
    }

    function test_terms() public view {
        for (uint256 i; i < 3; ++i) {
            string memory at_ = _at(".terms", i);
            bytes32 hash = keccak256(
                abi.encode(
                    _named(".types.terms"),
                    _named(string.concat(at_, ".recipient")),
                    _named(string.concat(at_, ".purpose")),
                    _named(string.concat(at_, ".records")),
                    _named(string.concat(at_, ".until")),
                    _word(string.concat(at_, ".consent")),
                    _word(string.concat(at_, ".salt"))
                )
            );
            vm.assertEq(hash, _word(string.concat(at_, ".hash")), "hash of the terms");
        }
    }

    function test_sealed_grants() public view {
        for (uint256 i; i < 3; ++i) {
            string memory at_ = _at(".sealed", i);
            bytes20 tag = registry.tagOf(_word(string.concat(at_, ".preimage")));
            vm.assertEq(address(tag), vm.parseJsonAddress(json, string.concat(at_, ".tag")), "tag");
            uint48 notAfter = _notAfter(at_);
            bytes32 key = registry.sealedKey(_word(string.concat(at_, ".commitment")), tag, notAfter);
            vm.assertEq(key, _word(string.concat(at_, ".key")), "key");

            bytes32 terms = _word(string.concat(at_, ".terms"));
            bytes32 hash = keccak256(abi.encode(_named(".types.sealed"), terms, tag, notAfter));
            bytes32 digest = keccak256(abi.encodePacked(hex"1901", _word(".domainSeparator"), hash));
            vm.assertEq(digest, _word(string.concat(at_, ".digest")), "digest");
        }
    }

    function test_direct_grants() public view {
        for (uint256 i; i < 2; ++i) {
            string memory at_ = _at(".direct", i);
            (address grantor, bytes32 terms, uint48 notAfter) = _direct(at_);
            bytes32 key = registry.directKey(grantor, terms, notAfter);
            vm.assertEq(key, _word(string.concat(at_, ".key")), "key");
            bytes32 grant = registry.grantDigest(grantor, terms, notAfter);
            vm.assertEq(grant, _word(string.concat(at_, ".grantDigest")), "digest to grant");
            bytes32 revocation = registry.revocationDigest(grantor, key);
            vm.assertEq(revocation, _word(string.concat(at_, ".revocationDigest")), "digest to revoke");
        }
    }

    /// What Rust takes for a proof, and what it does not, is the same here.
    function test_proofs() public view {
        uint256 count;
        for (; vm.keyExistsJson(json, _at(".proofs", count)); ++count) {
            string memory at_ = _at(".proofs", count);
            bool holds = this.isBy(
                vm.parseJsonAddress(json, string.concat(at_, ".account")),
                _word(string.concat(at_, ".digest")),
                vm.parseJsonBytes(json, string.concat(at_, ".proof"))
            );
            bool should = vm.parseJsonBool(json, string.concat(at_, ".holds"));
            vm.assertTrue(holds == should, vm.parseJsonString(json, string.concat(at_, ".what")));
        }
        vm.assertTrue(count > 15, "proofs");
    }

    function isBy(address account, bytes32 digest, bytes calldata proof) external view returns (bool) {
        return Approval.isBy(account, digest, proof);
    }

    /// Does what the vectors say, and comes to the same word and accumulator after each.
    function test_events() public {
        ConsentMirror mirror = new ConsentMirror(address(registry));
        for (uint256 i; i < 8; ++i) {
            string memory at_ = _at(".events", i);
            vm.warp(vm.parseJsonUint(json, string.concat(at_, ".time")));
            vm.recordLogs();
            _do(
                vm.parseJsonString(json, string.concat(at_, ".call")), vm.parseJsonUint(json, string.concat(at_, ".of"))
            );
            Vm.Log[] memory logs = vm.getRecordedLogs();
            vm.assertEq(logs.length, 1, "one event");
            mirror.take(logs);
            bytes32 key = _word(string.concat(at_, ".key"));
            vm.assertEq(bytes32(registry.wordOf(key)), _word(string.concat(at_, ".word")), "word");
            vm.assertEq(bytes32(registry.accumulator()), _word(string.concat(at_, ".accumulator")), "accumulator");
            vm.assertEq(mirror.accumulator(), registry.accumulator(), "a mirror's");
        }
    }

    function _do(string memory call, uint256 i) private {
        bytes32 name = keccak256(bytes(call));
        if (name == keccak256("registerSealed")) _register(_at(".sealed", i));
        else if (name == keccak256("revokeSealed")) _revoke(_at(".sealed", i));
        else if (name == keccak256("forestallSealed")) _forestall(_at(".sealed", i));
        else if (name == keccak256("nameSuccessor")) _nameSuccessor();
        else _doDirect(name, _at(".direct", i));
    }

    function _register(string memory at_) private {
        bytes20 tag = bytes20(vm.parseJsonAddress(json, string.concat(at_, ".tag")));
        registry.registerSealed(_word(string.concat(at_, ".commitment")), tag, _notAfter(at_));
    }

    function _revoke(string memory at_) private {
        registry.revokeSealed(_word(string.concat(at_, ".key")), _word(string.concat(at_, ".preimage")));
    }

    function _forestall(string memory at_) private {
        (bytes32 key, bytes32 preimage) = (_word(string.concat(at_, ".key")), _word(string.concat(at_, ".preimage")));
        registry.forestallSealed(key, _word(string.concat(at_, ".commitment")), _notAfter(at_), preimage);
    }

    function _nameSuccessor() private {
        address successor = address(uint160(uint256(_word(".events[7].key"))));
        vm.etch(successor, hex"00");
        vm.prank(vm.parseJsonAddress(json, ".administrator"));
        registry.nameSuccessor(successor);
    }

    function _doDirect(bytes32 name, string memory at_) private {
        (address grantor, bytes32 terms, uint48 notAfter) = _direct(at_);
        bytes memory revocation = vm.parseJsonBytes(json, string.concat(at_, ".revocationProof"));
        if (name == keccak256("grantDirect")) {
            bytes memory proof = vm.parseJsonBytes(json, string.concat(at_, ".grantProof"));
            registry.grantDirect(grantor, terms, notAfter, proof);
        } else if (name == keccak256("revokeDirect")) {
            registry.revokeDirect(registry.directKey(grantor, terms, notAfter), revocation);
        } else {
            registry.forestallDirect(grantor, terms, notAfter, revocation);
        }
    }

    function _direct(string memory at_) private view returns (address grantor, bytes32 terms, uint48 notAfter) {
        grantor = vm.parseJsonAddress(json, string.concat(at_, ".grantor"));
        return (grantor, _word(string.concat(at_, ".terms")), _notAfter(at_));
    }

    function _at(string memory list, uint256 i) private pure returns (string memory) {
        bytes memory digits = i < 10 ? abi.encodePacked(_digit(i)) : abi.encodePacked(_digit(i / 10), _digit(i % 10));
        return string.concat(list, "[", string(digits), "]");
    }

    function _digit(uint256 digit) private pure returns (bytes1) {
        return bytes1(uint8(48 + digit));
    }

    function _notAfter(string memory at_) private view returns (uint48) {
        return uint48(vm.parseJsonUint(json, string.concat(at_, ".notAfter")));
    }

    function _word(string memory key) private view returns (bytes32) {
        return vm.parseJsonBytes32(json, key);
    }

    function _named(string memory key) private view returns (bytes32) {
        return keccak256(bytes(vm.parseJsonString(json, key)));
    }
}
