//! The worker's end of its link: packets in and out of descriptor 3, without ever blocking.
//!
//! A turn is: take events by [`Port::next`] (and [`Port::try_next`] while there are more), answer
//! them by `send`, `send_ctl`, `pong`, say `disposed` for each message, then [`Port::flush`]. What
//! the socket does not take is sent by itself while the caller waits in [`Port::next`].

use protocol::codec::CodecError;
use protocol::ctl::{ConfinedReport, CtlDown, CtlUp};
use protocol::frame::{Frame, FrameBuilder, FrameError, Kind, attach, flags, frames};
use protocol::limits::{ACK_DELAY_MS, BODY_BYTES_MAX, READ_BUFFER_BYTES};
use protocol::link::{Got, Hello, Link, LinkError, Side, Welcome};
use protocol::sys;
use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Sleep;

/// Number of the link's descriptor in every worker but the spawner.
pub(crate) const LINK_FD: RawFd = 3;

/// Why the link cannot go on; the worker ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortError {
    /// The socket failed.
    #[error("link failed: {0}")]
    Io(#[from] io::Error),
    /// Bytes that are no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame against the rules.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A control message that does not decode, or is too large to send.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A packet that did not fit, or descriptors beside anything but one control message.
    #[error("a packet was cut, or brought undeclared descriptors")]
    Packet,
}

/// What the daemon sent.
#[derive(Debug)]
pub(crate) enum Event {
    /// The daemon accepts the worker.
    #[allow(dead_code, reason = "what it holds is for roles to come; the tests read it")]
    Welcome(Welcome),
    /// A message of the bus; say [`Port::disposed`] when it is dealt with.
    Msg(Frame),
    /// A control message with its descriptors.
    Ctl(CtlDown, Vec<OwnedFd>),
    /// A heartbeat; give the bytes to [`Port::pong`] from the turn that runs the component.
    Ping(Vec<u8>),
}

/// Waits for this descriptor, and owns it.
///
/// # Errors
/// It cannot be polled.
#[expect(
    deprecated,
    reason = "an OwnedFd is always open, so this is sound; its successor is unsafe"
)]
pub(crate) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, interest)
}

/// The worker's end of a link.
#[derive(Debug)]
pub(crate) struct Port {
    socket: AsyncFd<OwnedFd>,
    /// Exists only while the socket is full: a writable interest would wake for every packet taken.
    blocked: Option<AsyncFd<OwnedFd>>,
    link: Link,
    buffer: Vec<u8>,
    inbox: VecDeque<Event>,
    alarm: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

impl Port {
    /// Takes over an inherited descriptor. Needs a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// It is no socket.
    pub(crate) fn adopt(fd: RawFd) -> Result<Self, PortError> {
        Self::new(sys::adopt(fd))
    }

    /// The worker's end of this socket.
    ///
    /// # Errors
    /// It cannot be polled.
    pub(crate) fn new(socket: OwnedFd) -> Result<Self, PortError> {
        Ok(Self {
            socket: watch(socket, Interest::READABLE)?,
            blocked: None,
            link: Link::new(Side::Worker),
            // Untouched pages of it cost nothing.
            buffer: vec![0; READ_BUFFER_BYTES],
            inbox: VecDeque::new(),
            alarm: None,
            ended: false,
        })
    }

    /// Says that the jail is closed; at once.
    ///
    /// # Errors
    /// The link failed.
    pub(crate) fn confined(&mut self, report: ConfinedReport) -> Result<(), PortError> {
        self.send_ctl(&CtlUp::Confined(report), Vec::new())?;
        self.flush()
    }

    /// Says that the engine is ready; at once. Numbers as in [`Hello`].
    ///
    /// # Errors
    /// The link failed.
    pub(crate) fn hello(&mut self, role: u8, engine: u8) -> Result<(), PortError> {
        let mut build = [0; 20];
        for (place, byte) in build.iter_mut().zip(env!("CARGO_PKG_VERSION").bytes()) {
            *place = byte;
        }
        self.link.hello(Hello { role, engine, build });
        self.flush()
    }

