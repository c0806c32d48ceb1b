"""The configuration files of a private network, as text."""

from .network import (
    AUTHORITY,
    CLIENT,
    CONTROL_PORT,
    DIR_PORT,
    OR_PORT,
    OR_UDP_PORT,
    RELAY,
    SOCKS_PORT,
    Network,
    Node,
)

# Seconds. The first vote is taken both delays before a multiple of the first interval of wall time;
# after a first consensus the calmer second schedule applies, and mends it if nodes were missing.
FIRST_INTERVAL, FIRST_DELAY = 10, 2
INTERVAL, DELAY = 20, 4

COMMON = """\
TestingTorNetwork 1
Nickname {name}
DataDirectory {directory}
Log {log} file {directory}/tor.log
ControlPort {address}:{control_port}
CookieAuthentication 1
SafeLogging 0
ShutdownWaitLength 2
__OwningControllerProcess {owner}
"""

SERVER = """\
Address {address}
ORPort {address}:{or_port} IPv4Only
DirPort {address}:{dir_port}
SocksPort 0
AssumeReachable 1
ExitRelay 1
ExitPolicy accept *:*
IPv6Exit 0
ServerDNSDetectHijacking 0
ServerDNSTestAddresses
ServerDNSAllowBrokenConfig 1
BandwidthRate 1 GB
BandwidthBurst 1 GB
ContactInfo none
__DisablePredictedCircuits 1
"""

# Flags are given however short the nodes have been up.
AUTHORITY_ONLY = """\
AuthoritativeDirectory 1
V3AuthoritativeDirectory 1
V3AuthVotingInterval {interval}
V3AuthVoteDelay {delay}
V3AuthDistDelay {delay}
TestingV3AuthInitialVotingInterval {first_interval}
TestingV3AuthInitialVoteDelay {first_delay}
TestingV3AuthInitialDistDelay {first_delay}
TestingDirAuthVoteExit *
TestingDirAuthVoteGuard *
TestingDirAuthVoteHSDir *
TestingMinExitFlagThreshold 0
MinMeasuredBWsForAuthToIgnoreAdvertised 0
ConsensusParams cc_alg=2
"""

# The run says which circuit takes which path and which stream goes on which circuit.
CLIENT_ONLY = """\
SocksPort {address}:{socks_port}
ConfluxEnabled 0
ConnectionPadding 0
CircuitPadding 0
__DisablePredictedCircuits 1
__LeaveStreamsUnattached 1
UseEntryGuards 0
LearnCircuitBuildTimeout 0
CircuitBuildTimeout 60
MaxCircuitDirtiness 1 day
MaxClientCircuitsPending 64
"""


def torrc(node: Node, network: Network, owner: int, log: str = "notice") -> str:
    """The configuration of one node. `owner` is the process id with which the node ends."""
    values = {
        "name": node.name,
        "directory": node.directory,
        "address": node.address,
        "owner": owner,
        "log": log,
        "control_port": CONTROL_PORT,
        "or_port": OR_PORT,
        "dir_port": DIR_PORT,
        "socks_port": SOCKS_PORT,
        "interval": INTERVAL,
        "delay": DELAY,
        "first_interval": FIRST_INTERVAL,
        "first_delay": FIRST_DELAY,
    }
    text = COMMON.format(**values)
    if node.role != CLIENT:
        text += SERVER.format(**values)
    if node.role == AUTHORITY:
        text += AUTHORITY_ONLY.format(**values)
    if node.role == RELAY and node.patched:
        text += f"ORUDPPort {OR_UDP_PORT}\n"
    if node.role == CLIENT:
        text += CLIENT_ONLY.format(**values)
    return text + directory_servers(network)


def directory_servers(network: Network) -> str:
    """The DirAuthority lines that every node of the network needs."""
    return "".join(
        f"DirAuthority {node.name} orport={OR_PORT} v3ident={node.v3ident} "
        f"{node.address}:{DIR_PORT} {node.fingerprint}\n"
        for node in network.authorities
    )


def seconds_until_start(wall_time: float, needed: float = 4.5) -> float:
    """How long to wait before starting the nodes, so that at least `needed` seconds are left until
    the next vote: descriptors that arrive after it are missing in the first consensus."""
    vote = FIRST_INTERVAL - 2 * FIRST_DELAY
    left = (vote - wall_time) % FIRST_INTERVAL
    return 0.0 if left >= needed else left + FIRST_INTERVAL - vote
