// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAccumulator} from "./IAccumulator.sol";
import {ISuccession} from "./ISuccession.sol";

/// @title Which organisations take part in the network
/// @notice Bridges find each other here and check each other by it: an organisation's name, its FHIR endpoint, and the
/// hash of the keys that it signs with. An organisation enrols by itself; whoever holds STEWARD admits, suspends,
/// readmits and updates; the administrator appoints stewards. The administrator's own office moves in two steps, with
/// a delay (OpenZeppelin's AccessControlDefaultAdminRules). All of this is public, and nothing of it is about a patient.
/// @dev Storage is part of this interface. Slot 0: the accumulator (IAccumulator), whose domain is
/// `keccak256("medseal/v1/participants")`. A participant's entry starts at `keccak256(account || uint256(5))`, the
/// account left-padded: its status (one byte, the lowest), in the next slot the profile, and then the signing key.
///
/// Each event of a participant is folded into the accumulator with the account, left-padded, as key, and as word
/// `keccak256(abi.encode(status, profile, signingKey))` of the entry as it is after the event.
interface IParticipants is ISuccession, IAccumulator {
    enum Status {
        Unknown,
        Applied,
        Active,
        Suspended
    }

    /// What is stored of a participant. `profile` is `keccak256(abi.encode(name, endpoint))`, whose texts are in the
    /// events. `signingKey` is the SHA-256 of the keys document (JWKS) that the organisation publishes.
    struct Participant {
        Status status;
        bytes32 profile;
        bytes32 signingKey;
    }

    /// `account` asks to be admitted, or changes what it asked. Kind 1.
    event Enrolled(address indexed account, string name, string endpoint, bytes32 signingKey, uint256 accumulator);

    /// `account` takes part from now on. Kind 2.
    event Admitted(address indexed account, uint256 accumulator);

    /// `account` takes no part from now on. Kind 3.
    event Suspended(address indexed account, uint256 accumulator);

    /// `account` takes part again. Kind 4.
    event Readmitted(address indexed account, uint256 accumulator);

    /// `account` has another name or endpoint. Kind 5.
    event Updated(address indexed account, string name, string endpoint, uint256 accumulator);

    /// `account` signs with other keys. Kind 6.
    event KeyRotated(address indexed account, bytes32 signingKey, uint256 accumulator);

    /// What was asked cannot be done with `account`, whose status is `status`.
    error WrongStatus(address account, Status status);

    /// `account` enrolled with another profile or key than those that were to be admitted.
    error OtherApplication(address account, bytes32 profile, bytes32 signingKey);

    /// A name has 1 to 200 bytes and an endpoint 1 to 500: every mirror keeps them.
    error BadText(uint256 nameBytes, uint256 endpointBytes);

    /// Zero is the hash of no key.
    error ZeroKey();

    /// The role that admits, suspends, readmits and updates.
    function STEWARD() external view returns (bytes32);

    /// What is stored of `account`.
    function participant(address account) external view returns (Participant memory);

    /// Whether `account` takes part now.
    function isActive(address account) external view returns (bool);

    /// The hash of name and endpoint that is stored.
    function profileOf(string calldata name, string calldata endpoint) external pure returns (bytes32);

    /// Asks to be admitted; the caller is the participant. Until then it may be asked anew, with other words.
    function enrol(string calldata name, string calldata endpoint, bytes32 signingKey) external;

    /// Signs with other keys from now on. A suspended participant cannot: what it may do is not its own to say.
    function rotateKey(bytes32 signingKey) external;

    /// Admits an applicant with the profile and the key that the steward has looked at.
    /// @dev Both are repeated, since the applicant may enrol anew while the steward's transaction is on its way.
    function admit(address account, bytes32 profile, bytes32 signingKey) external;

    /// Ends an active participant's part at once.
    function suspend(address account) external;

    /// Lets a suspended participant take part again, as it was.
    function readmit(address account) external;

    /// Gives an admitted participant, suspended or not, another name or endpoint. Its key is its own to rotate.
    function update(address account, string calldata name, string calldata endpoint) external;
}
