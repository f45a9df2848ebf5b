//! The net role: resolves, checks and connects for sandboxes, and relays their bytes.
//!
//! It is the only process of ours that opens network sockets. Which target a sandbox may reach was
//! decided by the daemon; which *addresses* nobody is connected to is decided here, on the very
//! address that is then connected to, so that no second look-up can change it.

mod addresses;
mod datagram;
mod dns;
mod limits;
mod listen;
mod relay;
mod resolve;
#[cfg(test)]
#[allow(unreachable_pub, reason = "it is a module of a library, too")]
#[path = "../../tests/src/skip.rs"]
mod skip;
#[cfg(test)]
mod tests;

use crate::port::{Event, Port, PortError};
use crate::role;
use jail::Profile;
use limits::{
    ADDRESSES_MAX, CONNECT_MAX, CONNECT_SHARE_MIN, RELAYS_PER_SANDBOX, RELAYS_TOTAL, RESULTS_QUEUED,
};
use listen::{Door, Knock};
use protocol::ctl::{ConnectError, CtlDown, CtlUp};
use protocol::sys;
use relay::{Scratch, relay};
use resolve::{ResolveError, Resolver};
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{OwnedFd, RawFd};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, timeout};

/// Where to, for whom, and how long it may take.
#[derive(Debug, Clone)]
struct Wanted {
    req: u64,
    host: String,
    port: u16,
    private: bool,
    budget: Duration,
}

/// Why a stream was not made, and one sentence.
type Refused = (ConnectError, String);

#[derive(Debug)]
struct Outcome {
    req: u64,
    stream: Result<OwnedFd, Refused>,
}

/// All streams of the machine's sandboxes.
struct Net {
    resolver: Rc<Resolver>,
    scratch: Scratch,
    outcomes: mpsc::Sender<Outcome>,
    tasks: JoinSet<()>,
    owners: HashMap<Id, (u32, AbortHandle)>,
    door: Door,
}

/// Runs the role on this link.
///
/// `listen` is bound as the last thing before the jail closes; that it cannot be is said and survived.
pub(crate) fn run(link: RawFd, listen: Option<SocketAddr>) -> ExitCode {
    // Read before the jail closes: afterwards there are no files.
    let resolver = Resolver::of_this_machine();
    let (confined, listener) = match listen {
        None => (jail::confine(Profile::Net), None),
        Some(at) => {
            let closed = jail::confine_listening(Profile::Net, at.port(), || TcpListener::bind(at));
            match closed {
                Ok((confinement, listener)) => (Ok(confinement), Some(listener)),
                Err(error) => (Err(error), None),
            }
        }
    };
    role::enter(confined, link, async |port| {
        port.hello(role::HELLO_NET, 0)?;
        if let Some(listener) = &listener {
            let error = listener.as_ref().err().map(ToString::to_string);
            port.send_ctl(&CtlUp::Listening { error, turned_away: 0 }, Vec::new())?;
        }
        let door = Door::new(listener.and_then(Result::ok)).map_err(PortError::Io)?;
        serve(port, resolver, door).await
    })
}

/// Serves one daemon until its link ends. Must run inside a `LocalSet`.
///
/// # Errors
/// The link cannot go on.
async fn serve(port: &mut Port, resolver: Resolver, door: Door) -> Result<(), PortError> {
    let (outcomes, mut done) = mpsc::channel(RESULTS_QUEUED);
    let mut net = Net {
        resolver: Rc::new(resolver),
        scratch: Scratch::new(),
        outcomes,
        tasks: JoinSet::new(),
        owners: HashMap::new(),
        door,
    };
    loop {
        tokio::select! {
            event = port.next() => {
                let Some(event) = event? else { return Ok(()) };
                net.take(port, event)?;
                while let Some(event) = port.try_next()? {
                    net.take(port, event)?;
                }
            }
            Some(outcome) = done.recv() => answer(port, outcome)?,
            knock = net.door.knock() => net.knocked(port, knock)?,
            Some(ended) = net.tasks.join_next_with_id() => net.forget_task(&ended),
        }
        while let Ok(outcome) = done.try_recv() {
            answer(port, outcome)?;
        }
        port.flush()?;
    }
}

fn answer(port: &mut Port, outcome: Outcome) -> Result<(), PortError> {
    let (error, fds) = match outcome.stream {
        Ok(stream) => (None, vec![stream]),
        Err(refused) => (Some(refused), Vec::new()),
    };
    port.send_ctl(&CtlUp::NetResult { req: outcome.req, error }, fds)
}

impl Net {
    fn take(&mut self, port: &mut Port, event: Event) -> Result<(), PortError> {
        match event {
            Event::Ctl(
                CtlDown::NetConnect { req, sandbox, host, port: to, private, budget_ms },
                _,
            ) => {
                let budget = Duration::from_millis(budget_ms.into()).min(CONNECT_MAX);
                let wanted = Wanted { req, host, port: to, private, budget };
                if let Err(refused) = self.start(sandbox, wanted) {
                    return answer(port, Outcome { req, stream: Err(refused) });
                }
            }
            Event::Ctl(CtlDown::NetListen { sandbox }, _) => self.door.sandbox = Some(sandbox),
            Event::Ctl(CtlDown::NetForget { sandbox }, _) => {
                self.door.forget(sandbox);
                for (_, task) in self.owners.values().filter(|(owner, _)| *owner == sandbox) {
                    task.abort();
                }
            }
            Event::Ping(body) => port.pong(&body),
            // The bus has nothing to say here.
            Event::Msg(frame) => port.disposed(&frame),
            Event::Welcome(_) | Event::Ctl(..) => {}
        }
        Ok(())
    }

