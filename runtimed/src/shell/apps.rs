//! Applications on `run/bus.sock` (CONTRACT §4): one task a connection reads lines and writes
//! what the core has for it.

mod edge;
mod lines;
mod outbox;

use super::hub::{Hub, Shared, WeakHub};
use super::peer::Peer;
use super::sockets;
use crate::limits::{APP_READ_BYTES, HELLO_WITHIN, LAST_WORDS_WITHIN};
use edge::{Hello, error_line};
use interprocess::local_socket::tokio::Stream;
use lines::{Line, Lines};
use outbox::{GivenId, Outbox, Piece};
use protocol::frame::Frame;
use protocol::reason::Reason;
use runtime_core::{Input, LinkId};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::sync::Notify;

/// How far a connection is.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was said yet.
    New,
    /// The core decides about its hello.
    Asked,
    /// It may send as these; the first is the default.
    In(String),
    /// What waits is written, then it is closed.
    Closing,
}

/// An application's connection.
#[derive(Debug)]
pub(super) struct App {
    stage: Stage,
    /// The core knows it, so the core learns its end.
    joined: bool,
    out: Outbox,
    /// Something is to be written.
    work: Rc<Notify>,
    /// Room came: the application may be read again.
    room: Rc<Notify>,
    /// The hello was decided, or the end has come.
    turned: Rc<Notify>,
    last_id: u64,
    /// Requests to more than one address: ids of the copies, each with the id that was given.
    /// As many as requests of this application wait in the core, which bounds them.
    aliases: HashMap<String, GivenId>,
    /// Addresses of its last message.
    spelled: edge::Spelled,
}

/// Ids that the runtime gives begin here, far from those that applications count.
const FIRST_GIVEN_ID: u64 = 1_000_000_000_000;

impl App {
    fn new() -> Self {
        Self {
            stage: Stage::New,
            joined: false,
            out: Outbox::default(),
            work: Rc::new(Notify::new()),
            room: Rc::new(Notify::new()),
            turned: Rc::new(Notify::new()),
            last_id: FIRST_GIVEN_ID,
            aliases: HashMap::new(),
            spelled: edge::Spelled::default(),
        }
    }

    fn say(&mut self, line: Vec<u8>) {
        self.out.push_line(line);
        self.work.notify_one();
    }

    fn close(&mut self) {
        self.stage = Stage::Closing;
        self.work.notify_one();
        self.turned.notify_one();
    }
}

impl Hub {
    /// Hands a message frame to an application.
    pub(super) fn push_to_app(&mut self, link: LinkId, frame: Frame) {
        let frame = self.admit(frame);
        self.queue_for_app(link, Piece::Own(frame));
    }

    /// Hands one frame to many applications, which share it.
    pub(super) fn push_to_apps(&mut self, links: &[LinkId], frame: Frame) {
        let frame = Rc::new(self.admit(frame));
        for link in links {
            self.queue_for_app(*link, Piece::Shared(Rc::clone(&frame)));
        }
    }

    /// The frame as applications may see it.
    fn admit(&mut self, frame: Frame) -> Frame {
        let origin = frame.view().ok().and_then(|view| u32::try_from(view.header.origin).ok());
        let origin = origin.map(LinkId);
        // What an application said was checked when it came in.
        if origin.is_some_and(|link| self.apps.contains_key(&link)) {
            return frame;
        }
        let (frame, withheld) = edge::admitted(frame);
        if let (Some(reason), Some(link)) = (withheld, origin) {
            self.later(Input::EdgeRefused { link, reason });
        }
        frame
    }

    fn queue_for_app(&mut self, link: LinkId, frame: Piece) {
        let Some(app) = self.apps.get_mut(&link) else {
            tracing::error!(link = link.0, "the core speaks to a link that is gone");
            return;
        };
        let given = edge::given_id(app, &frame);
        if !app.out.push(frame, given) {
            tracing::warn!(link = link.0, "an application is too slow and is cut off");
            app.close();
        }
        app.work.notify_one();
    }

    /// The core lets an application in.
    pub(super) fn welcome_app(&mut self, link: LinkId, address: String, addresses: Vec<String>) {
        let welcome = edge::welcome_line(self, &address, &addresses);
        if let Some(app) = self.apps.get_mut(&link) {
            app.stage = Stage::In(addresses.into_iter().next().unwrap_or(address));
            app.joined = true;
            app.say(welcome);
            app.turned.notify_one();
        }
    }

