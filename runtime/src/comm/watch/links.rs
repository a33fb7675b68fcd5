//! Connections between the watching threads: TCP, one between any two ranks, beside MPI.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::hash_map::RandomState;
use std::ffi::CStr;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The answer to an attempt to connect takes no longer; else the next address is tried.
const ATTEMPT: Duration = Duration::from_secs(2);
/// Between two looks for a connection that comes in.
const PAUSE: Duration = Duration::from_millis(1);

/// Where a rank can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::comm) struct RankAddress {
    /// The machine's name.
    pub host: String,
    /// The same for processes that reach each other by the loopback address: of one boot of one
    /// machine, and in one network namespace.
    network: Option<String>,
    /// All addresses of the machine but its loopback. Some may lead nowhere, or to another machine.
    addresses: Vec<IpAddr>,
    port: u16,
    /// What tells this rank from whoever else listens at one of the addresses.
    token: u128,
}

/// This rank's end, to which others connect.
#[derive(Debug)]
pub(in crate::comm) struct Listener {
    socket: TcpListener,
    pub address: RankAddress,
}

impl Listener {
    /// Listens at all addresses of the machine, at a port that the system chooses.
    pub fn open() -> Result<Self> {
        let refused = |why: io::Error| Error::machine(format!("cannot listen for the other ranks: {why}"));
        let any6 = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0));
        // Without IPv6, or where an IPv6 socket takes no IPv4.
        let v4_too = fs::read_to_string("/proc/sys/net/ipv6/bindv6only").is_ok_and(|text| text.trim() == "0");
        let socket = match any6 {
            Ok(socket) if v4_too => socket,
            Ok(_) | Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(refused)?,
        };
        let port = socket.local_addr().map_err(refused)?.port();
        socket.set_nonblocking(true).map_err(refused)?;
        let random = || u128::from(RandomState::new().build_hasher().finish());
        let address = RankAddress {
            host: host_name(),
            network: network(),
            addresses: machine_addresses(),
            port,
            token: random() << 64 | random(),
        };
        Ok(Self { socket, address })
    }

    /// Connects to every other rank; `all` are the addresses by rank. A rank connects to those
    /// before it and is connected to by those behind it.
    ///
    /// # Errors
    /// One of them is not reached before `end`.
    pub fn connect(self, rank: usize, all: &[RankAddress], end: Instant) -> Result<Vec<Option<TcpStream>>> {
        let mut streams: Vec<Option<TcpStream>> = all.iter().map(|_| None).collect();
        for (other, address) in all.iter().enumerate().take(rank) {
            streams[other] = Some(reach(rank, &self.address, other, address, end)?);
        }
        while let Some(missing) = (rank + 1..all.len()).find(|&other| streams[other].is_none()) {
            match self.socket.accept() {
                Ok((stream, _)) => {
                    // Whoever else connects here is sent away.
                    if let Ok(other) = admit(&stream, rank, all) {
                        streams[other] = Some(stream);
                    }
                }
                Err(_) if Instant::now() < end => sleep(PAUSE),
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => {
                    return Err(unreached(missing, &all[missing], "no connection has come from it"));
                }
                Err(why) => return Err(unreached(missing, &all[missing], &why.to_string())),
            }
        }
        for stream in streams.iter().flatten() {
            let set = stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true));
            set.map_err(|why| Error::machine(format!("cannot set up a connection to another rank: {why}")))?;
        }
        Ok(streams)
    }
}

fn unreached(rank: usize, address: &RankAddress, why: &str) -> Error {
    Error::machine(format!("rank {rank} on {}: cannot be reached by TCP: {why}", address.host)).help(
        "ranks watch each other at ports that the system chooses: let TCP connections between the machines of a run \
         through",
    )
}

/// Connects to a rank at the first of its addresses that leads to it.
fn reach(rank: usize, own: &RankAddress, other: usize, address: &RankAddress, end: Instant) -> Result<TcpStream> {
    let here = own.network.is_some() && own.network == address.network;
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
    let addresses = if here { &loopback[..] } else { &address.addresses[..] };
    let mut why = "it has no address".to_string();
    while !addresses.is_empty() {
        for &ip in addresses {
            let at = SocketAddr::new(ip, address.port);
            match TcpStream::connect_timeout(&at, ATTEMPT).and_then(|stream| introduce(stream, rank, own, address)) {
                Ok(stream) => return Ok(stream),
                Err(error) => why = format!("{at}: {error}"),
            }
        }
        if Instant::now() >= end {
            break;
        }
        sleep(PAUSE);
    }
    Err(unreached(other, address, &why))
}

/// Says who connects, and makes sure of whom it is connected to.
fn introduce(mut stream: TcpStream, rank: usize, own: &RankAddress, to: &RankAddress) -> io::Result<TcpStream> {
    stream.set_read_timeout(Some(ATTEMPT))?;
    stream.write_all(&to.token.to_le_bytes())?;
    stream.write_all(&(rank as u64).to_le_bytes())?;
    let mut answer = [0; 16];
    stream.read_exact(&mut answer)?;
    if u128::from_le_bytes(answer) != own.token {
        return Err(io::Error::other("another program answers there"));
    }
    Ok(stream)
}

