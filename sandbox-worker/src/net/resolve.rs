//! Names to addresses, without the C library: literals, then `/etc/hosts`, then DNS.
//!
//! The C library would load plug-ins and talk to local daemons, which the filter of this role
//! forbids. Both files are read before the jail closes; names are absolute, so that no search
//! domain answers for somebody else.

use super::datagram::datagram;
use super::dns::{Answer, Record, answer, question};
use crate::net::limits::{DNS_ANSWER_BYTES, DNS_ROUNDS, DNS_SERVERS_MAX, DNS_TRY, HOSTS_BYTES};
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// The port that name servers listen on.
const DNS_PORT: u16 = 53;

/// Why a name led nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResolveError {
    /// It is no host name.
    NotAName,
    /// It has no address.
    Unknown,
    /// No name server answered.
    Silent,
}

/// What is known about names before anybody is asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resolver {
    hosts: Vec<(String, IpAddr)>,
    servers: Vec<SocketAddr>,
}

fn read_bounded(path: &str) -> String {
    let mut text = Vec::new();
    // A machine without the file is no error: literals still work.
    if let Ok(file) = std::fs::File::open(path) {
        drop(file.take(HOSTS_BYTES).read_to_end(&mut text));
    }
    String::from_utf8_lossy(&text).into_owned()
}

impl Resolver {
    /// Reads both files; must happen before the jail closes.
    pub(crate) fn of_this_machine() -> Self {
        Self::parse(&read_bounded("/etc/hosts"), &read_bounded("/etc/resolv.conf"))
    }

    /// From the texts of both files.
    pub(crate) fn parse(hosts: &str, resolv_conf: &str) -> Self {
        let mut resolver = Self::default();
        for line in hosts.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            if let Some(Ok(address)) = words.next().map(str::parse) {
                resolver.hosts.extend(words.map(|name| (name.to_ascii_lowercase(), address)));
            }
        }
        for line in resolv_conf.lines() {
            let mut words = line.split_whitespace();
            if words.next() == Some("nameserver")
                && let Some(Ok(address)) = words.next().map(str::parse)
                && resolver.servers.len() < DNS_SERVERS_MAX
            {
                resolver.servers.push(SocketAddr::new(address, DNS_PORT));
            }
        }
        if resolver.servers.is_empty() {
            resolver.servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), DNS_PORT));
        }
        resolver
    }

    #[cfg(test)]
    pub(crate) fn with_servers(servers: Vec<SocketAddr>) -> Self {
        Self { hosts: Vec::new(), servers }
    }

    /// All addresses of `host`.
    ///
    /// # Errors
    /// There are none, or nobody says so.
    pub(crate) async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(literal) = bare {
            return literal
                .parse::<Ipv6Addr>()
                .map(|address| vec![address.into()])
                .map_err(|_e| ResolveError::NotAName);
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        // `127.1` and `0x7f.1` are numbers for the C library; here they are nothing.
        let last = host.rsplit('.').next().unwrap_or_default();
        if last.is_empty() || last.bytes().next().is_none_or(|b| b.is_ascii_digit()) {
            return Err(ResolveError::NotAName);
        }
        let name = host.to_ascii_lowercase();
        let known: Vec<_> =
            self.hosts.iter().filter(|row| row.0 == name).map(|row| row.1).collect();
        if !known.is_empty() {
            return Ok(known);
        }
        if name == "localhost" || name.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        self.ask(&name).await
    }

    async fn ask(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let (four, six) =
            tokio::join!(self.ask_for(name, Record::A), self.ask_for(name, Record::Aaaa));
        match (four, six) {
            (Err(error), Err(_)) => Err(error),
            (four, six) => {
                let mut all = four.unwrap_or_default();
                all.extend(six.unwrap_or_default());
                if all.is_empty() { Err(ResolveError::Unknown) } else { Ok(all) }
            }
        }
    }

    async fn ask_for(&self, name: &str, record: Record) -> Result<Vec<IpAddr>, ResolveError> {
        for _ in 0..DNS_ROUNDS {
            for server in &self.servers {
                let id = random_id().ok_or(ResolveError::Silent)?;
                let asked = question(id, name, record).ok_or(ResolveError::NotAName)?;
                let reply = match timeout(DNS_TRY, by_datagram(*server, &asked)).await {
                    Ok(Ok(Answer::Truncated)) => timeout(DNS_TRY, by_stream(*server, &asked)).await,
                    other => other,
                };
                if let Ok(Ok(Answer::Addresses(addresses))) = reply {
                    return Ok(addresses);
                }
            }
        }
        Err(ResolveError::Silent)
    }
}

