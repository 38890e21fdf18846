// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {
    AccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {Accumulator} from "./base/Accumulator.sol";
import {Succession} from "./base/Succession.sol";
import {IParticipants} from "./interfaces/IParticipants.sol";

/// @title The register of the organisations of a network
contract Participants is IParticipants, Succession, AccessControlDefaultAdminRules {
    /// @inheritdoc IParticipants
    bytes32 public constant STEWARD = keccak256("medseal/steward");

    uint256 private constant NAME_BYTES = 200;
    uint256 private constant ENDPOINT_BYTES = 500;

    uint8 private constant ENROLLED = 1;
    uint8 private constant ADMITTED = 2;
    uint8 private constant SUSPENDED = 3;
    uint8 private constant READMITTED = 4;
    uint8 private constant UPDATED = 5;
    uint8 private constant KEY_ROTATED = 6;

    // Its slot is promised by the interface; a test holds it there.
    mapping(address account => Participant) private _participants;

    /// The administrator is a steward at first. He may appoint others and resign that part.
    /// @param delay How many seconds stand between the two steps of handing the office on.
    constructor(address administrator, uint48 delay)
        Accumulator(keccak256("medseal/v1/participants"))
        AccessControlDefaultAdminRules(delay, administrator)
    {
        _grantRole(STEWARD, administrator);
    }

    /// @inheritdoc IParticipants
    function participant(address account) external view returns (Participant memory) {
        return _participants[account];
    }

    /// @inheritdoc IParticipants
    function isActive(address account) external view returns (bool) {
        return _participants[account].status == Status.Active;
    }

    /// @inheritdoc IParticipants
    function profileOf(string calldata name, string calldata endpoint) public pure returns (bytes32) {
        return keccak256(abi.encode(name, endpoint));
    }

    /// @inheritdoc IParticipants
    function enrol(string calldata name, string calldata endpoint, bytes32 signingKey) external {
        Participant storage entry = _participants[msg.sender];
        Status status = entry.status;
        if (status != Status.Unknown && status != Status.Applied) revert WrongStatus(msg.sender, status);
        if (signingKey == 0) revert ZeroKey();
        _describe(entry, name, endpoint);

        entry.status = Status.Applied;
        entry.signingKey = signingKey;
        emit Enrolled(msg.sender, name, endpoint, signingKey, _noted(ENROLLED, msg.sender));
    }

    /// @inheritdoc IParticipants
    function rotateKey(bytes32 signingKey) external {
        _require(msg.sender, Status.Active);
        if (signingKey == 0) revert ZeroKey();
        _participants[msg.sender].signingKey = signingKey;
        emit KeyRotated(msg.sender, signingKey, _noted(KEY_ROTATED, msg.sender));
    }

    /// @inheritdoc IParticipants
    function admit(address account, bytes32 profile, bytes32 signingKey) external onlyRole(STEWARD) {
        _require(account, Status.Applied);
        Participant storage entry = _participants[account];
        if (entry.profile != profile || entry.signingKey != signingKey) {
            revert OtherApplication(account, entry.profile, entry.signingKey);
        }
        entry.status = Status.Active;
        emit Admitted(account, _noted(ADMITTED, account));
    }

    /// @inheritdoc IParticipants
    function suspend(address account) external onlyRole(STEWARD) {
        _require(account, Status.Active);
        _participants[account].status = Status.Suspended;
        emit Suspended(account, _noted(SUSPENDED, account));
    }

    /// @inheritdoc IParticipants
    function readmit(address account) external onlyRole(STEWARD) {
        _require(account, Status.Suspended);
        _participants[account].status = Status.Active;
        emit Readmitted(account, _noted(READMITTED, account));
    }

    /// @inheritdoc IParticipants
    function update(address account, string calldata name, string calldata endpoint) external onlyRole(STEWARD) {
        Participant storage entry = _participants[account];
        Status status = entry.status;
        if (status != Status.Active && status != Status.Suspended) revert WrongStatus(account, status);
        _describe(entry, name, endpoint);
        emit Updated(account, name, endpoint, _noted(UPDATED, account));
    }

    function _describe(Participant storage entry, string calldata name, string calldata endpoint) private {
        (uint256 nameBytes, uint256 endpointBytes) = (bytes(name).length, bytes(endpoint).length);
        bool empty = nameBytes == 0 || endpointBytes == 0;
        if (empty || nameBytes > NAME_BYTES || endpointBytes > ENDPOINT_BYTES) {
            revert BadText(nameBytes, endpointBytes);
        }
        entry.profile = profileOf(name, endpoint);
    }

    function _require(address account, Status status) private view {
        Status is_ = _participants[account].status;
        if (is_ != status) revert WrongStatus(account, is_);
    }

    /// Folds an event of `account` in, once its entry is as it is after it.
    function _noted(uint8 kind, address account) private returns (uint256) {
        Participant storage entry = _participants[account];
        bytes32 word = keccak256(abi.encode(entry.status, entry.profile, entry.signingKey));
        return _recorded(kind, bytes32(uint256(uint160(account))), uint256(word));
    }

    function _administrator() internal view override returns (address) {
        return defaultAdmin();
    }
}
