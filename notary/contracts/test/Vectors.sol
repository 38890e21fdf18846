// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Test} from "./Test.sol";

/// Reads ../vectors/tree.json, the proofs that Rust verifies too.
abstract contract Vectors is Test {
    struct Tree {
        uint64 size;
        bytes32 root;
    }

    struct Inclusion {
        uint64 size;
        uint64 index;
        bytes32 leaf;
        bytes32 root;
        bytes32[] proof;
    }

    struct Consistency {
        uint64 first;
        uint64 second;
        bytes32 firstRoot;
        bytes32 secondRoot;
        bytes32[] proof;
    }

    string private constant FILE = "../vectors/tree.json";

    function _trees() internal view returns (Tree[] memory list) {
        return abi.decode(_parse(".trees", "Tree(uint64 size,bytes32 root)"), (Tree[]));
    }

    function _inclusions() internal view returns (Inclusion[] memory) {
        return abi.decode(
            _parse(".inclusion", "Inclusion(uint64 size,uint64 index,bytes32 leaf,bytes32 root,bytes32[] proof)"),
            (Inclusion[])
        );
    }

    function _consistencies() internal view returns (Consistency[] memory) {
        return abi.decode(
            _parse(
                ".consistency",
                "Consistency(uint64 first,uint64 second,bytes32 firstRoot,bytes32 secondRoot,bytes32[] proof)"
            ),
            (Consistency[])
        );
    }

    function _parse(string memory key, string memory typeDescription) private view returns (bytes memory) {
        return vm.parseJsonTypeArray(vm.readFile(FILE), key, typeDescription);
    }
}
