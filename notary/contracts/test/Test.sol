// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// The cheatcodes of forge that these tests use; forge answers them at a fixed address.
/// forge-std, which has them all, comes by git only.
interface Vm {
    function assertEq(uint256 left, uint256 right, string calldata why) external pure;
    function assertEq(bytes32 left, bytes32 right, string calldata why) external pure;
    function assertEq(address left, address right, string calldata why) external pure;
    function assertTrue(bool condition, string calldata why) external pure;
    function assertFalse(bool condition, string calldata why) external pure;

    function assume(bool condition) external pure;
    function prank(address caller) external;
    function warp(uint256 time) external;
    function chainId(uint256 id) external;
    function etch(address account, bytes calldata code) external;
    function load(address account, bytes32 slot) external view returns (bytes32);

    function addr(uint256 privateKey) external pure returns (address);
    function sign(uint256 privateKey, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function publicKeyP256(uint256 privateKey) external pure returns (uint256 x, uint256 y);
    function signP256(uint256 privateKey, bytes32 digest) external pure returns (bytes32 r, bytes32 s);

    struct Log {
        bytes32[] topics;
        bytes data;
        address emitter;
    }

    function recordLogs() external;
    function getRecordedLogs() external returns (Log[] memory);

    function expectEmit(address emitter) external;
    function expectRevert(bytes calldata data) external;
    function expectPartialRevert(bytes4 selector) external;
    function setEvmVersion(string calldata evm) external;
    function signAndAttachDelegation(address implementation, uint256 privateKey) external;

    function readFile(string calldata path) external view returns (string memory);
    function parseJsonBytes(string calldata json, string calldata key) external pure returns (bytes memory);
    function parseJsonBytes32(string calldata json, string calldata key) external pure returns (bytes32);
    function parseJsonAddress(string calldata json, string calldata key) external pure returns (address);
    function parseJsonUint(string calldata json, string calldata key) external pure returns (uint256);
    function keyExistsJson(string calldata json, string calldata key) external view returns (bool);
    function parseJsonBool(string calldata json, string calldata key) external pure returns (bool);
    function parseJsonString(string calldata json, string calldata key) external pure returns (string memory);
    function parseJsonTypeArray(string calldata json, string calldata key, string calldata typeDescription)
        external
        pure
        returns (bytes memory);

    function snapshotGasLastCall(string calldata group, string calldata name) external returns (uint256);
}

abstract contract Test {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    /// That artifacts/`name`.json, which build.mjs wrote, has this bytecode.
    function _assertArtifact(string memory name, bytes memory code) internal view {
        string memory path = string.concat("artifacts/", name, ".json");
        bytes memory committed = vm.parseJsonBytes(vm.readFile(path), ".bytecode");
        bool same = keccak256(committed) == keccak256(code);
        vm.assertTrue(same, "settings of foundry.toml and build.mjs differ, or node build.mjs was not run");
    }

    /// Folds any `x` into low..high, both included.
    function _bound(uint256 x, uint256 low, uint256 high) internal pure returns (uint256) {
        return low + x % (high - low + 1);
    }

    function _bound48(uint256 x, uint256 low, uint256 high) internal pure returns (uint48) {
        return uint48(_bound(x, low, high));
    }

    function _bound64(uint256 x, uint256 low, uint256 high) internal pure returns (uint64) {
        return uint64(_bound(x, low, high));
    }

    /// The first `length` hashes of `proof`, filled up with zeros where there are fewer.
    function _resized(bytes32[] memory proof, uint256 length) internal pure returns (bytes32[] memory resized) {
        resized = new bytes32[](length);
        for (uint256 i; i < length && i < proof.length; ++i) {
            resized[i] = proof[i];
        }
    }

    /// `proof` with one of its bits turned over.
    function _flipped(bytes32[] memory proof, uint256 bit) internal pure returns (bytes32[] memory flipped) {
        flipped = _resized(proof, proof.length);
        flipped[(bit / 256) % proof.length] ^= bytes32(1 << (bit % 256));
    }
}
