//! Interfaces, by rtnetlink (RFC 3549). Until the gateway serves there is loopback and nothing else, so that nobody outside
//! reaches anything, and nothing in here reaches anybody.

use std::{
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use crate::{Doing, Stop, cmdline::Network, say};

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
/// NLM_F_REQUEST, NLM_F_ACK; of new things also NLM_F_CREATE and NLM_F_EXCL.
const CHANGE: u16 = 0x05;
const CREATE: u16 = 0x605;
const IPV4: u8 = 2;

pub(crate) fn loopback() -> Result<(), Stop> {
    up("lo")
}

/// The first interface that is not loopback.
pub(crate) fn open(network: &Network) -> Result<(), Stop> {
    let names = fs::read_dir("/sys/class/net").doing("/sys/class/net")?;
    let mut names: Vec<_> =
        names.flatten().map(|name| name.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name != "lo");
    names.sort();
    let name = names.first().ok_or("the machine has no network interface").doing("network")?;
    up(name)?;
    let index = index(name)?;
    let own = network.address.octets();
    let mut address = vec![IPV4, network.prefix, 0, 0];
    address.extend(index.to_le_bytes());
    // IFA_LOCAL and IFA_ADDRESS.
    address.extend(attribute(2, own));
    address.extend(attribute(1, own));
    ask(RTM_NEWADDR, CREATE, &address).doing(format!("address of {name}"))?;
    // Table main, of a static configuration, to everywhere: unicast.
    let mut route = vec![IPV4, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
    // RTA_GATEWAY.
    route.extend(attribute(5, network.gateway.octets()));
    ask(RTM_NEWROUTE, CREATE, &route).doing(format!("route of {name}"))?;
    say(&format!("network: {name} is {}/{}", network.address, network.prefix));
    Ok(())
}

fn up(name: &str) -> Result<(), Stop> {
    let mut link = vec![0; 4];
    link.extend(index(name)?.to_le_bytes());
    // IFF_UP, and that it is what changes.
    link.extend([1_u32.to_le_bytes(), 1_u32.to_le_bytes()].concat());
    ask(RTM_NEWLINK, CHANGE, &link).doing(format!("interface {name}"))
}

fn index(name: &str) -> Result<u32, Stop> {
    let file = format!("/sys/class/net/{name}/ifindex");
    let text = fs::read_to_string(&file).doing(&file)?;
    text.trim().parse().doing(file)
}

/// Length, type, value of four bytes.
fn attribute(kind: u16, value: [u8; 4]) -> Vec<u8> {
    [&8_u16.to_le_bytes()[..], &kind.to_le_bytes(), &value].concat()
}

/// One request; the kernel's verdict on it.
fn ask(kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    const HEADER: usize = 16;
    let length = u32::try_from(HEADER + body.len()).map_err(io::Error::other)?;
    let mut message = length.to_le_bytes().to_vec();
    message.extend([kind.to_le_bytes(), flags.to_le_bytes()].concat());
    message.extend([1_u32.to_le_bytes(), 0_u32.to_le_bytes()].concat());
    message.extend(body);
    let socket: OwnedFd =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    sendto(socket.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0; 1024];
    recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // NLMSG_ERROR: behind the header a negative errno, or 0.
    match answer.get(HEADER..HEADER + 4).and_then(|code| code.try_into().ok()).map(i32::from_le_bytes) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}
