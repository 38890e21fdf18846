// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ConsentRegistry} from "../src/ConsentRegistry.sol";
import {IConsentRegistry} from "../src/interfaces/IConsentRegistry.sol";
import {Accounts, OwnedWallet} from "./Accounts.sol";

/// Gas, written to snapshots/ConsentRegistry.json: what the sender pays, all in, in a registry that has been in use.
contract ConsentGasTest is Accounts {
    uint48 private constant NOW = 1_800_000_000;
    uint48 private constant LATER = NOW + 31_536_000;

    ConsentRegistry private registry;

    function setUp() public {
        vm.warp(NOW);
        registry = new ConsentRegistry(address(this));
        registry.registerBatch(_grants("before", 1));
    }

    function test_gas_of_one_sealed_grant() public {
        IConsentRegistry.Sealed memory grant = _grants("one", 1)[0];
        bytes32 key = registry.registerSealed(grant.commitment, grant.tag, grant.notAfter);
        _measured("registerSealed");
        registry.revokeSealed(key, _preimage("one", 0));
        _measured("revokeSealed");
        bytes32 preimage = _preimage("two", 0);
        key = registry.sealedKey("commitment", registry.tagOf(preimage), LATER);
        registry.forestallSealed(key, "commitment", LATER, preimage);
        _measured("forestallSealed");
    }

    function test_gas_of_batches() public {
        uint256[3] memory sizes = [uint256(10), 100, 500];
        for (uint256 i; i < sizes.length; ++i) {
            bytes32 name = bytes32(sizes[i]);
            IConsentRegistry.Sealed[] memory grants = _grants(name, sizes[i]);
            registry.registerBatch(grants);
            _measured(string.concat("registerBatch of ", _decimal(sizes[i])));
            IConsentRegistry.Opening[] memory openings = new IConsentRegistry.Opening[](sizes[i]);
            for (uint256 n; n < sizes[i]; ++n) {
                bytes32 key = registry.sealedKey(grants[n].commitment, grants[n].tag, grants[n].notAfter);
                openings[n] = IConsentRegistry.Opening(key, _preimage(name, n));
            }
            registry.revokeBatch(openings);
            _measured(string.concat("revokeBatch of ", _decimal(sizes[i])));
        }
    }

    function test_gas_of_direct_grants() public {
        bytes32 terms = keccak256("terms");
        bytes32 key = registry.grantDirect(address(this), terms, LATER, "");
        _measured("grantDirect: own transaction");
        registry.revokeDirect(key, "");
        _measured("revokeDirect: own transaction");
        address grantor = vm.addr(WALLET_KEY);
        _grant(grantor, terms, _ecdsa(WALLET_KEY, registry.grantDigest(grantor, terms, LATER)), "wallet (ECDSA)");
        key = registry.directKey(grantor, terms, LATER);
        registry.revokeDirect(key, _ecdsa(WALLET_KEY, registry.revocationDigest(grantor, key)));
        _measured("revokeDirect: wallet (ECDSA)");
        grantor = address(new OwnedWallet(vm.addr(WALLET_KEY)));
        _grant(grantor, terms, _ecdsa(WALLET_KEY, registry.grantDigest(grantor, terms, LATER)), "contract (ERC-1271)");
        grantor = _passkeyAddress(PASSKEY);
        bytes memory proof = _passkey(PASSKEY, registry.grantDigest(grantor, terms, LATER));
        _grant(grantor, terms, proof, "passkey, no precompile");
    }

    function _grant(address grantor, bytes32 terms, bytes memory proof, string memory who) private {
        registry.grantDirect(grantor, terms, LATER, proof);
        _measured(string.concat("grantDirect: ", who));
    }

    function _measured(string memory name) private {
        vm.snapshotGasLastCall("ConsentRegistry", name);
    }

    function _preimage(bytes32 name, uint256 i) private pure returns (bytes32) {
        return keccak256(abi.encode("preimage", name, i));
    }

    function _grants(bytes32 name, uint256 count) private view returns (IConsentRegistry.Sealed[] memory grants) {
        grants = new IConsentRegistry.Sealed[](count);
        for (uint256 i; i < count; ++i) {
            bytes32 commitment = keccak256(abi.encode("commitment", name, i));
            grants[i] = IConsentRegistry.Sealed(commitment, registry.tagOf(_preimage(name, i)), LATER);
        }
    }

    function _decimal(uint256 n) private pure returns (string memory) {
        if (n < 10) return string(abi.encodePacked(bytes1(uint8(48 + n))));
        return string.concat(_decimal(n / 10), _decimal(n % 10));
    }
}
