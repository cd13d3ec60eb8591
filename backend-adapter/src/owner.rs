//! Whose process is at the other end of a connection on this machine, by the kernel's word.
//!
//! A unix socket tells by itself who listens (SO_PEERCRED, unix(7)). Of a TCP connection the kernel
//! is asked through sock_diag(7): one socket per question, found as a packet to it would be, so that
//! the cost does not grow with the number of connections. A kernel that cannot answer
//! (CONFIG_INET_DIAG, CONFIG_INET_TCP_DIAG) knows no listener, and nothing is sent.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd,
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
    },
};

/// The user who listens at `address`, if somebody does.
pub fn listener_uid(address: SocketAddr) -> io::Result<Option<u32>> {
    let anybody = match address {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    Ok(find(address, (anybody, 0).into())?.map(|found| found.uid))
}

/// The first user other than `expected` who could read what is written into the connection from
/// `client` to `server`.
///
/// The listener comes first. While nobody has accepted the connection, only who listens at that
/// moment can, since a listener that closes takes its queue with it; once somebody has, the second
/// answer tells who.
pub(crate) fn stranger(server: SocketAddr, client: SocketAddr, expected: u32) -> io::Result<Option<u32>> {
    let gone = || io::Error::from(io::ErrorKind::ConnectionReset);
    let listener = listener_uid(server)?.ok_or_else(gone)?;
    let accepted = find(server, client)?.ok_or_else(gone)?;
    let readers = [Some(listener), (accepted.inode != 0).then_some(accepted.uid)];
    Ok(readers.into_iter().flatten().find(|uid| *uid != expected))
}

/// What `struct inet_diag_msg` says of a socket.
struct Found {
    uid: u32,
    /// 0 until a process has accepted the connection.
    inode: u32,
}

/// The TCP socket of `local` that a packet from `remote` would reach.
fn find(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<Found>> {
    let kernel = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    sendto(kernel.as_raw_fd(), &question(local, remote), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0; 1024];
    // The answer is there when the question has been taken.
    let length = recv(kernel.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
    read(answer.get(..length).unwrap_or_default())
}

/// `struct nlmsghdr`, then `struct inet_diag_req_v2`: ports and addresses in network order, the rest
/// in the machine's.
fn question(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let family = if local.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let mut body = vec![family as u8, TCP, 0, 0];
    body.extend(u32::MAX.to_ne_bytes());
    body.extend([local.port().to_be_bytes(), remote.port().to_be_bytes()].as_flattened());
    body.extend([octets(local.ip()), octets(remote.ip())].as_flattened());
    // Any interface, and no cookie.
    body.extend([0, u32::MAX, u32::MAX].map(u32::to_ne_bytes).as_flattened());
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let (kind, flags) = (SOCK_DIAG_BY_FAMILY.to_ne_bytes(), NLM_F_REQUEST.to_ne_bytes());
    [&length.to_ne_bytes()[..], &kind, &flags, &[0; 8], &body].concat()
}

fn octets(ip: IpAddr) -> [u8; 16] {
    let mut octets = [0; 16];
    match ip {
        IpAddr::V4(ip) => octets[..4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => octets = ip.octets(),
    }
    octets
}

fn read(answer: &[u8]) -> io::Result<Option<Found>> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let number = |at| word(answer, at).map(u32::from_ne_bytes).ok_or_else(malformed);
    let [low, high, ..] = word(answer, 4).ok_or_else(malformed)?;
    match u16::from_ne_bytes([low, high]) {
        SOCK_DIAG_BY_FAMILY => Ok(Some(Found { uid: number(HEADER + UID)?, inode: number(HEADER + INODE)? })),
        NLMSG_ERROR => {
            let error = Errno::from_raw(number(HEADER)?.cast_signed().wrapping_neg());
            if error == Errno::ENOENT { Ok(None) } else { Err(error.into()) }
        }
        _ => Err(malformed()),
    }
}

fn word(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at..)?.first_chunk().copied()
}

const TCP: u8 = 6;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Offsets of `idiag_uid` and `idiag_inode` in `struct inet_diag_msg`.
const UID: usize = 64;
const INODE: usize = 68;

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use nix::unistd::geteuid;

    use super::*;

    #[test]
    fn a_listener_and_who_accepted_are_known_in_each_family() {
        let me = geteuid().as_raw();
        for (bound, reached) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("[::]:0", "127.0.0.1")] {
            let Ok(listener) = TcpListener::bind(bound) else {
                println!("skipped: no {bound} on this machine");
                continue;
            };
            let server = SocketAddr::new(reached.parse().unwrap(), listener.local_addr().unwrap().port());
            let client = TcpStream::connect(server).unwrap();
            let from = client.local_addr().unwrap();
            let known = |accepted: bool| {
                assert_eq!(listener_uid(server).unwrap(), Some(me));
                assert_eq!(find(server, from).unwrap().unwrap().inode != 0, accepted, "{bound}");
                assert_eq!(stranger(server, from, me).unwrap(), None, "{bound}");
                assert_eq!(stranger(server, from, me + 1).unwrap(), Some(me), "{bound}");
            };
            known(false);
            let _accepted = listener.accept().unwrap();
            known(true);
        }
    }

    #[test]
    fn where_nobody_listens_nobody_is_named() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(listener_uid(free).unwrap(), None);
        assert_eq!(stranger(free, free, 0).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for bytes in [&[][..], &[0; 16], &[0xff; 90]] {
            assert_eq!(read(bytes).err().unwrap().kind(), io::ErrorKind::InvalidData);
        }
    }
}