    /// The core does not.
    pub(super) fn reject_app(&mut self, link: LinkId, reason: Reason, desc: &str) {
        if let Some(app) = self.apps.get_mut(&link) {
            app.say(error_line(reason.code(), reason.token(), desc));
            app.close();
        }
    }

    /// The core cuts an application off.
    pub(super) fn close_app(&mut self, link: LinkId, reason: Reason) {
        if let Some(app) = self.apps.get_mut(&link) {
            app.say(error_line(reason.code(), reason.token(), reason.meaning().trim()));
            app.close();
        }
    }

    /// Closes every application, after what waits for it.
    pub(super) fn close_apps(&mut self) {
        for app in self.apps.values_mut() {
            app.close();
        }
    }

    fn take_line(&mut self, link: LinkId, said: Line<'_>, uid: u32) {
        let refusal = match said {
            Line::TooLong => Some((Reason::TooLarge, "a line is longer than 1 MiB")),
            Line::NotText => Some((Reason::Malformed, "a line is not UTF-8")),
            Line::Text(_) => None,
        };
        let Some(app) = self.apps.get_mut(&link) else { return };
        if let Some((reason, desc)) = refusal {
            app.say(error_line(reason.code(), reason.token(), desc));
            let early = matches!(app.stage, Stage::New | Stage::Asked);
            if reason == Reason::TooLarge || early {
                app.close();
            }
            if !early {
                self.feed(Input::EdgeRefused { link, reason });
            }
            return;
        }
        let Line::Text(text) = said else { return };
        match &app.stage {
            Stage::New => match Hello::parse(text) {
                Ok(Hello { name, addresses }) => {
                    app.stage = Stage::Asked;
                    self.feed(Input::AppJoined { link, name, uid, addresses });
                }
                Err(desc) => {
                    app.say(error_line(400, Reason::Malformed.token(), &desc));
                    app.close();
                }
            },
            Stage::In(_) => self.take_message(link, text),
            Stage::Asked | Stage::Closing => {}
        }
    }

    fn app_gone(&mut self, link: LinkId) {
        let Some(app) = self.apps.remove(&link) else { return };
        if app.joined {
            let unsent = app.out.unsent();
            self.turn(Input::AppLeft { link, unsent });
        }
    }
}

/// Serves one connection from hello to end.
pub(super) async fn serve(hub: Shared, stream: Stream, peer: Peer) {
    if hub.borrow().gate.admit(peer).is_none() {
        tracing::warn!(uid = peer.uid, pid = peer.pid, "a peer was refused on the bus");
        let line = error_line(403, Reason::Policy.token(), "you may not use this socket");
        return sockets::part(&stream, &line).await;
    }
    let link = {
        let mut hub = hub.borrow_mut();
        let link = hub.next_link();
        hub.apps.insert(link, App::new());
        link
    };
    let weak = Rc::downgrade(&hub);
    drop(hub);
    tokio::select! {
        () = read(weak.clone(), link, &stream, peer.uid) => {}
        () = write(weak.clone(), link, &stream) => {}
        () = closed(weak.clone(), link) => {}
    }
    let dismissed = weak.upgrade().is_some_and(|hub| {
        let mut hub = hub.borrow_mut();
        let closing = hub.apps.get(&link).is_some_and(|app| app.stage == Stage::Closing);
        hub.app_gone(link);
        closing
    });
    if dismissed {
        sockets::part(&stream, b"").await;
    }
}

/// How an application's turn of reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Read on.
    Read,
    /// It has more waiting for it than it takes: wait.
    Wait,
    /// Never again.
    Stop,
}