    /// Somebody is at the door.
    fn knocked(&mut self, port: &mut Port, knock: Knock) -> Result<(), PortError> {
        let (outside, from) = match knock {
            Knock::Guest(stream, from) => (stream, from),
            Knock::TurnedAway(turned_away) => {
                return port.send_ctl(&CtlUp::Listening { error: None, turned_away }, Vec::new());
            }
        };
        let Some(sandbox) = self.door.sandbox else { return Ok(()) };
        // Without a descriptor to spare, it is closed.
        let Ok((inside, far)) = pair() else { return Ok(()) };
        // Only a matter of speed.
        drop(outside.set_nodelay(true));
        let task = self.tasks.spawn_local(relay(inside, outside, self.scratch.clone()));
        self.door.came(task.id(), from.ip());
        self.owners.insert(task.id(), (sandbox, task));
        port.send_ctl(&CtlUp::Incoming { from: from.to_string() }, vec![far])
    }

    fn start(&mut self, sandbox: u32, wanted: Wanted) -> Result<(), Refused> {
        // What ended meanwhile counts no more.
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.forget_task(&ended);
        }
        let guests = |id: &Id| self.door.has(*id);
        let own = self.owners.iter().filter(|(id, (owner, _))| *owner == sandbox && !guests(id));
        let of_sandbox = own.count();
        if of_sandbox >= RELAYS_PER_SANDBOX {
            let text = format!("the sandbox has {RELAYS_PER_SANDBOX} connections already");
            return Err((ConnectError::Exhausted, text));
        }
        if self.owners.len() >= RELAYS_TOTAL {
            let text = format!("all {RELAYS_TOTAL} connections of this runtime are in use");
            return Err((ConnectError::Exhausted, text));
        }
        let (resolver, scratch) = (Rc::clone(&self.resolver), self.scratch.clone());
        let outcomes = self.outcomes.clone();
        let task = self.tasks.spawn_local(async move {
            let req = wanted.req;
            let connected = connect(&resolver, wanted).await.and_then(|stream| {
                pair().map(|(inside, far)| (stream, inside, far)).map_err(|error| {
                    (ConnectError::Exhausted, format!("no descriptors are left: {error}"))
                })
            });
            match connected {
                Ok((outside, inside, far)) => {
                    // The loop that receives lives as long as this task.
                    drop(outcomes.send(Outcome { req, stream: Ok(far) }).await);
                    relay(inside, outside, scratch).await;
                }
                Err(refused) => {
                    drop(outcomes.send(Outcome { req, stream: Err(refused) }).await);
                }
            }
        });
        self.owners.insert(task.id(), (sandbox, task));
        Ok(())
    }

    fn forget_task(&mut self, ended: &Result<(Id, ()), tokio::task::JoinError>) {
        let id = match ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        self.owners.remove(&id);
        self.door.left(id);
    }
}

fn pair() -> std::io::Result<(UnixStream, OwnedFd)> {
    let (inside, far) = sys::socketpair_stream()?;
    Ok((UnixStream::from_std(inside.into())?, far))
}

/// Resolves, checks everything that was found, and connects to exactly that.
async fn connect(resolver: &Resolver, wanted: Wanted) -> Result<TcpStream, Refused> {
    let Wanted { host, port, private, budget, .. } = wanted;
    let now = Instant::now();
    let deadline = now.checked_add(budget).unwrap_or(now);
    let slow = || (ConnectError::TimedOut, format!("{host}:{port} did not answer in time"));
    let found = timeout(budget, resolver.resolve(&host)).await.map_err(|_e| slow())?;
    let found = found.map_err(|error| {
        let why = match error {
            ResolveError::NotAName => "is no host name",
            ResolveError::Unknown => "has no address",
            ResolveError::Silent => "cannot be resolved: no name server answers",
        };
        (ConnectError::NotResolved, format!("{host} {why}"))
    })?;
    let addresses: Vec<_> = found.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
    addresses::judge(&addresses, private).map_err(|what| {
        (ConnectError::AddressDenied, format!("{host} is never connected to: {what}"))
    })?;
    let tried = addresses.len().min(ADDRESSES_MAX);
    let mut last = (ConnectError::NotResolved, format!("{host} has no address"));
    for (index, address) in addresses.iter().take(tried).enumerate() {
        let left = u32::try_from(tried.saturating_sub(index)).unwrap_or(u32::MAX).max(1);
        let rest = deadline.saturating_duration_since(Instant::now());
        let share = rest.checked_div(left).unwrap_or(rest).max(CONNECT_SHARE_MIN).min(rest);
        last = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return checked(stream, private, &host),
            Ok(Err(error)) => {
                (ConnectError::Unreachable, format!("{host}:{port} cannot be reached: {error}"))
            }
            Err(_elapsed) => slow(),
        };
    }
    Err(last)
}

/// A last look at a connection: one that leads from an address to itself never left this host.
fn checked(stream: TcpStream, private: bool, host: &str) -> Result<TcpStream, Refused> {
    let own = match (stream.local_addr(), stream.peer_addr()) {
        (Ok(local), Ok(peer)) => local.ip() == peer.ip(),
        _ => true,
    };
    if own && !private {
        let text = format!("{host} is never connected to: it is this host's own");
        return Err((ConnectError::AddressDenied, text));
    }
    // Only a matter of speed.
    drop(stream.set_nodelay(true));
    Ok(stream)
}
