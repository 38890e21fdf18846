// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Participants} from "../src/Participants.sol";
import {IParticipants} from "../src/interfaces/IParticipants.sol";
import {Test, Vm} from "./Test.sol";

/// A few organisations, their steward and strangers do anything in any order, also what is refused. From the events
/// alone it keeps who is suspended, and the accumulator.
contract ParticipantsHandler is Test {
    uint256 public constant ACCOUNTS = 4;

    Participants public immutable network = new Participants(address(this), 0);
    mapping(address account => IParticipants.Participant) private _mirror;
    uint256 public accumulator;
    uint256 public suspensions;

    constructor() {
        bytes32 start = keccak256(abi.encode(keccak256("medseal/v1/participants"), block.chainid, network));
        accumulator = uint256(start) / 2 ** 48 * 2 ** 48;
        // All but one take part already; otherwise most games would be over before anybody is suspended.
        for (uint256 i = 1; i < ACCOUNTS; ++i) {
            enrol(i, i);
            admit(i, 1, 1);
        }
    }

    function enrol(uint256 i, uint256 what) public {
        string memory name = what % 2 == 0 ? "North" : "South";
        _try(account(i), abi.encodeCall(network.enrol, (name, "https://a.example", bytes32(what))));
    }

    function rotateKey(uint256 i, bytes32 key) external {
        _try(account(i), abi.encodeCall(network.rotateKey, (key)));
    }

    function admit(uint256 i, uint256 who, uint256 what) public {
        IParticipants.Participant memory it = network.participant(account(i));
        if (what % 5 == 0) it.profile = ~it.profile;
        _try(_steward(who), abi.encodeCall(network.admit, (account(i), it.profile, it.signingKey)));
    }

    function suspend(uint256 i, uint256 who) external {
        // One who can be, where there is one further on.
        for (i %= ACCOUNTS; i < ACCOUNTS - 1 && !network.isActive(account(i)); ++i) {}
        _try(_steward(who), abi.encodeCall(network.suspend, (account(i))));
    }

    function readmit(uint256 i, uint256 who) external {
        _try(_steward(who), abi.encodeCall(network.readmit, (account(i))));
    }

    function update(uint256 i, uint256 who, uint256 what) external {
        string memory name = what % 2 == 0 ? "North" : "South";
        _try(_steward(who), abi.encodeCall(network.update, (account(i), name, "https://b.example")));
    }

    function mirror(address account_) external view returns (IParticipants.Participant memory) {
        return _mirror[account_];
    }

    function account(uint256 i) public pure returns (address) {
        return address(uint160(1000 + i % ACCOUNTS));
    }

    /// One in four is an organisation that has no such power.
    function _steward(uint256 who) private view returns (address) {
        return who % 4 == 0 ? account(who) : address(this);
    }

    function _try(address caller, bytes memory call) private {
        vm.recordLogs();
        vm.prank(caller);
        (bool done,) = address(network).call(call);
        Vm.Log[] memory logs = vm.getRecordedLogs(); // Of a refused call too, which on a chain leaves none.
        if (done) _take(logs[0]);
    }

    function _take(Vm.Log memory log) private {
        IParticipants.Participant storage it = _mirror[address(uint160(uint256(log.topics[1])))];
        uint8 kind = _apply(it, log.topics[0], log.data);
        bytes32 word = keccak256(abi.encode(it.status, it.profile, it.signingKey));
        uint256 hash = uint256(keccak256(abi.encode(accumulator, uint256(kind), log.topics[1], word)));
        accumulator = hash / 2 ** 48 * 2 ** 48 + accumulator % 2 ** 48 + 1;
    }

    function _apply(IParticipants.Participant storage it, bytes32 topic, bytes memory data) private returns (uint8) {
        if (topic == IParticipants.Enrolled.selector) {
            (string memory name, string memory endpoint, bytes32 key,) =
                abi.decode(data, (string, string, bytes32, uint256));
            (it.status, it.signingKey) = (IParticipants.Status.Applied, key);
            it.profile = keccak256(abi.encode(name, endpoint));
            return 1;
        }
        if (topic == IParticipants.Updated.selector) {
            (string memory name, string memory endpoint,) = abi.decode(data, (string, string, uint256));
            it.profile = keccak256(abi.encode(name, endpoint));
            return 5;
        }
        if (topic == IParticipants.KeyRotated.selector) {
            (it.signingKey,) = abi.decode(data, (bytes32, uint256));
            return 6;
        }
        if (topic == IParticipants.Suspended.selector) {
            it.status = IParticipants.Status.Suspended;
            ++suspensions;
            return 3;
        }
        it.status = IParticipants.Status.Active;
        return topic == IParticipants.Admitted.selector ? 2 : 4;
    }
}

contract ParticipantsInvariants is Test {
    ParticipantsHandler private handler;

    function setUp() public {
        handler = new ParticipantsHandler();
    }

    /// forge asks for this.
    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function invariant_the_accumulator_replays_to_the_events() public view {
        vm.assertEq(handler.accumulator(), handler.network().accumulator(), "accumulator");
    }

    function invariant_who_is_suspended_or_not_admitted_is_never_active() public view {
        for (uint256 i; i < handler.ACCOUNTS(); ++i) {
            address account = handler.account(i);
            IParticipants.Participant memory mirrored = handler.mirror(account);
            bool active = mirrored.status == IParticipants.Status.Active;
            vm.assertTrue(handler.network().isActive(account) == active, "active, as the events say");
            IParticipants.Participant memory stored = handler.network().participant(account);
            vm.assertEq(keccak256(abi.encode(stored)), keccak256(abi.encode(mirrored)), "a mirror's entry");
        }
    }

    function afterInvariant() external view {
        vm.assertTrue(handler.suspensions() > 0, "nobody was suspended");
    }
}