async fn read(weak: WeakHub, link: LinkId, stream: &Stream, uid: u32) {
    let mut lines = Lines::default();
    let mut hello = std::pin::pin!(tokio::time::sleep(HELLO_WITHIN));
    let mut new = true;
    let room =
        weak.upgrade().and_then(|hub| hub.borrow().apps.get(&link).map(|app| Rc::clone(&app.room)));
    let Some(room) = room else { return };
    loop {
        let mut stream_ref = stream;
        let read = tokio::select! {
            read = stream_ref.read_buf(lines.space(APP_READ_BYTES)) => read,
            () = &mut hello, if new => {
                if let Some(hub) = weak.upgrade() {
                    hub.borrow_mut().no_hello(link);
                }
                return std::future::pending().await;
            }
        };
        match read {
            Ok(read) if read > 0 => {}
            _ => return half_closed(stream).await,
        }
        let next = match weak.upgrade() {
            Some(hub) => hub.borrow_mut().take_lines(link, &mut lines, uid),
            None => return,
        };
        new = new && next == Next::Read && still_new(&weak, link);
        match next {
            Next::Read => tokio::task::yield_now().await,
            Next::Wait => room.notified().await,
            // The writer and the end of the connection decide from here on.
            Next::Stop => return std::future::pending().await,
        }
    }
}

fn still_new(weak: &WeakHub, link: LinkId) -> bool {
    let Some(hub) = weak.upgrade() else { return false };
    hub.borrow().apps.get(&link).is_some_and(|app| app.stage == Stage::New)
}

/// The application sends no more. If it only closed its sending half (`socat` does), it still
/// gets its answers: only a full close is its end.
async fn half_closed(stream: &Stream) {
    let Stream::UdSocket(stream) = stream;
    loop {
        match stream.inner().ready(Interest::WRITABLE).await {
            Ok(ready) if !ready.is_write_closed() => {}
            _ => return,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn write(weak: WeakHub, link: LinkId, stream: &Stream) {
    let work =
        weak.upgrade().and_then(|hub| hub.borrow().apps.get(&link).map(|app| Rc::clone(&app.work)));
    let Some(work) = work else { return };
    loop {
        let piece = {
            let Some(hub) = weak.upgrade() else { return };
            let mut hub = hub.borrow_mut();
            let Some(app) = hub.apps.get_mut(&link) else { return };
            match app.out.piece() {
                Some(piece) => Some(piece),
                None if app.stage == Stage::Closing => return,
                None => None,
            }
        };
        let Some(piece) = piece else {
            work.notified().await;
            continue;
        };
        let mut rest = piece.as_slice();
        while !rest.is_empty() {
            let mut stream = stream;
            match stream.write(rest).await {
                Ok(wrote) if wrote > 0 => {
                    rest = rest.get(wrote..).unwrap_or_default();
                    let Some(hub) = weak.upgrade() else { return };
                    hub.borrow_mut().app_wrote(link, wrote);
                }
                _ => return,
            }
        }
        let Some(hub) = weak.upgrade() else { return };
        if let Some(app) = hub.borrow_mut().apps.get_mut(&link) {
            app.out.recycle(piece);
        }
    }
}

/// Ends when the connection is to be closed and its time for last words is over.
async fn closed(weak: WeakHub, link: LinkId) {
    let turned = weak
        .upgrade()
        .and_then(|hub| hub.borrow().apps.get(&link).map(|app| Rc::clone(&app.turned)));
    let Some(turned) = turned else { return };
    loop {
        turned.notified().await;
        let Some(hub) = weak.upgrade() else { return };
        let closing = hub.borrow().apps.get(&link).is_none_or(|app| app.stage == Stage::Closing);
        drop(hub);
        if closing {
            tokio::time::sleep(LAST_WORDS_WITHIN).await;
            return;
        }
    }
}

impl Hub {
    fn no_hello(&mut self, link: LinkId) {
        if let Some(app) = self.apps.get_mut(&link) {
            let desc = "no hello came within 5 s of connecting";
            app.say(error_line(408, Reason::Deadline.token(), desc));
            app.close();
        }
    }

    fn take_lines(&mut self, link: LinkId, lines: &mut Lines, uid: u32) -> Next {
        while let Some(line) = lines.next() {
            self.take_line(link, line, uid);
        }
        self.end_turn();
        match self.apps.get(&link) {
            Some(app) if app.stage == Stage::Closing => Next::Stop,
            Some(app) if app.out.is_crowded() => Next::Wait,
            Some(_) => Next::Read,
            None => Next::Stop,
        }
    }

    fn app_wrote(&mut self, link: LinkId, bytes: usize) {
        let Some(app) = self.apps.get_mut(&link) else { return };
        let (frames, bytes) = app.out.wrote(bytes);
        if !app.out.is_crowded() {
            app.room.notify_one();
        }
        if frames > 0 && app.joined {
            self.turn(Input::Disposed { link, frames, bytes });
        }
    }
}
