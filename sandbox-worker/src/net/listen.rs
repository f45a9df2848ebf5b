//! Who connects to this host's runtime: accepted here, and relayed to the one sandbox that they are
//! for. No byte of theirs is looked at.
//!
//! Nobody is known here: that there is room for those who prove who they are is seen to by the
//! sandbox, which shows out strangers. Here each address gets its share of what is let in, and one
//! of version 6 is what one host may have: a whole network.
//!
//! The listener was bound before the jail closed. Nobody is accepted before there is a sandbox that
//! takes them; until then they wait in the kernel's queue, which has its own bound.

use super::limits::{
    ACCEPT_PAUSE, ADDRESS_BURST, ADDRESS_PER_SECOND, ADDRESSES_RATED, GUESTS_BURST,
    GUESTS_PER_ADDRESS, GUESTS_PER_SECOND, NETWORK_BITS, TURNED_AWAY_SAID,
};
use crate::engine::bucket::Bucket;
use protocol::limits::GUESTS_MAX;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::Id;
use tokio::time::{Instant, sleep, sleep_until};

/// Where others come in.
#[derive(Debug)]
pub(super) struct Door {
    listener: Option<TcpListener>,
    /// For which sandbox.
    pub(super) sandbox: Option<u32>,
    /// By task: of which [`whose`].
    guests: HashMap<Id, IpAddr>,
    shares: Shares,
    rate: Bucket,
    begun: Instant,
    turned_away: u64,
    /// When the next word on those may be said.
    say_at: Instant,
}

/// What happened at the door.
#[derive(Debug)]
pub(super) enum Knock {
    /// Somebody is let in.
    Guest(TcpStream, SocketAddr),
    /// So many were not.
    TurnedAway(u64),
}

impl Door {
    /// With the listener that was bound, if it was.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub(super) fn new(listener: Option<std::net::TcpListener>) -> io::Result<Self> {
        let listener = listener
            .map(|listener| {
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener)
            })
            .transpose()?;
        let begun = Instant::now();
        Ok(Self {
            listener,
            sandbox: None,
            guests: HashMap::new(),
            shares: Shares::default(),
            rate: Bucket::new(GUESTS_PER_SECOND, GUESTS_BURST),
            begun,
            turned_away: 0,
            say_at: begun,
        })
    }

    /// Waits until somebody is let in, or until there is a word to say on those who were not.
    pub(super) async fn knock(&mut self) -> Knock {
        loop {
            let waiting = self.turned_away > 0;
            let listener = self.listener.as_ref().filter(|_| self.sandbox.is_some());
            let accepted = tokio::select! {
                accepted = accept(listener) => accepted,
                () = sleep_until(self.say_at), if waiting => return self.word(),
            };
            match accepted {
                Ok((stream, from)) if self.lets_in(from.ip()) => {
                    return Knock::Guest(stream, from);
                }
                // Closed at once, which costs less than anything that could be said to it.
                Ok(_) => self.turned_away = self.turned_away.saturating_add(1),
                // No descriptors, or the connection is gone again.
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn word(&mut self) -> Knock {
        let now = Instant::now();
        self.say_at = now.checked_add(TURNED_AWAY_SAID).unwrap_or(now);
        Knock::TurnedAway(std::mem::take(&mut self.turned_away))
    }

    fn lets_in(&mut self, from: IpAddr) -> bool {
        let (from, now) = (whose(from), self.begun.elapsed());
        let of_address = self.guests.values().filter(|guest| **guest == from).count();
        self.guests.len() < GUESTS_MAX
            && of_address < GUESTS_PER_ADDRESS
            && self.rate.has(now)
            && self.shares.take(from, now)
            && self.rate.take(now)
    }

    /// It is served by this task.
    pub(super) fn came(&mut self, task: Id, from: IpAddr) {
        self.guests.insert(task, whose(from));
    }

    /// Whether that is the task of somebody who came.
    pub(super) fn has(&self, task: Id) -> bool {
        self.guests.contains_key(&task)
    }

    /// A task has ended, whosever it was.
    pub(super) fn left(&mut self, task: Id) {
        self.guests.remove(&task);
    }

    /// Nobody is accepted for this sandbox any more.
    pub(super) fn forget(&mut self, sandbox: u32) {
        self.sandbox.take_if(|of| *of == sandbox);
    }
}

/// The rate of each address, so that whoever knocks without end uses up its own alone.
#[derive(Debug, Default)]
struct Shares {
    by_address: HashMap<IpAddr, Bucket>,
}

impl Shares {
    /// Whether this one may come now.
    fn take(&mut self, from: IpAddr, now: Duration) -> bool {
        if self.by_address.len() >= ADDRESSES_RATED && !self.by_address.contains_key(&from) {
            self.by_address.retain(|_, share| !share.is_full(now));
            if self.by_address.len() >= ADDRESSES_RATED {
                return true;
            }
        }
        let share = self
            .by_address
            .entry(from)
            .or_insert_with(|| Bucket::new(ADDRESS_PER_SECOND, ADDRESS_BURST));
        share.take(now)
    }
}

/// Which address counts: of version 6 the network, and one of version 4 in whichever spelling.
fn whose(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let host = u128::MAX.checked_shr(NETWORK_BITS).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !host))
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::{ADDRESS_BURST, ADDRESSES_RATED, Shares, whose};
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    #[test]
    fn attack_022_a_host_with_a_network_of_its_own_is_one_address() {
        let whose = |text: &str| whose(text.parse().unwrap());
        assert_eq!(whose("2001:db8::1"), whose("2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(whose("2001:db8::1"), whose("2001:db8:0:1::1"));
        assert_eq!(whose("::ffff:192.0.2.1"), whose("192.0.2.1"));
        assert_ne!(whose("192.0.2.1"), whose("192.0.2.2"));
    }

    #[test]
    fn attack_022_who_knocks_without_end_uses_up_its_own_share() {
        let mut shares = Shares::default();
        let [eve, bob] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        let now = Duration::from_secs(1);
        let let_in = (0..1_000).filter(|_| shares.take(eve, now)).count();
        assert_eq!(let_in, usize::try_from(ADDRESS_BURST).unwrap());
        assert!(shares.take(bob, now));
        assert!(shares.take(eve, Duration::from_secs(2)), "it gets more with time");
        // And the book of them has an end.
        for address in 0..10_000 {
            assert!(shares.take(Ipv4Addr::from_bits(address).into(), now));
        }
        assert_eq!(shares.by_address.len(), ADDRESSES_RATED);
        assert!(!(0..99).all(|_| shares.take(eve, Duration::from_secs(2))), "it is still known");
        shares.take(Ipv4Addr::from_bits(20_000).into(), Duration::from_hours(1));
        assert_eq!(shares.by_address.len(), 1, "who has not come for long is forgotten");
    }
}