    /// The next event; `None` when the link is over. Also sends what the socket did not take, and
    /// acknowledgements that are due. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// The link cannot go on.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, PortError> {
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(Some(event));
            }
            if self.ended {
                return Ok(None);
            }
            poll_fn(|cx| self.poll_progress(cx)).await?;
        }
    }

    /// An event that is there without waiting.
    ///
    /// # Errors
    /// The link cannot go on.
    pub(crate) fn try_next(&mut self) -> Result<Option<Event>, PortError> {
        while self.inbox.is_empty() && !self.ended {
            let (socket, buffer) = (&self.socket, &mut self.buffer);
            let got = socket.try_io(Interest::READABLE, |fd| sys::recv_packet(fd.as_fd(), buffer));
            match got {
                Ok(got) if got.truncated => return Err(PortError::Packet),
                Ok(got) if got.len == 0 => self.ended = true,
                Ok(got) => self.take_packet(got.len, got.fds)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The queued packets follow, then the end.
                Err(error) if sys::is_reset(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.inbox.pop_front())
    }

    /// Queues a message; it leaves with the turn, or when a packet is full.
    ///
    /// # Errors
    /// The link failed.
    pub(crate) fn send(&mut self, frame: &Frame) -> Result<(), PortError> {
        self.link.out.push(frame.bytes());
        if self.blocked.is_none() && self.link.out.backlog() > 0 { self.flush() } else { Ok(()) }
    }

    /// Queues a control message; it leaves with the turn.
    ///
    /// # Errors
    /// It is over its bound.
    pub(crate) fn send_ctl(&mut self, ctl: &CtlUp, fds: Vec<OwnedFd>) -> Result<(), PortError> {
        let frame = FrameBuilder::ctl(&ctl.encode()?).build()?;
        self.link.out.push_ctl(&frame, fds);
        Ok(())
    }

    /// Answers a heartbeat; leaves with the turn.
    pub(crate) fn pong(&mut self, body: &[u8]) {
        self.link.out.push_plain(Kind::Pong, body);
    }

    /// The oldest message not yet disposed of is dealt with.
    pub(crate) fn disposed(&mut self, frame: &Frame) {
        self.link.incoming.disposed(frame.bytes().len());
    }

    /// Messages that wait for credit or for the socket.
    pub(crate) fn backlog(&self) -> usize {
        self.link.out.backlog()
    }

    /// Control messages that the daemon has not taken.
    pub(crate) fn untaken_ctl(&self) -> usize {
        self.link.out.untaken_ctl()
    }

    /// Ends the turn: sends what is queued, as far as the socket takes it.
    ///
    /// # Errors
    /// The link failed.
    pub(crate) fn flush(&mut self) -> Result<(), PortError> {
        self.link.acknowledge(false);
        if self.blocked.is_none() {
            self.write()?;
        }
        if self.alarm.is_none() && self.link.incoming.owes() {
            let delay = Duration::from_millis(ACK_DELAY_MS);
            self.alarm = Some(Box::pin(tokio::time::sleep(delay)));
        }
        Ok(())
    }

    /// Says goodbye and waits until the socket has taken everything.
    ///
    /// # Errors
    /// The link failed.
    pub(crate) async fn bye(&mut self) -> Result<(), PortError> {
        self.link.bye();
        self.flush()?;
        poll_fn(|cx| {
            while self.blocked.is_some() {
                ready!(self.poll_write(cx))?;
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    fn take_packet(&mut self, len: usize, mut fds: Vec<OwnedFd>) -> Result<(), PortError> {
        let packet = self.buffer.get(..len).unwrap_or_default();
        for frame in frames(packet) {
            let frame = frame?;
            let alone = frame.bytes().len() == len;
            if alone && frame.has(flags::BODY_FD) {
                let body = fds.pop().ok_or(PortError::Packet)?;
                let body = sys::read_sealed(body, BODY_BYTES_MAX)?;
                let whole = attach(&frame, &body)?;
                match self.link.receive(&whole.view()?)? {
                    Got::Msg => self.inbox.push_back(Event::Msg(whole)),
                    _ => return Err(PortError::Packet),
                }
                continue;
            }
            let event = match self.link.receive(&frame)? {
                Got::Welcome(welcome) => Event::Welcome(welcome),
                Got::Msg => Event::Msg(frame.to_owned()),
                Got::Ctl if alone => {
                    Event::Ctl(CtlDown::decode(frame.body())?, std::mem::take(&mut fds))
                }
                Got::Ctl => Event::Ctl(CtlDown::decode(frame.body())?, Vec::new()),
                Got::Ping => Event::Ping(frame.body().to_vec()),
                Got::Bye => {
                    self.ended = true;
                    break;
                }
                Got::Ack(_) | Got::Hello(_) | Got::Pong => continue,
            };
            self.inbox.push_back(event);
        }
        if !fds.is_empty() {
            return Err(PortError::Packet);
        }
        // An acknowledgement may have given credit to what waits.
        if self.blocked.is_none() && self.link.out.has_packet() { self.write() } else { Ok(()) }
    }

    /// Ready when there may be something to read.
    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PortError>> {
        if let Some(alarm) = &mut self.alarm
            && alarm.as_mut().poll(cx).is_ready()
        {
            self.alarm = None;
            self.link.acknowledge(true);
            self.flush()?;
        }
        while self.blocked.is_some() {
            match self.poll_write(cx) {
                Poll::Ready(result) => result?,
                Poll::Pending => break,
            }
        }
        let guard = ready!(self.socket.poll_read_ready(cx))?;
        drop(guard);
        Poll::Ready(Ok(()))
    }

    /// Goes on writing once the full socket takes something.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PortError>> {
        if let Some(blocked) = &self.blocked {
            let mut guard = ready!(blocked.poll_write_ready(cx))?;
            guard.clear_ready();
        }
        Poll::Ready(self.write())
    }

    fn write(&mut self) -> Result<(), PortError> {
        while let Some(packet) = self.link.out.next_packet() {
            let fds: Vec<_> = packet.fds.iter().map(|fd| fd.as_fd()).collect();
            match sys::send_packet(self.socket.get_ref().as_fd(), &packet.bytes, &fds) {
                Ok(()) => self.link.out.recycle(packet.bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    drop(fds);
                    self.link.out.put_back(packet);
                    if self.blocked.is_none() {
                        let other = self.socket.get_ref().try_clone()?;
                        self.blocked = Some(watch(other, Interest::WRITABLE)?);
                    }
                    return Ok(());
                }
                // The daemon is gone; what it said before is still to be read.
                Err(error) if sys::is_reset(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.blocked = None;
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