/// The rank that has connected.
fn admit(mut stream: &TcpStream, rank: usize, all: &[RankAddress]) -> io::Result<usize> {
    // Whether an accepted socket blocks is up to the system.
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(ATTEMPT))?;
    let (mut token, mut other) = ([0; 16], [0; 8]);
    stream.read_exact(&mut token)?;
    stream.read_exact(&mut other)?;
    let foreign = || io::Error::other("not a rank of this run");
    let other = usize::try_from(u64::from_le_bytes(other)).map_err(|_| foreign())?;
    if u128::from_le_bytes(token) != all[rank].token || other <= rank || other >= all.len() {
        return Err(foreign());
    }
    stream.write_all(&all[other].token.to_le_bytes())?;
    Ok(other)
}

/// The machine's name.
pub(in crate::comm) fn host_name() -> String {
    let mut name = [0u8; 256];
    // SAFETY: the buffer has the length that is passed; its last byte stays 0.
    unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
    CStr::from_bytes_until_nul(&name).expect("the last byte is 0").to_string_lossy().into_owned()
}

/// What processes share that reach each other by the loopback address, where the system tells it.
fn network() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/net").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// The addresses of the network interfaces, without those that lead nowhere from another machine.
fn machine_addresses() -> Vec<IpAddr> {
    let mut found = Vec::new();
    let mut list = std::ptr::null_mut::<libc::ifaddrs>();
    // SAFETY: the pointer is of a local; on success it is the head of a list that is freed below.
    if unsafe { libc::getifaddrs(&mut list) } != 0 {
        return found;
    }
    let mut at = list;
    // SAFETY: entries of the list that `getifaddrs` made, valid until it is freed; the family of an
    // address says which type it has.
    unsafe {
        while let Some(interface) = at.as_ref() {
            if let Some(address) = interface.ifa_addr.as_ref() {
                match i32::from(address.sa_family) {
                    libc::AF_INET => {
                        let v4 = interface.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned();
                        found.push(IpAddr::V4(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr))));
                    }
                    libc::AF_INET6 => {
                        let v6 = interface.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned();
                        found.push(IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr)));
                    }
                    _ => {}
                }
            }
            at = interface.ifa_next;
        }
        libc::freeifaddrs(list);
    }
    let far = |ip: &IpAddr| match ip {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    found.retain(far);
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn every_two_ranks_are_connected_though_strangers_call() {
        let listeners: Vec<Listener> = (0..4).map(|_| Listener::open().unwrap()).collect();
        let all: Vec<RankAddress> = listeners.iter().map(|listener| listener.address.clone()).collect();
        // One that hangs up, and one that says something else.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, all[0].port)).unwrap());
        TcpStream::connect((Ipv4Addr::LOCALHOST, all[1].port)).unwrap().write_all(&[7; 64]).unwrap();
        std::thread::scope(|scope| {
            for (rank, listener) in listeners.into_iter().enumerate() {
                let all = &all;
                scope.spawn(move || {
                    let mut streams = listener.connect(rank, all, soon()).unwrap();
                    assert_eq!(streams.iter().filter(|stream| stream.is_some()).count(), 3);
                    for (other, stream) in streams.iter_mut().enumerate() {
                        let Some(stream) = stream else { continue };
                        stream.set_nonblocking(false).unwrap();
                        stream.write_all(&[rank as u8]).unwrap();
                        let mut from = [0];
                        stream.read_exact(&mut from).unwrap();
                        assert_eq!(usize::from(from[0]), other);
                    }
                });
            }
        });
    }

    #[test]
    fn addresses_that_lead_to_another_are_passed_over() {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let port = socket.local_addr().unwrap().port();
        let target = Listener { socket, address: RankAddress { port, ..Listener::open().unwrap().address } };
        let stranger = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), target.address.port)).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = stranger.accept().unwrap();
            let _ = stream.write_all(&[1; 16]);
        });
        let own = Listener::open().unwrap().address;
        let mut far = target.address.clone();
        far.network = None;
        far.addresses = vec![Ipv4Addr::new(127, 0, 0, 2).into(), Ipv4Addr::LOCALHOST.into()];
        let all = [target.address.clone(), own.clone()];
        std::thread::scope(|scope| {
            let accepted = scope.spawn(|| target.connect(0, &all, soon()).unwrap());
            reach(1, &own, 0, &far, soon()).unwrap();
            assert!(accepted.join().unwrap()[1].is_some());
        });
    }

    #[test]
    fn a_rank_that_does_not_answer_is_named() {
        let gone = Listener::open().unwrap().address;
        let own = Listener::open().unwrap();
        let all = [gone, own.address.clone()];
        let error = own.connect(1, &all, Instant::now()).unwrap_err();
        assert!(error.message.starts_with("rank 0 on ") && error.message.contains("cannot be reached"), "{error}");
    }
}
