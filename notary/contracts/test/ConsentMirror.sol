// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IConsentRegistry} from "../src/interfaces/IConsentRegistry.sol";
import {ISuccession} from "../src/interfaces/ISuccession.sol";
import {Vm} from "./Test.sol";

/// What a bridge keeps: the grants and the accumulator, from the events alone. It follows the interface's text and
/// shares no code with the contract.
contract ConsentMirror {
    mapping(bytes32 key => uint256 word) public wordOf;
    uint256 public accumulator;
    uint256 public events;

    error NotMine(bytes32 topic);
    error Gap(uint256 mine, uint256 its);

    constructor(address registry) {
        bytes32 start = keccak256(abi.encode(keccak256("medseal/v1/consent-registry"), block.chainid, registry));
        accumulator = uint256(start) / 2 ** 48 * 2 ** 48;
    }

    function take(Vm.Log[] calldata logs) external {
        for (uint256 i; i < logs.length; ++i) {
            _take(logs[i]);
        }
    }

    function _take(Vm.Log calldata log) private {
        (uint8 kind, bool grant) = _kind(log.topics[0]);
        (uint256 word, uint256 its) = (0, 0);
        if (grant) {
            (word, its) = abi.decode(log.data, (uint256, uint256));
            wordOf[log.topics[1]] = word;
        } else {
            its = abi.decode(log.data, (uint256));
        }
        uint256 hash = uint256(
            keccak256(bytes.concat(bytes32(accumulator), bytes32(uint256(kind)), log.topics[1], bytes32(word)))
        );
        accumulator = hash / 2 ** 48 * 2 ** 48 + ++events;
        if (accumulator != its) revert Gap(accumulator, its);
    }

    function _kind(bytes32 topic) private pure returns (uint8, bool) {
        if (topic == IConsentRegistry.Registered.selector) return (1, true);
        if (topic == IConsentRegistry.Granted.selector) return (2, true);
        if (topic == IConsentRegistry.Revoked.selector) return (3, true);
        if (topic == ISuccession.SuccessorNamed.selector) return (0, false);
        revert NotMine(topic);
    }
}
