// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ConsentRegistry} from "../src/ConsentRegistry.sol";
import {IConsentRegistry} from "../src/interfaces/IConsentRegistry.sol";
import {Accounts, Babbler, Deaf, Faulty, OwnedWallet, P256Precompile} from "./Accounts.sol";

/// Direct grants: who may speak for which account. Signers are of four kinds, and each test runs for all that it
/// concerns.
contract ConsentDirectTest is Accounts {
    uint48 private constant NOW = 1_800_000_000;
    uint48 private constant LATER = NOW + 100;
    bytes private constant NOTHING = "";

    ConsentRegistry private registry;

    function setUp() public {
        vm.warp(NOW);
        registry = new ConsentRegistry(address(this));
    }

    // Each kind of account.

    function testFuzz_an_account_grants_and_revokes_by_itself(address grantor, bytes32 terms) public {
        vm.assume(grantor != address(0) && terms != 0);
        bytes32 key = registry.directKey(grantor, terms, LATER);
        uint256 word = uint256(uint160(grantor)) << 96 | uint256(LATER) << 48;
        vm.expectEmit(address(registry));
        emit IConsentRegistry.Granted(key, grantor, word, _next(2, key, word));
        vm.prank(grantor);
        registry.grantDirect(grantor, terms, LATER, NOTHING);
        vm.assertEq(registry.wordOf(key), word, "word");
        _assertStatus(key, IConsentRegistry.Status.Active);

        vm.warp(NOW + 7);
        vm.expectEmit(address(registry));
        emit IConsentRegistry.Revoked(key, word | NOW + 7, _next(3, key, word | NOW + 7));
        vm.prank(grantor);
        registry.revokeDirect(key, NOTHING);
        _assertStatus(key, IConsentRegistry.Status.Revoked);
    }

    function testFuzz_a_wallets_signature_is_relayed_by_anyone(address relay, uint256 secret, bytes32 terms) public {
        vm.assume(terms != 0);
        secret = _bound(secret, 1, type(uint128).max);
        _grantAndRevoke(relay, vm.addr(secret), terms, secret);
    }

    function test_a_contract_wallet_signs_by_erc_1271() public {
        _grantAndRevoke(address(1), address(new OwnedWallet(vm.addr(WALLET_KEY))), "terms", WALLET_KEY);
    }

    /// EIP-7702: the account has code now, which knows nothing of signatures, and its key signs as ever.
    function test_an_account_that_delegated_its_code_still_signs_with_its_key() public {
        address grantor = vm.addr(WALLET_KEY);
        vm.setEvmVersion("prague");
        vm.signAndAttachDelegation(address(new Deaf()), WALLET_KEY);
        registry.accumulator(); // The transaction that the delegation goes with.
        vm.assertEq(grantor.code.length, 23, "0xef0100 and the address of the code");
        vm.assertEq(bytes32(Deaf(grantor).isValidSignature(0, "")), bytes32(bytes4(0xffffffff)), "it says no");
        _grantAndRevoke(address(1), grantor, "terms", WALLET_KEY);
    }

    function test_an_account_whose_delegated_code_is_a_wallet_signs_either_way() public {
        address grantor = vm.addr(WALLET_KEY);
        vm.etch(grantor, address(new OwnedWallet(vm.addr(77))).code);
        _grantAndRevoke(address(1), grantor, "by its key", WALLET_KEY);
        _grantAndRevoke(address(1), grantor, "by its code", 77);
    }

    function test_a_passkey_signs_where_the_precompile_is_missing() public {
        vm.assertFalse(_hasPrecompile(), "no precompile");
        _grantAndRevokeByPasskey();
    }

    function test_a_passkey_signs_where_the_precompile_is_there() public {
        vm.etch(RIP_7212, type(P256Precompile).runtimeCode);
        vm.assertTrue(_hasPrecompile(), "a precompile");
        _grantAndRevokeByPasskey();
    }

    // What is refused.

    function testFuzz_a_proof_of_anything_else_is_refused(uint256 other, bytes32 terms, bytes calldata junk) public {
        vm.assume(terms != 0);
        address grantor = vm.addr(WALLET_KEY);
        other = _bound(other, 1, type(uint128).max);
        bytes32 digest = registry.grantDigest(grantor, terms, LATER);

        _refuseGrant(grantor, terms, LATER, NOTHING);
        _refuseGrant(grantor, terms, LATER, junk);
        _refuseGrant(grantor, terms, LATER, _ecdsa(other, digest));
        _refuseGrant(grantor, ~terms, LATER, _ecdsa(WALLET_KEY, digest));
        _refuseGrant(grantor, terms, LATER + 1, _ecdsa(WALLET_KEY, digest));
        _refuseGrant(vm.addr(other), terms, LATER, _ecdsa(WALLET_KEY, digest));
        bytes32 key = registry.directKey(grantor, terms, LATER);
        _refuseGrant(grantor, terms, LATER, _ecdsa(WALLET_KEY, registry.revocationDigest(grantor, key)));
        _refuseGrant(grantor, terms, LATER, bytes.concat(_ecdsa(WALLET_KEY, digest), hex"00"));
        _assertStatus(key, IConsentRegistry.Status.Unknown);

        registry.grantDirect(grantor, terms, LATER, _ecdsa(WALLET_KEY, digest));
        bytes32 revocation = registry.revocationDigest(grantor, key);
        _refuseRevocation(grantor, key, NOTHING);
        _refuseRevocation(grantor, key, junk);
        _refuseRevocation(grantor, key, _ecdsa(WALLET_KEY, digest));
        _refuseRevocation(grantor, key, _ecdsa(other, revocation));
        _assertStatus(key, IConsentRegistry.Status.Active);
    }

    function test_a_signature_for_another_chain_or_registry_is_refused() public {
        address grantor = vm.addr(WALLET_KEY);
        bytes memory proof = _ecdsa(WALLET_KEY, registry.grantDigest(grantor, "terms", LATER));
        ConsentRegistry here = registry;
        registry = new ConsentRegistry(address(this));
        _refuseGrant(grantor, "terms", LATER, proof);
        registry = here;
        vm.chainId(block.chainid + 1); // As after a fork of the chain.
        _refuseGrant(grantor, "terms", LATER, proof);
    }

    function test_a_wallet_that_refuses_fails_or_babbles_has_approved_nothing() public {
        bytes memory proof = _ecdsa(WALLET_KEY, registry.grantDigest(address(this), "terms", LATER));
        _refuseGrant(address(new Deaf()), "terms", LATER, proof);
        _refuseGrant(address(new Faulty()), "terms", LATER, proof);
        _refuseGrant(address(new Babbler()), "terms", LATER, proof);
        _refuseGrant(address(registry), "terms", LATER, proof);
        _refuseGrant(address(registry), "terms", LATER, NOTHING);
    }

    function test_a_signature_for_one_wallet_is_none_for_another_of_the_same_owner() public {
        address one = address(new OwnedWallet(vm.addr(WALLET_KEY)));
        address other = address(new OwnedWallet(vm.addr(WALLET_KEY)));
        bytes memory proof = _ecdsa(WALLET_KEY, registry.grantDigest(one, "terms", LATER));
        _refuseGrant(other, "terms", LATER, proof);
        registry.grantDirect(one, "terms", LATER, proof);
    }

    function test_an_assertion_with_any_part_wrong_is_refused() public {
        _refuseSpoiltAssertions();
    }

    function test_and_where_the_precompile_is_there_too() public {
        vm.etch(RIP_7212, type(P256Precompile).runtimeCode);
        _refuseSpoiltAssertions();
    }

    /// forge-config: default.fuzz.runs = 48
    function testFuzz_a_cut_or_altered_assertion_is_refused_and_not_a_fault(uint256 length, uint256 bit) public {
        address grantor = _passkeyAddress(PASSKEY);
        bytes memory proof = _passkey(PASSKEY, registry.grantDigest(grantor, "terms", LATER));
        bytes memory cut = new bytes(_bound(length, 0, proof.length - 32)); // What follows may be padding.
        for (uint256 i; i < cut.length; ++i) {
            cut[i] = proof[i];
        }
        _refuseGrant(grantor, "terms", LATER, cut);

        // Of the key, the signature, the places, the offsets and lengths: these 320 bytes have no padding.
        bit = _bound(bit, 0, 8 * 320 - 1);
        proof[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        vm.expectPartialRevert(IConsentRegistry.NotApproved.selector);
        registry.grantDirect(grantor, "terms", LATER, proof);
    }

    function test_what_can_never_be_a_grant_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(IConsentRegistry.ZeroCommitment.selector, 0));
        registry.grantDirect(address(this), 0, LATER, NOTHING);
        vm.expectRevert(abi.encodeWithSelector(IConsentRegistry.ZeroTag.selector, 0));
        registry.grantDirect(address(0), "terms", LATER, NOTHING);
        uint48 latest = NOW + registry.MOST_TERM();
        vm.expectRevert(abi.encodeWithSelector(IConsentRegistry.TermTooLong.selector, 0, latest + 1, latest));
        registry.grantDirect(address(this), "terms", latest + 1, NOTHING);
        vm.expectRevert(abi.encodeWithSelector(IConsentRegistry.LapsedAlready.selector, NOW - 1, NOW));
        registry.grantDirect(address(this), "terms", NOW - 1, NOTHING);
        vm.expectRevert(abi.encodeWithSelector(IConsentRegistry.NotRegistered.selector, 0, bytes32("key")));
        registry.revokeDirect("key", NOTHING);
    }

    // Once and for ever.

    function testFuzz_a_signed_grant_cannot_be_used_again(bytes32 terms) public {
        vm.assume(terms != 0);
        address grantor = vm.addr(WALLET_KEY);
        bytes memory proof = _ecdsa(WALLET_KEY, registry.grantDigest(grantor, terms, LATER));
        bytes32 key = registry.grantDirect(grantor, terms, LATER, proof);
        uint256 folded = registry.accumulator();
        registry.grantDirect(grantor, terms, LATER, proof);
        vm.assertEq(registry.accumulator(), folded, "while it stands: no event");

        bytes memory revocation = _ecdsa(WALLET_KEY, registry.revocationDigest(grantor, key));
        registry.revokeDirect(key, revocation);
        vm.expectRevert(abi.encodeWithSelector(IConsentRegistry.RevokedAlready.selector, key));
        registry.grantDirect(grantor, terms, LATER, proof);

        folded = registry.accumulator();
        vm.warp(NOW + 1);
        registry.revokeDirect(key, revocation);
        registry.forestallDirect(grantor, terms, LATER, revocation);
        vm.assertEq(registry.accumulator(), folded, "revoked once");
    }

    function testFuzz_a_grant_that_was_signed_and_given_away_is_forestalled(bytes32 terms) public {
        vm.assume(terms != 0);
        address grantor = vm.addr(WALLET_KEY);
        bytes memory proof = _ecdsa(WALLET_KEY, registry.grantDigest(grantor, terms, LATER));
        bytes32 key = registry.directKey(grantor, terms, LATER);
        bytes32 digest = registry.revocationDigest(grantor, key);

        bytes memory why = abi.encodeWithSelector(IConsentRegistry.NotApproved.selector, grantor, digest);
        vm.expectRevert(why);
        registry.forestallDirect(grantor, terms, LATER, proof);
        vm.expectRevert(why);
        registry.forestallDirect(grantor, terms, LATER, NOTHING);
        registry.forestallDirect(grantor, terms, LATER, _ecdsa(WALLET_KEY, digest));

        _assertStatus(key, IConsentRegistry.Status.Revoked);
        vm.expectRevert(abi.encodeWithSelector(IConsentRegistry.RevokedAlready.selector, key));
        registry.grantDirect(grantor, terms, LATER, proof);
    }

    function test_no_preimage_revokes_a_direct_grant_and_no_account_a_sealed_one() public {
        bytes32 key = registry.grantDirect(address(this), "terms", LATER, NOTHING);
        vm.expectRevert(abi.encodeWithSelector(IConsentRegistry.WrongPreimage.selector, 0, key));
        registry.revokeSealed(key, "preimage");

        bytes20 tag = registry.tagOf("preimage");
        key = registry.registerSealed("commitment", tag, LATER);
        _refuseRevocation(address(tag), key, NOTHING);
        _refuseRevocation(address(tag), key, abi.encode(bytes32("preimage")));
    }

    // Helpers.

    function _grantAndRevoke(address relay, address grantor, bytes32 terms, uint256 secret) private {
        bytes32 key = registry.directKey(grantor, terms, LATER);
        bytes memory proof = _ecdsa(secret, registry.grantDigest(grantor, terms, LATER));
        vm.prank(relay);
        registry.grantDirect(grantor, terms, LATER, proof);
        _assertStatus(key, IConsentRegistry.Status.Active);
        proof = _ecdsa(secret, registry.revocationDigest(grantor, key));
        vm.prank(relay);
        registry.revokeDirect(key, proof);
        _assertStatus(key, IConsentRegistry.Status.Revoked);
    }

    function _grantAndRevokeByPasskey() private {
        address grantor = _passkeyAddress(PASSKEY);
        bytes32 key = registry.directKey(grantor, "terms", LATER);
        bytes memory proof = _passkey(PASSKEY, registry.grantDigest(grantor, "terms", LATER));
        registry.grantDirect(grantor, "terms", LATER, proof);
        _assertStatus(key, IConsentRegistry.Status.Active);
        registry.revokeDirect(key, _passkey(PASSKEY, registry.revocationDigest(grantor, key)));
        _assertStatus(key, IConsentRegistry.Status.Revoked);
    }

    function _refuseSpoiltAssertions() private {
        address grantor = _passkeyAddress(PASSKEY);
        bytes32 digest = registry.grantDigest(grantor, "terms", LATER);
        Assertion memory a = _assertion(PASSKEY, digest);
        bytes memory right = _signed(PASSKEY, a);

        // Signed, but not what a passkey says when it approves this.
        a.authenticator[32] = 0x04;
        _refuseGrant(grantor, "terms", LATER, _signed(PASSKEY, a)); // Nobody was there,
        a.authenticator[32] = 0x01;
        _refuseGrant(grantor, "terms", LATER, _signed(PASSKEY, a)); // or nobody knows who,
        a.authenticator[32] = 0x15;
        _refuseGrant(grantor, "terms", LATER, _signed(PASSKEY, a)); // or it is backed up, and cannot be.
        a = _assertion(PASSKEY, digest);
        a.authenticator = abi.encodePacked(sha256("portal.example"), hex"05");
        _refuseGrant(grantor, "terms", LATER, _signed(PASSKEY, a));
        a = _assertion(PASSKEY, ~digest);
        _refuseGrant(grantor, "terms", LATER, _signed(PASSKEY, a));
        a = _assertion(PASSKEY, digest);
        bytes(a.client)[18] = "c"; // webauthn.get: a credential that is made approves nothing.
        _refuseGrant(grantor, "terms", LATER, _signed(PASSKEY, a));
        a = _assertion(PASSKEY, digest);
        a.challengeAt = type(uint256).max;
        _refuseGrant(grantor, "terms", LATER, _signed(PASSKEY, a));
        a.challengeAt = 23;
        a.typeAt = type(uint256).max - 20; // So that adding to it runs over.
        _refuseGrant(grantor, "terms", LATER, _signed(PASSKEY, a));
        a.typeAt = 1 << 40;
        _refuseGrant(grantor, "terms", LATER, _signed(PASSKEY, a));

        // Not signed by the passkey that the grantor is.
        a = _assertion(PASSKEY, digest);
        _refuseGrant(grantor, "terms", LATER, _signed(WALLET_KEY, a));
        Assertion memory other = _assertion(WALLET_KEY, digest);
        _refuseGrant(grantor, "terms", LATER, _signed(WALLET_KEY, other));
        bytes memory mirrored = _signed(PASSKEY, a);
        assembly {
            // s, the fourth word, by n - s.
            let at_ := add(mirrored, 0x80)
            mstore(at_, sub(0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551, mload(at_)))
        }
        _refuseGrant(grantor, "terms", LATER, mirrored);

        registry.grantDirect(grantor, "terms", LATER, right);
    }

    function _hasPrecompile() private view returns (bool) {
        (bytes32 r, bytes32 s) = vm.signP256(PASSKEY, "digest");
        (uint256 x, uint256 y) = vm.publicKeyP256(PASSKEY);
        (, bytes memory answer) = RIP_7212.staticcall(abi.encode(bytes32("digest"), r, s, x, y));
        return answer.length == 32;
    }

    function _refuseGrant(address grantor, bytes32 terms, uint48 notAfter, bytes memory proof) private {
        bytes32 digest = registry.grantDigest(grantor, terms, notAfter);
        vm.expectRevert(abi.encodeWithSelector(IConsentRegistry.NotApproved.selector, grantor, digest));
        registry.grantDirect(grantor, terms, notAfter, proof);
    }

    function _refuseRevocation(address grantor, bytes32 key, bytes memory proof) private {
        bytes32 digest = registry.revocationDigest(grantor, key);
        vm.expectRevert(abi.encodeWithSelector(IConsentRegistry.NotApproved.selector, grantor, digest));
        registry.revokeDirect(key, proof);
    }

    function _next(uint8 kind, bytes32 key, uint256 word) private view returns (uint256) {
        uint256 before = registry.accumulator();
        uint256 hash = uint256(keccak256(abi.encode(before, uint256(kind), key, word)));
        return hash >> 48 << 48 | uint48(before) + 1;
    }

    function _assertStatus(bytes32 key, IConsentRegistry.Status status) private view {
        vm.assertEq(uint256(registry.statusOf(key, NOW)), uint256(status), "status");
    }
}