/// An id that an attacker off the path cannot guess; the random port does the rest.
fn random_id() -> Option<u16> {
    let mut bytes = [0_u8; 2];
    let provider = rustls::crypto::ring::default_provider();
    provider.secure_random.fill(&mut bytes).ok()?;
    Some(u16::from_ne_bytes(bytes))
}

async fn by_datagram(server: SocketAddr, asked: &[u8]) -> io::Result<Answer> {
    let socket = UdpSocket::from_std(datagram(server)?)?;
    socket.send(asked).await?;
    let mut buffer = vec![0_u8; DNS_ANSWER_BYTES];
    loop {
        let read = socket.recv(&mut buffer).await?;
        // Whatever is no answer to this question is noise: wait for the real one.
        if let Ok(answer) = answer(asked, buffer.get(..read).unwrap_or_default()) {
            return Ok(answer);
        }
    }
}

async fn by_stream(server: SocketAddr, asked: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(asked.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), asked].concat()).await?;
    let mut reply = vec![0_u8; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut reply).await?;
    answer(asked, &reply).map_err(|_e| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, reason = "tests")]

    use super::{ResolveError, Resolver};
    use std::net::{IpAddr, SocketAddr};
    use tokio::net::UdpSocket;

    fn parsed() -> Resolver {
        Resolver::parse(
            "127.0.0.1 localhost\n# 9.9.9.9 no\n10.0.0.7  Printer printer.lan # mine\nnonsense x\n",
            "search evil.example\nnameserver 192.0.2.1\nnameserver 192.0.2.2\noptions ndots:5\n",
        )
    }

    #[test]
    fn both_files_are_understood() {
        let resolver = parsed();
        assert_eq!(resolver.servers.len(), 2);
        assert_eq!(resolver.hosts.len(), 3);
        assert_eq!(Resolver::parse("", "").servers, ["127.0.0.1:53".parse().unwrap()]);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn literals_and_known_names_ask_nobody() {
        let resolver = Resolver { servers: Vec::new(), ..parsed() };
        let one = |text: &str| Ok(vec![text.parse::<IpAddr>().unwrap()]);
        assert_eq!(resolver.resolve("8.8.8.8").await, one("8.8.8.8"));
        assert_eq!(resolver.resolve("[::1]").await, one("::1"));
        assert_eq!(resolver.resolve("PRINTER").await, one("10.0.0.7"));
        assert_eq!(resolver.resolve("a.localhost").await.unwrap().len(), 2);
        for name in ["127.1", "2130706433", "0x7f.1", "017700000001", "x.", "", "[::1%lo]", "[x]"] {
            assert_eq!(resolver.resolve(name).await, Err(ResolveError::NotAName), "{name}");
        }
    }

    /// A server that first sends noise, then the answer: an address for A, none for AAAA.
    async fn name_server() -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (read, from) = socket.recv_from(&mut buffer).await.unwrap();
                let mut reply = buffer[..read].to_vec();
                reply[0] ^= 1;
                reply[2] = 0x81;
                socket.send_to(&reply, from).await.unwrap();
                reply[0] ^= 1;
                if reply[read - 3] == 1 {
                    reply[7] = 1;
                    reply.extend_from_slice(&[0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 8, 8, 4, 4]);
                }
                socket.send_to(&reply, from).await.unwrap();
            }
        });
        (address, task)
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_server_is_asked_and_noise_is_not_believed() {
        let (server, task) = name_server().await;
        let resolver = Resolver::with_servers(vec![server]);
        let found = resolver.resolve("some.example").await;
        assert_eq!(found, Ok(vec!["8.8.4.4".parse().unwrap()]));
        task.abort();
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_silent_server_is_not_an_unknown_name() {
        let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let resolver = Resolver::with_servers(vec![gone]);
        assert_eq!(resolver.resolve("some.example").await, Err(ResolveError::Silent));
    }
}
