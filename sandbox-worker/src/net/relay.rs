//! Moves the bytes of one stream between a sandbox and the network.
//!
//! A half-close is passed on and the other half may go on for a while; when the sandbox's end
//! hangs up, the network's end is closed, or a remote that never closes would pile them up here.

use super::limits::{HALF_OPEN, HANG_UP_LOOK, RELAY_BYTES};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Shutdown, shutdown};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, interval_at, timeout_at};

/// One buffer for all relays of the process: an idle one holds none.
#[derive(Debug, Clone)]
pub(crate) struct Scratch(Rc<RefCell<Vec<u8>>>);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(Rc::new(RefCell::new(vec![0; RELAY_BYTES])))
    }
}

/// What both ends of a relay can do.
trait End: AsFd + AsRawFd {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn write_now(&self, bytes: &[u8]) -> io::Result<usize>;
}

macro_rules! end {
    ($type:ty) => {
        impl End for $type {
            fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.poll_read_ready(cx)
            }
            fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.poll_write_ready(cx)
            }
            fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
                self.try_read(buffer)
            }
            fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
                self.try_write(bytes)
            }
        }
    };
}
end!(TcpStream);
end!(UnixStream);

/// Relays until both directions have ended, one has ended long enough ago, or either end broke.
pub(crate) async fn relay(inside: UnixStream, outside: TcpStream, scratch: Scratch) {
    let out = pump(&inside, &outside, &scratch);
    let back = pump(&outside, &inside, &scratch);
    tokio::pin!(out, back);
    let mut look = interval_at(first_look(), HANG_UP_LOOK);
    let ended_outwards = loop {
        tokio::select! {
            result = &mut out => match result {
                Ok(()) if !hung_up(&inside) => break true,
                _ => return,
            },
            result = &mut back => match result {
                Ok(()) => break false,
                Err(_) => return,
            },
            // What the sandbox wrote before it hung up still has its time.
            _ = look.tick() => if hung_up(&inside) {
                drop(timeout_at(half_open(), &mut out).await);
                return;
            },
        }
    };
    let deadline = half_open();
    if !ended_outwards {
        drop(timeout_at(deadline, &mut out).await);
        return;
    }
    loop {
        tokio::select! {
            _ = timeout_at(deadline, &mut back) => return,
            _ = look.tick() => if hung_up(&inside) { return },
        }
    }
}

fn first_look() -> Instant {
    let now = Instant::now();
    now.checked_add(HANG_UP_LOOK).unwrap_or(now)
}

fn half_open() -> Instant {
    let now = Instant::now();
    now.checked_add(HALF_OPEN).unwrap_or(now)
}

/// Whether the other end is closed for both directions.
fn hung_up(end: &UnixStream) -> bool {
    let mut fds = [PollFd::new(end.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
        && fds.iter().any(|fd| fd.revents().is_some_and(|e| e.contains(PollFlags::POLLHUP)))
}

/// One direction, to its end, which is passed on.
async fn pump(from: &impl End, to: &impl End, scratch: &Scratch) -> io::Result<()> {
    loop {
        poll_fn(|cx| from.poll_readable(cx)).await?;
        let rest = {
            let mut buffer = scratch.0.borrow_mut();
            let read = match from.read_now(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            let bytes = buffer.get(..read).unwrap_or_default();
            let sent = match to.write_now(bytes) {
                Ok(sent) => sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            bytes.get(sent..).unwrap_or_default().to_vec()
        };
        write_all(to, &rest).await?;
    }
    // The other end may be gone already; then there is nothing to tell it.
    let _told = shutdown(to.as_raw_fd(), Shutdown::Write).is_ok();
    Ok(())
}

async fn write_all(to: &impl End, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        poll_fn(|cx| to.poll_writable(cx)).await?;
        match to.write_now(rest) {
            Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Scratch, relay};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream, UnixStream};
    use tokio::task::{JoinHandle, LocalSet};
    use tokio::time::timeout;

    /// Both far ends of a running relay.
    async fn running() -> (UnixStream, TcpStream, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        let (sandbox, inside) = UnixStream::pair().unwrap();
        let task = tokio::task::spawn_local(relay(inside, near, Scratch::new()));
        (sandbox, far, task)
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test(flavor = "current_thread")]
    async fn bytes_and_half_closes_pass_both_ways() {
        LocalSet::new()
            .run_until(async {
                let (mut sandbox, mut far, task) = running().await;
                let sent: Vec<u8> = (0_u32..1_000_000).map(|n| n.to_le_bytes()[0]).collect();
                let writer = async {
                    sandbox.write_all(&sent).await.unwrap();
                    sandbox.shutdown().await.unwrap();
                    let mut answer = Vec::new();
                    sandbox.read_to_end(&mut answer).await.unwrap();
                    answer
                };
                let reader = async {
                    let mut got = Vec::new();
                    far.read_to_end(&mut got).await.unwrap();
                    far.write_all(b"after your end").await.unwrap();
                    far.shutdown().await.unwrap();
                    got
                };
                let (answer, got) = tokio::join!(writer, reader);
                assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
                assert_eq!(answer, b"after your end");
                timeout(LONG, task).await.unwrap().unwrap();
            })
            .await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_sandbox_that_hangs_up_closes_the_remote_at_once() {
        LocalSet::new()
            .run_until(async {
                let (mut sandbox, mut far, task) = running().await;
                sandbox.write_all(b"last words").await.unwrap();
                drop(sandbox);
                timeout(Duration::from_secs(4), task).await.unwrap().unwrap();
                let mut got = Vec::new();
                far.read_to_end(&mut got).await.unwrap();
                assert_eq!(got, b"last words");
            })
            .await;
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn a_half_open_stream_ends_after_its_time() {
        LocalSet::new()
            .run_until(async {
                let (mut sandbox, far, task) = running().await;
                sandbox.shutdown().await.unwrap();
                let started = tokio::time::Instant::now();
                task.await.unwrap();
                assert!(started.elapsed() >= super::HALF_OPEN);
                drop(far);
            })
            .await;
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn a_sandbox_that_hangs_up_while_the_remote_stalls_is_noticed() {
        LocalSet::new()
            .run_until(async {
                let (sandbox, far, task) = running().await;
                // Fill everything between here and the remote, which never reads.
                let full = vec![1_u8; 65_536];
                loop {
                    let wrote = timeout(Duration::from_millis(50), sandbox.writable()).await;
                    if wrote.is_err() {
                        break;
                    }
                    let _full = sandbox.try_write(&full);
                }
                drop(sandbox);
                task.await.unwrap();
                drop(far);
            })
            .await;
    }
}
